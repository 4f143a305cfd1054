"""Metrics of numbers: errors, percentage errors and intervals, nearly all of them a ratio of two sums over rows.

A ratio of sums can be added up: summed within series once, it is measured on any number of resamples of whole series
without looking at a row again (`Totals`). `charter.data.metrics.Sample` takes the same terms row by row.

``e = score - y`` is positive where too much was forecast.

==========================  ===============================  =======================
metric                      above                            below
==========================  ===============================  =======================
wmape                       ``|e|``                          ``|y|``
mape                        ``|e / y|`` where ``y != 0``     rows where ``y != 0``
bias, absolute_bias         ``e`` (then ``|.|``)             ``|y|``
mean_absolute_error         ``|e|``                          rows
root_mean_squared_error     ``e^2`` (then the root)          rows
interval_coverage           rows within the bounds           rows with bounds
coverage_error              the same, then ``|. - level|``   rows with bounds
interval_width              upper - lower                    ``|y|`` with bounds
interval_score              Winkler's score, see `terms`     rows with bounds
==========================  ===============================  =======================

``median_ape``, the median of ``|e / y|`` over rows where ``y != 0``, is no ratio and is measured beside them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from charter.data.metrics import Sample

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]

BOUNDED = frozenset({"interval_coverage", "coverage_error", "interval_width", "interval_score"})
"""Metrics of prediction intervals."""
RATIOS = BOUNDED | {
    "wmape", "mape", "bias", "absolute_bias", "mean_absolute_error", "root_mean_squared_error",
    "mean_absolute_percentage_error",
}  # fmt: skip
ADDITIVE = RATIOS | {"median_ape"}
"""Metrics that `Totals` can measure."""
_SIDES: tuple[Literal["left", "right"], ...] = ("left", "right")
_OVER_SIZE = frozenset({"wmape", "bias", "absolute_bias", "interval_width"})


@dataclass(frozen=True, slots=True, eq=False)
class Bounds:
    """A prediction interval for each row.

    Attributes
    ----------
    lower, upper
        Shape (n,), in the units of the label; NaN where no interval is promised.
    level
        Share of actual values that the intervals promise to hold, between 0 and 1.
    """

    lower: Floats
    upper: Floats
    level: float

    def take(self, rows: Integers | npt.NDArray[np.bool_]) -> Bounds:
        """Return the intervals of some of the rows."""
        return Bounds(self.lower[rows], self.upper[rows], self.level)


def terms(name: str, y: Floats, score: Floats, bounds: Bounds | None = None) -> tuple[Floats, Floats] | None:
    """Each row's share in the sum above and in the sum below; None where the metric is undefined on these rows.

    Parameters
    ----------
    name
        One of `RATIOS`.
    y, score
        Shape (n,): actual and forecast.

    Notes
    -----
    ``interval_score`` is Winkler's: the width, and ``2 / (1 - level)`` times how far an actual lies outside; a proper
    score, smallest for the true quantiles (Winkler, 1972; Gneiting and Raftery, 2007, section 6.2).
    """
    error: Floats = score - y
    size: Floats = np.abs(y)
    rows: Floats = np.ones(len(y))
    if name in BOUNDED:
        return None if bounds is None else _interval_terms(name, y, bounds)
    match name:
        case "wmape":
            return np.abs(error), size
        case "bias" | "absolute_bias":
            return error, size
        case "mape":
            known: Floats = (size > 0).astype(np.float64)
            return np.divide(np.abs(error), size, out=np.zeros(len(y)), where=size > 0), known
        case "mean_absolute_percentage_error":
            return (np.asarray(np.abs(error / y)), rows) if (size > 0).all() else None
        case "mean_absolute_error":
            return np.abs(error), rows
        case _:
            return np.asarray(error**2), rows


def _interval_terms(name: str, y: Floats, bounds: Bounds) -> tuple[Floats, Floats]:
    known = np.isfinite(bounds.lower) & np.isfinite(bounds.upper)
    rows: Floats = known.astype(np.float64)
    lower, upper = np.where(known, bounds.lower, y), np.where(known, bounds.upper, y)
    if name == "interval_width":
        return upper - lower, np.abs(y) * rows
    if name == "interval_score":
        outside: Floats = np.maximum(lower - y, 0.0) + np.maximum(y - upper, 0.0)
        return np.asarray(upper - lower + 2 / (1 - bounds.level) * outside, dtype=np.float64), rows
    inside: Floats = ((lower <= y) & (y <= upper)).astype(np.float64) * rows
    return inside, rows


def finish(name: str, ratio: Floats, bounds: Bounds | None = None) -> Floats:
    """Make the metric of the ratio of its sums."""
    match name:
        case "root_mean_squared_error":
            return np.sqrt(ratio)
        case "absolute_bias":
            return np.abs(ratio)
        case "coverage_error":
            return np.abs(ratio - (bounds.level if bounds is not None else np.nan))
        case _:
            return ratio


def median_ape(y: Floats, score: Floats, weights: Floats) -> Floats:
    """Median of ``|e / y|`` over rows where ``y != 0``, each row counted as often as it weighs; NaN without such a row.

    Parameters
    ----------
    weights
        Shape (b, n), whole numbers >= 0.

    Returns
    -------
    ndarray of float64, shape (b,)

    Examples
    --------
    >>> y, forecast = np.array([10.0, 10, 0, 10]), np.array([11.0, 12, 5, 14])
    >>> median_ape(y, forecast, np.array([[1.0, 1, 1, 1], [1, 1, 0, 0]])).round(6).tolist()
    [0.2, 0.15]
    """
    return Ranked(y, score, np.arange(len(y)), len(y), parts=1).median(weights)


class Ranked:
    """Rows from the smallest percentage error to the largest, for medians under weightings of their units.

    Parameters
    ----------
    unit
        Shape (n,): number of the unit of each row, below ``units``.
    parts
        The ranks are cut into so many parts, and each unit's rows in each part counted: that finds the part of the
        median, and only its rows are looked at. Weights are whole, so sums are exact whatever their order.
    """

    def __init__(self, y: Floats, score: Floats, unit: Integers, units: int, *, parts: int = 256) -> None:
        known = np.flatnonzero(y != 0)
        ape = np.abs((score[known] - y[known]) / y[known])
        order = np.argsort(ape, kind="stable")
        self.ape, self.unit = ape[order], unit[known[order]]
        self.starts = np.unique(np.linspace(0, len(ape), parts + 1).astype(np.int64))
        part = np.searchsorted(self.starts, np.arange(len(ape)), side="right") - 1
        count = max(len(self.starts) - 1, 1)
        cells = np.bincount(self.unit * count + part, minlength=units * count).reshape(units, count)
        self.passed = np.cumsum(cells, axis=1).astype(np.float64)

    def median(self, weights: Floats) -> Floats:
        """Weighted medians, shape (b,), for weights of the units, shape (b, units)."""
        passed = weights @ self.passed
        found = np.full(len(weights), np.nan)
        for b in np.flatnonzero(passed[:, -1] > 0):
            half = passed[b, -1] / 2
            # Of an even number of rows the mean of the two in the middle, as everywhere.
            ends = [self._at(weights[b], passed[b], half, side) for side in _SIDES]
            found[b] = (self.ape[ends[0]] + self.ape[ends[1]]) / 2
        return found

    def _at(self, weights: Floats, passed: Floats, half: float, side: Literal["left", "right"]) -> int:
        """Rank of the first row with which the weights reach (left) or pass (right) half of their sum."""
        part = int(np.searchsorted(passed, half, side=side))
        begin, end = self.starts[part], self.starts[part + 1]
        before = passed[part - 1] if part else 0.0
        inside = before + np.cumsum(weights[self.unit[begin:end]])
        return int(begin + np.searchsorted(inside, half, side=side))


def divide(above: Floats, below: Floats) -> Floats:
    """Divide; NaN where there is nothing to divide by."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(below > 0, above / below, np.nan)


