"""Series on a regular grid of periods: numbers of periods, and what is wrong with a series that is not regular.

Periods are counted, so that days, weeks and months are all the same to whoever computes with them: period ``n + 1``
follows period ``n``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import polars as pl

from charter.core.errors import DataError
from charter.spec.types import DataSpec

SERIES, STEP, AS_OF = "series", "step", "as_of"
FILLED = "__filled"
"""True in rows that stand for periods without a row."""
_PERIOD = "__period"
_MOMENT = pl.Datetime("us")
_WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_SHOWN = 3
_EPOCH = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001 - frames hold naive UTC


@dataclass(frozen=True, slots=True)
class Grid:
    """Periods of one kind, numbered.

    Attributes
    ----------
    every
        ``day``, ``week`` or ``month``.
    starts_on
        First day of a week, in English, lower case; weeks only.

    Examples
    --------
    >>> week = Grid("week", "thursday")
    >>> frame = pl.DataFrame({"at": [datetime(1989, 9, 14), datetime(1989, 9, 21), datetime(1989, 9, 22)]})
    >>> frame.select(week.number(pl.col("at")) - week.count(datetime(1989, 9, 14)))["at"].to_list()
    [0, 1, 1]
    >>> frame.filter(week.is_off(pl.col("at")))["at"].to_list()
    [datetime.datetime(1989, 9, 22, 0, 0)]
    """

    every: str
    starts_on: str = "monday"

    def number(self, moment: pl.Expr) -> pl.Expr:
        """Number of the period that a moment lies in, Int64."""
        if self.every == "month":
            return moment.dt.year().cast(pl.Int64) * 12 + moment.dt.month().cast(pl.Int64) - 1
        return self._of_days(moment.cast(pl.Date).to_physical().cast(pl.Int64))

    def count(self, moment: datetime) -> int:
        """Number of the period that a moment lies in."""
        if self.every == "month":
            return moment.year * 12 + moment.month - 1
        days = moment.toordinal() - _EPOCH
        return days if self.every == "day" else (days + self._shift) // 7

    def start(self, number: pl.Expr) -> pl.Expr:
        """Moment at which a period begins, ``Datetime("us")``."""
        if self.every == "month":
            return pl.datetime(number // 12, number % 12 + 1, 1).cast(_MOMENT)
        days = number if self.every == "day" else number * 7 - self._shift
        return days.cast(pl.Int32).cast(pl.Date).cast(_MOMENT)

    def begin(self, number: int) -> datetime:
        """Moment at which a period begins."""
        found: datetime = pl.select(self.start(pl.lit(number, pl.Int64))).item()
        return found

    def is_off(self, moment: pl.Expr) -> pl.Expr:
        """Whether a moment is not the beginning of a period."""
        return moment.cast(_MOMENT) != self.start(self.number(moment))

    @property
    def _shift(self) -> int:
        """1970-01-01 was a Thursday, day 3 of a week that starts on Monday."""
        return 3 - _WEEKDAYS.index(self.starts_on)

    def _of_days(self, days: pl.Expr) -> pl.Expr:
        return days if self.every == "day" else (days + self._shift) // 7


@dataclass(frozen=True, slots=True)
class SeriesPlan:
    """What the series of a model are; plain data, from the specification.

    Attributes
    ----------
    source
        Source with one row per series and period.
    keys
        Columns that name a series; their values joined by ``/`` are the column ``series``.
    time
        Column with the beginning of a row's period.
    label
        Column of the source that is forecast.
    known_ahead
        Columns that may be read at and after the origin.
    attributes
        Pairs of a source with one row per value of a key column, and that column.
    """

    source: str
    keys: tuple[str, ...]
    time: str
    every: str
    starts_on: str
    horizon: int
    gap: int
    missing: str
    label: str
    known_ahead: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SeriesPlan:
        """Inverse of `to_json`, also after a passage through JSON text."""
        pairs = tuple((str(source), str(key)) for source, key in data["attributes"])
        named = {name: tuple(data[name]) for name in ("keys", "known_ahead")}
        return cls(**{**data, **named, "attributes": pairs})

    @property
    def grid(self) -> Grid:
        """Its periods."""
        return Grid(self.every, self.starts_on)

    @property
    def reach(self) -> int:
        """Periods from the origin to the last that is forecast, both counted: the target is < origin + reach."""
        return self.gap + self.horizon


def series_plan(data: DataSpec) -> SeriesPlan | None:
    """Read the series from the specification's part ``data``; None for observations of another kind."""
    plan = data.observations
    if not plan.series or plan.source is None or plan.time is None or plan.horizon is None:
        return None
    return SeriesPlan(
        plan.source,
        tuple(plan.series),
        plan.time,
        plan.every or "day",
        plan.starts_on or "monday",
        plan.horizon,
        plan.gap,
        plan.missing,
        data.label.column or "",
        tuple(plan.known_ahead),
        tuple(plan.attributes.items()),
    )


