"""What of a window rules can name: ends of intervals, and nothing that could not be judged."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import polars as pl

from charter.data.profile import profile
from charter.evaluate.types import Estimate
from charter.monitor.estimate import Estimated
from charter.monitor.quality import Quality, Worth
from charter.monitor.report import Measurement, Operations
from charter.monitor.seen import Seen, drift_of
from charter.monitor.server import Sample, operations_of
from charter.spec.measures import CALIBRATION, MEASURES
from charter.spec.types import DriftSpec

START, END = datetime(2026, 1, 5), datetime(2026, 1, 12)  # noqa: DTZ001 - windows hold naive UTC
QUALITY = Quality(9, 9, 9, 9, 5, {"recall": Estimate(0.6, 0.23, 0.88, "wilson", 5)}, {}, {})
WINDOW = Measurement("k", "v1", START, END, START, 0.2, QUALITY, None, Operations(1.0, 2.0, 3.0, 0.0, 0.0))


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


def test_rules_know_all_that_a_window_holds_and_a_window_all_that_rules_know() -> None:
    rng = np.random.default_rng(0)
    rows = pl.DataFrame({"a": rng.normal(0, 1, 900), "c": rng.choice(["x", "y"], 900)})
    own = Seen(profile(rows), profile(pl.DataFrame({"score": np.linspace(0, 1, 900)})))
    drift = drift_of(
        own, own, DriftSpec(persistence=1, also_against=("previous", "year_ago")), before=[own], year_ago=own
    )
    estimate = Estimate(0.6, 0.5, 0.7, "wilson", 5)
    expected = Estimated(0.6, 0.5, 0.7, 9)
    realised = dict.fromkeys(("recall", *CALIBRATION), estimate)
    known = replace(QUALITY, realised=realised, estimated={"recall": expected}, expected={"recall": expected})
    worth = Worth("EUR", 9, 5.0, 5.0, 1.0, 1.0, None, None)
    window = replace(WINDOW, quality=known, worth=worth, drift=drift)
    looks = [
        Sample(f"2026-03-01T00:0{n}:00Z", True, {"200": 9.0 * n, "500": n}, {"0.1": 9.0 * n, "+Inf": 9.0 * n},
               {"1": float(n)}, {"1": 0.0}, 1e6)
        for n in (1, 2)
    ]  # fmt: skip
    produced = {name.partition("(")[0] for name in (*window.measures(), *operations_of(looks))}
    produced -= {"recall", "net_value_per_month"}  # metrics by their own names
    elsewhere = {"skew_share", "importance_ndcg", "exceptions", "concept_drift", "kpi", "value_added"}
    elsewhere |= {"wmape_at", "bias_at", "interval_coverage_at"}  # by a whole pass: `only_words` of tests/e2e
    assert produced == set(MEASURES) - elsewhere
