"""Series on a regular grid: periods as numbers, and each series' periods side by side in one flat array."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from charter.core.errors import DataError
from charter.data.grid import Grid
from charter.features.history import History, Int64s

DAY_US = 86_400_000_000
_LENGTH_US = {"day": DAY_US, "week": 7 * DAY_US}
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Periods:
    """Numbers of periods for arrays of moments, as `charter.data.grid.Grid` counts them from 1970 on.

    Attributes
    ----------
    every
        ``day``, ``week`` or ``month``.
    phase_us
        Of days and weeks: when period 0 begins, in microseconds since 1970.
    """

    every: str
    phase_us: int = 0

    @classmethod
    def of(cls, grid: Grid) -> Periods:
        """Periods of a grid."""
        return _periods(grid)

    def at_or_after(self, moments: Int64s) -> Int64s:
        """Number of the first period that begins at or after each moment.

        Examples
        --------
        >>> Periods("day").at_or_after(np.array([0, 1, DAY_US])).tolist()
        [0, 1, 1]
        """
        if self.every == "month":
            months = moments.astype("datetime64[us]").astype("datetime64[M]")
            late = months.astype("datetime64[us]").astype(np.int64) < moments
            return months.astype(np.int64) + late
        return -((self.phase_us - moments) // _LENGTH_US[self.every])

    def begins(self, periods: Int64s) -> Int64s:
        """Inverse of `at_or_after`: when each period begins, in microseconds since 1970."""
        if self.every == "month":
            return periods.astype("datetime64[M]").astype("datetime64[us]").astype(np.int64)
        return periods * _LENGTH_US[self.every] + self.phase_us


@lru_cache(maxsize=64)
def _periods(grid: Grid) -> Periods:
    if grid.every == "month":
        return Periods("month")
    return Periods(grid.every, round(grid.begin(0).replace(tzinfo=UTC).timestamp()) * 1_000_000)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the periods of each series stand in a flat array: from its first row to its last, gaps included.

    Attributes
    ----------
    periods
        Turns moments into numbers of periods.
    first, end
        int64 [k]: number of each series' first period, and the one after its last.
    base
        int64 [k]: period p of series i stands in cell ``base[i] + p``.
    cells
        int64 [n]: the cell of each row of the history, ascending.
    size
        Number of cells. Cell ``size`` is one more, always empty, for what lies outside a series.
    """

    periods: Periods
    first: Int64s
    end: Int64s
    base: Int64s
    cells: Int64s
    size: int

    @classmethod
    def of(cls, history: History, periods: Periods) -> Layout:
        """Lay out a history whose every row stands at the beginning of a period.

        Raises
        ------
        DataError
            When a row does not.
        """
        starts, rows = history.starts, len(history.times)
        number = periods.at_or_after(history.times)
        off = np.flatnonzero(periods.begins(number) != history.times)
        if len(off):
            moment = history.frame[history.time][int(off[0])]
            raise DataError(
                f"series have a row at {moment}, where no {periods.every} begins",
                remedy=f"Name in observations.time the column of when a row's {periods.every} begins.",
            )
        some = starts[1:] > starts[:-1]
        first, end = np.zeros((2, len(some)), np.int64)
        if rows:
            first[some] = number[starts[:-1][some]]
            end[some] = number[starts[1:][some] - 1] + 1
        spans = np.cumsum(end - first)
        base = spans - end
        series = np.repeat(np.arange(len(some)), np.diff(starts))
        return cls(periods, first, end, base, base[series] + number, int(spans[-1]) if len(spans) else 0)

    def find(self, positions: Int64s, periods: Int64s) -> Int64s:
        """Cells of periods, int64 [..., n], of the series at ``positions``, int64 [n] (-1 is an unknown one)."""
        if not len(self.first):
            return np.full(periods.shape, self.size, np.int64)
        known = positions >= 0
        first, end = np.where(known, self.first[positions], 0), np.where(known, self.end[positions], 0)
        inside = (periods >= first) & (periods < end)
        return np.where(inside, self.base[positions] + periods, self.size)
