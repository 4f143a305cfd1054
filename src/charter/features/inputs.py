"""Which columns an observation has before anything is computed from the past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charter.data.grid import STEP
from charter.features.expressions import columns_of
from charter.spec.scope import known_columns
from charter.spec.types import ColumnSpec, DataSpec


@dataclass(frozen=True, slots=True)
class Table:
    """Columns of an observation before anything is computed from the past.

    Attributes
    ----------
    columns
        Contracts by name; ``raw`` are those that a request brings, ``derived`` expressions over them.
    telling
        Names that tell the label.
    always
        Inputs that an observation must bring whether or not a feature reads them.
    """

    columns: Mapping[str, ColumnSpec]
    raw: Mapping[str, ColumnSpec]
    derived: Mapping[str, str]
    telling: frozenset[str]
    always: tuple[str, ...] = ()


def source_table(data: DataSpec) -> Table:
    """A row of the observations' source, or nothing but an entity."""
    plan = data.observations
    source = data.sources[plan.source] if plan.source is not None else None
    columns = dict(source.columns) if source is not None else {}
    derived = dict(source.derive) if source is not None else {}
    telling = {data.label.name, data.label.column or data.label.name}
    for name, text in derived.items():  # each may read those before it
        if telling & {name, *columns_of(text)}:
            telling.add(name)
    derived = {name: text for name, text in derived.items() if name not in telling}
    raw = {name: c for name, c in columns.items() if name not in {*derived, *telling}}
    return Table(columns, raw, derived, frozenset(telling))


def series_table(data: DataSpec) -> Table:
    """What is known of a period ahead: keys, time, step, columns known ahead, attributes; and what rests on these."""
    plan = data.observations
    source = data.sources[plan.source or ""]
    known = known_columns(data)
    # A column that is derived from others, yet declared as known ahead, is brought as it stands.
    typed = {name: source.columns.get(name) or ColumnSpec(type="float") for name in known.columns}
    raw = {name: c for name, c in typed.items() if name not in known.derived}
    raw[STEP] = ColumnSpec(type="integer")
    derived = dict(known.derived)
    for name, key in plan.attributes.items():
        attributes = data.sources[name]
        raw |= {c: spec for c, spec in attributes.columns.items() if c != key and c not in attributes.derive}
        derived |= attributes.derive
    telling = {data.label.name, data.label.column or data.label.name}
    return Table(raw, raw, derived, frozenset(telling), (*plan.series, plan.time or "", STEP))
