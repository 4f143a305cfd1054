"""What a model asks of a request, as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import msgspec

from charter.data.grid import SeriesPlan

Scalar = str | int | float | bool | None
"""A value of a request or of a feature. Dates are ISO text in JSON."""

AS_OF = "as_of"
"""Request field (and frame column) that holds the moment from which an entity is looked at."""


@dataclass(frozen=True, slots=True)
class Input:
    """One field of a request.

    Attributes
    ----------
    type
        ``integer``, ``float``, ``boolean``, ``category``, ``text``, ``date`` or ``datetime``.
    nullable
        A nullable field may be left out.
    min, max
        Declared limits (inclusive); a value outside is refused. Numbers, or ISO text for dates.
    values
        Declared categories; another one is refused.
    sensitivity
        ``public``, ``internal``, ``personal`` or ``protected``.
    seen_min, seen_max, seen_values
        What training saw; a value outside is scored with a warning. None where nothing was recorded.
    unit, description
        For people.
    example
        A plausible value for documentation, never taken from a personal column.
    """

    name: str
    type: str
    nullable: bool = False
    min: float | str | None = None
    max: float | str | None = None
    values: tuple[str, ...] | None = None
    sensitivity: str = "internal"
    seen_min: float | str | None = None
    seen_max: float | str | None = None
    seen_values: tuple[str, ...] | None = None
    unit: str | None = None
    description: str | None = None
    example: Scalar = None

    def to_json(self) -> dict[str, Any]:
        """Plain data; what is None is left out."""
        data = {f.name: getattr(self, f.name) for f in fields(self)}
        return {k: list(v) if isinstance(v, tuple) else v for k, v in data.items() if v is not None}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Input:
        """Inverse of `to_json`.

        Examples
        --------
        >>> age = Input("age", "integer", min=18)
        >>> Input.from_json(age.to_json()) == age
        True
        """
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in data.items()}
        return cls(**values)


@dataclass(frozen=True, slots=True)
class EventSource:
    """A source of events that window features read while serving.

    Attributes
    ----------
    time
        Column that tells when the event became known.
    columns
        Columns that the windows need, entity and time included.
    fresh_within_days
        The newest event should be no older than this at ``as_of``; otherwise the answer carries a warning.
    """

    time: str
    columns: tuple[str, ...]
    fresh_within_days: float = 7.0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"time": self.time, "columns": list(self.columns), "fresh_within_days": self.fresh_within_days}


@dataclass(frozen=True, slots=True)
class Entity:
    """Whom a request is about, when features are aggregates of past events."""

    column: str
    sources: Mapping[str, EventSource] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"column": self.column, "sources": {k: v.to_json() for k, v in sorted(self.sources.items())}}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entity:
        """Inverse of `to_json`."""
        sources = {
            name: EventSource(s["time"], tuple(s["columns"]), float(s["fresh_within_days"]))
            for name, s in data["sources"].items()
        }
        return cls(data["column"], sources)


@dataclass(frozen=True, slots=True)
class Signature:
    """The fields of a request, and what is computed from them before the features.

    Attributes
    ----------
    derive
        Derived columns that the fallback rule and ``rules`` read, in order, each an expression over the inputs and the
        derived ones before it. (The features' own are part of the feature set.)
    entity
        None for models without windows.
    rules
        What the contract says across columns, as far as the inputs can tell: words to an expression that is to be true.
    series
        Of forecasts: what the series are.
    history
        Of forecasts: sources that an answer rests on, and their columns.
    """

    inputs: tuple[Input, ...]
    derive: Mapping[str, str] = field(default_factory=dict)
    entity: Entity | None = None
    rules: Mapping[str, str] = field(default_factory=dict)
    series: SeriesPlan | None = None
    history: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the request's fields."""
        return tuple(i.name for i in self.inputs)

    def to_json(self) -> dict[str, Any]:
        """Plain data; ``derive`` is a list of pairs because its order matters."""
        return {
            "inputs": [i.to_json() for i in self.inputs],
            "derive": [[name, text] for name, text in self.derive.items()],
            "entity": self.entity.to_json() if self.entity else None,
            "rules": dict(self.rules),
            **({"series": self.series.to_json()} if self.series is not None else {}),
            **({"history": {k: list(v) for k, v in self.history.items()}} if self.history else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Signature:
        """Inverse of `to_json`."""
        entity = Entity.from_json(data["entity"]) if data.get("entity") else None
        derive = dict(data.get("derive") or [])
        series = SeriesPlan.from_json(data["series"]) if data.get("series") else None
        inputs = tuple(Input.from_json(i) for i in data["inputs"])
        history = {name: tuple(columns) for name, columns in (data.get("history") or {}).items()}
        return cls(inputs, derive, entity, data.get("rules") or {}, series, history)


@dataclass(frozen=True, slots=True)
class Exploration:
    """Which decisions are turned around by chance, and how many; see `charter.serve.explore`.

    Attributes
    ----------
    share
        Probability that a decision is turned, above 0, below 0.5.
    within
        Largest distance of the score from the threshold at which it may be.
    turn
        Which decisions may be turned: ``positive``, ``negative`` or ``both``.
    unit
        Input by whose value chance decides; None: each row by itself.
    """

    share: float
    within: float = 1.0
    turn: str = "both"
    unit: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"share": self.share, "within": self.within, "turn": self.turn, "unit": self.unit}


@dataclass(frozen=True, slots=True)
class DecisionRules:
    """How a score becomes an answer; the part of a package that is judged after training.

    Attributes
    ----------
    threshold
        Positive when ``score >= threshold``; None decides nothing.
    bands
        Lower bounds of the score.
    reasons, reasons_for
        How many reasons, and for which answers: ``always``, ``flagged`` (decided positive) or ``asked``.
    factors
        Features in words.
    fallback
        ``{"rule": expression}`` or ``{"score": share}``: what answers when the model cannot.
    explore
        None turns no decision around.
    """

    threshold: float | None = None
    bands: Mapping[str, float] = field(default_factory=dict)
    reasons: int = 0
    reasons_for: str = "asked"
    factors: Mapping[str, str] = field(default_factory=dict)
    fallback: Mapping[str, Any] | None = None
    explore: Exploration | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema_version": 1,
            "threshold": self.threshold,
            "bands": dict(self.bands),
            "reasons": self.reasons,
            "reasons_for": self.reasons_for,
            "factors": dict(self.factors),
            "fallback": dict(self.fallback) if self.fallback else None,
            **({"explore": self.explore.to_json()} if self.explore is not None else {}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DecisionRules:
        """Inverse of `to_json`."""
        values = {k: v for k, v in data.items() if k not in ("schema_version", "explore")}
        explore = data.get("explore")
        return cls(**values, explore=Exploration(**explore) if explore is not None else None)


class Reason(msgspec.Struct, frozen=True, gc=False):
    """One factor of a score.

    Attributes
    ----------
    value
        The feature's value for this row.
    contribution
        By how much it moved the score away from the average, in log-odds (binary, multiclass: of the predicted
        class) or in the units of the target (regression). The contributions of all features and the average add up
        to the model's score before calibration.
    """

    feature: str
    value: Scalar
    contribution: float
    text: str