def results(data: DataSpec) -> dict[str, str]:
    """By source, the column that only periods that are over have a value of: what is forecast."""
    plan = series_plan(data)
    return {plan.source: plan.label} if plan is not None and plan.label else {}


def name_series(keys: Sequence[str]) -> pl.Expr:
    """Column ``series``: key values joined by ``/``; a slash within a value is written ``%2F``."""
    parts = [
        pl.col(k)
        .cast(pl.String)
        .str.replace_all("%", "%25", literal=True)
        .str.replace_all("/", "%2F", literal=True)
        .fill_null("%00")
        for k in keys
    ]
    return pl.concat_str(parts, separator="/").alias(SERIES)


def on_grid(sources: Mapping[str, pl.DataFrame], plan: SeriesPlan) -> dict[str, pl.DataFrame]:
    """Name the series in every source that has their keys, and make the observed source regular.

    Raises
    ------
    DataError
        When the observed source is not regular; see `regular`.
    """
    found = {
        name: frame.with_columns(name_series(plan.keys)) if set(plan.keys) <= set(frame.columns) else frame
        for name, frame in sources.items()
    }
    if plan.source in found:
        found[plan.source] = regular(found[plan.source], plan)
    return found


def regular(frame: pl.DataFrame, plan: SeriesPlan) -> pl.DataFrame:
    """Refuse rows that stand on no grid, and put rows in for missing periods as ``missing`` says.

    Parameters
    ----------
    frame
        Rows of the observed source with the column ``series``; the label column may be missing (rows of the future).

    Returns
    -------
    The rows with ``__filled``, sorted by series and time. ``zero``: a period without a row has the label 0, up to the
    last period of the source, and the other columns have the value last known. ``last``: all columns have the value
    last known, up to the last row of the series. Rows after the last known label are plans; they stay as they are.

    Raises
    ------
    DataError
        Naming series and period: a time that is no beginning of a period, two rows of one period, a period without a
        row (with ``missing: fail``), a negative label.
    """
    grid, time = plan.grid, plan.time
    check_rows(frame, plan)
    frame = frame.sort(SERIES, time)
    if plan.missing == "leave":
        return frame.with_columns(pl.lit(False).alias(FILLED))
    numbered = frame.with_columns(grid.number(pl.col(time)).alias(_PERIOD))
    planned = numbered.clear()
    if plan.label in frame.columns and numbered[plan.label].count():
        ahead = pl.col(_PERIOD) > pl.col(_PERIOD).filter(pl.col(plan.label).is_not_null()).max()
        numbered, planned = numbered.filter(~ahead), numbered.filter(ahead)
    ends = numbered.group_by(SERIES, maintain_order=True).agg(
        pl.col(_PERIOD).min().alias("first"), pl.col(_PERIOD).max().alias("last")
    )
    if plan.missing == "zero":
        ends = ends.with_columns(pl.lit(numbered[_PERIOD].max()).alias("last"))
    whole = ends.select(
        SERIES, pl.int_ranges("first", pl.col("last") + 1, dtype=pl.Int64).alias(_PERIOD)
    ).explode(_PERIOD)
    absent = whole.join(numbered.select(SERIES, _PERIOD), on=[SERIES, _PERIOD], how="anti")
    if plan.missing == "fail" and absent.height:
        examples = absent.head(_SHOWN).with_columns(grid.start(pl.col(_PERIOD)).alias(time))
        raise DataError(
            f"source {plan.source}: {absent.height:,} periods of {absent[SERIES].n_unique():,} series have no row: "
            f"{_told(examples, time)}",
            remedy="Bring the rows, or say what such a period is: data.observations.missing: zero, last or leave.",
        )
    filled = numbered.with_columns(pl.lit(False).alias(FILLED)).join(
        whole, on=[SERIES, _PERIOD], how="right", coalesce=True
    )
    filled = filled.sort(SERIES, _PERIOD).with_columns(pl.col(FILLED).fill_null(True))
    kept = [c for c in frame.columns if c not in (SERIES, time)]
    if plan.missing == "zero" and plan.label in kept:
        kept.remove(plan.label)
        filled = filled.with_columns(pl.when(FILLED).then(0).otherwise(pl.col(plan.label)).alias(plan.label))
    # Only rows that were put in take over what stood before; a value that was missing in a row stays missing.
    filled = filled.with_columns(
        pl.when(FILLED).then(pl.col(kept).forward_fill().over(SERIES)).otherwise(pl.col(kept)),
        grid.start(pl.col(_PERIOD)).cast(frame.schema[time]).alias(time),
    )
    filled = filled.select(*frame.columns, FILLED)
    if planned.is_empty():
        return filled
    planned = planned.with_columns(pl.lit(False).alias(FILLED)).select(filled.columns)
    return pl.concat([filled, planned]).sort(SERIES, time)


