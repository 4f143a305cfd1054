"""Features of series: windows, lags and the calendar, each series' past being found once for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.data.grid import SERIES, SeriesPlan, name_series
from charter.features.calendars import PeriodCalendar, calendar_features
from charter.features.expressions import FEW_ROWS
from charter.features.history import History, Int64s, microseconds
from charter.features.lags import Lag, lag_columns, lag_features
from charter.features.layout import Floats, Periods
from charter.features.windows import Window, columns_read, moments_of, past_features, window_names


class GroupWindow(Window, Protocol):
    """A window that may be taken over several series together."""

    @property
    def by(self) -> tuple[str, ...]: ...  # noqa: D102


def past_name(source: str, by: Sequence[str]) -> str:
    """Under which name the history of a source stands that is sorted by groups of series; of single series its own.

    Examples
    --------
    >>> past_name("sales", ()), past_name("sales", ("brand",))
    ('sales', 'sales by brand')
    """
    return f"{source} by {', '.join(by)}" if by else source


def series_histories(
    sources: Mapping[str, pl.DataFrame | History],
    windows: Mapping[str, GroupWindow],
    lags: Sequence[Lag],
    plan: SeriesPlan,
    times: Mapping[str, str],
) -> dict[str, History]:
    """Sort the rows of the series once for each way of grouping them; by `past_name`.

    Raises
    ------
    DataError
        When a source, or a column of it, is not there.
    """
    asked = dict.fromkeys((w.source, w.by) for w in windows.values())
    asked |= dict.fromkeys((plan.source, lag.by) for lag in lags)
    found: dict[str, History] = {}
    for source, by in asked:
        name = past_name(source, by)
        ready = sources.get(name)
        if isinstance(ready, History):
            found[name] = ready
            continue
        given = sources.get(source)
        if not isinstance(given, pl.DataFrame) or source not in times:
            raise DataError(
                f"the features read the events of source {source!r}, which are not here",
                remedy=did_you_mean(source, sources),
            )
        columns = {*columns_read(windows, source), *(lag_columns(lags) if source == plan.source else ())}
        named = (
            given if not by and SERIES in given.columns else given.with_columns(_ids(given, by or plan.keys))
        )
        found[name] = History.of(named, SERIES, times[source], columns, source=source)
    return found


def series_features(
    observations: pl.DataFrame,
    histories: Mapping[str, History],
    windows: Mapping[str, GroupWindow],
    lags: Sequence[Lag],
    calendar: PeriodCalendar | None,
    plan: SeriesPlan,
) -> pl.DataFrame:
    """Compute what the past of series and the calendar tell.

    Parameters
    ----------
    observations
        The columns that name the series, ``as_of`` and the target's time; n rows. ``series`` is taken as it is where
        it is there.
    histories
        As `series_histories` sorts them.

    Returns
    -------
    Frame of n rows with ``series`` (the id) and the columns of windows, lags and calendar, Float64; null where there
    is no value. Equal to the bit whichever other observations are asked for and in whatever order the rows stand.

    Raises
    ------
    DataError
        When a column or a moment is missing, or a row of a series stands where no period begins.
    """
    dated = calendar is not None or any(lag.season for lag in lags)
    if dated and observations[plan.time].null_count():
        raise DataError(
            f"{observations[plan.time].null_count()} observations have no {plan.time}: which period is forecast?",
            remedy=f"Say in {plan.time} when the period begins.",
        )
    ids = observations[SERIES] if SERIES in observations.columns else _ids(observations, plan.keys)
    order = [*window_names(windows), *(name for lag in lags for name in lag.names)]
    if order:
        values = np.empty((observations.height, len(order)), order="F")
        place = {name: at for at, name in enumerate(order)}
        for name, column in _looked_back(observations, ids, histories, windows, lags, plan):
            values[:, place[name]] = column
        made = _frame(values, order)
    else:
        made = pl.DataFrame()
    found = [ids, *made.get_columns()]
    if calendar is not None:
        found += calendar_features(observations[plan.time], calendar).get_columns()
    return pl.DataFrame(found)


def _frame(values: Floats, names: Sequence[str]) -> pl.DataFrame:
    """Columns of a matrix, null for NaN; a single row is handed over as such, which is several times as fast."""
    schema = dict.fromkeys(names, pl.Float64)
    if len(values) == 1:
        row = [None if value != value else value for value in values[0].tolist()]
        return pl.DataFrame([row], schema=schema, orient="row")
    return pl.DataFrame(values, schema=schema, orient="row", nan_to_null=True)


def _looked_back(
    observations: pl.DataFrame,
    ids: pl.Series,
    histories: Mapping[str, History],
    windows: Mapping[str, GroupWindow],
    lags: Sequence[Lag],
    plan: SeriesPlan,
) -> Iterable[tuple[str, Floats]]:
    as_of, periods = moments_of(observations), Periods.of(plan.grid)
    grouped_windows: dict[tuple[str, tuple[str, ...]], dict[str, GroupWindow]] = defaultdict(dict)
    grouped_lags: dict[tuple[str, tuple[str, ...]], list[Lag]] = defaultdict(list)
    for name, window in windows.items():
        grouped_windows[window.source, window.by][name] = window
    for lag in lags:
        grouped_lags[plan.source, lag.by].append(lag)
    for source, by in dict.fromkeys((*grouped_windows, *grouped_lags)):
        whose = ids if not by else _ids(observations, by)
        history, positions = histories[past_name(source, by)].among(whose)
        members, looked_up = grouped_windows[source, by], grouped_lags[source, by]
        if members:
            asked, moments, back = _distinct(positions, as_of)
            grid = periods if source == plan.source else None
            for name, column in past_features(history, asked, moments, members, source, grid):
                yield name, column if back is None else column[back]
        if looked_up:
            target = None
            if any(lag.season for lag in looked_up):
                target = periods.at_or_after(microseconds(observations[plan.time]))
            yield from lag_features(
                history, positions, periods.at_or_after(as_of), target, looked_up, periods
            )


def _distinct(positions: Int64s, as_of: Int64s) -> tuple[Int64s, Int64s, Int64s | None]:
    """Each pair of series and origin once, and where to find it; the steps of a forecast share their origin."""
    if len(positions) < 2:
        return positions, as_of, None
    moments, place = np.unique(as_of, return_inverse=True)
    pairs, back = np.unique(positions * len(moments) + place, return_inverse=True)
    return pairs // len(moments), moments[pairs % len(moments)], back.astype(np.int64)


def _ids(frame: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Ids of series, or of groups of series that share some keys; see `charter.data.grid.name_series`."""
    for key in keys:
        if key not in frame.columns:
            raise DataError(
                f"there is no column {key!r}, which names the series", remedy=did_you_mean(key, frame.columns)
            )
    return (frame.select_seq if frame.height <= FEW_ROWS else frame.select)(name_series(keys)).to_series()
