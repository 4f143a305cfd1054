"""Whether the records hold exactly what the audit trail tells: every row one entry, every entry its rows. Pure.

The anchor protects the chain, and the chain protects what it tells in full. Identities, grants, approvals and
deployments are believed only as far as an entry of the chain tells of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from charter.core.digest import short
from charter.govern.audit import Fault, Harm, describe
from charter.govern.row_faults import altered, inserted, removed, rows_told
from charter.registry.rows import JSON_COLUMNS, STANDING
from charter.registry.types import AuditEvent

RECORDED = "recorded"
"""Name in an entry's detail under which it tells the rows that were added with it, by table."""

_LATER: Mapping[str, Mapping[str, Any]] = {"deployments": {"traffic": {}}}
"""Columns that came after the first records: an entry that does not tell of one was written before, when it held
this."""

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def added(before: Rows, after: Rows) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that are in `after` and not in `before`, as an entry tells them; tables without any are left out.

    Parameters
    ----------
    before, after
        Rows by table as they are stored, by `sequence`; rows are only ever added at the end.

    Examples
    --------
    >>> added({"grants": []}, {"grants": [{"sequence": 1, "role": "admin"}], "approvals": []})
    {'grants': [{'sequence': 1, 'role': 'admin'}]}
    """
    new = {
        table: [_told(row) for row in rows[len(before.get(table, ())) :]]
        for table, rows in after.items()
        if table not in STANDING
    }
    return {table: rows for table, rows in new.items() if rows}


def told(events: Iterable[AuditEvent], table: str) -> list[Mapping[str, Any]]:
    """Return the rows of a table that entries tell of, in the order in which they were recorded."""
    return [row for event in events for name, row in rows_told(event, RECORDED) if name == table]


def attest(events: Sequence[AuditEvent], rows: Rows) -> list[Fault]:
    """Say where the records and the audit trail differ; an empty list means nowhere.

    Parameters
    ----------
    events
        The trail, whole (`charter.govern.audit.verify`); what is told by a chain that is not whole proves nothing.
    rows
        All identities, grants, approvals and deployments of all models as they are stored, by table.

    Returns
    -------
    list of Fault
        ``inserted`` for a row that no entry tells of, ``removed`` for one that is gone, ``altered`` for one that is
        not as it was recorded, ``reordered`` for an entry that tells of a row out of turn.
    """
    faults: list[Fault] = []
    open_: dict[tuple[str, Any], tuple[AuditEvent, Mapping[str, Any]]] = {}
    due: dict[str, int] = {}
    for event in events:
        for table, row in rows_told(event, RECORDED):
            number = due[table] = due.get(table, 0) + 1
            # The order of rows decides (the first identity is the first administrator), so no entry may choose it.
            if row.get("sequence") != number:
                found = row.get("sequence")
                message = f"{describe(event)} tells of row {found} of {table}, though row {number} is next"
                faults.append(Fault(event.sequence, Harm.REORDERED, message, row=_place(table, row)))
            open_.setdefault((table, number), (event, row))
    for table, stored in rows.items():
        for row in stored if table not in STANDING else ():  # those are `attest_rows`'s
            match = open_.pop((table, row["sequence"]), None)
            faults += _compare(table, row, match)
    for (table, _), (event, row) in open_.items():
        faults.append(removed(event, _name(table, row), _place(table, row)))
    return faults


def _compare(
    table: str, row: Mapping[str, Any], match: tuple[AuditEvent, Mapping[str, Any]] | None
) -> list[Fault]:
    if match is None:
        return [inserted(_name(table, row), _place(table, row))]
    event, recorded = match
    recorded = {**_LATER.get(table, {}), **recorded}
    found = _told(row)
    names = [n for n in sorted({*found, *recorded}) if not _same(found.get(n), recorded.get(n))]
    if not names:
        return []
    changes = {n: (_value(found.get(n)), _value(recorded.get(n))) for n in names}
    return [altered(event, _name(table, recorded), _place(table, row), changes)]


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _parsed(value) if name in JSON_COLUMNS else value for name, value in row.items()}


def _parsed(text: Any) -> Any:
    try:
        return json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return text  # no JSON any more: it differs from what was recorded, which is what is to be said


def _same(found: Any, recorded: Any) -> bool:
    return type(found) is type(recorded) and bool(found == recorded)


def _value(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=repr, ensure_ascii=False)
    return f"{text[:16]}..." if len(text) > 40 else text or "empty"


def _place(table: str, row: Mapping[str, Any]) -> str:
    return f"{table} {row.get('sequence')}"


def _name(table: str, row: Mapping[str, Any]) -> str:
    match table:
        case "identities":
            what = f"{row.get('name')}"
        case "grants":
            what = (
                f"{row.get('verdict')} {row.get('role')} for {row.get('identity')} by {row.get('granted_by')}"
            )
        case "approvals":
            said = f"{row.get('verdict')} {row.get('stage')} by {row.get('identity')}"
            what = f"{row.get('model')} v{row.get('version')}: {said}"
        case "deployments":
            what = f"{row.get('model')} v{row.get('version')}, package {short(str(row.get('package', '')))}"
        case _:
            what = "no table of this Charter"
    return f"row {row.get('sequence')} of {table} ({what})"
