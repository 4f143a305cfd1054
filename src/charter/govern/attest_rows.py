"""Whether rows that may be replaced stand as the audit trail last told them: versions, and the results of stages. Pure.

A result decides what is packaged, a version's row what is released. So each change of one is told by the entry of that
change: a version in full, a result with digests in place of what it says at length. How long a stage took and when its
result was used last decide nothing and are not told.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from charter.core.digest import digest_bytes
from charter.govern.audit import Fault
from charter.govern.row_faults import altered, inserted, removed, rows_told
from charter.registry.rows import STANDING
from charter.registry.types import AuditEvent

STANDS = "stands"
"""Name in an entry's detail under which it tells how rows stand from then on, by table."""

_AT_LENGTH = frozenset({"summary", "inputs"})
_UNTOLD = frozenset({"used", "seconds"})

Rows = Mapping[str, Sequence[Mapping[str, Any]]]


def changed(before: Rows, after: Rows) -> dict[str, list[dict[str, Any]]]:
    """Return the rows of `after` that stand otherwise than in `before`, as an entry tells them.

    Examples
    --------
    >>> row = {"model": "loans", "number": 1, "status": "candidate"}
    >>> changed({"versions": [row]}, {"versions": [{**row, "status": "waiting"}]})
    {'versions': [{'model': 'loans', 'number': 1, 'status': 'waiting'}]}
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for table in STANDING:
        known = {_key(table, row): row for row in before.get(table, ())}
        for row in after.get(table, ()):
            told = _told(row)
            if (old := known.get(_key(table, row))) is None or _told(old) != told:
                found.setdefault(table, []).append(told)
    return found


def tells_rows(events: Iterable[AuditEvent]) -> bool:
    """Whether the trail tells of such rows at all: it does since the first change by a Charter that knows how."""
    return any(STANDS in event.detail for event in events)


def attest_rows(events: Sequence[AuditEvent], rows: Rows) -> list[Fault]:
    """Say where versions and results differ from what the trail told of them last.

    Returns
    -------
    list of Fault
        None while no entry tells of any: records of an older Charter are told in full by the next change.
    """
    last: dict[tuple[str, tuple[Any, ...]], tuple[AuditEvent, Mapping[str, Any]]] = {}
    for event in events:
        for table, row in _stands(event):
            last[table, _key(table, row)] = (event, row)
    if not last:
        return []
    faults: list[Fault] = []
    for table in STANDING:
        for row in rows.get(table, ()):
            match = last.pop((table, _key(table, row)), None)
            faults += _compare(table, row, match)
    for (table, key), (event, _) in last.items():
        faults.append(removed(event, _name(table, key), _place(table, key)))
    return faults


def _compare(
    table: str, row: Mapping[str, Any], match: tuple[AuditEvent, Mapping[str, Any]] | None
) -> list[Fault]:
    key, found = _key(table, row), _told(row)
    if match is None:
        return [inserted(_name(table, key), _place(table, key))]
    event, told = match
    names = [n for n in sorted({*found, *told}) if found.get(n) != told.get(n)]
    if not names:
        return []
    changes = {n: (_value(found.get(n)), _value(told.get(n))) for n in names}
    return [altered(event, _name(table, key), _place(table, key), changes)]


def _stands(event: AuditEvent) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((table, row) for table, row in rows_told(event, STANDS) if table in STANDING)


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: digest_bytes(str(value).encode("utf-8", "replace")) if name in _AT_LENGTH else value
        for name, value in row.items()
        if name not in _UNTOLD
    }


def _key(table: str, row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(str(row.get(name)) for name in STANDING[table])


def _value(value: Any) -> str:
    text = str(value) if value is not None else "empty"
    return f"{text[:16]}..." if len(text) > 40 else text or "empty"


def _name(table: str, key: tuple[Any, ...]) -> str:
    if table == "versions":
        return f"the row of {key[0]} v{key[1]} in versions"
    return f"the row of {key[0]}'s stage {key[1]} for inputs {key[2][:8]} in results"


def _place(table: str, key: tuple[Any, ...]) -> str:
    return f"{table} {key[0]} {'v' if table == 'versions' else ''}{key[1]}"
