"""Profiles of odd columns, extreme values and old files; that they add up is in the property tests."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from charter.core.digest import canonical_json
from charter.data.profile import Profile, empty_like, merge, profile


@pytest.mark.parametrize(
    "values",
    [
        [1.0, 2.0, 1e308],
        [1.7e308, 1.7e308, 1.7e308],
        [1.7e308, 1.7e308, -1.7e308, -1.7e308],
        [1e200, -1e200],
        [5e-324, 1e-300, 1e300],
    ],
)
def test_extreme_values_leave_a_profile_that_json_can_hold(values: list[float]) -> None:
    usual = profile(pl.DataFrame({"x": [1.0, 2.0, 4.0]}))
    found = profile(pl.DataFrame({"x": values}), usual)
    for each in (found, merge(usual, found), merge(found, found), merge(empty_like(usual), found)):
        column = each.columns["x"]
        assert Profile.from_json(each.to_json()) == each
        canonical_json(each.to_json())
        assert column.low is not None
        assert column.high is not None
        assert column.low <= column.mean <= column.high
        assert math.isfinite(column.squares)
        assert sum(column.counts) == column.present


def test_large_values_whose_squares_fit_are_described_exactly() -> None:
    column = profile(pl.DataFrame({"x": [1e150, 3e150]})).columns["x"]
    assert column.mean == pytest.approx(2e150, rel=1e-12)
    assert column.standard_deviation == pytest.approx(math.sqrt(2) * 1e150, rel=1e-12)


def test_text_is_described_by_its_length_and_keeps_no_value() -> None:
    names = [f"person {i}" for i in range(400)]
    column = profile(pl.DataFrame({"name": [*names, None]})).columns["name"]
    assert (column.kind, column.count, column.missing, column.low, column.high) == ("text", 401, 1, 8.0, 10.0)
    assert column.values == {}
    assert not set(column.others) & set(names)
    assert column.distinct == pytest.approx(400, rel=0.2)
    later = profile(pl.DataFrame({"name": ["x" * 100]}), profile(pl.DataFrame({"name": names})))
    assert later.columns["name"].counts[-1] == 1


def test_few_rows_of_text_are_categories() -> None:
    assert profile(pl.DataFrame({"s": ["a", "b", "c"]})).columns["s"].kind == "categorical"


@pytest.mark.parametrize("distinct_values", [10, 300, 5_000, 200_000])
def test_distinct_values_are_exact_while_few_and_close_when_many(distinct_values: int) -> None:
    values = [f"v{i}" for i in range(distinct_values)] * 3
    column = profile(pl.DataFrame({"s": values})).columns["s"]
    assert column.kind == "categorical"
    assert column.distinct is not None
    tolerance = 0 if distinct_values <= 300 else 0.2 * distinct_values  # three standard errors of 6 %
    assert abs(column.distinct - distinct_values) <= tolerance


def test_odd_columns_are_described_or_left_out() -> None:
    frame = pl.DataFrame(
        {
            "nothing": pl.Series([None, None], dtype=pl.Null),
            "binary": [b"a", b"b"],
            "list": [[1], [2]],
            "struct": [{"a": 1}, {"a": 2}],
            "took": [timedelta(seconds=90), None],
            "at": [time(12, 0), None],
            "infinite": [math.inf, -math.inf],
            "nan": [math.nan, math.nan],
            "big": pl.Series([2**63, 1], dtype=pl.UInt64),
            "decimal": pl.Series(["1.5", "2.5"]).cast(pl.Decimal(10, 2)),
            "enum": pl.Series(["a", "b"], dtype=pl.Enum(["a", "b", "c"])),
            "zoned": pl.Series([datetime(2020, 1, 1, tzinfo=UTC)] * 2),
        }
    )
    found = profile(frame).columns
    assert set(frame.columns) - set(found) == {"binary", "list", "struct"}
    assert (found["took"].kind, found["took"].mean) == ("numeric", 90.0)
    assert (found["infinite"].missing, found["infinite"].infinite, found["infinite"].low) == (2, 2, None)
    assert (found["nan"].missing, found["nan"].infinite) == (2, 0)
    assert found["zoned"].mean == 1_577_836_800.0
    assert found["decimal"].mean == 2.0
    assert found["enum"].values == {"a": 1, "b": 1}
    assert profile(frame.clear()).rows == 0
    canonical_json(profile(frame).to_json())


def test_many_cells_give_the_same_profile_as_their_parts() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({f"x{i}": rng.normal(size=250_000) for i in range(9)})
    whole = profile(frame)
    parts = merge(profile(frame[:100_000], whole), profile(frame[100_000:], whole))
    assert [c.counts for c in parts.columns.values()] == [c.counts for c in whole.columns.values()]
    assert all(c.present == 250_000 for c in whole.columns.values())


def test_edges_are_lower_quantiles() -> None:
    values = np.random.default_rng(0).normal(size=1001)
    edges = profile(pl.DataFrame({"x": values})).columns["x"].edges
    assert edges == tuple(np.quantile(values, np.arange(1, 20) / 20, method="lower").tolist())


SAMPLES = Path(__file__).parents[2] / "golden" / "samples"


def test_profiles_of_the_first_schema_stay_readable() -> None:
    old = Profile.from_json(json.loads((SAMPLES / "profile-1.json").read_text()))
    assert (old.rows, old.columns["income"].missing, old.columns["income"].infinite) == (8, 3, 0)
    assert old.columns["region"].distinct == 3
    later = profile(pl.DataFrame({"income": [math.inf, 2100.0], "region": ["east", "north"]}), old)
    assert later.columns["region"].others == {"east": 1}
    both = merge(Profile(old.rows, {n: old.columns[n] for n in later.columns}), later)
    assert (both.columns["income"].infinite, both.columns["region"].other) == (1, 1)
    assert Profile.from_json(both.to_json()) == both


def test_a_schema_of_the_future_is_refused() -> None:
    with pytest.raises(ValueError, match="schema_version 3"):
        Profile.from_json({"schema_version": 3, "rows": 0, "columns": {}})
