r"""How far to trust the difference that a change makes, from the differences that there were.

A what-if asks for the ratio of two forecasts of the same rows that differ in what is known ahead. Such pairs lie in the
past: successive periods in which prices or promotions of some series differed, and of others did not. With a and f the
actual values and their out-of-fold forecasts, summed over series, the error of a predicted change is

.. math:: \epsilon = \Delta\log a - \Delta\log f \; - \; (\Delta\log a_0 - \Delta\log f_0),

the difference between two periods less the same of the series that did not change (index 0): a difference in
differences, because in a what-if all that a week brings to everybody is on both sides. Its conformal quantile bounds
the next error.

It holds the noise of *two* periods, so it is wider than what is unsure of the effect alone; and it is learned from
changes as they were made. Where prices were cut *because* demand was high, that reason is in the past differences and
is missing from a change that somebody sets: no interval from such data covers it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError
from charter.evaluate.hierarchy import SERIES, Hierarchy, cells
from charter.evaluate.types import Floats

_MIN_CONTROLS = 5
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EffectSpread:
    """Conformal bounds of the absolute log error of a predicted change, by how many series are summed.

    Attributes
    ----------
    share
        Share of past changes within the bounds.
    sizes
        Mean number of series in a sum, ascending.
    radii
        Bounds, in log units.
    pairs
        Past changes that each rests on.
    """

    share: float
    sizes: tuple[float, ...]
    radii: tuple[float, ...]
    pairs: tuple[int, ...]

    def radius(self, series: int) -> float:
        """Bound of the log error of a sum over ``series`` series, interpolated over log size.

        Examples
        --------
        >>> EffectSpread(0.9, (1.0, 100.0), (0.8, 0.2), (500, 50)).radius(10)
        0.5
        """
        if not self.sizes:
            return float("inf")
        return float(np.interp(np.log(max(series, 1)), np.log(self.sizes), self.radii))

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> EffectSpread:
        """Inverse of `to_json`."""
        return cls(data["share"], tuple(data["sizes"]), tuple(data["radii"]), tuple(data["pairs"]))


def effect_spread(
    past: pl.DataFrame,
    levels: Mapping[str, Sequence[str]],
    known_ahead: Sequence[str],
    *,
    share: float = 0.9,
) -> EffectSpread:
    """Measure how far predicted changes were off.

    Parameters
    ----------
    past
        Out-of-fold forecasts: ``series``, the levels' columns, ``as_of``, ``step``, ``target``, ``actual``,
        ``forecast`` and the columns of ``known_ahead``. Of several forecasts of a target the latest counts.
    levels
        Sums to measure beside single series and the total.
    known_ahead
        Pairs of periods of a series in which one of these differs are its changes; sums are over the series that
        changed.

    Raises
    ------
    DataError
        When the past has no two periods.
    """
    rows = (
        past.filter((pl.col("actual") > 0) & (pl.col("forecast") > 0))
        .sort(SERIES, "target", "step")
        .unique([SERIES, "target"], keep="first", maintain_order=True)
    )
    if rows["target"].n_unique() < 2:
        raise DataError("what-if: the out-of-fold forecasts are of one period, so nothing changed in them")
    hierarchy = Hierarchy.of(rows, levels)
    at = (rows.select(pl.col("target").rank("dense")).to_series().to_numpy() - 1).astype(np.int64)
    actual, forecast = (cells(hierarchy, rows, name, at) for name in ("actual", "forecast"))
    both = np.isfinite(actual[:, 1:]) & np.isfinite(actual[:, :-1])
    changed = np.zeros_like(both)
    for column in known_ahead:
        coded = rows.select(SERIES, pl.col(column).rank("dense").cast(pl.Float64))
        values = cells(hierarchy, coded, column, at)
        with np.errstate(invalid="ignore"):
            changed |= both & (values[:, 1:] != values[:, :-1])
    control = _log_error(actual, forecast, both & ~changed, hierarchy)[0][0]
    control = np.where((both & ~changed).sum(axis=0) >= _MIN_CONTROLS, control, 0.0)
    error, size = _log_error(actual, forecast, changed, hierarchy)
    error = np.abs(error - control)
    names = np.array([level for level, _ in hierarchy.nodes])
    with np.errstate(divide="ignore", invalid="ignore"):
        alone = np.diff(np.log(actual), axis=1) - np.diff(np.log(forecast), axis=1) - control
    found = [_bound(np.abs(alone[changed]), np.ones(int(changed.sum())), share)]
    for level in hierarchy.levels:
        own = (size > 0) & (names == level)[:, None]
        found.append(_bound(error[own], size[own], share))
    usable = sorted((f for f in found if f[2]), key=lambda f: f[0])
    return EffectSpread(
        share, tuple(f[0] for f in usable), tuple(f[1] for f in usable), tuple(f[2] for f in usable)
    )


def _log_error(actual: Floats, forecast: Floats, pairs: Mask, hierarchy: Hierarchy) -> tuple[Floats, Floats]:
    """Log error of the change of each node's sum over the marked pairs, and how many series it sums."""
    parts = [
        hierarchy.sums(np.where(pairs, values, 0.0))
        for values in (actual[:, 1:], actual[:, :-1], forecast[:, 1:], forecast[:, :-1])
    ]
    with np.errstate(divide="ignore", invalid="ignore"):
        a2, a1, f2, f1 = (np.log(part) for part in parts)
        return a2 - a1 - f2 + f1, hierarchy.sums(pairs.astype(np.float64))


def _bound(errors: Floats, sizes: Floats, share: float) -> tuple[float, float, int]:
    """Mean size and conformal quantile; the largest error where they are too few for the share."""
    n = len(errors)
    if n == 0:
        return 0.0, float("inf"), 0
    k = min(int(np.ceil((n + 1) * share - 1e-9)), n)
    return float(sizes.mean()), float(np.sort(errors)[k - 1]), n
