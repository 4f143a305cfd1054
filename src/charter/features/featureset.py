"""The definition of a model's features: from the specification, as data, and applied to a frame.

Training, evaluation, batch and online scoring build their features by `complete` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any, Literal

import polars as pl

from charter.core.errors import DataError, PackageError, UsageError
from charter.core.nearest import did_you_mean
from charter.data.cast import DTYPES
from charter.features.expressions import columns_of, compile_expression, compile_number
from charter.features.history import History
from charter.features.observations import entity_of
from charter.features.windows import columns_read, window_features, window_names
from charter.spec.types import ModelSpec

Kind = Literal["number", "truth", "category"]
SCHEMA_VERSION = 1
FEW_ROWS = 4096
"""Handing so few rows to other threads costs more than it gives."""


@dataclass(frozen=True, slots=True)
class Input:
    """A raw column of the observation that the features read; ``type`` is the specification's word."""

    name: str
    type: str


@dataclass(frozen=True, slots=True)
class EventWindow:
    """A window aggregate; one feature per entry of ``over``. See `charter.spec.types.WindowSpec`."""

    name: str
    source: str
    aggregate: str
    over: tuple[str, ...]
    where: str | None
    default: float | None


@dataclass(frozen=True, slots=True)
class RowFeature:
    """A column computed from others of the same observation."""

    name: str
    expression: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Feature:
    """A column that the model may see. ``values`` are a category's declared values, in their order."""

    name: str
    kind: Kind
    values: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Everything needed to turn observations into features; plain data.

    Attributes
    ----------
    inputs
        Raw columns that an observation must bring, besides the entity.
    entity
        Column that joins observations and events; None without windows.
    times
        Per source of a window the column from which moment an event is known, as pairs.
    windows, rows
        How features are made; rows in an order in which each finds what it reads.
    features
        Candidates for the model; encoding and selection follow in `charter.features.preprocess`.
    label
        Name of the label column, which no feature reads.
    """

    inputs: tuple[Input, ...]
    entity: str | None
    times: tuple[tuple[str, str], ...]
    windows: tuple[EventWindow, ...]
    rows: tuple[RowFeature, ...]
    features: tuple[Feature, ...]
    label: str

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the candidate features."""
        return tuple(feature.name for feature in self.features)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources whose events the windows read, sorted."""
        return tuple(sorted({window.source for window in self.windows}))

    def to_json(self) -> dict[str, Any]:
        """Plain data, for `from_json`."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> FeatureSet:
        """Inverse of `to_json`, also after a passage through JSON text.

        Raises
        ------
        PackageError
            When the data is of another schema version or damaged.
        """
        if data.get("schema_version") != SCHEMA_VERSION:
            raise PackageError(
                f"feature set has schema version {data.get('schema_version')!r}, this Charter reads {SCHEMA_VERSION}",
                remedy="Use the version of Charter that wrote it, or build the package again.",
            )
        try:
            return cls(
                inputs=tuple(Input(**i) for i in data["inputs"]),
                entity=data["entity"],
                times=tuple((str(source), str(column)) for source, column in data["times"]),
                windows=tuple(EventWindow(**{**w, "over": tuple(w["over"])}) for w in data["windows"]),
                rows=tuple(RowFeature(**r) for r in data["rows"]),
                features=tuple(
                    Feature(f["name"], f["kind"], None if f["values"] is None else tuple(f["values"]))
                    for f in data["features"]
                ),
                label=data["label"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise PackageError(f"feature set is damaged: {error!r}") from error


def feature_set(spec: ModelSpec) -> FeatureSet:
    """Read the features from a specification, without data.

    Candidates are, in this order: the columns of the observations' source (numbers, truth values, categories,
    and texts that ``features.encode`` names), the windows, the row features. Keys, moments, the label, what the
    source derives from the label, and ``features.exclude`` never are candidates.

    Raises
    ------
    UsageError
        When an expression reads a column that is not there, row features go in a circle, or two features bear
        one name.
    """
    data, features = spec.data, spec.features
    plan = data.observations
    source = data.sources[plan.source] if plan.source is not None else None
    columns = dict(source.columns) if source is not None else {}
    derived = dict(source.derive) if source is not None else {}
    hidden = {*plan.key, plan.time, data.label.column, data.label.name, *features.exclude} - {None}
    windows = tuple(
        EventWindow(name, w.source, w.aggregate, tuple(w.over), w.where, w.default)
        for name, w in features.windows.items()
    )
    made = window_names(features.windows)
    telling = {data.label.name, data.label.column or data.label.name}
    for name, text in derived.items():  # each may read those before it
        if telling & {name, *columns_of(text)}:
            telling.add(name)
    derived = {name: text for name, text in derived.items() if name not in telling}
    raw = {name: c for name, c in columns.items() if name not in {*derived, *telling}}
    _refuse_repeats([*raw, *derived, *made, *features.rows, data.label.name])
    schema = pl.DataFrame(
        schema={n: DTYPES[c.type] for n, c in raw.items()} | dict.fromkeys(made, pl.Float64)
    )
    rows, typed = _ordered(schema, {**derived, **features.rows}, telling)
    temporal = {name for name, dtype in typed.schema.items() if dtype.is_temporal()}
    texts = {name for name, c in columns.items() if c.type == "text"}
    names = [*raw, *derived, *made, *features.rows]
    candidates = tuple(
        Feature(name, kind_of(typed.schema[name]), columns[name].values if name in columns else None)
        for name in names
        if name not in hidden | temporal and (name not in texts or name in features.encode)
    )
    needed = _reach({c.name for c in candidates}, rows)
    times = {w.source: data.sources[w.source].time for w in windows}
    return FeatureSet(
        inputs=tuple(Input(name, c.type) for name, c in raw.items() if name in needed),
        entity=entity_of(data) if windows else None,
        times=tuple(sorted((name, time) for name, time in times.items() if time is not None)),
        windows=windows,
        rows=tuple(row for row in rows if row.name in needed),
        features=candidates,
        label=data.label.name,
    )


def complete(
    frame: pl.DataFrame, features: FeatureSet, events: Mapping[str, pl.DataFrame | History] | None = None
) -> pl.DataFrame:
    """Add window and row features to observations.

    Parameters
    ----------
    frame
        The inputs and, when there are windows, the entity and ``as_of``; n rows.
    events
        Per source of a window its events, or its `History` where many small calls are to come.

    Returns
    -------
    ``frame`` with the features' columns added; each row depends on nothing but itself and its entity's past.
    """
    if features.windows:
        if features.entity is None:
            raise DataError(
                "window features need an entity, and the observations name none",
                remedy="Name observations.entity, or a key of one column.",
            )
        windows = {w.name: w for w in features.windows}
        computed = window_features(frame, events or {}, windows, features.entity, dict(features.times))
        frame = frame.with_columns(computed.get_columns())
    return compute(frame, features)


def compute(frame: pl.DataFrame, features: FeatureSet) -> pl.DataFrame:
    """Add the row features to a frame that has inputs and windows.

    Numbers are Float64, null where they have no value (a division by zero, an overflow).
    """
    for level in _levels(features.rows):
        try:
            for step in level:
                few = frame.height <= FEW_ROWS
                frame = frame.with_columns_seq(step) if few else frame.with_columns(step)
        except pl.exceptions.PolarsError as error:
            raise DataError(f"row features cannot be computed: {str(error).splitlines()[0]}") from error
    return frame


def histories(sources: Mapping[str, pl.DataFrame], features: FeatureSet) -> dict[str, History]:
    """Sort the events that a feature set reads once, for a server that answers many requests."""
    times, windows = dict(features.times), {w.name: w for w in features.windows}
    for name in features.sources:
        if name not in sources or name not in times or features.entity is None:
            raise DataError(
                f"the features read the events of source {name!r}, which are not here",
                remedy=did_you_mean(name, sources),
            )
    return {
        name: History.of(
            sources[name], features.entity or "", times[name], columns_read(windows, name), source=name
        )
        for name in features.sources
    }


def kind_of(dtype: pl.DataType) -> Kind:
    """What a Polars type is to a model."""
    if dtype == pl.Boolean:
        return "truth"
    return "number" if dtype.is_numeric() else "category"


def _expression(row: RowFeature) -> pl.Expr:
    compiled = compile_number(row.expression) if row.kind == "number" else compile_expression(row.expression)
    return compiled.alias(row.name)


@lru_cache(maxsize=256)
def _levels(rows: tuple[RowFeature, ...]) -> tuple[tuple[tuple[pl.Expr, ...], ...], ...]:
    """Rows that do not read each other are computed side by side: first their values, then numbers held to be finite.

    In two steps because Polars would evaluate the expression of a number twice: once to look, once to take.
    """
    depth: dict[str, int] = {}
    for row in rows:
        depth[row.name] = 1 + max((depth.get(name, 0) for name in columns_of(row.expression)), default=0)
    deepest = max(depth.values(), default=0)
    return tuple(
        tuple(step for step in _steps([r for r in rows if depth[r.name] == at]) if step)
        for at in range(1, deepest + 1)
    )


def _steps(rows: Sequence[RowFeature]) -> tuple[tuple[pl.Expr, ...], tuple[pl.Expr, ...]]:
    """What `_expression` says of each row, in two steps."""
    numbers = [r.name for r in rows if r.kind == "number"]
    values = (
        (compile_expression(r.expression).cast(pl.Float64) if r.name in numbers else _expression(r)).alias(
            r.name
        )
        for r in rows
    )
    return tuple(values), tuple(pl.when(pl.col(n).is_finite()).then(pl.col(n)) for n in numbers)


def _ordered(
    schema: pl.DataFrame, expressions: Mapping[str, str], telling: Container[str]
) -> tuple[tuple[RowFeature, ...], pl.DataFrame]:
    """Order row features by what they read, and find their types on a frame without rows."""
    rows: list[RowFeature] = []
    waiting = dict(expressions)
    while waiting:
        ready = [n for n, text in waiting.items() if not set(columns_of(text)) & waiting.keys()]
        if not ready:
            raise UsageError(f"row features read each other in a circle: {', '.join(waiting)}")
        for name in ready:
            text = waiting.pop(name)
            unknown = [c for c in columns_of(text) if c not in schema.columns]
            for column in unknown:
                if column in telling:
                    raise UsageError(
                        f"feature {name!r} reads {column!r}, which tells the label",
                        remedy="A feature may only read what is known at the moment of prediction.",
                    )
            if unknown:
                raise UsageError(
                    f"feature {name!r} reads {unknown[0]!r}, which no observation has",
                    remedy=did_you_mean(unknown[0], schema.columns),
                )
            try:
                kind = kind_of(schema.select(compile_expression(text).alias(name)).schema[name])
                row = RowFeature(name, text, kind)
                schema = schema.with_columns(_expression(row))
            except pl.exceptions.PolarsError as error:
                raise UsageError(
                    f"feature {name!r}: {text!r} cannot be computed: {str(error).splitlines()[0]}"
                ) from error
            rows.append(row)
    return tuple(rows), schema


def _reach(names: Iterable[str], rows: Iterable[RowFeature]) -> set[str]:
    """Columns that the named ones are made of, themselves included."""
    reads = {row.name: columns_of(row.expression) for row in rows}
    found: set[str] = set()
    waiting = set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        waiting |= set(reads.get(name, ())) - found
    return found


def _refuse_repeats(names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise UsageError(f"two columns bear the name {name!r}", remedy="Rename one of the features.")
        seen.add(name)
