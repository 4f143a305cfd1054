"""Aggregates of an entity's past over time windows, point-in-time correct.

A feature of the moment ``as_of`` reads the events with ``as_of - over <= time < as_of`` and no other.
Training, batch and online scoring run this one module, and it gives them the same bits: the events of a
window are a contiguous slice of a `History`, whose order is total, and each slice is aggregated on its own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from charter.core.errors import DataError
from charter.core.quantity import parse_duration
from charter.data.grid import AS_OF, SeriesPlan
from charter.features.expressions import columns_of, compile_expression, compile_number
from charter.features.history import History, Int64s, first_at_or_after, microseconds, ranges
from charter.features.lags import flat_values, history_of, past_name, series_ids
from charter.features.layout import DAY_US, Floats, Layout, Periods
from charter.features.moments import Cells, rolling, simple
from charter.spec.functions import AGE

__all__ = ["AGE", "AS_OF", "GROUP", "Window", "aggregate_slices", "columns_read", "duration_us", "window_features",
           "window_names"]  # fmt: skip

GROUP = "__observation"
_LONG_AGO = -(2**62)
_CHUNK_ROWS = 1_000_000
"""Events gathered at a time: bounds memory to some hundred megabytes whatever the number of observations."""


class Window(Protocol):
    """What `charter.spec.types.WindowSpec` and the feature set's own window have in common."""

    @property
    def source(self) -> str: ...  # noqa: D102
    @property
    def aggregate(self) -> str: ...  # noqa: D102
    @property
    def over(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def where(self) -> str | None: ...  # noqa: D102
    @property
    def default(self) -> float | None: ...  # noqa: D102
    @property
    def by(self) -> tuple[str, ...]: ...  # noqa: D102


def window_names(windows: Mapping[str, Window]) -> tuple[str, ...]:
    """Names of the features, ``<name>_<over>``, in the order of declaration."""
    return tuple(f"{name}_{over}" for name, window in windows.items() for over in window.over)


def columns_read(windows: Mapping[str, Window], source: str) -> tuple[str, ...]:
    """Columns of a source's events that its windows' expressions read, sorted."""
    texts = [text for w in windows.values() if w.source == source for text in (w.aggregate, w.where) if text]
    return tuple(sorted({name for text in texts for name in columns_of(text)} - {AGE}))


def window_features(
    observations: pl.DataFrame,
    events: Mapping[str, pl.DataFrame | History],
    windows: Mapping[str, Window],
    entity: str,
    times: Mapping[str, str],
    series: SeriesPlan | None = None,
) -> pl.DataFrame:
    """Compute window aggregates for observations.

    Parameters
    ----------
    observations
        Columns ``entity`` and ``as_of`` (date or datetime, no null); n rows in any order, repeats allowed.
    events
        Per source its events, as a frame, or as a `History` when many small calls are to come.
    windows
        Name to window: the aggregate, the windows it is taken over (``all`` reaches back for ever), the
        condition that events must meet, and the value where no event is in the window. Expressions may use
        ``age_days``, the age of the event at ``as_of``.
    entity
        Name of the entity's column, in the observations and in every source.
    times
        Per source the column from which moment on an event is known.
    series
        For observations of series, whose keys then stand for the entity: histories are named as `past_name` says,
        and the usual aggregates of the series' own source are rolled over its grid, see `charter.features.moments`.

    Returns
    -------
    Frame of n rows in the order of the observations with the columns of `window_names`, Float64; null where
    the aggregate has no value. Equal to the bit whichever other observations are asked for and in whatever
    order the events stand.

    Raises
    ------
    DataError
        When a column or a moment is missing, or an aggregate does not give one number per window.

    Examples
    --------
    >>> from datetime import datetime
    >>> from charter.spec.types import WindowSpec
    >>> days = [datetime(2026, 1, 1), datetime(2026, 1, 9)]
    >>> events = pl.DataFrame({"who": [1, 1], "at": days, "x": [2.0, 3.0]})
    >>> seen = pl.DataFrame({"who": [1, 2], "as_of": [days[1], days[1]]})
    >>> total = WindowSpec(source="sales", aggregate="SUM(x)", over=("7d", "30d"), default=0)
    >>> window_features(seen, {"sales": events}, {"total": total}, "who", {"sales": "at"}).rows()
    [(0.0, 2.0), (0.0, 0.0)]
    """
    for name in (entity, AS_OF) if series is None else (AS_OF,):
        if name not in observations.columns:
            raise DataError(f"observations have no column {name!r}, which window features need")
    unknown = observations[AS_OF].null_count()
    if unknown:
        raise DataError(
            f"{unknown} observations have no {AS_OF}: windows need the moment of observation",
            remedy="Name the time column of the observations in data.observations.time.",
        )
    as_of = microseconds(observations[AS_OF])
    order = {name: at for at, name in enumerate(window_names(windows))}
    values = np.empty((len(as_of), len(order)), order="F")
    pasts: dict[tuple[str, tuple[str, ...]], dict[str, Window]] = defaultdict(dict)
    for name, window in windows.items():
        pasts[window.source, window.by][name] = window
    for (source, by), members in pasts.items():
        keys = observations[entity] if series is None else series_ids(observations, by or series.keys)
        history = _history(events, source, by, windows, entity, times, series).only(keys)
        on_grid = series is not None and source == series.source
        periods = Periods.of(series.grid) if series is not None and on_grid else None
        asked, moments, back = _distinct(history.positions(keys), as_of, repeats=series is not None)
        for name, column in _past_features(history, asked, moments, members, periods, source):
            values[:, order[name]] = column if back is None else column[back]
    # Without orient, Polars guesses which way a matrix lies, and a square one it may turn.
    frame = pl.DataFrame(values, schema=dict.fromkeys(order, pl.Float64), orient="row")
    return frame.select(pl.all().fill_nan(None))


def aggregate_slices(
    history: History,
    low: Int64s,
    high: Int64s,
    as_of: Int64s,
    expressions: Mapping[str, pl.Expr],
    where: pl.Expr | None = None,
) -> Iterator[pl.DataFrame]:
    """Aggregate the slices ``low[i]`` to ``high[i]`` of a history, chunk by chunk.

    Yields frames with ``__observation`` (i, ascending) and one column per expression; a slice without events
    has no row. Each slice is a group of its own and is aggregated in its own order, so that its result
    depends on nothing else.
    """
    taking = (*expressions.values(), *([where] if where is not None else []))
    used = {name for expression in taking for name in expression.meta.root_names()}
    gathered = history.frame.select(n for n in history.frame.columns if n in used)
    filled = np.flatnonzero(high > low)
    sizes = np.cumsum((high - low)[filled])
    for part in _parts(sizes):
        chosen = filled[part]
        starts, ends = low[chosen], high[chosen]
        rows = ranges(starts, ends)
        group = np.repeat(chosen, ends - starts)
        # Sorted keys make Polars take each group as a slice rather than as a list of scattered rows.
        frame = pl.Series(GROUP, group).set_sorted().to_frame()
        if gathered.width:  # COUNT(*) reads no column at all
            frame = frame.with_columns(gathered[rows].get_columns())
        if AGE in used:
            frame = frame.with_columns(pl.Series(AGE, (as_of[group] - history.times[rows]) / DAY_US))
        if where is not None:
            frame = frame.filter(where).with_columns(pl.col(GROUP).set_sorted())
        lazy = frame.lazy().group_by(GROUP, maintain_order=True).agg(**expressions)
        # The streaming engine would sum a group in pieces that depend on the rest of the frame.
        yield lazy.collect(engine="in-memory")


def _history(
    events: Mapping[str, pl.DataFrame | History],
    source: str,
    by: tuple[str, ...],
    windows: Mapping[str, Window],
    entity: str,
    times: Mapping[str, str],
    series: SeriesPlan | None,
) -> History:
    name = past_name(source, by) if past_name(source, by) in events else source
    if name not in events or source not in times:
        missing = "events" if name not in events else "time column"
        raise DataError(
            f"window features read source {source!r}, whose {missing} is not known",
            remedy=f"Name data.sources.{source}.time.",
        )
    given = events[name]
    if isinstance(given, History):
        return given
    columns = columns_read(windows, source)
    if series is not None:
        return history_of(given, by or series.keys, times[source], columns, source=source)
    return History.of(given, entity, times[source], columns, source=source)


def _distinct(
    positions: Int64s, as_of: Int64s, *, repeats: bool
) -> tuple[Int64s, Int64s, NDArray[np.intp] | None]:
    """Each pair of entity and moment once, and where to find it; the steps of a forecast share their origin."""
    if not repeats or len(positions) < 2:
        return positions, as_of, None
    moments, place = np.unique(as_of, return_inverse=True)
    pairs, back = np.unique(positions * len(moments) + place, return_inverse=True)
    return pairs // len(moments), moments[pairs % len(moments)], back


def _past_features(
    history: History,
    positions: Int64s,
    as_of: Int64s,
    windows: Mapping[str, Window],
    periods: Periods | None,
    source: str,
) -> Iterator[tuple[str, Floats]]:
    """Windows over one history, those with the same condition and reach together."""
    groups: dict[tuple[str | None, tuple[str, ...]], dict[str, Window]] = defaultdict(dict)
    for name, window in windows.items():
        groups[window.where, window.over][name] = window
    filtered: dict[str | None, History] = {None: history}
    for (where, over), members in groups.items():
        late = where if where is not None and AGE in columns_of(where) else None
        early = None if late is not None else where
        try:
            if early is not None and early not in filtered:
                filtered[early] = history.where(compile_expression(early))
            yield from _features(filtered[early], positions, as_of, members, over, late, periods).items()
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"windows {', '.join(members)} over source {source!r}: {str(error).splitlines()[0]}",
                remedy="An aggregate gives one number, such as SUM(amount) or COUNT(DISTINCT invoice).",
            ) from error


