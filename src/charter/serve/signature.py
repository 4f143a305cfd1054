"""Which fields a request must hold, from the specification and the rows that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from charter.core.errors import UsageError
from charter.core.quantity import parse_duration
from charter.serve.types import AS_OF, Entity, EventSource, Input, Scalar, Signature
from charter.spec.expression import parse

if TYPE_CHECKING:
    from charter.spec.types import ColumnSpec, ModelSpec, SourceSpec

MAX_SEEN_VALUES = 1000
"""A column with more distinct values than this has no list of seen categories, so nothing is ever unseen there."""
_DEFAULT_FRESH_DAYS = 7.0


def signature(spec: ModelSpec, frame: pl.DataFrame) -> Signature:
    """Derive the fields of a request.

    Models of plain rows ask for every source column that a feature, a row expression or the fallback rule needs,
    directly or through a derived column: the prepared columns (renamed and cast), before ``derive``. Models of
    entities ask for the entity and, optionally, ``as_of``.

    Parameters
    ----------
    spec
        The specification.
    frame
        Training rows, for the range that was seen: the data set, or only its inputs. Columns that it lacks have no
        seen range. When it has the column ``__split``, rows outside ``train`` are left out.

    Returns
    -------
    Fields in the order of the specification.
    """
    if "__split" in frame.columns:
        frame = frame.filter(pl.col("__split") == "train")
    if spec.data.observations.entity is not None:
        return _entity_signature(spec)
    source = spec.data.sources[str(spec.data.observations.source)]
    needed = _needed(spec, source)
    names = [name for name in source.columns if name in needed and name not in source.derive]
    inputs = tuple(_input(name, source.columns[name], frame) for name in names)
    derive = {name: text for name, text in source.derive.items() if name in needed}
    return Signature(inputs, derive)


def _needed(spec: ModelSpec, source: SourceSpec) -> set[str]:
    observations, label = spec.data.observations, spec.data.label
    hidden = {*observations.key, *spec.features.exclude, label.column, label.name, observations.time}
    hidden |= {name for name, encoding in spec.features.encode.items() if encoding == "drop"}
    if spec.train.split.group is not None:
        hidden.add(spec.train.split.group)
    wanted = (set(source.columns) | set(source.derive)) - hidden
    expressions = list(spec.features.rows.values())
    if spec.serve.fallback is not None and spec.serve.fallback.rule is not None:
        expressions.append(spec.serve.fallback.rule)
    wanted |= _names(expressions) - set(spec.features.rows)
    # Derived columns may rest on derived columns before them, so go through them backwards.
    for name, text in reversed(source.derive.items()):
        if name in wanted:
            wanted |= _names([text])
    return wanted


def _names(expressions: Iterable[str]) -> set[str]:
    return {name for text in expressions for name in parse(text).names}


def _input(name: str, column: ColumnSpec, frame: pl.DataFrame) -> Input:
    seen = _seen(frame[name], column) if name in frame.columns else {}
    shown = seen.pop("example", None)
    if column.sensitivity == "personal" or shown is None:
        shown = _plausible(column)
    return Input(
        name,
        column.type,
        nullable=column.nullable,
        min=_limit(column.min),
        max=_limit(column.max),
        values=column.values,
        sensitivity=column.sensitivity,
        unit=column.unit,
        description=column.description,
        example=shown,
        **seen,
    )


def _seen(values: pl.Series, column: ColumnSpec) -> dict[str, Any]:
    values = values.drop_nulls()
    if values.is_empty():
        return {}
    if column.type in ("integer", "float"):
        low, high, middle = float(values.min()), float(values.max()), float(values.median())  # type: ignore[arg-type]
        return {"seen_min": low, "seen_max": high, "example": round(middle) if column.type == "integer" else middle}
    if column.type in ("date", "datetime"):
        low_at, high_at = values.min(), values.max()
        if isinstance(low_at, date) and isinstance(high_at, date):
            return {"seen_min": low_at.isoformat(), "seen_max": high_at.isoformat(), "example": high_at.isoformat()}
        return {}
    if column.type == "category" and column.sensitivity != "personal":
        counts = values.cast(pl.String).value_counts(sort=True)
        names = sorted(counts.to_series(0).to_list())
        common = min(counts.filter(counts["count"] == counts["count"].max()).to_series(0).to_list())
        listed = tuple(names) if len(names) <= MAX_SEEN_VALUES else None
        return {"seen_values": listed, "example": common}
    return {}


def _plausible(column: ColumnSpec) -> Scalar:
    match column.type:
        case "integer" | "float":
            limit = _limit(column.min)
            return limit if isinstance(limit, float | int) else 0
        case "boolean":
            return False
        case "category":
            return column.values[0] if column.values else "A"
        case "date" | "datetime":
            return str(_limit(column.max) or "2026-01-01")
        case _:
            return "text"


def _limit(limit: float | date | None) -> float | str | None:
    if isinstance(limit, date):
        return limit.isoformat()
    return int(limit) if limit is not None and float(limit).is_integer() else limit


def _entity_signature(spec: ModelSpec) -> Signature:
    observations = spec.data.observations
    entity, population = str(observations.entity), observations.population
    if population is None:
        raise UsageError("observations of entities need a population")
    column = spec.data.sources[population.source].columns[entity]
    whom = Input(
        entity,
        column.type,
        sensitivity=column.sensitivity,
        min=_limit(column.min),
        max=_limit(column.max),
        values=column.values,
        unit=column.unit,
        description=column.description or "whom the question is about",
        example=_plausible(column),
    )
    when = Input(
        AS_OF,
        "datetime",
        nullable=True,
        description="what happened before this moment is known; now when left out",
        example=observations.cutoffs.last.isoformat() if observations.cutoffs else None,
    )
    return Signature((whom, when), {}, Entity(entity, _event_sources(spec, entity)))


def _event_sources(spec: ModelSpec, entity: str) -> Mapping[str, EventSource]:
    sources: dict[str, EventSource] = {}
    for name in sorted({w.source for w in spec.features.windows.values()}):
        source = spec.data.sources[name]
        windows = [w for w in spec.features.windows.values() if w.source == name]
        texts = [t for w in windows for t in (w.aggregate, w.where) if t is not None]
        if source.time is None:
            raise UsageError(f"source {name} has windows but no time", remedy="Name its time column.")
        read = _names(texts) - {"age_days"} | {entity, source.time}
        fresh = parse_duration(source.fresh_within).total_seconds() / 86_400 if source.fresh_within else None
        sources[name] = EventSource(source.time, tuple(sorted(read)), fresh or _DEFAULT_FRESH_DAYS)
    return sources
