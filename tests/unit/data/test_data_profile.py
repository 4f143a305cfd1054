"""A profile of extreme values stays a document that JSON can hold."""

from __future__ import annotations

import math

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
