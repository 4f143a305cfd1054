"""What a window saw and said, against training, the window before and a year ago."""

from __future__ import annotations

import numpy as np
import polars as pl

from charter.core.decision import Verdict
from charter.data.profile import profile
from charter.monitor.seen import Seen, drift_of
from charter.spec.types import DriftSpec


def seen(mean: float, seed: int, like: Seen | None = None, *, columns: str = "ab") -> Seen:
    rng = np.random.default_rng(seed)
    rows = pl.DataFrame({name: rng.normal(mean if name == "a" else 0, 1, 2000) for name in columns})
    score = pl.DataFrame({"score": rng.random(2000)})
    if like is None:
        return Seen(profile(rows), profile(score))
    return Seen(profile(rows, like.features), profile(score, like.score))


TRAINED = seen(0, 1)
STILL, MOVED, MOVED_TOO = seen(0, 2, TRAINED), seen(1, 3, TRAINED), seen(1, 4, TRAINED)


def persisting(now: Seen, limits: DriftSpec, **others: object) -> dict[str, set[str]]:
    found = drift_of(now, TRAINED, limits, **others)
    return {name: {f.measured.column for f in findings if f.persists} for name, findings in found.items()}


def test_a_change_is_a_finding_once_it_was_there_for_as_many_windows_as_the_specification_asks():
    limits = DriftSpec(persistence=2)
    first = drift_of(MOVED, TRAINED, limits)["training"]
    assert {f.measured.column: f.level for f in first if f.level} == {"a": 2}
    assert not any(f.persists for f in first)
    assert persisting(MOVED, limits, before=[STILL]) == {"training": set()}
    assert persisting(MOVED_TOO, limits, before=[STILL, MOVED]) == {"training": {"a"}}
    assert persisting(MOVED_TOO, DriftSpec(persistence=3), before=[STILL, MOVED]) == {"training": set()}
    assert persisting(MOVED, DriftSpec(persistence=1), before=[STILL]) == {"training": {"a"}}


def test_what_came_back_is_a_change_against_the_window_before_only():
    limits = DriftSpec(also_against=("previous", "year_ago"))
    found = persisting(STILL, limits, before=[MOVED, MOVED_TOO], year_ago=STILL)
    assert found == {"training": set(), "previous": {"a"}, "year_ago": set()}
    assert persisting(STILL, limits) == {"training": set()}


def test_a_column_that_is_not_logged_is_not_called_absent():
    now = Seen.from_json(seen(0, 5, TRAINED, columns="b").to_json())
    assert {f.measured.column for f in drift_of(now, TRAINED, DriftSpec())["training"]} == {"b", "score"}
    assert all(f.verdict is Verdict.PASS for f in drift_of(now, TRAINED, DriftSpec())["training"])
