"""Which names there are: columns of an observation, features, and what must not become one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter

from charter.spec.checks.examiner import source_kinds
from charter.spec.checks.kinds import kind_of
from charter.spec.expression import ExpressionError, parse
from charter.spec.functions import Kind
from charter.spec.types import DataSpec, ModelSpec, SourceSpec

SERIES_COLUMNS = ("series", "step")
"""Columns that Charter gives to observations of series: the series' name, and how many steps ahead."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Names of one specification.

    Attributes
    ----------
    base
        Columns of an observation before row features: the source's columns, or the windows of an entity.
    rows
        Row features in the order in which they can be computed.
    cycle
        Row features that need each other; empty in a sound specification.
    label
        Names that hold the label or are derived from it.
    keys
        Columns that identify an observation.
    times
        Columns that say when it was.
    """

    base: dict[str, Kind]
    rows: dict[str, Kind]
    cycle: tuple[str, ...]
    label: frozenset[str]
    keys: frozenset[str]
    times: frozenset[str]

    @property
    def columns(self) -> dict[str, Kind]:
        """Everything that an expression over observations may name, with kinds."""
        return {**self.base, **self.rows}

    @property
    def candidates(self) -> dict[str, Kind]:
        """What could be a feature: no label, no key, no time; exclusions not yet applied."""
        away = self.label | self.keys | self.times
        return {name: kind for name, kind in self.columns.items() if name not in away}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a period that is forecast, besides its attributes.

    Attributes
    ----------
    columns
        Columns of the observed source: those that name the series, the time, and those known ahead.
    derived
        The source's derived columns that rest on these alone, with their expressions, in order.
    """

    columns: tuple[str, ...]
    derived: dict[str, str]


def known_columns(data: DataSpec) -> Known:
    """What of the observed source is known of a period ahead; for observations of series."""
    plan = data.observations
    source = data.sources.get(plan.source or "")
    columns = tuple(dict.fromkeys((*plan.series, *filter(None, (plan.time,)), *plan.known_ahead)))
    derived: dict[str, str] = {}
    for name, text in (source.derive if source is not None else {}).items():
        try:
            if name not in columns and set(parse(text).names) <= {*columns, *derived}:
                derived[name] = text
        except ExpressionError:
            continue
    return Known(columns, derived)


def scope(spec: ModelSpec) -> Scope:
    """Collect the names of a specification; unknown sources and broken expressions are passed over."""
    observations = spec.data.observations
    source = spec.data.sources.get(observations.source or "")
    base: dict[str, Kind] = source_kinds(source) if source is not None else {}
    if observations.series:
        base = _series_base(spec, base)
    keys = set(observations.key) if observations.source is not None else set()
    if observations.series:
        keys.add(SERIES_COLUMNS[0])
    times = {observations.time} if observations.time is not None else set()
    if source is not None and source.time is not None:
        times.add(source.time)
    if observations.entity is not None:
        keys.add(observations.entity)
        base[observations.entity] = _entity_kind(spec)
    if observations.entity is not None or observations.series:
        for name in (*window_features(spec), *lag_features(spec), *calendar_features(spec)):
            base[name] = "number"
    label = {spec.data.label.name}
    if source is not None and spec.data.label.column is not None:
        label |= derived_from(source, spec.data.label.column)
    rows, cycle = _rows(spec, base)
    return Scope(base, rows, cycle, frozenset(label), frozenset(keys), frozenset(times))


def request_fields(spec: ModelSpec, names: Scope) -> dict[str, str]:
    """Fields that a request may hold and the type of each, as far as the specification tells.

    Of rows, every source column that a feature or the fallback reads, directly or through others, and the identifiers;
    training may still find that it does without one. Of an entity, whom the question is about. Of series, what is known
    ahead.
    """
    observations = spec.data.observations
    if observations.entity is not None:
        events = observations.population.source if observations.population is not None else ""
        column = spec.data.sources[events].columns.get(observations.entity) if events else None
        return {observations.entity: column.type if column is not None else "category"}
    source = spec.data.sources[observations.source or ""]
    if observations.series:
        known = known_columns(spec.data).columns
        return {n: source.columns[n].type if n in source.columns else "category" for n in known}
    read = {name for name in names.candidates if name not in spec.features.exclude}
    fallback = spec.serve.fallback
    texts = {**source.derive, **spec.features.rows}
    read |= set(parse(fallback.rule).names) if fallback is not None and fallback.rule is not None else set()
    for name in reversed(texts):  # each rests on those before it
        if name in read:
            read |= set(parse(texts[name]).names)
    read |= set(spec.serve.identifiers)
    return {name: column.type for name, column in source.columns.items() if name in read}


