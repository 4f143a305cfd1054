"""What of a window rules can name: ends of intervals, and nothing that could not be judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from charter.data.profile import profile
from charter.evaluate.types import Estimate
from charter.monitor.quality import Quality
from charter.monitor.report import Measurement, Operations
from charter.monitor.seen import Seen, drift_of
from charter.spec.types import DriftSpec

START, END = datetime(2026, 1, 5), datetime(2026, 1, 12)  # noqa: DTZ001 - windows hold naive UTC
QUALITY = Quality(9, 9, 9, 9, 5, {"recall": Estimate(0.6, 0.23, 0.88, "wilson", 5)}, {}, {})
WINDOW = Measurement("k", "v1", START, END, 0.2, QUALITY, None, Operations(1.0, 2.0, 3.0, 0.0, 0.0))


def seen(mean: float, like: Seen | None = None) -> Seen:
    rows = pl.DataFrame({"a": np.random.default_rng(3).normal(mean, 1, 500)})
    score = pl.DataFrame({"score": np.linspace(0, 1, 500)})
    return Seen(profile(rows, like.features if like else None), profile(score, like.score if like else None))


def test_a_rule_can_ask_for_the_whole_interval() -> None:
    measures = WINDOW.measures()
    assert (measures["low(recall)"], measures["recall"], measures["high(recall)"]) == (0.23, 0.6, 0.88)
    unsure = replace(QUALITY, realised={"recall": Estimate(0.6, None, None, "none", 2)})
    assert {"low(recall)", "high(recall)"}.isdisjoint(replace(WINDOW, quality=unsure).measures())


def test_what_could_not_be_judged_is_no_zero() -> None:
    mine, theirs = seen(0.0), seen(5.0)
    limits = DriftSpec(persistence=1, also_against=("year_ago",))
    now = seen(0.0, mine)
    drift = drift_of(now, mine, limits, year_ago=seen(0.0, theirs))
    measures = replace(WINDOW, drift=drift).measures()
    assert measures["psi(a)"] == 0.0
    assert "psi_year_ago(a)" not in measures, "a year ago the window was in another version's bins"
    assert measures["psi_year_ago(score)"] == 0.0
