from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
import pytest
from scipy.stats import betabinom

from charter.core.errors import DataError, PackageError, UsageError
from charter.train.conformal import LEVELS, ConformalIntervals, Scale
from charter.train.conformal_fit import fit


def _skewed(seed: int, n: int = 6000, steps: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Log units that spread wider with the step, around a score, with skewed errors."""
    rng = np.random.default_rng(seed)
    step = rng.integers(1, steps + 1, n)
    score = rng.normal(4, 1, n)
    error = (rng.gamma(2, 1, n) - 2) * (0.1 + 0.1 * step)
    return np.expm1(np.maximum(score + error, 0)), score, step


@pytest.mark.parametrize(
    ("n", "level", "low", "high"), [(19, 0.9, 1, 19), (99, 0.9, 5, 95), (39, 0.8, 4, 36)]
)
def test_the_ends_are_the_order_statistics_of_the_formula(n: int, level: float, low: int, high: int) -> None:
    residual = np.arange(1.0, n + 1)
    shuffled = np.random.default_rng(0).permutation(residual)
    found = fit(100 + shuffled, np.full(n, 100.0), np.ones(n), level=level, transform="none")
    lower, upper = found.apply([200.0], [1])
    assert (lower[0], upper[0]) == (200.0 + low, 200.0 + high)
    with pytest.raises(DataError, match=r"18 out-of-fold rows are too few for intervals at 90%; 19 are"):
        fit(residual[:18], np.zeros(18), np.ones(18), level=0.9, transform="none")


def test_exchangeable_rows_are_covered_as_promised() -> None:
    """Of m new rows the interval of ranks 3 and 57 of 59 holds Beta-binomial(m, 54, 6), whatever the errors."""
    rng = np.random.default_rng(3)
    n, fresh, times, hits = 59, 50, 400, 0
    for _ in range(times):
        error = rng.standard_t(2, n + fresh) * rng.gamma(1, 1, n + fresh)
        found = fit(error[:n], np.zeros(n), np.ones(n), level=0.9, transform="none", floor=None)
        lower, upper = found.apply(np.zeros(fresh), np.ones(fresh))
        hits += int(((lower <= error[n:]) & (error[n:] <= upper)).sum())
    mean, variance = betabinom.stats(fresh, 54, 6)
    assert mean == fresh * 0.9
    assert abs(hits - times * mean) <= 3.3 * np.sqrt(times * variance)


def test_every_step_is_covered_on_its_own_scale() -> None:
    actual, score, step = _skewed(1)
    found = fit(actual, score, step, level=0.8, transform="log1p")
    fresh, said, ahead = _skewed(2, 20_000)
    lower, upper = found.apply(said, ahead)
    for s in range(1, 5):
        own = ahead == s
        assert np.mean((lower <= fresh)[own] & (fresh <= upper)[own]) == pytest.approx(0.8, abs=0.035)
    widths = np.diff([found.apply([4.0], [1]), found.apply([4.0], [4])], axis=1).ravel()
    assert widths[1] > 1.5 * widths[0]


def test_groups_are_told_apart_where_they_are_large_enough() -> None:
    rng = np.random.default_rng(4)
    n = 8000
    deal = pl.Series(rng.choice(["0", "1"], n))
    wild = (deal == "1").to_numpy()
    actual = rng.normal(0, 1, n) * np.where(wild, 3.0, 1.0)
    told, untold = (
        fit(actual, np.zeros(n), np.ones(n), level=0.9, transform="none", floor=None, group=g, by="deal")
        for g in (deal, None)
    )
    assert told.groups == ("0", "1")
    assert (told.by, untold.by, untold.groups) == ("deal", "", ())
    for own, wanted in ((wild, 0.9), (~wild, 0.9)):
        lower, upper = told.apply(np.zeros(n), np.ones(n), deal)
        assert np.mean((lower <= actual)[own] & (actual <= upper)[own]) == pytest.approx(wanted, abs=0.01)
    lower, upper = untold.apply(np.zeros(n), np.ones(n))
    assert np.mean((lower <= actual)[wild] & (actual <= upper)[wild]) < 0.85
    # A value that is new, missing, or written as a number, and a group that is too small.
    assert told.apply([0.0], [1], ["7"]) == told.apply([0.0], [1])
    assert told.apply([0.0], [1], [None]) == told.apply([0.0], [1])
    assert told.apply([0.0], [1], np.array([1])) == told.apply([0.0], [1], pl.Series([1.0]))
    assert told.apply([0.0], [1], [1]) == told.apply([0.0], [1], ["1"]) != told.apply([0.0], [1])
    few = fit(actual, np.zeros(n), np.ones(n), level=0.9, transform="none", group=np.arange(n) < 50, by="x")
    assert few.groups == ("false",)


def test_a_step_with_few_residuals_borrows_from_its_neighbours() -> None:
    step = np.repeat([1, 2, 3, 4], [300, 300, 10, 300])
    residual = np.concatenate([np.zeros(600), np.full(10, 5.0), np.ones(300)])
    found = fit(residual, np.zeros(910), step, level=0.9, transform="none")
    of = {cell.step: cell for cell in found.cells}
    assert [(of[s].n, of[s].first, of[s].last) for s in (1, 2, 3, 4)] == [
        (300, 1, 1), (300, 2, 2), (610, 2, 4), (300, 4, 4),
    ]  # fmt: skip


def test_a_step_without_residuals_borrows_them_all() -> None:
    """Origins a week apart never judge some steps of daily rows; each step of the horizon has an interval."""
    actual, score, step = _skewed(5)
    kept = step != 1
    found = fit(actual[kept], score[kept], step[kept], level=0.9, transform="log1p", horizon=5)
    assert found.steps == (1, 2, 3, 4, 5)
    of = {cell.step: cell for cell in found.cells}
    assert of[1].quantiles == of[2].quantiles
    assert of[5].quantiles == of[4].quantiles


def test_quantiles_follow_the_residuals() -> None:
    rng = np.random.default_rng(5)
    error = rng.gamma(2, 1, 4001)
    found = fit(error, np.zeros(4001), np.ones(4001), level=0.9, transform="none")
    for q in (0.01, 0.1, 0.5, 0.9, 0.99):
        assert found.quantile([0.0], [1], q)[0] == pytest.approx(np.quantile(error, q, method="weibull"))
    many = found.quantiles(np.zeros(3), np.ones(3), [0.05, 0.333, 0.5, 0.95])
    assert many.shape == (3, 4)
    assert (np.diff(many, axis=1) > 0).all()
    each = found.quantile(np.zeros(2), [1, 1], [0.05, 0.95])
    assert each.tolist() == [many[0, 0], many[0, 3]]
    lower, upper = found.apply([0.0], [1])
    assert lower[0] == pytest.approx(each[0], abs=0.01)
    assert upper[0] == pytest.approx(each[1], abs=0.05)
    assert found.quantile([0.0], [1], 1.0) == found.quantile([0.0], [1], LEVELS[-1])
    with pytest.raises(UsageError, match="between 0 and 1"):
        found.quantile([0.0], [1], 1.2)


def test_nothing_is_below_the_floor_and_what_is_missing_stays_missing() -> None:
    actual, score, step = _skewed(6)
    found = fit(np.where(np.arange(6000) < 5, np.nan, actual), score, step, level=0.9, transform="log1p")
    assert sum(c.n for c in found.cells) == 5995
    lower, upper = found.apply([-1.0, np.nan], [2, 2])
    assert lower[0] == 0.0
    assert np.isnan([lower[1], upper[1]]).all()
    open_below = fit(actual - 50, score, step, level=0.9, transform="none", floor=None)
    assert open_below.apply([-60.0], [1])[0][0] < -60


def test_json_goes_there_and_back_to_the_bit() -> None:
    actual, score, step = _skewed(7)
    found = fit(actual, score, step, level=0.9, transform="log1p", group=step % 2, by="odd")
    again = ConformalIntervals.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    with pytest.raises(PackageError, match="schema_version 3 is not known"):
        ConformalIntervals.from_json({**found.to_json(), "schema_version": 3})
    with pytest.raises(PackageError, match="intervals:"):
        ConformalIntervals.from_json({**found.to_json(), "cells": [{"group": ""}]})


def test_what_cannot_be_is_refused() -> None:
    actual, score, step = _skewed(8, 500)
    found = fit(actual, score, step, level=0.9, transform="log1p")
    with pytest.raises(UsageError, match="step 5 has no interval; there are steps 1 to 4"):
        found.apply([1.0], [5])
    with pytest.raises(UsageError, match="transform 'sqrt' is not known"):
        fit(actual, score, step, level=0.9, transform="sqrt")
    with pytest.raises(UsageError, match="level is 90"):
        fit(actual, score, step, level=90, transform="none")
    with pytest.raises(UsageError, match="500 actuals, 500 scores, 499 steps"):
        fit(actual, score, step[1:], level=0.9, transform="none")


def test_a_residual_taken_with_either_sign_counts_twice() -> None:
    error = np.arange(1.0, 11)
    found = fit(error, np.zeros(10), np.ones(10), level=0.9, transform="none", floor=None, symmetric=True)
    assert (found.cells[0].n, found.cells[0].lower, found.cells[0].upper) == (20, -10.0, 10.0)
    with pytest.raises(DataError, match=r"9 out-of-fold rows are too few for intervals at 90%; 10 are"):
        fit(error[:9], np.zeros(9), np.ones(9), level=0.9, transform="none", symmetric=True)


def test_symmetric_intervals_hold_when_the_next_season_errs_to_the_other_side() -> None:
    rng = np.random.default_rng(8)
    said = np.full(4000, 5.0)
    high, low = np.exp(said + rng.normal(0.3, 0.5, 4000)), np.exp(said + rng.normal(-0.3, 0.5, 4000))
    inside = {}
    for symmetric in (False, True):
        found = fit(
            np.maximum(high - 1, 0), said, np.ones(4000), level=0.9, transform="log1p", symmetric=symmetric
        )
        lower, upper = found.apply(said, np.ones(4000))
        inside[symmetric] = float(np.mean((lower <= low - 1) & (low - 1 <= upper)))
        assert float(found.quantile([5.0], [1], 0.5)[0]) == pytest.approx(
            math.exp(5.0) - 1 if symmetric else math.exp(5.3) - 1, rel=0.05
        )
    assert inside[False] < 0.75
    assert inside[True] == pytest.approx(0.9, abs=0.03)


def test_a_scale_makes_intervals_wide_where_errors_are_large_and_keeps_the_coverage() -> None:
    rng = np.random.default_rng(11)
    n = 8000
    spread, score = rng.choice([0.1, 0.8], n), rng.normal(4, 1, n)
    actual = np.expm1(np.maximum(score + spread * rng.standard_normal(n), 0))
    step, fresh = np.ones(n), slice(4000, None)
    one, scaled = (
        fit(actual[:4000], score[:4000], step[:4000], level=0.9, transform="log1p", symmetric=True, **given)
        for given in ({}, {"spread": spread[:4000], "scale": "sd"})
    )
    calm, wild = (spread[fresh] == value for value in (0.1, 0.8))

    def covered(found: ConformalIntervals) -> np.ndarray:
        lower, upper = found.apply(score[fresh], step[fresh], None, spread[fresh])
        return (lower <= actual[fresh]) & (actual[fresh] <= upper)

    assert covered(one)[calm].mean() > 0.99
    assert covered(one)[wild].mean() < 0.83
    assert [covered(scaled)[rows].mean() for rows in (calm, wild)] == pytest.approx([0.9, 0.9], abs=0.02)
    # a normal error of standard deviation 1 stays within 1.645 in 90 of 100 cases
    assert scaled.cells[0].upper == pytest.approx(1.645, abs=0.06)
    low, high = (float(scaled.quantile([4.0], [1], q, None, [0.8])[0]) for q in (0.05, 0.95))
    assert (low, high) == pytest.approx([np.expm1(4 - 1.645 * 0.8), np.expm1(4 + 1.645 * 0.8)], rel=0.05)
    assert ConformalIntervals.from_json(json.loads(json.dumps(scaled.to_json()))) == scaled
    assert (one.to_json()["schema_version"], scaled.to_json()["schema_version"]) == (1, 2)


def test_a_scale_that_is_not_known_is_the_usual_one_and_none_is_beyond_what_was_seen() -> None:
    actual, score, step = _skewed(12)
    spread = np.where(step == 1, np.nan, np.where(step == 2, 0.5, 2.0))
    found = fit(actual, score, step, level=0.9, transform="log1p", spread=spread, scale="sd")
    assert found.scale == Scale("sd", 2.0 if (step > 2).sum() > (step == 2).sum() else 0.5, 0.5, 2.0)
    lower, upper = found.apply([4.0] * 5, [1] * 5, None, [np.nan, 2.0, 9.0, 0.5, 0.0])
    assert lower[0] == lower[1] == lower[2] < lower[3] == lower[4]
    assert upper[0] == upper[1] == upper[2] > upper[3] == upper[4]
    assert found.apply([4.0], [1])[1][0] == upper[0]


@pytest.mark.parametrize(
    ("spread", "message"),
    [
        ([0.0, 1.0], r"train.interval_scale 'sd' is 0 or less in 2,000 of 4,000"),
        ([np.nan] * 2, "missing in all"),
    ],
)
def test_a_scale_that_divides_by_nothing_is_refused(spread: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        fit(np.ones(4000), np.ones(4000), np.ones(4000), level=0.9, transform="none",
            spread=np.tile(spread, 2000), scale="sd")  # fmt: skip
