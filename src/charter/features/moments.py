"""Rolling aggregates of series on a grid, all windows of a value in one pass.

A window's result is accumulated period by period, newest first, by the update of Chan, Golub & LeVeque ("Updating
formulae and a pairwise algorithm for computing sample variances", 1979): numerically stable, and equal to the bit
whichever other series and origins are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from charter.features.history import Int64s
from charter.features.layout import DAY_US, Floats, Layout
from charter.spec.expression import parse

FUNCTIONS = frozenset({"AVG", "COUNT", "MAX", "MIN", "STDDEV", "SUM", "TREND", "VARIANCE"})
_BLOCK = 32_768
"""Origins taken at a time, so that what is accumulated stays in the processor's cache."""


@dataclass(frozen=True, slots=True)
class Simple:
    """An aggregate that is one function of one value."""

    function: str
    value: str
    """The argument's text; ``*`` for ``COUNT(*)``."""


def simple(aggregate: str) -> Simple | None:
    """Recognise an aggregate that needs no general treatment; None for any other.

    Examples
    --------
    >>> simple("STDDEV(LN(units))"), simple("SUM(a) / SUM(b)")
    (Simple(function='STDDEV', value='LN(units)'), None)
    """
    parsed = parse(aggregate)
    root = parsed.root
    while root.kind == "brackets":
        root = root.args[0]
    if root.kind != "call" or root.value not in FUNCTIONS or " DISTINCT " in parsed.sql:
        return None
    if not root.args:
        return Simple(root.value, "*")
    argument = root.args[0]
    return Simple(root.value, aggregate[argument.position : argument.stop])


@dataclass(frozen=True, slots=True)
class Cells:
    """Moments of the values that stand in each cell of a `Layout`; the last one is the empty cell.

    Attributes
    ----------
    count, total, mean, square
        float64 [size + 1]: number, sum and mean of the values, and the sum of their squared distances to the mean.
    low, high
        Smallest and largest; NaN without values.
    """

    count: Floats
    total: Floats
    mean: Floats
    square: Floats
    low: Floats
    high: Floats

    @classmethod
    def of(cls, layout: Layout, values: Floats) -> Cells:
        """Gather the values of a history's rows, float64 [n]; NaN is none."""
        known = ~np.isnan(values)
        cells, values = layout.cells[known], values[known]
        size = layout.size + 1
        count = np.bincount(cells, minlength=size).astype(np.float64)
        total: Floats = np.bincount(cells, values, minlength=size).astype(np.float64)
        mean = np.divide(total, count, out=np.zeros(size), where=count > 0)
        square = np.bincount(cells, (values - mean[cells]) ** 2, minlength=size).astype(np.float64)
        low, high = np.full((2, size), np.nan)
        if len(cells):
            starts = np.flatnonzero(np.diff(cells, prepend=-1))
            low[cells[starts]] = np.minimum.reduceat(values, starts)
            high[cells[starts]] = np.maximum.reduceat(values, starts)
        return cls(count, total, mean, square, low, high)


def rolling(
    layout: Layout,
    cells: Cells,
    positions: Int64s,
    as_of: Int64s,
    lows: Sequence[Int64s],
    functions: Sequence[str],
) -> dict[str, Floats]:
    """Aggregate windows that end before ``as_of``.

    Parameters
    ----------
    positions
        int64 [m]: series asked for; -1 is an unknown one.
    as_of
        int64 [m]: microseconds since 1970.
    lows
        Per window int64 [m]: the first moment that belongs to it.
    functions
        Of `FUNCTIONS`.

    Returns
    -------
    Per function float64 [windows, m]; NaN where it has no value: mean and extremes of nothing, spread and trend of
    fewer than two values. The trend is the least-squares change per day.
    """
    found = {function: np.full((len(lows), len(positions)), np.nan) for function in functions}
    for start in range(0, len(positions), _BLOCK):
        block = slice(start, start + _BLOCK)
        high = layout.periods.at_or_after(as_of[block])
        sizes = [high - layout.periods.at_or_after(low[block]) for low in lows]
        state = _State(layout, cells, positions[block], high, as_of[block], frozenset(functions))
        for back, window, rows in _ends(state, sizes):
            state.reach(back)
            for function in functions:
                found[function][window, start:][: len(high)][rows] = _RESULTS[function](state)[rows]
    return found