def window_features(spec: ModelSpec) -> dict[str, str]:
    """Window features and the window each comes from: ``amount_30d`` -> ``amount``."""
    return {f"{name}_{over}": name for name, window in spec.features.windows.items() for over in window.over}


def lag_features(spec: ModelSpec) -> dict[str, str]:
    """Lag features and the lag each comes from: ``units_lag_1`` -> ``units``."""
    lags = spec.features.lags.items()
    return {feature: name for name, lag in lags for feature in lag_names(name, lag.back, lag.season)}


def lag_names(name: str, back: Iterable[int], season: Iterable[int]) -> tuple[str, ...]:
    """Names of a lag's features.

    Examples
    --------
    >>> lag_names("units", [1, 2], [52])
    ('units_lag_1', 'units_lag_2', 'units_season_52')
    """
    return (*(f"{name}_lag_{k}" for k in back), *(f"{name}_season_{s}" for s in season))


def calendar_features(spec: ModelSpec) -> tuple[str, ...]:
    """Features of the calendar."""
    calendar = spec.features.calendar
    return () if calendar is None else calendar_names(calendar.parts, holidays=calendar.holidays is not None)


def calendar_names(parts: Iterable[str], *, holidays: bool) -> tuple[str, ...]:
    """Names of the calendar's features.

    Examples
    --------
    >>> calendar_names(["week"], holidays=False)
    ('calendar_week', 'calendar_week_sin', 'calendar_week_cos')
    """
    found = [f"calendar_{part}{end}" for part in parts for end in ("", "_sin", "_cos")]
    return (*found, *(("holiday_next_days", "holiday_last_days", "holidays_within") if holidays else ()))


def derived_from(source: SourceSpec, column: str) -> set[str]:
    """``column`` and every derived column that depends on it."""
    tainted = {column}
    for name, text in source.derive.items():
        try:
            if tainted & set(parse(text).names):
                tainted.add(name)
        except ExpressionError:
            continue
    return tainted


def _series_base(spec: ModelSpec, kinds: dict[str, Kind]) -> dict[str, Kind]:
    """Columns of an observation of a series, before windows."""
    data = spec.data
    known = known_columns(data)
    base: dict[str, Kind] = {name: kinds[name] for name in (*known.columns, *known.derived) if name in kinds}
    for name, key in data.observations.attributes.items():
        source = data.sources.get(name)
        if source is not None:
            base |= {c: kind for c, kind in source_kinds(source).items() if c != key}
    return {**base, SERIES_COLUMNS[0]: "text", SERIES_COLUMNS[1]: "number"}


def _entity_kind(spec: ModelSpec) -> Kind:
    population = spec.data.observations.population
    source = spec.data.sources.get(population.source) if population is not None else None
    return (
        source_kinds(source).get(spec.data.observations.entity or "", "any") if source is not None else "any"
    )


def _rows(spec: ModelSpec, base: dict[str, Kind]) -> tuple[dict[str, Kind], tuple[str, ...]]:
    rows = spec.features.rows
    needs: dict[str, set[str]] = {}
    for name, text in rows.items():
        try:
            # A feature named like a column would hide it; that is a fault of its own and no cycle.
            needs[name] = {used for used in parse(text).names if used in rows and used not in base}
        except ExpressionError:
            needs[name] = set()
    try:
        order = list(TopologicalSorter(needs).static_order())
        cycle: tuple[str, ...] = ()
    except CycleError as error:
        order, cycle = list(rows), tuple(error.args[1])
    kinds: dict[str, Kind] = {}
    for name in order:
        try:
            kinds[name] = "any" if cycle else kind_of(parse(rows[name]).root, {**base, **kinds})
        except ExpressionError:
            kinds[name] = "any"
    return kinds, cycle
