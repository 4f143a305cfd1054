"""Outcomes: late, twice, corrected, unknown, and what cannot be one."""

from __future__ import annotations

from datetime import datetime

import polars as pl
import pytest

from charter.core.errors import DataError
from charter.monitor.outcomes import OutcomeColumns, fresh, join, latest, normalise, unknown
from charter.spec.types import ModelSpec

NOW = datetime(2026, 3, 1)  # noqa: DTZ001 - frames hold naive UTC


@pytest.fixture
def spec(loans_spec: ModelSpec) -> ModelSpec:
    return loans_spec


def take(spec: ModelSpec, now: datetime = NOW, **columns: list[object]) -> pl.DataFrame:
    return normalise(pl.DataFrame(columns), OutcomeColumns("bad", entity="customer"), spec, now=now)


def test_values_are_read_as_the_label_has_them(spec: ModelSpec) -> None:
    found = take(spec, id=["a", "b", "c", "d"], bad=["bad", "good", "1", " 0 "])
    assert dict(zip(found["key"], found["outcome"], strict=True)) == {
        "a/0": "1", "b/0": "0", "c/0": "1", "d/0": "0",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"id": ["a"], "bad": ["ugly"]}, "row 1: ugly"),
        ({"id": ["a"], "bad": [None]}, "hold no outcome"),
        ({"id": [None], "bad": ["bad"]}, "lack id"),
        ({"id": ["a"], "row": ["x"], "bad": ["bad"]}, "lack id"),
        ({"id": ["a"], "result": ["bad"]}, "no column 'bad'"),
        ({"who": ["a"], "bad": ["bad"]}, "cannot be joined"),
        ({"id": ["a"], "bad": ["bad"], "known_at": ["yesterday"]}, "no moment"),
        ({"customer": ["a"], "as_of": ["soon"], "bad": ["bad"]}, "lack customer and as_of"),
        ({"id": [], "bad": []}, "no outcome"),
        ({"id": ["a", "a"], "bad": ["1", "0"]}, "two outcomes at the same moment .a/0 is 0 and 1"),
        ({"id": ["a"], "bad": ["bad"], "known_at": ["2099-01-01"]}, "still to come"),
        ({"id": [["a"]], "bad": ["bad"]}, "'id' is of type List"),
        ({"id": [b"\xff"], "bad": ["bad"]}, "'id' is of type Binary"),
        ({"id": ["a" * 5000], "bad": ["bad"]}, "At most 1000 characters"),
    ],
)
def test_what_cannot_be_an_outcome_is_refused_with_its_row(
    spec: ModelSpec, columns: dict[str, list[object]], said: str
) -> None:
    with pytest.raises(DataError, match=said):
        take(spec, **columns)


def test_the_outcome_that_became_known_last_holds_in_whatever_order_it_came(spec: ModelSpec) -> None:
    early = take(spec, id=["a", "b"], bad=["0", "0"], known_at=["2026-01-01", "2026-01-01"])
    late = take(spec, id=["a"], bad=["1"], known_at=["2026-02-01"])
    for parts in ([early, late], [late, early], [late, early, early]):
        assert latest(parts)["outcome"].to_list() == ["1", "0"]
    same_moment = take(spec, id=["a"], bad=["0"], known_at=["2026-02-01"])
    assert latest([late, same_moment])["outcome"].to_list() == ["0"]


def test_outcomes_join_by_request_or_by_entity(spec: ModelSpec) -> None:
    log = pl.DataFrame(
        {
            "id": ["r1", "r1", "r2"],
            "row": pl.Series([0, 1, 0], dtype=pl.UInt32),
            "entity": ["7", "8", "9"],
            "as_of": pl.Series([NOW] * 3, dtype=pl.Datetime("us")),
        }
    )
    by_id = take(spec, id=["r1", "zz"], row=[1, 0], bad=["1", "1"])
    by_entity = take(spec, customer=[9, 8], as_of=["2026-03-01", "2026-03-01"], bad=["1", "0"])
    outcomes = latest([by_id, by_entity])
    assert join(log, outcomes)["outcome"].to_list() == [None, "1", "1"]
    assert unknown(outcomes, log)["key"].to_list() == ["zz/0"]
    assert join(log.drop("entity", "as_of"), outcomes)["outcome"].to_list() == [None, "1", None]


def test_a_row_twice_in_a_file_is_one(spec: ModelSpec) -> None:
    assert take(spec, id=["a", "a"], bad=["1", "1"]).height == 1


def test_a_file_imported_twice_is_imported_once(spec: ModelSpec) -> None:
    first = take(spec, id=["a", "b"], bad=["1", "0"])
    again = take(spec, now=NOW.replace(day=9), id=["b", "a", "c"], bad=["0", "1", "1"])
    assert fresh(again, [first], dated=False)["key"].to_list() == ["c/0"]
    correction = take(spec, now=NOW.replace(day=9), id=["a"], bad=["0"])
    assert fresh(correction, [first], dated=False).height == 1
    dated = take(spec, id=["a"], bad=["0"], known_at=["2025-01-01"])
    assert fresh(dated, [first], dated=True).height == 1
    assert fresh(dated, [first, dated], dated=True).is_empty()
