"""Statistical methods as columns that a model reads: each series' own past, forecast once for each origin.

So a method can be the model of a forecast, or a part of it: the exported graph hands the column on, or mixes it with
what trees say, and everything after that (intervals, package, scorer, gates) is what it is for any model. Training and
serving compute the columns by `SeriesForecasts` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.spread import HERE, Spread
from charter.data.grid import AS_OF, SERIES, STEP, SeriesPlan
from charter.train.statistical import METHODS, SEASON, WINDOW, forecast_by, lay_out, require
from charter.train.units import transformed

if TYPE_CHECKING:
    from charter.spec.types import ModelSpec

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class SeriesMethods:
    """Which methods, and by which settings.

    Attributes
    ----------
    methods
        Names of `charter.train.statistical.METHODS`.
    transform
        What is learned of the label, ``log1p`` or ``none``: the columns are on that scale.
    season, window
        Periods of a season and of a moving average.
    """

    methods: tuple[str, ...]
    transform: str
    season: int
    window: int

    @classmethod
    def of(cls, methods: Iterable[str], transform: str, every: str) -> SeriesMethods:
        """Take the settings that suit the length of a period.

        Examples
        --------
        >>> SeriesMethods.of(["ets"], "log1p", "week").columns
        ('forecast by ets',)
        """
        return cls(tuple(methods), transform, SEASON[every], WINDOW[every])

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(f"forecast by {name}" for name in self.methods)

    def only(self, methods: Iterable[str]) -> SeriesMethods:
        """Return the same settings for some of the methods."""
        return SeriesMethods(tuple(methods), self.transform, self.season, self.window)

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `from_json`."""
        return {**asdict(self), "methods": list(self.methods)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeriesMethods:
        """Inverse of `to_json`."""
        return cls(tuple(data["methods"]), data["transform"], int(data["season"]), int(data["window"]))


def methods_of(learners: Iterable[str]) -> tuple[str, ...]:
    """Those of ``train.learners`` that forecast each series from its own past."""
    return tuple(name for name in dict.fromkeys(learners) if name in METHODS)


class SeriesForecasts:
    """What the methods say of series and origins.

    Parameters
    ----------
    settings
        The methods.
    history
        The observed source, regular (see `charter.data.grid.on_grid`): ``series``, the time, the label.
    plan
        What the series are.

    Raises
    ------
    UsageError
        When a method needs statsforecast and it is not installed.
    """

    def __init__(self, settings: SeriesMethods, history: pl.DataFrame, plan: SeriesPlan) -> None:
        for name in settings.methods:
            require(name)
        self.settings, self._plan = settings, plan
        known = history.select(
            SERIES,
            pl.col(plan.time).cast(pl.Datetime("us")).alias("time"),
            pl.col(plan.label).cast(pl.Float64).alias("actual"),
        )
        self._panel = lay_out(known, plan.grid)
        self._place = pl.DataFrame({SERIES: self._panel.names}).with_row_index("__place")

    @classmethod
    def of(
        cls, settings: Mapping[str, Any] | None, sources: Mapping[str, pl.DataFrame], plan: SeriesPlan | None
    ) -> SeriesForecasts | None:
        """Read what a bundle says of methods; None where it says nothing of them."""
        if settings is None or plan is None:
            return None
        return cls(SeriesMethods.from_json(settings), sources[plan.source], plan)

    def columns(self, rows: pl.DataFrame, *, processes: int = 1, spread: Spread = HERE) -> list[pl.Series]:
        """Forecast the rows; what is said of one depends on no other.

        Parameters
        ----------
        rows
            ``series``, ``as_of`` (the origin) and ``step``.
        processes
            Over which the fitted methods of an origin are spread.
        spread
            Forecasts the origins.

        Returns
        -------
        A Float64 column for each method, on the scale that is learned, never below the scale's zero. A series of which
        nothing is known before the origin gets the mean of the last values known of the others.

        Raises
        ------
        DataError
            When nothing at all is known before an origin.
        """
        place = (
            rows.select(pl.col(SERIES).cast(pl.String))
            .join(self._place, on=SERIES, how="left", maintain_order="left")["__place"]
            .fill_null(-1)
            .cast(pl.Int64)
            .to_numpy()
        )
        step = rows[STEP].cast(pl.Int64).to_numpy()
        origins = rows[AS_OF].cast(pl.Datetime("us"))
        said = np.empty((rows.height, len(self.settings.methods)))
        asked = origins.unique().sort().to_list()
        own = [np.flatnonzero((origins == origin).to_numpy()) for origin in asked]
        parts = [place[at] for at in own], [step[at] for at in own]
        every = repeat(spread.keep(self))
        for at, found in zip(
            own, spread.map(_forecast, every, asked, *parts, repeat(processes)), strict=True
        ):
            said[at] = found
        learned = transformed(self.settings.transform, np.maximum(said, 0.0))
        return [pl.Series(name, learned[:, at]) for at, name in enumerate(self.settings.columns)]

    def from_origin(
        self, origin: datetime, place: npt.NDArray[np.int64], step: npt.NDArray[np.int64], processes: int
    ) -> Floats:
        """Say of each row, by its series' place (-1 is nowhere) and step, what each method forecasts."""
        grid, settings = self._plan.grid, self.settings
        past, last = self._panel.before(origin, grid)
        ahead = grid.count(origin) - self._panel.first + self._plan.gap + np.arange(self._plan.horizon)
        asked, back = np.unique(place, return_inverse=True)
        known = asked[asked >= 0]
        others = float(np.mean(last[np.isfinite(last)]))
        said = np.full((len(place), len(settings.methods)), others)
        if not len(known):
            return said
        for at, name in enumerate(settings.methods):
            table = forecast_by(
                name, past[known], last[known], ahead, season=settings.season, window=settings.window,
                processes=processes,
            )  # fmt: skip
            table = np.vstack([np.full((len(asked) - len(known), table.shape[1]), np.nan), table])
            own = table[back, step - 1]
            said[:, at] = np.where(np.isfinite(own), own, others)
        return said


def _forecast(
    of: SeriesForecasts,
    origin: datetime,
    place: npt.NDArray[np.int64],
    step: npt.NDArray[np.int64],
    processes: int,
) -> Floats:
    return of.from_origin(origin, place, step, processes)


def judged_forecasts(
    rows: pl.DataFrame,
    folds: Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]],
    history: pl.DataFrame,
    plan: SeriesPlan,
    spec: ModelSpec,
    *,
    processes: int = 1,
    spread: Spread = HERE,
) -> pl.DataFrame | None:
    """Let the methods among ``train.learners`` forecast what folds judge, each row from its own origin.

    Parameters
    ----------
    rows
        Rows of the data set: ``series``, ``as_of``, ``step``; n rows.
    folds
        Row numbers to fit on and to judge by.
    processes, spread
        As `SeriesForecasts.columns` takes them.

    Returns
    -------
    A column for each method with n rows, null in those that no fold judges; None without methods.
    """
    methods = methods_of(spec.train.learners)
    if not methods:
        return None
    settings = SeriesMethods.of(methods, spec.train.transform, plan.every)
    judged = np.unique(np.concatenate([valid for _, valid in folds]))
    found = SeriesForecasts(settings, history, plan).columns(rows[judged], processes=processes, spread=spread)
    place = np.full(rows.height, len(judged), dtype=np.int64)
    place[judged] = np.arange(len(judged))
    return pl.DataFrame(found).select(
        pl.all().append(pl.lit(None, dtype=pl.Float64)).gather(pl.Series(place))
    )