def check_rows(frame: pl.DataFrame, plan: SeriesPlan, what: str | None = None) -> None:
    """Refuse rows that no forecast can be made from; see `regular` for the rules.

    ``what`` is what the rows are called, if they are not the source of the series.
    """
    grid, time = plan.grid, plan.time
    what = what or f"source {plan.source}"
    absent = frame.filter(
        pl.any_horizontal(pl.col(time).is_null(), *(pl.col(k).is_null() for k in plan.keys))
    )
    if absent.height:
        raise DataError(
            f"{what}: {absent.height:,} rows do not say of which series or period they are",
            remedy=f"Set them aside: `where: {time} IS NOT NULL AND {plan.keys[0]} IS NOT NULL` in data.sources.",
        )
    off = frame.filter(grid.is_off(pl.col(time)))
    if off.height:
        first = "" if plan.every != "week" else f", which start on {plan.starts_on}"
        days = off.select(pl.col(time).dt.strftime("%A").unique().sort()).to_series().to_list()
        seen = f" They are of a {' or '.join(days)}." if plan.every == "week" else ""
        raise DataError(
            f"{what}: {off.height:,} rows are not of the beginning of a {plan.every}{first}: "
            f"{_told(off.sort(SERIES, time).head(_SHOWN), time)}.{seen}",
            remedy="A row's time is the first day of its period: correct data.observations.every or starts_on, or move "
            "the times with `derive`.",
        )
    repeated = frame.filter(pl.struct(SERIES, time).is_duplicated())
    if repeated.height:
        examples = repeated.select(SERIES, time).unique().sort(SERIES, time).head(_SHOWN)
        raise DataError(
            f"{what}: {repeated.height:,} rows share their series and {plan.every} with another: "
            f"{_told(examples, time)}",
            remedy="Keep one row per series and period; `duplicates: drop` drops rows that are alike in every column.",
        )
    if plan.label not in frame.columns:
        return
    negative = frame.filter(pl.col(plan.label) < 0).sort(SERIES, time)
    if negative.height:
        raise DataError(
            f"{what}: {plan.label} is negative in {negative.height:,} rows: "
            f"{_told(negative.head(_SHOWN), time, plan.label)}",
            remedy=f"Returns belong to the period of the sale, or in a column of their own. `min: 0` for {plan.label} "
            "with `on_violation: quarantine` sets such rows aside.",
        )


