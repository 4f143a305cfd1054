"""Which fields a request must hold, from the specification and the rows that the model was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING, Any

import polars as pl

from charter.core.quantity import parse_duration
from charter.data.grid import SeriesPlan, series_plan
from charter.features.featureset import FeatureSet, feature_set
from charter.features.lags import lag_columns
from charter.features.windows import columns_read
from charter.serve.types import AS_OF, Entity, EventSource, Input, Scalar, Signature
from charter.spec.expression import parse
from charter.spec.notices import is_written
from charter.spec.scope import known_columns
from charter.spec.types import ColumnSpec

if TYPE_CHECKING:
    from charter.spec.types import ModelSpec, SourceSpec

MAX_SEEN_VALUES = 1000
"""A column with more distinct values than this has no list of seen categories, so nothing is ever unseen there."""
_DEFAULT_FRESH_DAYS = 7.0


def signature(spec: ModelSpec, frame: pl.DataFrame, *, used: Iterable[str] | None = None) -> Signature:
    """Derive the fields of a request.

    Models of plain rows ask for every source column that a feature, a row expression or the fallback rule needs,
    directly or through a derived column: the prepared columns (renamed and cast), before ``derive``; the identifiers
    may be given. Models of entities ask for the entity and, optionally, ``as_of``.

    Parameters
    ----------
    spec
        The specification.
    frame
        Training rows, for the range that was seen: the data set, or only its inputs. Columns that it lacks have no
        seen range. When it has the column ``__split``, rows outside ``train`` are left out.
    used
        Features that the fitted preprocessing kept (``Preprocessor.features``): a column that neither it nor a row
        feature reads is not asked for. None asks for every candidate.

    Returns
    -------
    Fields in the order of the specification.
    """
    if "__split" in frame.columns:
        frame = frame.filter(pl.col("__split") == "train")
    features = feature_set(spec)
    plan = series_plan(spec.data)
    if plan is not None:
        return _series_signature(spec, features, plan, frame)
    observations = spec.data.observations
    source = spec.data.sources[observations.source] if observations.source is not None else None
    columns = _fallback_needs(spec, source)
    names = {i.name for i in features.inputs}
    if used is not None:
        names &= {*used, *(name for row in features.rows for name in parse(row.expression).names)}
    names |= columns
    inputs = (
        [_input(n, c, frame) for n, c in source.columns.items() if n in names] if source is not None else []
    )
    known = {i.name for i in inputs}
    rules = _checkable(source, known)
    derive = _between(
        source, {*_fallback_names(spec), *(n for text in rules.values() for n in parse(text).names)}
    )
    if features.entity is None:
        asked = (
            [_identifier(n, source.columns[n]) for n in spec.serve.identifiers if n not in known]
            if source
            else []
        )
        return Signature((*inputs, *asked), derive, None, rules)
    about = [i for i in (_whom(spec, features.entity), _when(spec)) if i.name not in known]
    entity = Entity(features.entity, _event_sources(spec, features))
    return Signature((*about, *inputs), derive, entity, rules)


def _series_signature(
    spec: ModelSpec, features: FeatureSet, plan: SeriesPlan, frame: pl.DataFrame
) -> Signature:
    """A request about a series: which one, from when on, which period, and what is known of that ahead."""
    source = spec.data.sources[plan.source]
    columns = known_columns(spec.data).columns
    read = {i.name for i in features.inputs}
    always = {*plan.keys, plan.time}
    # A derived column has no contract; a key is then text, and the time a date.
    contracts = {n: ColumnSpec(type="category") for n in plan.keys} | {plan.time: ColumnSpec(type="date")}
    contracts |= source.columns
    asked = [_input(n, contracts[n], frame) for n in columns if n in contracts and (n in read or n in always)]
    first = _first_unknown(plan, frame)
    # Every period ahead lies outside those of the training rows; that is no news.
    asked = [
        replace(i, seen_min=None, seen_max=None, example=first and first[1]) if i.name == plan.time else i
        for i in asked
    ]
    when = Input(
        AS_OF,
        "datetime",
        nullable=True,
        example=first and first[0],
        description=f"first {plan.every} that is not known; the one after the last known when left out",
    )
    lagged = lag_columns(features.lags)
    history: dict[str, tuple[str, ...]] = {}
    for name in sorted({plan.source, *features.sources}):
        needed = {*columns_read({w.name: w for w in features.windows}, name), *plan.keys}
        needed |= {plan.time, plan.label, *lagged} if name == plan.source else {dict(features.times)[name]}
        history[name] = tuple(sorted(needed))
    for name, _ in plan.attributes:
        attributes = spec.data.sources[name]
        history[name] = tuple(dict.fromkeys((*attributes.columns, *attributes.derive)))
    return Signature((*asked[: len(plan.keys)], when, *asked[len(plan.keys) :]), series=plan, history=history)


def _first_unknown(plan: SeriesPlan, frame: pl.DataFrame) -> tuple[str, str] | None:
    """An origin after the training rows, and the first period that is forecast from it, ISO."""
    if plan.time not in frame.columns or frame.is_empty():
        return None
    number = int(frame.select(plan.grid.number(pl.col(plan.time)).max()).item()) + 1
    moments = (plan.grid.begin(number), plan.grid.begin(number + plan.gap))
    as_date = frame.schema[plan.time] == pl.Date
    return moments[0].isoformat(), (moments[1].date() if as_date else moments[1]).isoformat()


def _fallback_names(spec: ModelSpec) -> set[str]:
    """Columns and features that the fallback rule reads, directly or through row features."""
    rule = spec.serve.fallback.rule if spec.serve.fallback is not None else None
    wanted = set(parse(rule).names) if rule is not None else set()
    for name in reversed(spec.features.rows):
        if name in wanted:
            wanted |= set(parse(spec.features.rows[name]).names)
    return wanted


def _fallback_needs(spec: ModelSpec, source: SourceSpec | None) -> set[str]:
    """Source columns that the fallback rule reads, directly or through derived ones."""
    return _raw(source, _fallback_names(spec)) if source is not None else set()


def _reach(source: SourceSpec, names: set[str]) -> set[str]:
    """Names and what they are derived from; a derived column rests on those before it, so go backwards."""
    wanted = set(names)
    for name, text in reversed(source.derive.items()):
        if name in wanted:
            wanted |= set(parse(text).names)
    return wanted


def _raw(source: SourceSpec, names: set[str]) -> set[str]:
    return _reach(source, names) & (set(source.columns) - set(source.derive))


def _between(source: SourceSpec | None, names: set[str]) -> dict[str, str]:
    """Derived columns on the way from the inputs to ``names``, in order."""
    if source is None:
        return {}
    wanted = _reach(source, names)
    return {name: text for name, text in source.derive.items() if name in wanted}


def _checkable(source: SourceSpec | None, asked: set[str]) -> dict[str, str]:
    """The source's cross-column rules and its ``where`` that can be told from what a request holds."""
    if source is None:
        return {}
    stated = {f"breaks the rule {name}": text for name, text in source.rules.items()}
    if source.where is not None:
        stated["is outside the rows that the model was made for"] = source.where
    return {words: text for words, text in stated.items() if _raw(source, set(parse(text).names)) <= asked}


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
        description=column.description if is_written(column.description) else None,
        example=shown,
        **seen,
    )


