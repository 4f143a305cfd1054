"""Values of a series at whole periods before the origin and before the target: lags and seasons."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.data.grid import AS_OF, SERIES, SeriesPlan, name_series
from charter.features.expressions import columns_of, compile_number
from charter.features.history import History, Int64s, microseconds
from charter.features.layout import Floats, Layout, Periods
from charter.spec.scope import lag_names


@dataclass(frozen=True, slots=True)
class Lag:
    """Values of a series at whole periods; see `charter.spec.types.LagSpec`."""

    name: str
    value: str
    back: tuple[int, ...]
    season: tuple[int, ...]
    by: tuple[str, ...]
    known_ahead: bool = False
    """Whether it reads nothing but columns known ahead, so that a season may fall at or after the origin."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of its features."""
        return lag_names(self.name, self.back, self.season)


def series_ids(frame: pl.DataFrame, keys: Sequence[str]) -> pl.Series:
    """Ids of series, or of groups of series that share some keys, see `charter.data.grid.name_series`."""
    for key in keys:
        if key not in frame.columns:
            raise DataError(
                f"there is no column {key!r}, which names the series", remedy=did_you_mean(key, frame.columns)
            )
    return frame.select(name_series(keys)).to_series()


def history_of(
    frame: pl.DataFrame, keys: Sequence[str], time: str, columns: Iterable[str], *, source: str
) -> History:
    """Sort the rows of a source by series, or by groups of series that share ``keys``, and by time."""
    ids = series_ids(frame, keys)
    return History.of(frame.with_columns(ids), SERIES, time, columns, source=source)


def past_name(source: str, by: Sequence[str]) -> str:
    """Under which name a history stands that is sorted by groups of series."""
    return f"{source} by {', '.join(by)}" if by else source


def lag_columns(lags: Sequence[Lag]) -> set[str]:
    """Columns that the lags' values read."""
    return {name for lag in lags for name in columns_of(lag.value)}


def lag_features(
    observations: pl.DataFrame, histories: Mapping[str, History], lags: Sequence[Lag], series: SeriesPlan
) -> pl.DataFrame:
    """Look up values of each series at whole periods before the origin and before the target.

    ``back: k`` is the value k periods before the origin, 1 being the last one known; ``season: s`` the value s
    periods before the target. A season that falls at or after the origin is missing, unless it reads nothing but
    known-ahead columns.

    Parameters
    ----------
    observations
        n rows with the keys of the series, ``as_of`` and, for seasons, the time of the target.
    histories
        By `past_name`, as `history_of` sorts them.

    Returns
    -------
    Frame of n rows with the columns ``Lag.names``, Float64; null where there is no such row or value.

    Raises
    ------
    DataError
        When a column is missing, or a row of a series stands where no period begins.
    """
    columns: list[pl.Series] = []
    periods = Periods.of(series.grid)
    for by in dict.fromkeys(lag.by for lag in lags):
        members = [lag for lag in lags if lag.by == by]
        history = histories[past_name(series.source, by)]
        ids = series_ids(observations, by or series.keys)
        history = history.only(ids)
        positions = history.positions(ids)
        grouped = _per_period(history, members) if by else history
        layout = Layout.of(grouped, periods)
        origin = periods.at_or_after(microseconds(observations[AS_OF]))
        for lag in members:
            value = pl.col(lag.name) if by else compile_number(lag.value)
            flat = np.full(layout.size + 1, np.nan)
            flat[layout.cells] = flat_values(grouped.frame, value)
            wanted = [origin - k for k in lag.back]
            if lag.season:
                target = periods.at_or_after(microseconds(observations[series.time]))
                wanted += [target - s for s in lag.season]
            for name, number in zip(lag.names, wanted, strict=True):
                taken = flat[layout.find(positions, number)]
                if not lag.known_ahead:
                    taken[number >= origin] = np.nan
                columns.append(pl.Series(name, taken, nan_to_null=True))
    order = [name for lag in lags for name in lag.names]
    return pl.DataFrame(columns).select(order)


def flat_values(frame: pl.DataFrame, expression: pl.Expr) -> Floats:
    """Values of an expression, float64 [n], NaN where it has none; a constant stands in every row."""
    values = frame.select(value=expression.cast(pl.Float64)).to_series()
    if len(values) != frame.height:
        values = values.new_from_index(0, frame.height)
    return values.to_numpy()


def _per_period(history: History, lags: Sequence[Lag]) -> History:
    """One row per group and period, with the lags' aggregates as columns."""
    aggregates = {lag.name: compile_number(lag.value) for lag in lags}
    keys = [history.entity, history.time]
    frame = (
        history.frame.lazy()
        .group_by(keys, maintain_order=True)
        .agg(**aggregates)
        # The streaming engine would sum a group in pieces that depend on the rest of the frame.
        .collect(engine="in-memory")
    )
    sizes: Int64s = frame.group_by(history.entity, maintain_order=True).len()["len"].to_numpy()
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return History(
        frame, history.entity, history.time, history.entities, starts, microseconds(frame[history.time])
    )
