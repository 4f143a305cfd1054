"""The usual aggregates without gathering events: read off a slice's place, or rolled over the grid of series."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl

from charter.features.expressions import FEW_ROWS, columns_of, compile_number
from charter.features.history import History, Int64s
from charter.features.layout import DAY_US, Floats, Layout, Periods
from charter.features.moments import Cells, rolling, simple
from charter.spec.functions import AGE

_LONG_AGO = -(2**62)


def read_off(
    history: History, low: Int64s, high: Int64s, as_of: Int64s, aggregates: Mapping[str, str]
) -> dict[str, Floats]:
    """Tell what the place of a slice tells: ``COUNT(*)``, ``MIN(age_days)``, ``MAX(age_days)``; others are left out.

    Parameters
    ----------
    low, high
        int64 [n]: slice i is the rows ``low[i]`` to ``high[i]`` (exclusive) of the history.
    as_of
        int64 [n]: microseconds since 1970.
    aggregates
        Name to text.

    Returns
    -------
    By name float64 [n], NaN for an empty slice; equal to the bit to what gathering the slices gives.
    """
    found: dict[str, Floats] = {}
    some = high > low
    for name, text in aggregates.items():
        aggregate = simple(text)
        if aggregate is None:
            continue
        if aggregate.value == "*":
            found[name] = np.where(some, high - low, np.nan)
        elif aggregate.value == AGE and aggregate.function in ("MIN", "MAX"):
            row = high - 1 if aggregate.function == "MIN" else low
            found[name] = np.full(len(low), np.nan)
            found[name][some] = (as_of[some] - history.times[row[some]]) / DAY_US
    return found


def rolled(
    history: History,
    positions: Int64s,
    as_of: Int64s,
    aggregates: Mapping[str, str],
    reach_us: Sequence[int | None],
    periods: Periods,
) -> dict[str, Floats]:
    """Roll aggregates of one value over the grid of the series; others are left out.

    Parameters
    ----------
    reach_us
        How far each window reaches back, in microseconds; None is for ever.

    Returns
    -------
    By name float64 [windows * n], one window after the other.
    """
    alike: dict[str, dict[str, str]] = defaultdict(dict)
    for name, text in aggregates.items():
        aggregate = simple(text)
        if aggregate is not None and AGE not in columns_of(aggregate.value):
            value = f"CASE WHEN ({aggregate.value}) IS NOT NULL THEN 1 END"
            alike[value if aggregate.function == "COUNT" else aggregate.value][name] = aggregate.function
    if not alike:
        return {}
    layout = Layout.of(history, periods)
    lows = [np.full(len(as_of), _LONG_AGO) if reach is None else as_of - reach for reach in reach_us]
    found: dict[str, Floats] = {}
    for value, functions in alike.items():
        cells = Cells.of(layout, flat_values(history.frame, compile_number(value)))
        results = rolling(layout, cells, positions, as_of, lows, tuple(dict.fromkeys(functions.values())))
        for name, function in functions.items():
            found[name] = results[function].ravel().copy()
    return found


def flat_values(frame: pl.DataFrame, expression: pl.Expr) -> Floats:
    """Values of an expression, float64 [n], NaN where it has none; a constant stands in every row."""
    few = frame.height <= FEW_ROWS
    chosen = (frame.select_seq if few else frame.select)(value=expression.cast(pl.Float64))
    values = chosen.to_series()
    if len(values) != frame.height:
        values = values.new_from_index(0, frame.height)
    return values.to_numpy()
