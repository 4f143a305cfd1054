"""Values of a series at whole periods before the origin and before the target: lags and seasons."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.features.expressions import columns_of, compile_number
from charter.features.history import History, Int64s, microseconds
from charter.features.layout import Floats, Layout, Periods
from charter.features.rolled import flat_values
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


def lag_columns(lags: Sequence[Lag]) -> set[str]:
    """Columns that the lags' values read."""
    return {name for lag in lags for name in columns_of(lag.value)}


def lag_features(
    history: History,
    positions: Int64s,
    origin: Int64s,
    target: Int64s | None,
    lags: Sequence[Lag],
    periods: Periods,
) -> Iterator[tuple[str, Floats]]:
    """Look up values of each series at whole periods before the origin and before the target.

    ``back: k`` is the value k periods before the origin, 1 being the last one known; ``season: s`` the value s
    periods before the target. A season that falls at or after the origin is missing, unless it reads nothing but
    known-ahead columns.

    Parameters
    ----------
    history, positions
        Past of the series, or of groups of series, and int64 [n]: whose each observation is; -1 is an unknown one.
    origin, target
        int64 [n]: numbers of periods. Targets are for seasons.
    lags
        All over the same groups.

    Yields
    ------
    Name and float64 [n] for each of ``Lag.names``; NaN where there is no such row or value.

    Raises
    ------
    DataError
        When a row of a series stands where no period begins.
    """
    grouped = _per_period(history, lags) if lags[0].by else history
    layout = Layout.of(grouped, periods)
    for lag in lags:
        flat = np.full(layout.size + 1, np.nan)
        flat[layout.cells] = flat_values(
            grouped.frame, pl.col(lag.name) if lag.by else compile_number(lag.value)
        )
        back = np.array(lag.back, np.int64)[:, None]
        numbers = origin - back
        if target is not None:
            numbers = np.concatenate([numbers, target - np.array(lag.season, np.int64)[:, None]])
        taken = flat[layout.find(positions, numbers)]
        if not lag.known_ahead:
            taken[numbers >= origin] = np.nan
        yield from zip(lag.names, taken, strict=True)


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
