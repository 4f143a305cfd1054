"""Forecasts by methods that look at one series at a time: the baselines that a model must beat.

``naive``, ``moving_average`` and ``seasonal_naive`` are computed here; exponential smoothing and ARIMA by statsforecast
(the extra ``charter-ml[forecast]``). They know nothing of prices and promotions, which is what a forecast adds.

=========================  =========================================================================================
method                     forecast of every step
=========================  =========================================================================================
naive                      the last known value
moving_average             mean of the last ``window`` periods
seasonal_naive             the value one season before the target, or as many seasons as it takes to be known
exponential_smoothing      simple exponential smoothing with its factor fitted (Brown, 1956)
ets                        the exponential-smoothing model with the best AICc (Hyndman et al., 2008)
auto_arima                 the ARIMA model with the best AICc, searched stepwise (Hyndman and Khandakar, 2008); slow
auto_theta                 the best variant of the theta method (Fiorucci et al., 2016)
=========================  =========================================================================================

What is missing: a moving average is over the periods known among the last ``window``. Where a season before is not
known, an earlier one is taken, else the last known value; that is what a planner without records does too. The fitted
methods take the value before for a period without one, and leave series of fewer than `FEWEST` known values, or on
which they fail, to ``naive``. A series without any known value gets the mean forecast of the others. Nothing is
forecast below ``floor``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice
from charter.core.spread import HERE, Spread
from charter.data.grid import AS_OF, SERIES, STEP, Grid

if TYPE_CHECKING:
    from collections.abc import Callable

FEWEST = 4
"""Known values below which no model is fitted."""
LONGEST_SEASON = 24
"""Exponential smoothing and ARIMA fit no season of more periods; they then fit none."""
SEASON = {"day": 7, "week": 52, "month": 12}
"""Periods of a season, by the length of a period."""
WINDOW = {"day": 28, "week": 4, "month": 3}
"""Periods of a moving average, by the length of a period."""

Floats = npt.NDArray[np.float64]
_PERIOD = "__period"

_FITTED: Mapping[str, Callable[[Any, int], Any]] = {
    "exponential_smoothing": lambda models, season: models.SimpleExponentialSmoothingOptimized(),
    "ets": lambda models, season: models.AutoETS(season_length=season),
    "auto_arima": lambda models, season: models.AutoARIMA(season_length=season),
    "auto_theta": lambda models, season: models.AutoTheta(season_length=season),
}
SIMPLE = ("naive", "moving_average", "seasonal_naive")
METHODS = (*SIMPLE, *_FITTED)
"""Names of the methods."""


def statistical_forecasts(
    history: pl.DataFrame,
    origins: Sequence[datetime],
    *,
    grid: Grid,
    horizon: int,
    gap: int = 0,
    methods: Sequence[str] = ("moving_average", "seasonal_naive"),
    season: int | None = None,
    window: int | None = None,
    floor: float | None = 0.0,
    processes: int = 1,
    spread: Spread = HERE,
) -> pl.DataFrame:
    """Forecast every series from every origin.

    Parameters
    ----------
    history
        One row per series and period: ``series`` (String), ``time`` (beginning of the period), ``actual`` (a number,
        null where not known). Periods may be missing. Only rows before an origin are used for it.
    origins
        Beginnings of the first periods that are not known.
    grid
        What a period is.
    horizon, gap
        Steps, and periods between the origin and the first step: step ``s`` is period ``origin + gap + s - 1``.
    methods
        Names of `METHODS`.
    season, window
        Periods of a season and of a moving average; by default `SEASON` and `WINDOW`.
    floor
        Lowest value of a forecast; None where values can be negative.
    processes
        Over which the fitted methods of an origin are spread.
    spread
        Forecasts the origins.

    Returns
    -------
    polars.DataFrame
        ``series``, ``as_of`` (Datetime), ``step`` (Int32) and one Float64 column per method, sorted by the first three.

    Raises
    ------
    UsageError
        For an unknown method, or a fitted one without statsforecast.
    DataError
        When a column is missing, two rows stand for one period, or nothing is known before an origin.

    Examples
    --------
    >>> weeks = pl.datetime_range(datetime(2024, 1, 1), datetime(2024, 2, 5), "1w", eager=True)
    >>> history = pl.DataFrame({"series": "a", "time": weeks, "actual": [4.0, 6, 5, 7, 9, 0]})
    >>> found = statistical_forecasts(history, [weeks[5]], grid=Grid("week"), horizon=2, season=4)
    >>> found.select("step", "moving_average", "seasonal_naive").rows()
    [(1, 6.75, 6.0), (2, 6.75, 5.0)]
    """
    for name in methods:
        if name not in METHODS:
            raise UsageError(f"no forecasting method is called {name!r}", remedy=advice(name, METHODS))
    panel = lay_out(history, grid)
    season = season if season is not None else SEASON[grid.every]
    window = window if window is not None else WINDOW[grid.every]
    known, steps = spread.keep(panel), gap + np.arange(horizon)
    same = map(repeat, (tuple(methods), grid, steps, season, window, processes))
    asked = sorted(set(origins))
    tables = [
        _long(panel.names, origin, horizon, {name: _complete(one, floor) for name, one in said.items()})
        for origin, said in zip(asked, spread.map(_from, asked, repeat(known), *same), strict=True)
    ]
    return pl.concat(tables).sort(SERIES, AS_OF, STEP)


def _from(
    origin: datetime,
    panel: Panel,
    methods: Sequence[str],
    grid: Grid,
    steps: npt.NDArray[np.int64],
    season: int,
    window: int,
    processes: int,
) -> dict[str, Floats]:
    """What each method says from one origin, float64 [series, steps]."""
    past, last = panel.before(origin, grid)
    ahead = grid.count(origin) - panel.first + steps
    return {
        name: forecast_by(name, past, last, ahead, season=season, window=window, processes=processes)
        for name in methods
    }


@dataclass(frozen=True, slots=True, eq=False)
class Panel:
    """Series laid out, a row per series and a column per period; see `lay_out`.

    Attributes
    ----------
    names
        Of the series, sorted.
    first
        Number of the period that the first column is.
    values
        Float64 [series, periods]; NaN where nothing is known.
    """

    names: pl.Series
    first: int
    values: Floats

    def before(self, origin: datetime, grid: Grid) -> tuple[Floats, Floats]:
        """Values before an origin, and the last one known of each series.

        Raises
        ------
        DataError
            When nothing is known of any series.
        """
        past = self.values[:, : min(max(grid.count(origin) - self.first, 0), self.values.shape[1])]
        last = _last_known(past)
        if not np.isfinite(last).any():
            raise DataError(
                f"forecast: nothing is known before the origin {origin:%Y-%m-%d}",
                remedy="Take a later origin, or bring older rows.",
            )
        return past, last


def forecast_by(
    name: str,
    past: Floats,
    last: Floats,
    ahead: npt.NDArray[np.int64],
    *,
    season: int,
    window: int,
    processes: int = 1,
) -> Floats:
    """Forecast some series from one origin; what is said of one depends on no other.

    Parameters
    ----------
    past, last
        Rows of `Panel.before`.
    ahead
        Columns of the panel, ascending, that are forecast.

    Returns
    -------
    Float64 [series, len(ahead)], NaN for series of which nothing is known.
    """
    match name:
        case "naive":
            return np.repeat(last[:, None], len(ahead), axis=1)
        case "moving_average":
            return np.repeat(_moving_average(past, last, window)[:, None], len(ahead), axis=1)
        case "seasonal_naive":
            return _seasonal(past, last, ahead, season)
        case _:
            steps = int(ahead[-1]) - past.shape[1] + 1
            return _fitted(name, past, last, steps, season, processes)[:, -len(ahead) :]


def lay_out(history: pl.DataFrame, grid: Grid) -> Panel:
    """Lay the values out, a row per series and a column per period.

    Parameters
    ----------
    history
        As `statistical_forecasts` takes it.
    """
    for column in (SERIES, "time", "actual"):
        if column not in history.columns:
            raise DataError(
                f"forecast: the history has no column {column!r}", remedy=advice(column, history.columns)
            )
    if history.is_empty():
        raise DataError("forecast: the history has no rows")
    rows = history.select(
        pl.col(SERIES).cast(pl.String),
        grid.number(pl.col("time")).alias(_PERIOD),
        pl.col("actual").cast(pl.Float64),
    )
    names = rows[SERIES].unique().sort()
    row = rows[SERIES].rank("dense").to_numpy().astype(np.int64) - 1
    period = rows[_PERIOD].to_numpy()
    first = int(period.min())
    values = np.full((len(names), int(period.max()) - first + 1), np.nan)
    place = row * values.shape[1] + period - first
    if len(np.unique(place)) < len(place):
        raise DataError(
            "forecast: two rows stand for one period of a series",
            remedy="Keep one row per series and period.",
        )
    values.ravel()[place] = rows["actual"].fill_null(np.nan).to_numpy()
    return Panel(names, first, values)


def require(name: str) -> None:
    """Make sure that a method can be computed here.

    Raises
    ------
    UsageError
        Naming the extra that holds statsforecast, when it is not installed and the method is fitted by it.
    """
    if name in SIMPLE:
        return
    try:
        import statsforecast  # noqa: F401
    except ImportError as error:
        raise UsageError(
            f"the method {name!r} needs statsforecast, which is not installed",
            remedy="Install the extra: pip install 'charter-ml[forecast]'.",
        ) from error


def _last_known(past: Floats) -> Floats:
    filled = _forward(past)
    return filled[:, -1] if past.shape[1] else np.full(len(past), np.nan)


def _forward(past: Floats) -> Floats:
    """Fill each unknown value with the one before."""
    place = np.where(np.isfinite(past), np.arange(past.shape[1]), 0)
    return np.asarray(np.take_along_axis(past, np.maximum.accumulate(place, axis=1), axis=1))


def _moving_average(past: Floats, last: Floats, window: int) -> Floats:
    recent = past[:, -window:]
    known = np.isfinite(recent)
    count = known.sum(axis=1)
    return np.where(count > 0, np.where(known, recent, 0.0).sum(axis=1) / np.maximum(count, 1), last)


def _seasonal(past: Floats, last: Floats, ahead: npt.NDArray[np.int64], season: int) -> Floats:
    known = past.shape[1]
    found = np.full((len(past), len(ahead)), np.nan)
    for j, target in enumerate(ahead.tolist()):
        for column in range(target - season, -1, -season):
            if column < known:
                found[:, j] = np.where(np.isfinite(found[:, j]), found[:, j], past[:, column])
    return np.where(np.isfinite(found), found, last[:, None])


def _fitted(name: str, past: Floats, last: Floats, steps: int, season: int, processes: int) -> Floats:
    """Fit one model per series, from its first known value on."""
    require(name)
    from statsforecast import StatsForecast, models

    filled, known = _forward(past), np.isfinite(past)
    begun = np.maximum.accumulate(known, axis=1)
    enough = known.sum(axis=1) >= FEWEST
    found = np.repeat(last[:, None], steps, axis=1)
    used = begun & enough[:, None]
    if not used.any():
        return found
    row, period = np.nonzero(used)
    frame = pl.DataFrame({"unique_id": row, "ds": period, "y": filled[used]})
    model = _FITTED[name](models, season if season <= LONGEST_SEASON else 1)
    forecaster = StatsForecast([model], freq=1, n_jobs=processes, fallback_model=models.Naive())
    said = forecaster.forecast(df=frame, h=steps).sort("unique_id", "ds")
    column = next(c for c in said.columns if c not in ("unique_id", "ds"))
    found[enough] = said[column].cast(pl.Float64).to_numpy().reshape(-1, steps)
    return np.where(np.isfinite(found), found, last[:, None])


def _complete(said: Floats, floor: float | None) -> Floats:
    """Give series of which nothing is known the mean of the others, and keep to the floor."""
    unknown = ~np.isfinite(said)
    if unknown.any():
        said = np.where(unknown, np.nanmean(said, axis=0)[None, :], said)
    return said if floor is None else np.maximum(said, floor)


def _long(names: pl.Series, origin: datetime, horizon: int, found: Mapping[str, Floats]) -> pl.DataFrame:
    steps = np.arange(1, horizon + 1, dtype=np.int32)
    return (
        pl.DataFrame(
            {
                SERIES: names.gather(np.repeat(np.arange(len(names)), horizon)),
                STEP: np.tile(steps, len(names)),
                **{name: said.ravel() for name, said in found.items()},
            }
        )
        .with_columns(pl.lit(origin, pl.Datetime("us")).alias(AS_OF))
        .select(SERIES, AS_OF, STEP, *found)
    )