def closed_days(history: pl.DataFrame, plan: SeriesPlan) -> frozenset[int]:
    """Weekdays (1 is Monday) of which no series ever has a row, such as Sundays of shops that close on them.

    Days only, and only where ``missing: leave`` says that a day without a row is no day without sales.
    """
    if plan.every != "day" or plan.missing != "leave":
        return frozenset()
    return frozenset(range(1, 8)) - frozenset(history[plan.time].dt.weekday().unique().to_list())


def check_future(future: pl.DataFrame, plan: SeriesPlan, closed: frozenset[int] = frozenset()) -> None:
    """Refuse rows of the future in which a series ends before the others, or has a hole.

    Parameters
    ----------
    future
        Rows to forecast: key columns, time and, where steps are to be judged, ``as_of``.
    closed
        See `closed_days`; of these no row is asked.

    Raises
    ------
    DataError
        Also for what `check_rows` refuses.
    """
    frame = future.with_columns(name_series(plan.keys))
    check_rows(frame, replace(plan, label=""), "rows to be forecast")
    grid, time = plan.grid, plan.time
    number = grid.number(pl.col(time))
    if AS_OF in frame.columns:
        step = number - grid.number(pl.col(AS_OF)) - plan.gap + 1
        far = frame.with_columns(step.alias(STEP)).filter(~pl.col(STEP).is_between(1, plan.horizon))
        if far.height:
            raise DataError(
                f"{far.height:,} rows are not among the {plan.horizon} {plan.every}s that are forecast from "
                f"{_day(frame[AS_OF][0])}: {_told(far.sort(SERIES, time).head(_SHOWN), time)}, which is step "
                f"{far.sort(SERIES, time)[STEP][0]}",
                remedy=f"Bring steps 1 to {plan.horizon} alone.",
            )
    ends = frame.group_by(SERIES).agg(
        number.min().alias("first"), number.max().alias("last"), pl.len().alias("rows"),
        pl.col(time).max().alias("__until"),
    ).sort(SERIES)  # fmt: skip
    last = ends["last"].max()
    early = ends.filter(pl.col("last") < last)
    if early.height:
        until = frame[time].max()
        raise DataError(
            f"{early.height:,} of {ends.height:,} series end before the others: "
            f"{_told(early.head(_SHOWN).rename({'__until': time}), time)}; the others go on to {_day(until)}",
            remedy="Bring what is known ahead of every period to be forecast, for every series.",
        )
    holed = ends.filter(pl.col("rows") != pl.col("last") - pl.col("first") + 1)
    whole = holed.select(SERIES, pl.int_ranges("first", pl.col("last") + 1).alias("n")).explode("n")
    whole = whole.with_columns(grid.start(pl.col("n")).alias(time))
    there = frame.select(SERIES, number.alias("n"))
    absent = whole.filter(~pl.col(time).dt.weekday().is_in(list(closed)))
    absent = absent.join(there, on=[SERIES, "n"], how="anti", maintain_order="left")
    absent = absent.unique(SERIES, keep="first", maintain_order=True)
    if absent.height:
        raise DataError(
            f"{absent.height:,} series leave out a {plan.every} between their first and last: "
            f"{_told(absent.head(_SHOWN), time)}",
            remedy="Bring a row for every period to be forecast.",
        )


def _told(rows: pl.DataFrame, time: str, value: str | None = None) -> str:
    """Name some rows: ``series 2/1 in 1990-06-14``."""
    return ", ".join(
        f"series {row[SERIES]} of {_day(row[time])}" + (f" ({row[value]:g})" if value else "")
        for row in rows.iter_rows(named=True)
    )


def _day(moment: object) -> str:
    text = str(moment)
    return text.removesuffix(" 00:00:00")
