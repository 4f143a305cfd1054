"""Prediction intervals and the predictive distribution of a forecast, from how wrong out-of-fold forecasts were.

Split conformal prediction (Vovk, Gammerman and Shafer, 2005; Lei et al., 2018), made for each step of the horizon by
itself: the residuals ``transform(actual) - score`` of rows that the model had not seen are sorted, and their order
statistics are added to a new score. Of ``n`` residuals the interval at ``level`` takes those of rank
``floor((n + 1) a)`` and ``ceil((n + 1) (1 - a))`` with ``a = (1 - level) / 2``; a new actual then lies inside with a
probability of at least ``level``, whatever the distribution and however bad the model, *if* its residual is
exchangeable with those kept. Both tails are taken separately, unless residuals are taken ``symmetric``.

Fitting (`charter.train.conformal_fit`) and applying need NumPy alone, as serving has no more.

How far to trust it
-------------------
Weeks are not exchangeable: errors of one series, or of one week, go together, and the world drifts. The promise then
holds about, not exactly: many series and several origins make the sample smaller than it looks, and a change after the
last fold is not in it. So the coverage is measured on the test origins (``interval_coverage``), per horizon block, and
may be required. It is a promise over all rows of a step (or of a group of them), not for each series: a volatile
product is covered less often than a calm one. `Mondrian` groups (``by``) repair that for groups that are named.

Where it is known beforehand which forecasts err more, residuals are divided by that (`Scale`) before they are sorted,
and the order statistics are multiplied by the new row's: normalised conformal prediction (Papadopoulos, Gammerman and
Vovk, 2008; Lei et al., 2018, section 5.2). The promise is the same whatever the scale is; a good one makes
intervals narrow where the forecast is sure and wide where it is not.

Out-of-fold models saw less than the final one, so that its intervals err on the wide side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charter.core.errors import PackageError, UsageError

SCHEMA_VERSION = 2
"""1 knows no scale, and is what is written where there is none."""
LEVELS = (0.001, 0.0025, 0.005, *(round(i / 100, 2) for i in range(1, 100)), 0.995, 0.9975, 0.999)
"""Of the quantiles kept for the predictive distribution."""

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
TRANSFORMS = ("none", "log1p")
"""What a model may have learned of the label."""
EVERYBODY = ""
"""Name of the group that all rows are of."""


@dataclass(frozen=True, slots=True)
class Scale:
    """What errors are expected to grow with.

    Attributes
    ----------
    text
        Expression that says so of a row.
    usual
        Median of the rows that intervals were learned from; stands where the expression has no value.
    low, high
        Smallest and largest value of these rows; no scale is taken from beyond them.
    """

    text: str
    usual: float
    low: float
    high: float

    def of(self, values: npt.ArrayLike) -> Floats:
        """Scales of rows, float64 [n], from what the expression says of them.

        Examples
        --------
        >>> Scale("spread", usual=0.5, low=0.1, high=2.0).of([0.3, float("nan"), 0.0, 9.0]).tolist()
        [0.3, 0.5, 0.1, 2.0]
        """
        found = np.asarray(values, dtype=np.float64)
        return np.clip(np.where(np.isfinite(found), found, self.usual), self.low, self.high)


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
        Ends of the interval as residuals, on the scale that the model learned; in units of `Scale` where there is one.
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
    scale
        What residuals were divided by; None where by nothing.
    """

    level: float
    transform: str
    by: str
    floor: float | None
    cells: tuple[Cell, ...]
    scale: Scale | None = None

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps that have intervals, ascending."""
        return tuple(sorted({cell.step for cell in self.cells}))

    @property
    def groups(self) -> tuple[str, ...]:
        """Values of ``by`` that have intervals of their own."""
        return tuple(sorted({cell.group for cell in self.cells} - {EVERYBODY}))

    def apply(
        self,
        score: npt.ArrayLike,
        step: npt.ArrayLike,
        group: Sequence[Any] | None = None,
        spread: npt.ArrayLike | None = None,
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
        spread
            Shape (n,): what the scale's expression says; None and NaN take the usual. Without a scale it is not read.

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
        >>> from charter.train.conformal_fit import fit
        >>> rng = np.random.default_rng(0)
        >>> found = fit(rng.normal(5, 1, 999), np.full(999, 5.0), np.ones(999), level=0.9, transform="none")
        >>> lower, upper = found.apply([5.0], [1])
        >>> lower.round(1).tolist(), upper.round(1).tolist()
        ([3.4], [6.5])
        """
        said = np.asarray(score, dtype=np.float64)
        cell = self._cell_of(np.asarray(step), group, len(said))
        low, high = (np.array([getattr(c, end) for c in self.cells])[cell] for end in ("lower", "upper"))
        unit = self._unit(spread, len(said))
        return self._back(said + low * unit), self._back(said + high * unit)

    def quantile(
        self,
        score: npt.ArrayLike,
        step: npt.ArrayLike,
        q: npt.ArrayLike,
        group: Sequence[Any] | None = None,
        spread: npt.ArrayLike | None = None,
    ) -> Floats:
        """Quantile of the predictive distribution, in the units of the label.

        Parameters
        ----------
        score, step, group, spread
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
        return self._back(said + residual * self._unit(spread, len(said)))

    def quantiles(
        self,
        score: npt.ArrayLike,
        step: npt.ArrayLike,
        levels: Sequence[float],
        group: Sequence[Any] | None = None,
        spread: npt.ArrayLike | None = None,
    ) -> Floats:
        """Several quantiles of every row, shape (n, number of levels); see `quantile`."""
        return np.stack([self.quantile(score, step, q, group, spread) for q in levels], axis=1)

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive the round trip to the bit."""
        return {
            "schema_version": SCHEMA_VERSION if self.scale is not None else 1,
            **({"scale": asdict(self.scale)} if self.scale is not None else {}),
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
        if known not in (1, SCHEMA_VERSION) or list(data.get("levels", ())) != list(LEVELS):
            raise PackageError(
                f"intervals: schema_version {known!r} is not known; this program reads 1 to {SCHEMA_VERSION}",
                remedy="Train again with this version of Charter.",
            )
        try:
            cells = tuple(
                Cell(**{**c, "quantiles": tuple(map(float, c["quantiles"]))}) for c in data["cells"]
            )
            scale = Scale(**data["scale"]) if "scale" in data else None
            found = cls(float(data["level"]), data["transform"], data["by"], data["floor"], cells, scale)
        except (KeyError, TypeError, ValueError) as error:
            raise PackageError(f"intervals: {error}", remedy="Train again.") from error
        if any(len(c.quantiles) != len(LEVELS) for c in cells) or found.transform not in TRANSFORMS:
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
        names, code = coded(group)
        if len(code) != n:
            raise UsageError(f"conformal: {n} scores, but {len(code)} groups")
        known = {name: i for i, name in enumerate(groups)}
        row = np.array([known.get(name, 0) for name in names], dtype=np.int64)
        return np.asarray(table[row[code], at])

    def _unit(self, spread: npt.ArrayLike | None, n: int) -> Floats:
        if self.scale is None:
            return np.ones(n)
        return self.scale.of(np.broadcast_to(np.nan if spread is None else np.asarray(spread), (n,)))

    def _back(self, learned: Floats) -> Floats:
        units = np.expm1(learned) if self.transform == "log1p" else learned
        return np.asarray(units if self.floor is None else np.maximum(units, self.floor))


def coded(group: Sequence[Any]) -> tuple[list[str], Integers]:
    """Names of the groups, and the place among them of each row's.

    Examples
    --------
    >>> names, code = coded([1, 1.0, True, None, "a"])
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
