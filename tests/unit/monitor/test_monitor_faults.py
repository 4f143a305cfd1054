"""Faults that are put into a replay."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from charter.core.errors import UsageError
from charter.monitor.faults import Fault, inject, rename_field, turn_around

ROWS = pl.DataFrame(
    {"age": [float(i) for i in range(1000)], "visits": list(range(1000)), "region": ["north"] * 1000}
)


def spoilt(text: str) -> pl.DataFrame:
    return inject(ROWS, Fault.parse(text), deviation=10.0, seed=1)


def test_each_kind_does_what_it_says() -> None:
    assert spoilt("shift:age:0.5@2026-01-01")["age"].to_list() == [a + 5 for a in ROWS["age"]]
    assert spoilt("scale:visits:1000@2026-01-01")["visits"].to_list() == [1000 * v for v in ROWS["visits"]]
    assert spoilt("scale:visits:1000@2026-01-01").schema == ROWS.schema
    assert 250 < spoilt("missing:region:0.3@2026-01-01")["region"].null_count() < 350
    assert 450 < (spoilt("new_category:region:0.5@2026-01-01")["region"] != "north").sum() < 550
    assert spoilt("concept::0.5@2026-01-01").equals(ROWS)


def test_outcomes_are_turned_around_for_the_share_that_is_asked_for() -> None:
    outcome = pl.Series([0, 1] * 500)
    turned = turn_around(outcome, Fault.parse("concept::0.4@2026-01-01"), seed=3)
    assert 350 < (turned != outcome).sum() < 450
    assert turn_around(outcome, Fault.parse("concept::1@2026-01-01"), seed=3).to_list() == [1, 0] * 500


@pytest.mark.parametrize(
    "text", ["shift:region:1@2026-01-01", "new_category:age:0.5@2026-01-01", "scale:nobody:2@2026-01-01"]
)
def test_what_does_not_suit_the_column_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fault"):
        spoilt(text)


@pytest.mark.parametrize(
    "text", ["", "shift:age", "melt:age:1@2026-01-01", "shift::1@2026-01-01", "concept:age:1@2026-01-01",
             "missing:age:2@2026-01-01", "shift:age:1e@2026-01-01", "shift:age:1@2026-13-01"],
)  # fmt: skip
def test_what_is_no_fault_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--fault"):
        Fault.parse(text)


def test_a_changed_schema_brings_the_field_under_another_name_as_text() -> None:
    fault = Fault.parse("schema:age:0.4@2026-01-01")
    assert inject(ROWS, fault, deviation=None, seed=1).equals(ROWS)
    requests = ROWS.to_dicts()
    rename_field(requests, fault, seed=1)
    changed = [r for r in requests if "age_new" in r]
    assert 350 < len(changed) < 450
    assert all(isinstance(r["age_new"], str) and "age" not in r for r in changed)


def test_an_outage_lasts_as_many_days_as_it_says() -> None:
    fault = Fault.parse("outage::2@2026-01-31")
    days = [date(2026, 1, 30), date(2026, 1, 31), date(2026, 2, 1), date(2026, 2, 2)]
    assert [fault.down(day) for day in days] == [False, True, True, False]
    assert not Fault.parse("delay::2@2026-01-31").down(days[1])
