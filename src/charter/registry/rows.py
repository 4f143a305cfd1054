"""Between the frozen types and flat rows of text and numbers. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, TypeVar

from charter.core.clock import iso, parse_iso
from charter.core.digest import canonical_json, plain

T = TypeVar("T")

JSON_COLUMNS = frozenset({"summary", "inputs", "evidence", "detail", "traffic"})
GOVERNED = ("identities", "grants", "approvals", "deployments")
"""Tables of which the audit trail tells every row: who may decide, what was decided, and what serves by it."""
STANDING: Mapping[str, tuple[str, ...]] = {
    "versions": ("model", "number"),
    "results": ("model", "stage", "key"),
}
"""Tables whose rows may be replaced, each with what names a row; the audit trail tells how every row stands."""
TIME_COLUMNS = frozenset({"finished_at", "created_at", "granted_at", "signed_at", "at"})


def encode(record: Any) -> dict[str, Any]:
    """Flatten a frozen record: JSON as canonical text, moments as ISO 8601 text in UTC.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> from charter.registry.types import IdentityRecord
    >>> encode(IdentityRecord("eva", "00", datetime(2026, 1, 2, tzinfo=UTC)))["created_at"]
    '2026-01-02T00:00:00.000000Z'
    """
    row: dict[str, Any] = {}
    for column in fields(record):
        value = getattr(record, column.name)
        if column.name in JSON_COLUMNS:
            value = canonical_json(plain(dict(value))).decode()
        elif isinstance(value, datetime):
            value = iso(value)
        row[column.name] = value
    return row


def decode(kind: type[T], row: Mapping[str, Any]) -> T:
    """Inverse of `encode`; columns that `kind` does not have are left out."""
    values: dict[str, Any] = {}
    for column in fields(kind):  # type: ignore[arg-type]
        value = row[column.name]
        if column.name in JSON_COLUMNS:
            value = json.loads(value)
        elif column.name in TIME_COLUMNS:
            value = parse_iso(value)
        values[column.name] = value
    return kind(**values)