def weigh(weights: Floats, column: Floats) -> Floats:
    """Sum a column under each weighting, [b, n] and [n] to [b]."""
    # Not `@`: the linear-algebra library adds in an order that depends on its threads; results are digested.
    return np.asarray(np.einsum("bn,n->b", weights, column, optimize=False), dtype=np.float64)


class Totals:
    """A sample summed within units (series, entities), measured under weightings of whole units.

    Parameters
    ----------
    unit
        Shape (n,): number of the unit of each row, below ``units``.

    Examples
    --------
    >>> from charter.data.metrics import Sample
    >>> sample = Sample(np.array([10.0, 10, 20]), np.array([11.0, 9, 30]))
    >>> Totals(sample, np.array([0, 0, 1]), 2).measure(("wmape", "bias"), np.array([[1.0, 1], [2, 0]])).tolist()
    [[0.3, 0.1], [0.25, 0.0]]
    """

    def __init__(self, sample: Sample, unit: Integers, units: int) -> None:
        self._sample, self._unit, self._units = sample, unit, units
        self._sums: dict[str, tuple[Floats, Floats] | None] = {}
        self._ranked: Ranked | None = None

    def measure(self, names: Iterable[str], weights: Floats) -> Floats:
        """Measure under weightings of the units, shape (b, units); see `charter.data.metrics.Sample.measure`."""
        names = tuple(names)
        found = np.full((len(names), len(weights)), np.nan)
        if self._sample.n == 0 or not np.isfinite(self._sample.score).all():
            return found
        for i, name in enumerate(names):
            if name == "median_ape":
                found[i] = self._median().median(weights)
            elif (sums := self._of(name)) is not None:
                ratio = divide(weigh(weights, sums[0]), weigh(weights, sums[1]))
                found[i] = finish(name, ratio, self._sample.bounds)
        return found

    def _of(self, name: str) -> tuple[Floats, Floats] | None:
        if name not in self._sums:
            s = self._sample
            found = terms(name, s.y, s.score, s.bounds)
            self._sums[name] = None if found is None else (self._sum(found[0]), self._sum(found[1]))
        return self._sums[name]

    def _sum(self, column: Floats) -> Floats:
        return np.bincount(self._unit, column, self._units).astype(np.float64)

    def _median(self) -> Ranked:
        if self._ranked is None:
            self._ranked = Ranked(self._sample.y, self._sample.score, self._unit, self._units)
        return self._ranked


def why_undefined_number(name: str, y: Floats, bounds: Bounds | None) -> str:
    """Say in words why a metric of numbers came out as NaN."""
    if name in BOUNDED and bounds is None:
        return "there are no intervals"
    if name in _OVER_SIZE or name in ("mape", "median_ape"):
        return "every actual value is 0"
    if name == "mean_absolute_percentage_error":
        return "an actual value is 0"
    return "the actual values are all equal"
