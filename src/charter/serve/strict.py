"""JSON without loopholes: strict UTF-8, no lone surrogates, and no key twice in an object.

RFC 8259 (section 4) leaves open what an object with a repeated key means, and readers differ in which value they take.
A gateway that checks the first and a model that scores the second make a hole, so such requests are refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any

from charter.serve.problem import refuse, shown

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def read_document(body: bytes, constant: Callable[[str], Any]) -> Any:
    """Read JSON that may hold what its strict form does not (``NaN``).

    Parameters
    ----------
    constant
        What becomes of ``NaN``, ``Infinity`` and ``-Infinity``; ValueError for a constant that is not taken.

    Raises
    ------
    Refused
        400 for what is no JSON, 422 for a key that stands twice.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise refuse(
            400, "utf-8", f"the body is not UTF-8: byte {error.start} is {body[error.start]:#04x}"
        ) from None
    try:
        found = json.loads(text, parse_constant=constant, object_pairs_hook=unique_keys)
    except RecursionError:
        raise refuse(400, "depth", "the body is nested too deeply") from None
    except ValueError as error:
        raise refuse(400, "json", f"the request is no JSON: {str(error)[:120]}") from None
    if _SURROGATE.search(text):
        try:
            json.dumps(found, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise refuse(
                400, "utf-8", "a text holds half of a surrogate pair; send whole characters"
            ) from None
    return found


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