def _identifier(name: str, column: ColumnSpec) -> Input:
    """A field that may be left out and that no feature reads: nothing of it was seen, so nothing is unseen."""
    return Input(
        name,
        column.type,
        nullable=True,
        min=_limit(column.min),
        max=_limit(column.max),
        values=column.values,
        sensitivity=column.sensitivity,
        description=column.description if is_written(column.description) else "whom the row is about",
    )


def _seen(values: pl.Series, column: ColumnSpec) -> dict[str, Any]:
    values = values.drop_nulls()
    if values.is_empty():
        return {}
    if column.type in ("integer", "float"):
        low, high, middle = float(values.min()), float(values.max()), float(values.median())  # type: ignore[arg-type]
        return {
            "seen_min": low,
            "seen_max": high,
            "example": round(middle) if column.type == "integer" else middle,
        }
    if column.type in ("date", "datetime"):
        low_at, high_at = values.min(), values.max()
        if isinstance(low_at, date) and isinstance(high_at, date):
            return {
                "seen_min": low_at.isoformat(),
                "seen_max": high_at.isoformat(),
                "example": high_at.isoformat(),
            }
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


def _whom(spec: ModelSpec, entity: str) -> Input:
    observations = spec.data.observations
    name = observations.source or (observations.population.source if observations.population else "")
    column = spec.data.sources[name].columns[entity]
    return Input(
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


def _when(spec: ModelSpec) -> Input:
    cutoffs = spec.data.observations.cutoffs
    return Input(
        AS_OF,
        "datetime",
        nullable=True,
        description="what happened before this moment is known; now when left out",
        example=str(cutoffs.last) if cutoffs else None,
    )


def _event_sources(spec: ModelSpec, features: FeatureSet) -> dict[str, EventSource]:
    windows, times = {w.name: w for w in features.windows}, dict(features.times)
    sources = {}
    for name in features.sources:
        fresh = spec.data.sources[name].fresh_within
        days = parse_duration(fresh).total_seconds() / 86_400 if fresh else _DEFAULT_FRESH_DAYS
        columns = tuple(sorted({*columns_read(windows, name), features.entity or "", times[name]}))
        sources[name] = EventSource(times[name], columns, days)
    return sources