def _features(
    history: History,
    positions: Int64s,
    as_of: Int64s,
    members: Mapping[str, Window],
    over: tuple[str, ...],
    where: str | None,
    periods: Periods | None,
) -> dict[str, Floats]:
    """All windows in one pass; NaN is missing. Window w of observation i is slice ``w * n + i``."""
    n = len(positions)
    first, last = history.spans(positions)
    high = first_at_or_after(history.times, first, last, as_of)
    lows = [
        first if text == "all" else first_at_or_after(history.times, first, high, as_of - duration_us(text))
        for text in over
    ]
    low, high, moments = np.concatenate(lows), np.tile(high, len(over)), np.tile(as_of, len(over))
    values: dict[str, Floats] = {}
    if where is None:
        values = _read_off(history, low, high, moments, members)
        if periods is not None:
            left = {name: w for name, w in members.items() if name not in values}
            values |= _rolled(history, positions, as_of, left, over, periods)
    empty = high <= low
    for column in values.values():
        column[empty] = np.nan
    slow = {name: window for name, window in members.items() if name not in values}
    if slow:
        gathered, without = _gathered(history, low, high, moments, slow, where)
        values |= gathered
        empty = without
    for name, window in members.items():
        values[name][~np.isfinite(values[name])] = np.nan
        if window.default is not None:
            values[name][empty] = window.default
    return {
        f"{name}_{text}": values[name][w * n : (w + 1) * n] for name in members for w, text in enumerate(over)
    }


