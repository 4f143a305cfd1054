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
from charter.data.grid import AS_OF
from charter.features.expressions import columns_of, compile_expression
from charter.features.history import History, Int64s, first_at_or_after, microseconds, ranges
from charter.features.layout import DAY_US, Floats, Periods
from charter.features.rolled import read_off, rolled
from charter.spec.functions import AGE

GROUP = "__observation"
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
    for name in (entity, AS_OF):
        if name not in observations.columns:
            raise DataError(f"observations have no column {name!r}, which window features need")
    keys, as_of = observations[entity], moments_of(observations)
    order = {name: at for at, name in enumerate(window_names(windows))}
    values = np.empty((len(as_of), len(order)), order="F")
    pasts: dict[str, dict[str, Window]] = defaultdict(dict)
    for name, window in windows.items():
        pasts[window.source][name] = window
    for source, members in pasts.items():
        history, positions = _history(events, source, windows, entity, times).among(keys)
        for name, column in past_features(history, positions, as_of, members, source):
            values[:, order[name]] = column
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


def moments_of(observations: pl.DataFrame) -> Int64s:
    """The moments of observation, int64 microseconds since 1970.

    Raises
    ------
    DataError
        When one is missing.
    """
    unknown = observations[AS_OF].null_count()
    if unknown:
        raise DataError(
            f"{unknown} observations have no {AS_OF}: windows need the moment of observation",
            remedy="Name the time column of the observations in data.observations.time.",
        )
    return microseconds(observations[AS_OF])


def _history(
    events: Mapping[str, pl.DataFrame | History],
    source: str,
    windows: Mapping[str, Window],
    entity: str,
    times: Mapping[str, str],
) -> History:
    if source not in events or source not in times:
        missing = "events" if source not in events else "time column"
        raise DataError(
            f"window features read source {source!r}, whose {missing} is not known",
            remedy=f"Name data.sources.{source}.time.",
        )
    given = events[source]
    if isinstance(given, History):
        return given
    return History.of(given, entity, times[source], columns_read(windows, source), source=source)


def past_features(
    history: History,
    positions: Int64s,
    as_of: Int64s,
    windows: Mapping[str, Window],
    source: str,
    periods: Periods | None = None,
) -> Iterator[tuple[str, Floats]]:
    """Yield the features of all windows over one history, those with the same condition and reach together.

    Parameters
    ----------
    positions
        int64 [n]: place of each observation's entity in the history, -1 for an unknown one.
    as_of
        int64 [n]: microseconds since 1970.
    source
        Name for messages.
    periods
        Of series: then the usual aggregates are rolled over their grid, see `charter.features.rolled`.
    """
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
        aggregates = {name: window.aggregate for name, window in members.items()}
        values = read_off(history, low, high, moments, aggregates)
        if periods is not None:
            left = {name: text for name, text in aggregates.items() if name not in values}
            reach = [None if text == "all" else duration_us(text) for text in over]
            values |= rolled(history, positions, as_of, left, reach, periods)
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
