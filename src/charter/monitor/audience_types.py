"""What a report for an audience is made of: tiles, courses, tables, and how numbers are written in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from charter.core.quantity import Requirement, span
from charter.monitor.advice import Advice
from charter.monitor.facts import Facts
from charter.monitor.trend import Series

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Tile:
    """One number.

    Attributes
    ----------
    verdict
        ``pass``, ``warn``, ``fail``, or empty where nothing is required.
    """

    name: str
    value: str
    target: str = ""
    verdict: str = ""


@dataclass(frozen=True, slots=True)
class Chart:
    """The course of one or two figures over windows."""

    name: str
    caption: str
    windows: tuple[str, ...]
    series: tuple[Series, ...]
    limit: float | None = None
    zero: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of text; ``right`` names the columns of numbers."""

    name: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    right: tuple[int, ...] = ()
    empty: str = "none"


@dataclass(frozen=True, slots=True)
class Page:
    """What one audience reads.

    Attributes
    ----------
    verdict
        ``pass``, ``warn`` or ``fail``: the worst of its advice.
    """

    model: str
    audience: str
    at: str
    title: str
    lead: str
    verdict: str
    advice: tuple[Advice, ...]
    tiles: tuple[Tile, ...]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def incidents_table(facts: Facts) -> Table:
    """All incidents, the newest first."""
    return Table(
        "Incidents",
        ("", "severity", "since", "for", "owner", "title", "cause"),
        tuple(
            (i.name, i.severity, f"{i.opened_at:%Y-%m-%d %H:%M}",
             span((i.closed.at if i.closed is not None else facts.at) - i.opened_at), i.owner, i.title,
             i.closed.cause if i.closed is not None else "open")
            for i in reversed(facts.incidents)
        ),
        empty="none",
    )  # fmt: skip


def verdict_of(required: str | None, value: float) -> str:
    """Verdict of a value by what is required; empty where nothing is."""
    if required is None:
        return ""
    return "pass" if Requirement.parse(required).met_by(value) else "fail"


def interval(found: Mapping[str, Any] | None) -> str:
    """Write an estimate with its interval."""
    if found is None:
        return "-"
    if found["low"] is None:
        return f"{found['value']:.3f}"
    return f"{found['value']:.3f} [{found['low']:.3f}, {found['high']:.3f}]"


def decimal(value: float | None, digits: int) -> str:
    """Write a number, or a dash for none."""
    return "-" if value is None else f"{value:,.{digits}f}"


def percent(value: float) -> str:
    """Write a share."""
    return f"{value:.1%}"
