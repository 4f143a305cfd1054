"""Prediction intervals and the predictive distribution of a forecast, from how wrong out-of-fold forecasts were.

Split conformal prediction (Vovk, Gammerman and Shafer, 2005; Lei et al., 2018), made for each step of the horizon by
itself: the residuals ``transform(actual) - score`` of rows that the model had not seen are sorted, and their order
statistics are added to a new score. Of ``n`` residuals the interval at ``level`` takes those of rank
``floor((n + 1) a)`` and ``ceil((n + 1) (1 - a))`` with ``a = (1 - level) / 2``; a new actual then lies inside with a
probability of at least ``level``, whatever the distribution and however bad the model, *if* its residual is
exchangeable with those kept. Both tails are taken separately, unless residuals are taken ``symmetric``.

Fitting and applying need NumPy alone, as serving has no more.

How far to trust it
-------------------
Weeks are not exchangeable: errors of one series, or of one week, go together, and the world drifts. The promise then
holds about, not exactly: many series and several origins make the sample smaller than it looks, and a change after the
last fold is not in it. So the coverage is measured on the test origins (``interval_coverage``), per horizon block, and
may be required. It is a promise over all rows of a step (or of a group of them), not for each series: a volatile
product is covered less often than a calm one. `Mondrian` groups (``by``) repair that for groups that are named.
Out-of-fold models saw less than the final one, so that its intervals err on the wide side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charter.core.errors import DataError, PackageError, UsageError

SCHEMA_VERSION = 1
MIN_RESIDUALS = 200
"""A step with fewer residuals borrows its neighbours'; a group with fewer over all steps is not told apart."""
LEVELS = (0.001, 0.0025, 0.005, *(round(i / 100, 2) for i in range(1, 100)), 0.995, 0.9975, 0.999)
"""Of the quantiles kept for the predictive distribution."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
EVERYBODY = ""
"""Name of the group that all rows are of."""


@dataclass(frozen=True, slots=True)
class Cell:
    """What is known of the errors of one step in one group.

    Attributes
    ----------
    n
        Residuals that it rests on; a symmetric one counts twice.
    first, last
        Steps whose residuals were taken: more than the step itself where it has too few.
    lower, upper
        Ends of the interval as residuals, on the scale that the model learned.
    quantiles
        Residuals at `LEVELS`; beyond the ranks 1 and n the smallest and the largest residual.
    """

    group: str
    step: int
    n: int
    first: int
    last: int
    lower: float
    upper: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ConformalIntervals:
    """Intervals and quantiles around scores, by step and group.

    Attributes
    ----------
    level
        Share of actuals that ``apply`` promises to hold.
    transform
        What the model learned: ``log1p`` of the label, or ``none``.
    by
        Name of the column whose values are told apart; empty where none is.
    floor
        No bound or quantile is below; None where the label can be negative.
    cells
        One for every step and group, the group of all rows (`EVERYBODY`) among them.
    """

    level: float
    transform: str
    by: str
    floor: float | None
    cells: tuple[Cell, ...]

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that have intervals, ascending."""
        return tuple(sorted({cell.step for cell in self.cells}))

    @property
    def groups(self) -> tuple[str, ...]:
        """Values of ``by`` that have intervals of their own."""
        return tuple(sorted({cell.group for cell in self.cells} - {EVERYBODY}))

    def apply(
        self, score: npt.ArrayLike, step: npt.ArrayLike, group: Sequence[Any] | None = None
    ) -> tuple[Floats, Floats]:
        """Bounds in the units of the label.

        Parameters
        ----------
        score
            Shape (n,): what the model said, on the scale that it learned (not yet back in units).
        step
            Shape (n,): steps ahead, from 1 on.
        group
            Length n: the value of ``by``; a value that is not known is treated as any row. None treats all so.

        Returns
        -------
        lower, upper : ndarray of float64, shape (n,)
            NaN where the score is.

        Raises
        ------
        UsageError
            For a step without intervals.

        Examples
        --------
        >>> rng = np.random.default_rng(0)
        >>> found = fit(rng.normal(5, 1, 999), np.full(999, 5.0), np.ones(999), level=0.9, transform="none")
        >>> lower, upper = found.apply([5.0], [1])
        >>> lower.round(1).tolist(), upper.round(1).tolist()
        ([3.4], [6.5])
        """
        said = np.asarray(score, dtype=np.float64)
        cell = self._cell_of(np.asarray(step), group, len(said))
        low, high = (np.array([getattr(c, end) for c in self.cells])[cell] for end in ("lower", "upper"))
        return self._back(said + low), self._back(said + high)

    def quantile(
        self,
        score: npt.ArrayLike,
        step: npt.ArrayLike,
        q: npt.ArrayLike,
        group: Sequence[Any] | None = None,
    ) -> Floats:
        """Quantile of the predictive distribution, in the units of the label.

        Parameters
        ----------
        score, step, group
            As in `apply`.
        q
            Share, one for all rows or one for each, between 0 and 1: 0.95 is what demand stays below in 19 of 20 cases.

        Returns
        -------
        ndarray of float64, shape (n,)

        Notes
        -----
        The distribution is that of the residuals around the score (a conformal predictive system; Vovk et al., 2019),
        linear between the kept quantiles. Beyond ranks 1 and n of the residuals nothing is known: there the extreme
        residual stands. It is not the mean: that of a skewed distribution lies above its median.
        """
        said = np.asarray(score, dtype=np.float64)
        share = np.broadcast_to(np.asarray(q, dtype=np.float64), said.shape)
        if not ((share >= 0) & (share <= 1)).all():
            raise UsageError("conformal: a quantile is asked for by a share between 0 and 1")
        cell = self._cell_of(np.asarray(step), group, len(said))
        table, levels = np.array([c.quantiles for c in self.cells]), np.array(LEVELS)
        left = np.clip(np.searchsorted(levels, share, side="right") - 1, 0, len(levels) - 2)
        part = np.clip((share - levels[left]) / (levels[left + 1] - levels[left]), 0.0, 1.0)
        residual = table[cell, left] * (1 - part) + table[cell, left + 1] * part
        return self._back(said + residual)

    def quantiles(
        self,
        score: npt.ArrayLike,
        step: npt.ArrayLike,
        levels: Sequence[float],
        group: Sequence[Any] | None = None,
    ) -> Floats:
        """Several quantiles of every row, shape (n, number of levels); see `quantile`."""
        return np.stack([self.quantile(score, step, q, group) for q in levels], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive the round trip to the bit."""
        return {
            "schema_version": SCHEMA_VERSION,
            "level": self.level,
            "transform": self.transform,
            "by": self.by,
            "floor": self.floor,
            "levels": list(LEVELS),
            "cells": [
                {
                    "group": c.group, "step": c.step, "n": c.n, "first": c.first, "last": c.last,
                    "lower": c.lower, "upper": c.upper, "quantiles": list(c.quantiles),
                }
                for c in self.cells
            ],
        }  # fmt: skip

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ConformalIntervals:
        """Inverse of `to_json`.

        Raises
        ------
        PackageError
            When the data is not of a form that this program reads.
        """
        known = data.get("schema_version")
        if known != SCHEMA_VERSION or list(data.get("levels", ())) != list(LEVELS):
            raise PackageError(
                f"intervals: schema_version {known!r} is not known; this program reads {SCHEMA_VERSION}",
                remedy="Train again with this version of Charter.",
            )
        try:
            cells = tuple(
                Cell(**{**c, "quantiles": tuple(map(float, c["quantiles"]))}) for c in data["cells"]
            )
            found = cls(float(data["level"]), data["transform"], data["by"], data["floor"], cells)
        except (KeyError, TypeError, ValueError) as error:
            raise PackageError(f"intervals: {error}", remedy="Train again.") from error
        if any(len(c.quantiles) != len(LEVELS) for c in cells) or found.transform not in _TRANSFORMS:
            raise PackageError("intervals: the table of quantiles is damaged", remedy="Train again.")
        return found

    def _cell_of(self, step: npt.NDArray[Any], group: Sequence[Any] | None, n: int) -> Integers:
        every, groups = np.array(self.steps), (EVERYBODY, *self.groups)
        steps = np.broadcast_to(step, (n,)).astype(np.int64)
        at = np.minimum(np.searchsorted(every, steps), len(every) - 1)
        if (unknown := steps[every[at] != steps]).size:
            raise UsageError(
                f"conformal: step {unknown[0]} has no interval; there are steps {every[0]} to {every[-1]}",
                remedy="Forecast within the horizon that the model was trained for.",
            )
        place = {(cell.group, cell.step): i for i, cell in enumerate(self.cells)}
        table = np.array([[place[g, s] for s in every.tolist()] for g in groups], dtype=np.int64)
        if group is None:
            return np.asarray(table[0, at])
        names, code = _coded(group)
        if len(code) != n:
            raise UsageError(f"conformal: {n} scores, but {len(code)} groups")
        known = {name: i for i, name in enumerate(groups)}
        row = np.array([known.get(name, 0) for name in names], dtype=np.int64)
        return np.asarray(table[row[code], at])

    def _back(self, learned: Floats) -> Floats:
        units = np.expm1(learned) if self.transform == "log1p" else learned
        return np.asarray(units if self.floor is None else np.maximum(units, self.floor))


_TRANSFORMS = ("none", "log1p")


def fit(
    actual: npt.ArrayLike,
    score: npt.ArrayLike,
    step: npt.ArrayLike,
    *,
    level: float,
    transform: str,
    group: Sequence[Any] | None = None,
    by: str = "",
    floor: float | None = 0.0,
    symmetric: bool = False,
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
    symmetric
        Take each residual with either sign: intervals by the absolute residual (Lei et al., 2018, section 2), and a
        distribution whose median is the forecast. For forecasts from few origins, whose errors share their sign:
        whether a season sells above or below what was expected cannot be learned from a handful of them.
    min_residuals
        A step with fewer borrows from its neighbours, nearest first, as many as it takes. Nothing is done to make the
        intervals widen with the step.

    Raises
    ------
    DataError
        When all rows together are too few for the level: ``ceil((n + 1) (1 - a)) > n``, for 90 % below 19 rows.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> log_units, said = rng.normal(3, 0.5, 4000), np.full(4000, 3.0)
    >>> found = fit(np.expm1(log_units), said, rng.integers(1, 5, 4000), level=0.8, transform="log1p")
    >>> round(float(found.quantile([3.0], [2], 0.5)[0])), found.steps
    (19, (1, 2, 3, 4))
    """
    if transform not in _TRANSFORMS:
        raise UsageError(f"conformal: transform {transform!r} is not known; allowed: none, log1p")
    if not 0 < level < 1:
        raise UsageError(f"conformal: level is {level}; it must be between 0 and 1")
    truth, said = np.asarray(actual, dtype=np.float64), np.asarray(score, dtype=np.float64)
    steps = np.asarray(step).astype(np.int64)
    names, code = ([], np.zeros(len(truth), dtype=np.int64)) if group is None else _coded(group)
    if not len(truth) == len(said) == len(steps) == len(code):
        raise UsageError(
            f"conformal: {len(truth)} actuals, {len(said)} scores, {len(steps)} steps, {len(code)} groups"
        )
    learned = np.log1p(truth) if transform == "log1p" else truth
    residual = learned - said
    known = np.isfinite(residual)
    residual, steps, code = residual[known], steps[known], code[known]
    needed = _fewest(level)
    if symmetric:
        residual, steps, code = np.concatenate([residual, -residual]), np.tile(steps, 2), np.tile(code, 2)
    if len(residual) < needed:
        raise DataError(
            f"train.interval: {len(residual)} out-of-fold rows are too few for intervals at {level:.0%}; "
            f"{needed} are needed",
            remedy="Ask for a lower level, or train on more series or periods.",
        )
    every, enough = np.unique(steps).tolist(), max(min_residuals, needed)
    cells = [_cell(EVERYBODY, s, residual, steps, level, enough, every) for s in every]
    for name in sorted(names):
        own = code == names.index(name)
        if int(own.sum()) >= enough:
            cells += [_cell(name, s, residual[own], steps[own], level, enough, every) for s in every]
    return ConformalIntervals(level, transform, by if group is not None else "", floor, tuple(cells))


def _coded(group: Sequence[Any]) -> tuple[list[str], Integers]:
    """Names of the groups, and the place among them of each row's.

    Examples
    --------
    >>> names, code = _coded([1, 1.0, True, None, "a"])
    >>> [names[i] for i in code]
    ['1', '1', '1', '(missing)', 'a']
    """
    values = np.asarray(group)
    if values.dtype == object:  # not sortable where something is missing
        kinds = list(dict.fromkeys(values.tolist()))
        place = {kind: i for i, kind in enumerate(kinds)}
        code = np.fromiter((place[v] for v in values.tolist()), np.int64, len(values))
    else:
        distinct, code = np.unique(values, return_inverse=True)
        kinds = distinct.tolist()
    names = list(dict.fromkeys(_label(kind) for kind in kinds))
    back = np.array([names.index(_label(kind)) for kind in kinds], dtype=np.int64)
    return names, back[code] if len(kinds) else code.astype(np.int64)


def _label(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "(missing)"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


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
