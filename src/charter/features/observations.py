"""What one observation is: a row of a source, or an entity at a cut-off."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.data.grid import AS_OF, SERIES
from charter.features.expressions import columns_of, compile_expression
from charter.features.history import MOMENT, History, first_at_or_after
from charter.features.labels import column_label, event_label, truth
from charter.features.windows import GROUP, aggregate_slices, duration_us
from charter.spec.functions import AGE
from charter.spec.moments import cutoff_dates, fixed
from charter.spec.types import Cutoffs, DataSpec, Population


def observe(sources: Mapping[str, pl.DataFrame], data: DataSpec, task: str | None = None) -> pl.DataFrame:
    """Form the observations and their labels.

    Parameters
    ----------
    sources
        Prepared frames by name.
    data
        The specification's part ``data``.
    task
        ``binary``, ``multiclass`` or ``regression``; None takes a label without ``positive`` as it stands.

    Returns
    -------
    One row per observation: the key columns, ``as_of`` (``Datetime("us")``; null for rows without a time),
    for rows of a source all its other columns except the raw label column, and the label under
    ``data.label.name``: Int8 0/1 (binary), String (multiclass), Float64 (regression). The label is null where
    it is not known: the source holds none, or its horizon ends after the last known event, for then "nothing
    happened" may mean "not recorded yet". Rows stand in the source's order, entities by cut-off and entity.

    Raises
    ------
    DataError
        When a column is missing or already taken, or the label is not what the task needs.
    """
    plan, label = data.observations, data.label
    if plan.entity is not None and plan.cutoffs is not None and plan.population is not None:
        source = plan.population.source
        events = _source(sources, source)
        frame = _entities(events, _time(data, source), plan.entity, cutoffs(plan.cutoffs), plan.population)
    else:
        frame = _rows(_source(sources, plan.source or ""), data)
    if label.column is not None:
        return column_label(frame, label, task)
    entity, source = entity_of(data), label.source or ""
    if entity is None:
        raise DataError(
            f"label {label.name!r} comes from the events of {source!r}, but no entity is named",
            remedy="Name observations.entity, or a key of one column.",
        )
    return event_label(frame, _source(sources, source), _time(data, source), entity, label)


def newest_day(sources: Mapping[str, pl.DataFrame], data: DataSpec) -> date:
    """Day of the newest row, from which dates that follow the data count back.

    Of several sources that make observations and labels, the one that lags behind counts: after its newest row, that
    something did not happen may mean that it is not recorded yet.

    Raises
    ------
    DataError
        When a source has no time, or no row.
    """
    plan = data.observations
    if plan.source is not None:
        times = {plan.source: plan.time or _time(data, plan.source)}
    else:
        named = (plan.population.source if plan.population is not None else None, data.label.source)
        times = {name: _time(data, name) for name in named if name is not None}
    newest = {name: _source(sources, name)[time].cast(MOMENT).max() for name, time in times.items()}
    empty = [name for name, moment in newest.items() if not isinstance(moment, datetime)]
    if empty:
        raise DataError(
            f"source {empty[0]!r} has no row with a time, so no date can count back from its newest one"
        )
    return min(moment.date() for moment in newest.values() if isinstance(moment, datetime))


def entity_of(data: DataSpec) -> str | None:
    """Column that joins observations and events: the entity, the series, or the key when it is a single column."""
    plan = data.observations
    if plan.series:
        return SERIES
    return plan.entity or (plan.key[0] if len(plan.key) == 1 else None)


def cutoffs(spec: Cutoffs) -> list[datetime]:
    """Moments of observation, midnight UTC, from ``first`` to ``last`` inclusive.

    Months are counted from ``first``; where a month is too short its last day is taken.

    Examples
    --------
    >>> [str(c.date()) for c in cutoffs(Cutoffs(first="2024-01-31", last="2024-03-31"))]
    ['2024-01-31', '2024-02-29', '2024-03-31']
    """
    days = cutoff_dates(fixed(spec.first), fixed(spec.last), spec.every)
    return [datetime(day.year, day.month, day.day) for day in days]  # noqa: DTZ001 - frames hold naive UTC


def _rows(frame: pl.DataFrame, data: DataSpec) -> pl.DataFrame:
    plan, label = data.observations, data.label
    for name in (*plan.key, *filter(None, (plan.time, label.column))):
        if name not in frame.columns:
            raise DataError(
                f"source {plan.source!r} has no column {name!r}", remedy=did_you_mean(name, frame.columns)
            )
    taken = ({AS_OF} if plan.time != AS_OF else set()) | (
        {label.name} if label.name != label.column else set()
    )
    for name in sorted(taken & set(frame.columns)):
        raise DataError(
            f"source {plan.source!r} has a column {name!r}, a name that the observations need themselves",
            remedy="Rename the column in data.sources, or the label in data.label.name.",
        )
    moment = pl.lit(None, MOMENT) if plan.time is None else pl.col(plan.time).cast(MOMENT)
    return frame.with_columns(moment.alias(AS_OF)).select(*plan.key, AS_OF, pl.exclude(*plan.key, AS_OF))


def _entities(
    events: pl.DataFrame, time: str, entity: str, moments: list[datetime], population: Population
) -> pl.DataFrame:
    read = {n for text in (population.having, population.where) if text for n in columns_of(text)} - {AGE}
    history = History.of(events, entity, time, read, source=population.source)
    if population.where is not None:
        history = history.where(compile_expression(population.where))
    having = {"member": compile_expression(population.having)}
    found = []
    for moment in moments:
        as_of = np.full(len(history.entities), _us(moment), np.int64)
        first, last = history.starts[:-1], history.starts[1:]
        high = first_at_or_after(history.times, first, last, as_of)
        low = first_at_or_after(history.times, first, high, as_of - duration_us(population.over))
        for part in aggregate_slices(history, low, high, as_of, having):
            members = part.filter(truth(part["member"], "population.having"))[GROUP]
            found.append(
                pl.DataFrame({entity: history.entities.gather(members), AS_OF: as_of[: len(members)]})
            )
    if not any(part.height for part in found):
        raise DataError(
            f"no entity of source {population.source!r} is in the population at any cut-off",
            remedy="Check observations.cutoffs against the times in the data, and population.having.",
        )
    return pl.concat(found).with_columns(pl.col(AS_OF).cast(MOMENT))


def _source(sources: Mapping[str, pl.DataFrame], name: str) -> pl.DataFrame:
    if name not in sources:
        raise DataError(f"there is no source {name!r}", remedy=did_you_mean(name, sources))
    return sources[name]


def _time(data: DataSpec, source: str) -> str:
    time = data.sources[source].time
    if time is None:
        raise DataError(f"source {source!r} names no time column", remedy=f"Add data.sources.{source}.time.")
    return time


def _us(moment: datetime) -> int:
    return round(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000