def _read_off(
    history: History, low: Int64s, high: Int64s, as_of: Int64s, windows: Mapping[str, Window]
) -> dict[str, Floats]:
    """Aggregates that the place of a slice tells already: how many events, and the age of the first and last."""
    found: dict[str, Floats] = {}
    some = high > low
    for name, window in windows.items():
        aggregate = simple(window.aggregate)
        if aggregate is None:
            continue
        if aggregate.value == "*":
            found[name] = np.where(some, high - low, np.nan)
        elif aggregate.value == AGE and aggregate.function in ("MIN", "MAX"):
            row = high - 1 if aggregate.function == "MIN" else low
            found[name] = np.full(len(low), np.nan)
            found[name][some] = (as_of[some] - history.times[row[some]]) / DAY_US
    return found


def _rolled(
    history: History,
    positions: Int64s,
    as_of: Int64s,
    windows: Mapping[str, Window],
    over: tuple[str, ...],
    periods: Periods,
) -> dict[str, Floats]:
    """Aggregates of a single value, rolled over the grid of the series."""
    alike: dict[str, dict[str, str]] = defaultdict(dict)
    for name, window in windows.items():
        aggregate = simple(window.aggregate)
        if aggregate is not None and AGE not in columns_of(aggregate.value):
            value = f"CASE WHEN ({aggregate.value}) IS NOT NULL THEN 1 END"
            alike[value if aggregate.function == "COUNT" else aggregate.value][name] = aggregate.function
    found: dict[str, Floats] = {}
    if not alike:
        return found
    layout = Layout.of(history, periods)
    lows = [np.full(len(as_of), _LONG_AGO) if text == "all" else as_of - duration_us(text) for text in over]
    for value, functions in alike.items():
        cells = Cells.of(layout, flat_values(history.frame, compile_number(value)))
        results = rolling(layout, cells, positions, as_of, lows, tuple(dict.fromkeys(functions.values())))
        for name, function in functions.items():
            found[name] = results[function].ravel()
    return found


def _gathered(
    history: History,
    low: Int64s,
    high: Int64s,
    as_of: Int64s,
    windows: Mapping[str, Window],
    where: str | None,
) -> tuple[dict[str, Floats], NDArray[np.bool_]]:
    """Any aggregate, from the gathered events of each slice; and which slices have no event."""
    aggregates = {name: compile_expression(w.aggregate).cast(pl.Float64) for name, w in windows.items()}
    values = {name: np.full(len(low), np.nan) for name in windows}
    empty = np.ones(len(low), bool)
    condition = None if where is None else compile_expression(where)
    for part in aggregate_slices(history, low, high, as_of, aggregates, condition):
        at = part[GROUP].to_numpy()
        empty[at] = False
        for name in windows:
            if part.schema[name] != pl.Float64:
                raise DataError(
                    f"window {name}: {windows[name].aggregate!r} gives a value per event, not one per window",
                    remedy="Aggregate it, as in SUM(amount) or COUNT(DISTINCT invoice).",
                )
            values[name][at] = part[name].to_numpy()
    return values, empty


def _parts(sizes: Int64s) -> Iterator[slice]:
    """Cut consecutive slices, given by their cumulative sizes, into parts of at most a chunk's rows."""
    start, taken = 0, 0
    while start < len(sizes):
        end = max(int(np.searchsorted(sizes, taken + _CHUNK_ROWS, side="right")), start + 1)
        yield slice(start, end)
        start, taken = end, int(sizes[end - 1])


def duration_us(text: str) -> int:
    """A duration of the specification in microseconds."""
    return round(parse_duration(text).total_seconds() * 1_000_000)