def _ends(state: _State, sizes: Sequence[Int64s]) -> Iterator[tuple[int, int, Int64s | slice]]:
    """How far back each window reaches, ascending, and for which rows; no further back than the series do."""
    ends: list[tuple[int, int, Int64s | slice]] = []
    for window, size in enumerate(sizes):
        size = np.clip(size, 0, state.depth)
        if len(size) and (size == size[0]).all():
            ends.append((int(size[0]), window, slice(None)))
        else:
            ends += [(int(back), window, np.flatnonzero(size == back)) for back in np.unique(size)]
    return iter(sorted(ends, key=lambda end: end[:2]))


class _State:
    """What is accumulated so far: the last ``back`` periods before each origin."""

    def __init__(
        self,
        layout: Layout,
        cells: Cells,
        positions: Int64s,
        high: Int64s,
        as_of: Int64s,
        functions: frozenset[str],
    ) -> None:
        n = len(positions)
        self.layout, self.cells, self.positions = layout, cells, positions
        self.high, self.as_of = high, as_of
        known = positions >= 0
        first = layout.first[positions] if len(layout.first) else np.zeros(n, np.int64)
        self.depth = int(np.maximum(high - first, 0)[known].max(initial=0))
        self.back = 0
        self.count, self.total, self.mean, self.square = np.zeros((4, n))
        self.low, self.high_value = np.full((2, n), np.nan)
        self.day, self.day_square, self.together = np.zeros((3, n))
        self._spread = bool(functions & {"STDDEV", "VARIANCE", "TREND"})
        self._total = "SUM" in functions or "AVG" in functions
        self._low, self._high, self._trend = "MIN" in functions, "MAX" in functions, "TREND" in functions

    def reach(self, back: int) -> None:
        """Take in the periods as far back as ``back``; cells are looked up for several periods at a time."""
        together = max(_BLOCK // max(len(self.high), 1), 1)
        for start in range(self.back + 1, back + 1, together):
            distances = np.arange(start, min(start + together, back + 1))[:, None]
            periods = self.high - distances
            at = self.layout.find(self.positions, periods)
            count, mean = self.cells.count[at], self.cells.mean[at]
            if self._total:
                for values in self.cells.total[at]:
                    self.total += values
            if self._low:
                self.low = np.fmin(self.low, np.fmin.reduce(self.cells.low[at], axis=0))
            if self._high:
                self.high_value = np.fmax(self.high_value, np.fmax.reduce(self.cells.high[at], axis=0))
            if self._spread:
                square = self.cells.square[at]
                days = (self.layout.periods.begins(periods) - self.as_of) / DAY_US if self._trend else square
                for i in range(len(distances)):
                    self._merge(count[i], mean[i], square[i], days[i])
            else:
                self.count = self.count + count.sum(axis=0)
        self.back = max(back, self.back)

    def _merge(self, more: Floats, mean: Floats, square: Floats, days: Floats) -> None:
        """Take in one period: how many values, their mean, their spread, and when they were."""
        before = self.count
        self.count = before + more
        share = more / np.maximum(self.count, 1)
        apart = mean - self.mean
        weight = before * share
        self.mean = self.mean + apart * share
        self.square = self.square + (square + apart * apart * weight)
        if self._trend:
            later = days - self.day
            self.day = self.day + later * share
            weighted = later * weight
            self.day_square = self.day_square + weighted * later
            self.together = self.together + weighted * apart


def _over(values: Floats, divisor: Floats) -> Floats:
    out: Floats = np.full(len(values), np.nan)
    return np.divide(values, divisor, out=out, where=divisor > 0)


_RESULTS: Mapping[str, Callable[[_State], Floats]] = {
    "COUNT": lambda s: s.count,
    "SUM": lambda s: np.where(s.count > 0, s.total, np.nan),
    "AVG": lambda s: _over(s.total, s.count),
    "MIN": lambda s: s.low,
    "MAX": lambda s: s.high_value,
    "VARIANCE": lambda s: _over(s.square, s.count - 1),
    "STDDEV": lambda s: np.sqrt(_over(s.square, s.count - 1)),
    "TREND": lambda s: _over(s.together, s.day_square),
}
