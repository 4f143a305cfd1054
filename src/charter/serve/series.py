"""Requests about series: the newest origin, which step a period is, and what is worth a warning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, datetime
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError
from charter.data.grid import SERIES, STEP, SeriesPlan, closed_days, name_series, on_grid
from charter.features.expressions import FEW_ROWS
from charter.features.forecasts import locate
from charter.serve.newcomers import Newcomers
from charter.serve.scored import Numbers
from charter.serve.types import AS_OF
from charter.train.siblings import WINDOW

Floats = npt.NDArray[np.float64]

FEWEST_KNOWN = 4
"""Periods of the last `WINDOW` below which a series is known so little that its interval may be too narrow."""


class Amiss(NamedTuple):
    """A row that asks for a period that is not forecast."""

    row: int
    field: str
    value: str
    rule: str
    message: str
    remedy: str


class SeriesPast:
    """The series as they are known, and where a request stands to them.

    Parameters
    ----------
    plan
        What the series are.
    sources
        The observed source and those of the attributes, prepared.
    cold_start
        What the bundle keeps of forecasts without a past; None in packages of an earlier version.

    Raises
    ------
    DataError
        When the observed source is not there, or not regular.
    """

    def __init__(
        self,
        plan: SeriesPlan,
        sources: Mapping[str, pl.DataFrame],
        cold_start: Mapping[str, Any] | None = None,
    ) -> None:
        if plan.source not in sources:
            raise DataError(
                f"forecasts need the series of source {plan.source!r}, which are not here",
                remedy="Give the history that the release holds.",
            )
        self.plan = plan
        self.sources = on_grid(sources, plan)
        self.newcomers = Newcomers(cold_start, self.sources, plan) if cold_start is not None else None
        history = self.sources[plan.source]
        number = plan.grid.number(pl.col(plan.time))
        known = history.filter(pl.col(plan.label).is_not_null()).with_columns(number.alias("__period"))
        if not known.height:
            raise DataError(f"source {plan.source}: no row has a known {plan.label}")
        self.newest: int = int(known["__period"].max()) + 1  # type: ignore[arg-type]
        """Number of the first period that is not known."""
        self.closed = closed_days(history, plan)
        """Weekdays of which no row is asked."""
        ends = (pl.col("__period").min().alias("first"), pl.col("__period").max().alias("last"))
        self._series = known.group_by(SERIES).agg(ends).sort(SERIES)
        self._known = known.select(SERIES, "__period")
        self._last: tuple[int, pl.Series, frozenset[str]] | None = None
        self._first = dict(self._series.select(SERIES, "first").iter_rows())

    def fill(self, frame: pl.DataFrame, as_of: str | None = None) -> pl.DataFrame:
        """Let rows without ``as_of`` be about that origin (ISO), or about the newest."""
        origin = self.plan.grid.begin(self.newest) if as_of is None else datetime.fromisoformat(as_of)
        moment = pl.lit(origin, dtype=pl.Datetime("us"))
        return frame.with_columns(pl.col(AS_OF).fill_null(moment))

    def locate(self, inputs: pl.DataFrame) -> pl.DataFrame:
        """Say which series and step the rows are, and bring the attributes.

        Raises
        ------
        DataError
            When a period is not one of the horizon's, or no beginning of a period.
        """
        for amiss in self.amiss(inputs):
            raise DataError(amiss.message, remedy=amiss.remedy)
        return locate(inputs, self.plan, self.sources)

    def new(self, located: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Which rows are of series without a known period before ``as_of``; what folds learned is not about them.

        Parameters
        ----------
        located
            n rows with ``series`` and ``as_of``.
        """
        if located.height <= FEW_ROWS:  # a request: a join would take longer than all that is asked of it
            return np.array(
                [not self._first.get(name, origin) < origin for name, origin in self._asked(located)],
                dtype=bool,
            )
        found = located.select(SERIES, self.plan.grid.number(pl.col(AS_OF)).alias("__origin")).join(
            self._series, on=SERIES, how="left", maintain_order="left"
        )
        return ~(found["first"] < found["__origin"]).fill_null(False).to_numpy()

    def settle(self, said: Numbers, inputs: pl.DataFrame, ask: Callable[[pl.DataFrame], Floats]) -> Numbers:
        """Let siblings answer for series without a past; without any there is a forecast, but no interval.

        A series with hardly any past lately keeps its forecast, in an interval at least as wide as those of series
        without a past.

        Parameters
        ----------
        said
            What the model said of n rows.
        inputs
            The rows.
        ask
            What the model says of others, on the scale that it learned.
        """
        said = self._widened(said)
        new = self.new(said.features)
        if not new.any():
            return said
        score = said.score.copy()
        lower, upper = said.bounds or (np.full(len(score), np.nan),) * 2
        # The errors that the model's own intervals are made of are all of series with a past.
        lower, upper = np.where(new, np.nan, lower), np.where(new, np.nan, upper)
        if self.newcomers is not None:
            found = self.newcomers.answer(inputs.filter(new), said.features.filter(new), ask)
            score[new] = np.where(np.isfinite(found.score), found.score, score[new])
            lower[new], upper[new] = found.lower, found.upper
            said = replace(said, lent=found.lent(new, inputs.filter(new), self.newcomers.cold))
        return replace(said, score=score, bounds=(lower, upper) if said.bounds is not None else None)

    def _widened(self, said: Numbers) -> Numbers:
        """Take the intervals of series without a past around forecasts that rest on hardly any past."""
        rehearsed = self.newcomers.cold.intervals if self.newcomers is not None else None
        if said.bounds is None or rehearsed is None:
            return said
        faint = self._faint(said.features)
        if not faint.any():
            return said
        lower, upper = said.bounds[0].copy(), said.bounds[1].copy()
        step = said.features[STEP].to_numpy()[faint]
        # No kind of newness was rehearsed as such a series: without one the widest stands.
        low, high = rehearsed.apply(np.log1p(said.score[faint]), step)
        lower[faint], upper[faint] = np.fmin(lower[faint], low), np.fmax(upper[faint], high)
        return replace(said, bounds=(lower, upper))

    def amiss(self, inputs: pl.DataFrame) -> Iterator[Amiss]:
        """Name the rows that ask for what no forecast answers: no beginning of a period, or none of the horizon."""
        plan = self.plan
        step = plan.grid.number(pl.col(plan.time)) - plan.grid.number(pl.col(AS_OF)) - plan.gap + 1
        found = inputs.select(
            pl.col(plan.time),
            pl.col(AS_OF),
            (plan.grid.is_off(pl.col(plan.time)) | plan.grid.is_off(pl.col(AS_OF))).alias("off"),
            step.alias(STEP),
        )
        wrong = found["off"] | ~found[STEP].is_between(1, plan.horizon)
        for row in np.flatnonzero(wrong.to_numpy()).tolist():
            period, origin, off, steps = found.row(row)
            if off:
                starts = f", which starts on {plan.starts_on}" if plan.every == "week" else ""
                rule = f"the beginning of a {plan.every}{starts}"
                message = f"{plan.time} {period} or {AS_OF} {origin} is not {rule}"
                yield Amiss(row, plan.time, str(period), rule, message, "Name periods by their first day.")
            else:
                rule = f"steps 1 to {plan.horizon}"
                message = f"{plan.time} {period} is step {steps} from {origin}; the model forecasts {rule}"
                newest = f"The newest origin is {plan.grid.begin(self.newest).date()}."
                yield Amiss(row, plan.time, str(period), rule, message, newest)

    def warn(self, inputs: pl.DataFrame) -> Iterator[tuple[int, str]]:
        """Warnings with the row's place: an unknown series, a past that ends early or is short, no attributes."""
        plan = self.plan
        located = locate(inputs, plan, self.sources).join(
            self._series, on=SERIES, how="left", maintain_order="left"
        )
        origin = located.select(plan.grid.number(pl.col(AS_OF))).to_series()
        for row in np.flatnonzero(self.new(located)).tolist():
            yield row, f"series {located[SERIES][row]} has no past; {self._rests_on}"
        behind = (origin - located["last"] - 1).fill_null(0).to_numpy()
        for row in np.flatnonzero(behind > 0).tolist():
            count = int(behind[row])
            yield row, f"the last {count} {plan.every}{'s' if count > 1 else ''} before {AS_OF} are not known"
        for row in np.flatnonzero(self._faint(located)).tolist():
            yield row, f"series {located[SERIES][row]} has {self._little}; its interval {self._doubt}"
        for source, key in plan.attributes:
            there = self.sources[source][key].cast(inputs.schema[key]).implode()
            for row in np.flatnonzero(~inputs[key].is_in(there).to_numpy()).tolist():
                yield row, f"{key} {inputs[key][row]} has no row in {source}; its attributes are missing"

    def notes(self, inputs: pl.DataFrame) -> Iterator[str]:
        """What to know of rows of one origin as a whole, without values of any row.

        Series whose newest period is known, and which are not asked about, may have been forgotten: every sum would
        lack them. Periods of which no series has a row may have been forgotten, too. Series of which hardly anything is
        known lately are forecast as well as that allows.
        """
        plan = self.plan
        asked = inputs.select(name_series(plan.keys)).to_series().unique()
        going_on = self._series.filter(pl.col("last") == self.newest - 1)
        absent = going_on.filter(~pl.col(SERIES).is_in(asked.implode())).height
        if absent:
            until = plan.grid.begin(self.newest - 1).date()
            yield (
                f"{absent:,} of the {going_on.height:,} series that are known up to {until} are not asked about; "
                "sums are without them"
            )
        located = inputs.with_columns(name_series(plan.keys))
        if skipped := self._skipped(located[AS_OF][0]):
            told = ", ".join(str(day) for day in skipped[:3]) + (", ..." if len(skipped) > 3 else "")
            yield f"no series has a known row of {told}: lags of it are missing"
        faint = located.filter(pl.Series(self._faint(located), dtype=pl.Boolean))[SERIES].n_unique()
        if faint:
            which = "1 series has" if faint == 1 else f"{faint:,} series have"
            yield (
                f"{which} {self._little} before {located[AS_OF][0].date()}: level and interval of such forecasts "
                "are unsure (--warnings of `charter score` names them)"
            )

    def _skipped(self, origin: datetime) -> list[date]:
        """Lately, periods before an origin that no series knows, weekdays on which all are closed left out."""
        plan, ends = self.plan, self.plan.grid.count(origin)
        begins = max(ends - WINDOW[plan.every], int(self._known["__period"].min()))  # type: ignore[arg-type]
        near = pl.col("__period").is_between(begins, ends - 1)
        known = set(self._known.filter(near)["__period"].to_list())
        missing = sorted(set(range(begins, max(known, default=begins))) - known)
        days = [plan.grid.begin(period).date() for period in missing]
        return [day for day in days if day.isoweekday() not in self.closed]

    def _faint(self, located: pl.DataFrame) -> npt.NDArray[np.bool_]:
        """Which of n rows are of series that have a past, but hardly any lately."""
        if located.height <= FEW_ROWS:
            known = [name in self._settled(origin)[1] for name, origin in self._asked(located)]
            return ~np.array(known, dtype=bool) & ~self.new(located)
        origins = located.select(self.plan.grid.number(pl.col(AS_OF))).to_series().to_numpy()
        settled = np.zeros(located.height, bool)
        for origin in np.unique(origins).tolist():
            at = np.flatnonzero(origins == origin)
            settled[at] = located[SERIES][at].is_in(self._settled(origin)[0].implode()).to_numpy()
        return ~settled & ~self.new(located)

    def _asked(self, located: pl.DataFrame) -> Iterator[tuple[str, int]]:
        """Series and number of the origin of each of a few rows."""
        moments = map(self.plan.grid.count, located[AS_OF].to_list())
        return zip(located[SERIES].to_list(), moments, strict=True)

    def _settled(self, origin: int) -> tuple[pl.Series, frozenset[str]]:
        """Series with enough known periods before an origin; most requests are about the newest one."""
        kept = self._last
        if kept is None or kept[0] != origin:
            near = pl.col("__period").is_between(origin - WINDOW[self.plan.every], origin - 1)
            counts = self._known.filter(near).group_by(SERIES).len()
            found = counts.filter(pl.col("len") >= FEWEST_KNOWN)[SERIES]
            kept = self._last = (origin, found, frozenset(found.to_list()))
        return kept[1:]

    @property
    def _little(self) -> str:
        every = self.plan.every
        return f"fewer than {FEWEST_KNOWN} known {every}s among the last {WINDOW[every]}"

    @property
    def _doubt(self) -> str:
        if self.newcomers is None or self.newcomers.cold.intervals is None:
            return "rests on series that are known better, and may be too narrow"
        return "is at least as wide as any of a series without a past"

    @property
    def _rests_on(self) -> str:
        """What a forecast without a past rests on."""
        if self.newcomers is None:
            return "its forecast rests on what is known ahead, and no interval can be promised"
        if self.newcomers.cold.intervals is None:
            return "it is forecast as series like it, and no interval can be promised"
        return "it is forecast as series like it, with an interval as wide as such forecasts were wrong"
