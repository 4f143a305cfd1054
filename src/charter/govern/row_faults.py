"""How a stored row can differ from what the audit trail tells of it, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from charter.govern.audit import Fault, Harm, describe
from charter.registry.types import AuditEvent


def rows_told(event: AuditEvent, under: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Give the rows, each with its table, of which an entry tells under a name of its detail."""
    tables = event.detail.get(under)
    for table, rows in tables.items() if isinstance(tables, dict) else ():
        for row in rows if isinstance(rows, list) else ():
            yield table, row if isinstance(row, dict) else {}


def inserted(name: str, place: str) -> Fault:
    """A row that no entry tells of."""
    return Fault(0, Harm.INSERTED, f"{name} was inserted: no entry of the audit trail tells of it", row=place)


def removed(event: AuditEvent, name: str, place: str) -> Fault:
    """A row that is there no more."""
    message = f"{name} is gone, though {describe(event)} recorded it"
    return Fault(event.sequence, Harm.REMOVED, message, row=place)


def altered(event: AuditEvent, name: str, place: str, changes: Mapping[str, tuple[str, str]]) -> Fault:
    """A row that is not as it was recorded; by column, what it is and what it was."""
    words = ", ".join(f"{column} is {now}, was {then}" for column, (now, then) in changes.items())
    message = f"{name} was altered since {describe(event)} recorded it: {words}"
    return Fault(event.sequence, Harm.ALTERED, message, row=place)
