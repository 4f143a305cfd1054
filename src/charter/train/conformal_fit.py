"""Learning prediction intervals from how wrong out-of-fold forecasts were; `charter.train.conformal` says how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from charter.core.errors import DataError, UsageError
from charter.train.conformal import (
    EVERYBODY,
    LEVELS,
    TRANSFORMS,
    Cell,
    ConformalIntervals,
    Floats,
    Integers,
    Scale,
    coded,
)

MIN_RESIDUALS = 200
"""A step with fewer residuals borrows its neighbours'; a group with fewer over all steps is not told apart."""


def fit(
    actual: npt.ArrayLike,
    score: npt.ArrayLike,
    step: npt.ArrayLike,
    *,
    level: float,
    transform: str,
    group: Sequence[Any] | None = None,
    by: str = "",
    spread: npt.ArrayLike | None = None,
    scale: str = "",
    floor: float | None = 0.0,
    symmetric: bool = False,
    horizon: int | None = None,
    min_residuals: int = MIN_RESIDUALS,
) -> ConformalIntervals:
    """Fit on out-of-fold rows.

    Parameters
    ----------
    actual
        Shape (n,), in the units of the label; rows without one (NaN) are left out.
    score
        Shape (n,): what models that had not seen the row said, on the scale that they learned.
    step
        Shape (n,): steps ahead, from 1 on.
    level
        Share of actuals that the intervals are to hold, between 0 and 1.
    transform
        ``log1p`` or ``none``: what was learned of the label.
    group, by
        Length n: values of the column ``by`` whose errors are told apart (Mondrian conformal prediction; Vovk et al.,
        2005, 4.5), such as promotion or not. Values with fewer than ``min_residuals`` rows are not.
    spread, scale
        Shape (n,): what residuals are divided by, and the expression that says so of a row. Where it has no value
        (NaN) the median stands.
    symmetric
        Take each residual with either sign: intervals by the absolute residual (Lei et al., 2018, section 2), and a
        distribution whose median is the forecast. For forecasts from few origins, whose errors share their sign:
        whether a season sells above or below what was expected cannot be learned from a handful of them.
    horizon
        Last step that is to have an interval; None is the last that has a row.
    min_residuals
        A step with fewer, or none, borrows from its neighbours, nearest first, as many as it takes. Nothing is done to
        make the intervals widen with the step. Taken ``symmetric``, each row counts twice, here and for groups.

    Raises
    ------
    DataError
        When all rows together are too few for the level: ``ceil((n + 1) (1 - a)) > n``, for 90 % below 19 rows (10
        if ``symmetric``); when a scale is not positive.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> log_units, said = rng.normal(3, 0.5, 4000), np.full(4000, 3.0)
    >>> found = fit(np.expm1(log_units), said, rng.integers(1, 5, 4000), level=0.8, transform="log1p")
    >>> round(float(found.quantile([3.0], [2], 0.5)[0])), found.steps
    (19, (1, 2, 3, 4))
    """
    if transform not in TRANSFORMS:
        raise UsageError(f"conformal: transform {transform!r} is not known; allowed: none, log1p")
    if not 0 < level < 1:
        raise UsageError(f"conformal: level is {level}; it must be between 0 and 1")
    truth, said = np.asarray(actual, dtype=np.float64), np.asarray(score, dtype=np.float64)
    steps = np.asarray(step).astype(np.int64)
    names, code = ([], np.zeros(len(truth), dtype=np.int64)) if group is None else coded(group)
    if not len(truth) == len(said) == len(steps) == len(code):
        raise UsageError(
            f"conformal: {len(truth)} actuals, {len(said)} scores, {len(steps)} steps, {len(code)} groups"
        )
    learned = np.log1p(truth) if transform == "log1p" else truth
    residual, growth = learned - said, None
    if spread is not None:
        widths = np.broadcast_to(np.asarray(spread, dtype=np.float64), truth.shape)
        growth = _scale(scale, widths)
        residual = residual / growth.of(widths)
    known = np.isfinite(residual)
    residual, steps, code = residual[known], steps[known], code[known]
    needed = _fewest(level)
    if symmetric:
        residual, steps, code = np.concatenate([residual, -residual]), np.tile(steps, 2), np.tile(code, 2)
    if len(residual) < needed:
        each = 2 if symmetric else 1
        raise DataError(
            f"train.interval: {len(residual) // each} out-of-fold rows are too few for intervals at {level:.0%}; "
            f"{-(-needed // each)} are needed",
            remedy="Ask for a lower level, or train on more series or periods.",
        )
    every = np.unique(steps).tolist() if horizon is None else list(range(1, horizon + 1))
    enough = max(min_residuals, needed)
    cells = [_cell(EVERYBODY, s, residual, steps, level, enough, every) for s in every]
    for name in sorted(names):
        own = code == names.index(name)
        if int(own.sum()) >= enough:
            cells += [_cell(name, s, residual[own], steps[own], level, enough, every) for s in every]
    named = by if group is not None else ""
    return ConformalIntervals(level, transform, named, floor, tuple(cells), growth)


def _scale(text: str, spread: Floats) -> Scale:
    known = spread[np.isfinite(spread)]
    if not len(known) or known.min() <= 0:
        what = f"is 0 or less in {int((known <= 0).sum()):,}" if len(known) else "is missing in all"
        raise DataError(
            f"train.interval_scale {text!r} {what} of {len(spread):,} out-of-fold rows; errors are divided by it",
            remedy="Add what even the surest forecast errs by, such as 0.1.",
        )
    return Scale(text, float(np.median(known)), float(known.min()), float(known.max()))


def _fewest(level: float) -> int:
    """Fewest residuals of which the largest is an upper end: ``(n + 1) (1 - a) <= n``."""
    a = (1 - level) / 2
    n = max(math.ceil(1 / a) - 2, 1)
    while math.ceil(round((n + 1) * (1 - a), 9)) > n:
        n += 1
    return n


def _cell(
    name: str, step: int, residual: Floats, steps: Integers, level: float, enough: int, every: Sequence[int]
) -> Cell:
    reach = 0
    own = steps == step
    while int(own.sum()) < enough and reach < every[-1] - every[0]:
        reach += 1
        own = np.abs(steps - step) <= reach
    ranked = np.sort(residual[own])
    n, a = len(ranked), (1 - level) / 2
    # Rounded before the ceiling: (n + 1) x 0.95 is a whole number more often than floats admit.
    low, high = math.floor(round((n + 1) * a, 9)), math.ceil(round((n + 1) * (1 - a), 9))
    place = np.clip(np.array(LEVELS) * (n + 1) - 1, 0, n - 1)
    left = np.floor(place).astype(np.int64)
    right, part = np.minimum(left + 1, n - 1), place - left
    kept = ranked[left] * (1 - part) + ranked[right] * part
    used = steps[own]
    return Cell(
        group=name,
        step=step,
        n=n,
        first=int(used.min()),
        last=int(used.max()),
        lower=float(ranked[low - 1]),
        upper=float(ranked[high - 1]),
        quantiles=tuple(np.maximum.accumulate(kept).tolist()),
    )
