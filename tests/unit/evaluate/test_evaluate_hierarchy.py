"""Levels, and forecasts that add up, against hierarchicalforecast."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest

from charter.core.errors import DataError, UsageError
from charter.evaluate.hierarchy import Hierarchy, cells
from charter.evaluate.reconcile import (
    Method,
    estimate,
    from_json,
    gap,
    reconcile,
    shrunk,
    to_json,
)

LEVELS = {"brand": ["brand"], "store": ["store"], "zone": ["zone"], "zone_brand": ["zone", "brand"]}


def grid(stores: int = 6, brands: int = 4) -> pl.DataFrame:
    rows = [
        {"series": f"{s}/{b}", "store": s, "brand": b, "zone": "north" if s % 2 else "south"}
        for s in range(stores)
        for b in range(brands)
    ]
    return pl.DataFrame(rows)


def drawn(h: Hierarchy, t: int, seed: int = 0) -> npt.NDArray[np.float64]:
    rng = np.random.default_rng(seed)
    common = rng.normal(0, 3, (1, t))
    bottom = 40 + 10 * rng.gamma(2, 1, (h.n_series, t)) + common
    return np.concatenate([h.sums(bottom) + rng.normal(0, 25, (len(h.nodes), t)), bottom])


def dense(h: Hierarchy) -> npt.NDArray[np.float64]:
    return np.concatenate([h.sums(np.eye(h.n_series)), np.eye(h.n_series)])


@pytest.mark.parametrize("method", ["wls_struct", "wls_var", "mint_shrink"])
def test_equals_hierarchicalforecast(method: Method) -> None:
    methods = pytest.importorskip("hierarchicalforecast.methods")
    h = Hierarchy.of(grid(), LEVELS)
    actual, fitted, base = drawn(h, 30, 1), drawn(h, 30, 2), drawn(h, 12, 3)
    ours = reconcile(h, base, estimate(method, h, actual - fitted), nonnegative=False)
    S = dense(h)
    theirs: Any = methods.MinTrace(method)
    P, _ = theirs._get_PW_matrices(S=S, y_hat=base, y_insample=actual, y_hat_insample=fitted)
    np.testing.assert_allclose(ours, S @ (P @ base), rtol=1e-8, atol=1e-8)


def test_shrinkage_equals_hierarchicalforecast_when_errors_hardly_vary_together() -> None:
    utils = pytest.importorskip("hierarchicalforecast.utils")
    errors = np.random.default_rng(5).normal(0, 2, (14, 9))
    ours = shrunk(errors)
    W = np.diag(ours.diagonal) + ours.factors.T @ ours.factors
    np.testing.assert_allclose(
        W, utils._shrunk_covariance_schaferstrimmer_no_nans(errors, 2e-8), rtol=1e-8, atol=1e-10
    )


@pytest.mark.parametrize("method", get_args(Method))
def test_coherent_and_never_negative(method: Method) -> None:
    h = Hierarchy.of(grid(), LEVELS)
    base = drawn(h, 12)
    base[: len(h.nodes)] *= 0.4  # so much less than the series that some would fall below 0
    found = reconcile(h, base, estimate(method, h, drawn(h, 20, 4) - drawn(h, 20, 6)))
    assert gap(h, found) <= 1e-12
    assert found.min() >= 0
    if method == "bottom_up":
        np.testing.assert_array_equal(found[len(h.nodes) :], base[len(h.nodes) :])


def test_coherent_base_forecasts_stay() -> None:
    h = Hierarchy.of(grid(), LEVELS)
    bottom = drawn(h, 5)[len(h.nodes) :]
    base = np.concatenate([h.sums(bottom), bottom])
    found = reconcile(h, base, estimate("mint_shrink", h, drawn(h, 20, 4) - drawn(h, 20, 6)))
    np.testing.assert_allclose(found, base, rtol=1e-10)


def test_a_series_without_forecast_stays_out() -> None:
    h = Hierarchy.of(grid(), LEVELS)
    base = drawn(h, 4)
    base[len(h.nodes) + 3, 2] = np.nan
    found = reconcile(h, base, estimate("wls_var", h, drawn(h, 20, 4) - drawn(h, 20, 6)))
    assert np.isnan(found).sum() == 1
    assert gap(h, found) <= 1e-12


def test_the_covariance_survives_json() -> None:
    errors = np.random.default_rng(0).normal(size=(5, 3))
    before, after = shrunk(errors), from_json(to_json(shrunk(errors)))
    np.testing.assert_array_equal(before.diagonal, after.diagonal)
    np.testing.assert_array_equal(before.factors, after.factors)


def test_a_long_frame_becomes_a_matrix() -> None:
    h = Hierarchy.of(grid(2, 1), {})
    frame = pl.DataFrame({"series": ["1/0", "0/0", "1/0"], "sales": [1, 2, 3]})
    found = cells(h, frame, "sales", np.array([0, 0, 1]))
    np.testing.assert_array_equal(found, [[2, np.nan], [1, 3]])


def test_what_is_refused() -> None:
    frame = grid()
    with pytest.raises(UsageError, match="always there"):
        Hierarchy.of(frame, {"total": ["brand"]})
    with pytest.raises(UsageError, match="no columns"):
        Hierarchy.of(frame, {"chain": []})
    with pytest.raises(DataError, match="Did you mean brand"):
        Hierarchy.of(frame, {"brand": ["brnd"]})
    moved = pl.concat([frame, frame[:1].with_columns(zone=pl.lit("west"))])
    with pytest.raises(DataError, match="zone is south, west"):
        Hierarchy.of(moved, {"zone": ["zone"]})
