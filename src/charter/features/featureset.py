"""The definition of a model's features: from the specification, as data, and applied to a frame.

Training, evaluation, batch and online scoring build their features by `complete` and by nothing else.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from charter.core.errors import DataError, UsageError
from charter.core.nearest import did_you_mean
from charter.data.cast import DTYPES
from charter.data.grid import SERIES, SeriesPlan, series_plan
from charter.features.calendars import PeriodCalendar, public_holidays
from charter.features.documents import read_document
from charter.features.expressions import columns_of, compile_expression
from charter.features.few_rows import FewRows
from charter.features.history import History
from charter.features.inputs import series_table, source_table
from charter.features.lags import Lag
from charter.features.observations import entity_of
from charter.features.row_features import compute, row_expression
from charter.features.series import series_features, series_histories
from charter.features.windows import columns_read, window_features, window_names
from charter.spec.scope import known_columns
from charter.spec.types import ModelSpec

Kind = Literal["number", "truth", "category"]
SCHEMA_VERSION = 2


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
    by: tuple[str, ...] = ()


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
    series
        Of forecasts: what the series are; the entity is then the column ``series``.
    lags, calendar
        Of forecasts: values of the series' past, and what the calendar says of the target's period.
    """

    inputs: tuple[Input, ...]
    entity: str | None
    times: tuple[tuple[str, str], ...]
    windows: tuple[EventWindow, ...]
    rows: tuple[RowFeature, ...]
    features: tuple[Feature, ...]
    label: str
    series: SeriesPlan | None = None
    lags: tuple[Lag, ...] = ()
    calendar: PeriodCalendar | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the candidate features."""
        return tuple(feature.name for feature in self.features)

    @property
    def sources(self) -> tuple[str, ...]:
        """Sources whose events the windows and lags read, sorted."""
        lagged = {self.series.source} if self.series is not None and self.lags else set()
        return tuple(sorted({window.source for window in self.windows} | lagged))

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
        return read_document(data, "feature set", (1, SCHEMA_VERSION), cls._build)

    @classmethod
    def _build(cls, data: Mapping[str, Any]) -> FeatureSet:
        """Version 1 knew no series."""
        series, calendar = data.get("series"), data.get("calendar")
        return cls(
            inputs=tuple(Input(**i) for i in data["inputs"]),
            entity=data["entity"],
            times=tuple((str(source), str(column)) for source, column in data["times"]),
            windows=tuple(EventWindow(**_tuples(w, "over", "by")) for w in data["windows"]),
            rows=tuple(RowFeature(**r) for r in data["rows"]),
            features=tuple(
                Feature(f["name"], f["kind"], None if f["values"] is None else tuple(f["values"]))
                for f in data["features"]
            ),
            label=data["label"],
            series=None if series is None else _plan_of(series),
            lags=tuple(Lag(**_tuples(lag, "back", "season", "by")) for lag in data.get("lags", ())),
            calendar=None if calendar is None else PeriodCalendar.from_json(calendar),
        )


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
    table = series_table(data) if plan.series else source_table(data)
    hidden = {*plan.key, plan.time, data.label.column, data.label.name, *features.exclude} - {None}
    windows = tuple(
        EventWindow(name, w.source, w.aggregate, tuple(w.over), w.where, w.default, tuple(w.by))
        for name, w in features.windows.items()
    )
    series, lags, calendar = series_plan(data), _lags(spec), _calendar(spec)
    made = [*window_names(features.windows), *(name for lag in lags for name in lag.names)]
    made += calendar.names if calendar is not None else ()
    raw, derived = table.raw, table.derived
    _refuse_repeats([*raw, *derived, *made, *features.rows, data.label.name])
    schema = pl.DataFrame(
        schema={n: DTYPES[c.type] for n, c in raw.items()} | dict.fromkeys(made, pl.Float64)
    )
    rows, typed = _ordered(schema, {**derived, **features.rows}, table.telling)
    temporal = {name for name, dtype in typed.schema.items() if dtype.is_temporal()}
    texts = {name for name, c in table.columns.items() if c.type == "text"}
    names = [*raw, *derived, *made, *features.rows]
    candidates = tuple(
        Feature(
            name, kind_of(typed.schema[name]), table.columns[name].values if name in table.columns else None
        )
        for name in names
        if name not in hidden | temporal and (name not in texts or name in features.encode)
    )
    needed = _reach({c.name for c in candidates}, rows) | set(table.always)
    times = {w.source: data.sources[w.source].time for w in windows}
    if series is not None and lags:
        times[series.source] = series.time
    return FeatureSet(
        inputs=tuple(Input(name, c.type) for name, c in raw.items() if name in needed),
        entity=SERIES if series is not None else entity_of(data) if windows else None,
        times=tuple(sorted((name, time) for name, time in times.items() if time is not None)),
        windows=windows,
        rows=tuple(row for row in rows if row.name in needed),
        features=candidates,
        label=data.label.name,
        series=series,
        lags=lags,
        calendar=calendar,
    )


def _lags(spec: ModelSpec) -> tuple[Lag, ...]:
    known = known_columns(spec.data)
    ahead = {*known.columns, *known.derived}
    return tuple(
        Lag(name, lag.value, lag.back, lag.season, lag.by, set(columns_of(lag.value)) <= ahead)
        for name, lag in spec.features.lags.items()
    )


def _calendar(spec: ModelSpec) -> PeriodCalendar | None:
    asked, plan = spec.features.calendar, spec.data.observations
    if asked is None:
        return None
    days = () if asked.holidays is None else public_holidays(asked.holidays)
    return PeriodCalendar(plan.time or "", plan.every or "", asked.parts, asked.holidays, days)


def _plan_of(data: Mapping[str, Any]) -> SeriesPlan:
    attributes = tuple((str(source), str(key)) for source, key in data["attributes"])
    return SeriesPlan(**{**_tuples(data, "keys", "known_ahead"), "attributes": attributes})


def _tuples(data: Mapping[str, Any], *names: str) -> dict[str, Any]:
    """JSON knows lists alone."""
    return {key: tuple(value) if key in names else value for key, value in data.items()}


def complete(
    frame: pl.DataFrame,
    features: FeatureSet,
    events: Mapping[str, pl.DataFrame | History] | None = None,
    few: FewRows | None = None,
) -> pl.DataFrame:
    """Add window and row features to observations.

    Parameters
    ----------
    frame
        The inputs and, when there are windows, the entity and ``as_of``; n rows.
    events
        Per source of a window its events, or its `History` where many small calls are to come.
    few
        What computes the row features of a few rows, see `few_rows`.

    Returns
    -------
    ``frame`` with the features' columns added; each row depends on nothing but itself and its entity's past.
    """
    if features.series is not None:
        windows = {w.name: w for w in features.windows}
        made = series_features(
            frame,
            histories(events or {}, features),
            windows,
            features.lags,
            features.calendar,
            features.series,
        )
        return compute(frame.with_columns(made.get_columns()), features, few)
    if features.windows:
        if features.entity is None:
            raise DataError(
                "window features need an entity, and the observations name none",
                remedy="Name observations.entity, or a key of one column.",
            )
        windows = {w.name: w for w in features.windows}
        computed = window_features(frame, events or {}, windows, features.entity, dict(features.times))
        frame = frame.with_columns(computed.get_columns())
    return compute(frame, features, few)


def histories(sources: Mapping[str, pl.DataFrame | History], features: FeatureSet) -> dict[str, History]:
    """Sort the events that a feature set reads once, for a server that answers many requests.

    Of series there is one history for each way of grouping them, see `charter.features.series.past_name`. What is
    sorted already is taken as it is.
    """
    times, windows = dict(features.times), {w.name: w for w in features.windows}
    if features.series is not None:
        return series_histories(sources, windows, features.lags, features.series, times)
    found: dict[str, History] = {}
    for name in features.sources:
        if name not in sources or name not in times or features.entity is None:
            raise DataError(
                f"the features read the events of source {name!r}, which are not here",
                remedy=did_you_mean(name, sources),
            )
        given = sources[name]
        found[name] = (
            given
            if isinstance(given, History)
            else History.of(given, features.entity, times[name], columns_read(windows, name), source=name)
        )
    return found


def kind_of(dtype: pl.DataType) -> Kind:
    """What a Polars type is to a model."""
    if dtype == pl.Boolean:
        return "truth"
    return "number" if dtype.is_numeric() else "category"


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
                schema = schema.with_columns(row_expression(row))
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
