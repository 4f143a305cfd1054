"""Keys that stand twice in an object: readers differ in which of the two they take, so nobody's may be taken.

JSON (RFC 8259, section 4) leaves open what an object with a repeated key means. A gateway that checks the first value
and a model that scores the second make a hole, so such requests are refused.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from charter.serve.problem import refuse, shown


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of its pairs; for ``json.loads(..., object_pairs_hook=unique_keys)``.

    Raises
    ------
    Refused
        422 that names the key.
    """
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        key = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        label = shown(key)[1:-1]
        raise refuse(422, "repeated", f"{label} stands twice in one object; send it once", field=label)
    return found


def refuse_repeated(body: bytes) -> None:
    """Refuse a body in which a key stands twice in one object; it must be JSON.

    Raises
    ------
    Refused
        422 that names the key.
    """
    json.loads(body, object_pairs_hook=unique_keys)


def may_repeat(
    body: bytes, rows: Sequence[tuple[Any, ...]], texts: Sequence[int], *, nullable: bool = True
) -> bool:
    """Whether a key may stand twice in a body that was read into rows; a microsecond, not a second reading.

    Every key is followed by a colon. Where there are no more colons than rows have values (and their text has colons),
    no key is left that could stand twice. A backslash may hide a colon of a text, so then it is looked into.

    Parameters
    ----------
    rows
        Values as they were read; None for what is null or absent.
    texts
        Places of the values that are text.
    nullable
        Whether any value may be null or absent.

    Examples
    --------
    >>> may_repeat(b'{"a": 1, "b": "x:y"}', [(1, "x:y")], [1]), may_repeat(b'{"a": 1, "a": 2}', [(2, None)], [])
    (False, True)
    """
    known = sum(map(len, rows))
    if nullable:
        known -= sum(row.count(None) for row in rows)
    if texts:
        if b"\\" in body:
            return True
        known += sum(row[k].count(":") for row in rows for k in texts if isinstance(row[k], str))
    return body.count(b":") > known
