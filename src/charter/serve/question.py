"""What people ask a forecast: ``price of brand 3 = 1.99 in weeks 2..3``.

    CHANGE  = COLUMN [of COLUMN VALUE [and COLUMN VALUE]...] = EXPRESSION [in PERIODS A[..B]]

COLUMN must be known ahead (a price, a promotion); the columns after ``of`` say which rows change, those after ``in``
which steps ahead of the origin, 1 the first. EXPRESSION is one of the specification's language over the row's columns:
``1.99``, ``price * 0.9``, ``'flyer'``. Names with blanks stand in double quotes, values with blanks in single ones.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from charter.core.errors import UsageError
from charter.core.nearest import advice
from charter.spec.expression import ExpressionError, parse

_PERIODS = re.compile(r"\s+in\s+(step|day|week|month)s?\s+(\d+)(?:\s*\.\.\s*(\d+))?\s*$", re.IGNORECASE)
_NAME = r'(?:"(?:[^"]|"")+"|[A-Za-z_][A-Za-z0-9_]*)'
_VALUE = r"(?:'(?:[^']|'')*'|[^\s=']+)"
_LEFT = re.compile(rf"\s*({_NAME})(?:\s+of\s+(.+?))?\s*$", re.DOTALL)
_OF = re.compile(rf"\s*({_NAME})\s+({_VALUE})\s*")
_AND = re.compile(r"(and\b|,)\s*", re.IGNORECASE)
_HELP = "Write for example: price of brand 3 = 1.99 in weeks 2..3"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of what is known ahead.

    Attributes
    ----------
    text
        As written.
    column
        What changes.
    of
        Columns and values, as text, of the rows that change; none is all rows.
    expression
        The new value, in the specification's language.
    first, last
        Steps that change, from 1 on, both included; None is all.
    """

    text: str
    column: str
    of: tuple[tuple[str, str], ...]
    expression: str
    first: int | None = None
    last: int | None = None


def read_change(
    text: str, *, known_ahead: Sequence[str], columns: Sequence[str], every: str, horizon: int
) -> Change:
    """Read a change.

    Parameters
    ----------
    known_ahead
        Columns that may change.
    columns
        Columns of a forecast's row, which ``of`` and the expression may name.
    every
        What a period is called: ``day``, ``week``, ``month``.
    horizon
        Last step.

    Raises
    ------
    UsageError
        When it is not of the form above, names an unknown column or one that is not known ahead, or a period that is
        not forecast.

    Examples
    --------
    >>> change = read_change("price of brand 3 = price * 0.9 in weeks 2..3", known_ahead=["price"],
    ...                      columns=["store", "brand", "price"], every="week", horizon=12)
    >>> change.column, change.of, change.expression, change.first, change.last
    ('price', (('brand', '3'),), 'price * 0.9', 2, 3)
    """
    found = _PERIODS.search(text)
    first = last = None
    body = text
    if found is not None:
        first, last = _steps(text, found, every, horizon)
        body = text[: found.start()]
    left, sign, right = _split(body)
    shape = _LEFT.match(left)
    if not sign or shape is None or not right.strip():
        raise UsageError(f"{text!r} is not a change", remedy=_HELP)
    column = _unquoted(shape[1])
    if column not in known_ahead:
        if column in columns:
            raise UsageError(
                f"{text!r}: {column} is not known ahead of time, so nobody can set it",
                remedy=f"What can be set: {', '.join(known_ahead) or 'nothing'} (data.observations.known_ahead).",
            )
        raise UsageError(f"{text!r}: there is no column {column!r}", remedy=advice(column, known_ahead))
    of = _which(text, shape[2], columns)
    _check_expression(text, right.strip(), columns)
    return Change(text, column, of, right.strip(), first, last)


def _split(body: str) -> tuple[str, str, str]:
    """Cut at the first = outside of quotes."""
    quote = ""
    for i, sign in enumerate(body):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"":
            quote = sign
        elif sign == "=":
            return body[:i], "=", body[i + 1 :]
    return body, "", ""


def _steps(text: str, found: re.Match[str], every: str, horizon: int) -> tuple[int, int]:
    unit, first = found[1].lower(), int(found[2])
    last = int(found[3]) if found[3] else first
    if unit not in ("step", every):
        raise UsageError(
            f"{text!r}: the forecast is by the {every}, not by the {unit}",
            remedy=f"Write 'in {every}s {first}..{last}'.",
        )
    if first > last:
        raise UsageError(f"{text!r}: {first}..{last} runs backwards", remedy=f"Write {last}..{first}.")
    if first < 1 or last > horizon:
        raise UsageError(
            f"{text!r}: {every} {last if last > horizon else first} is not forecast",
            remedy=f"{every.capitalize()}s 1 to {horizon} are; 1 is the first after what is known.",
        )
    return first, last


def _which(text: str, words: str | None, columns: Sequence[str]) -> tuple[tuple[str, str], ...]:
    pairs: list[tuple[str, str]] = []
    rest = words or ""
    while rest:
        found = _OF.match(rest)
        if found is None:
            raise UsageError(f"{text!r}: cannot read {rest!r} after 'of'", remedy=_HELP)
        column, value = _unquoted(found[1]), _unquoted(found[2])
        if column not in columns:
            raise UsageError(f"{text!r}: there is no column {column!r}", remedy=advice(column, columns))
        pairs.append((column, value))
        rest = rest[found.end() :]
        rest = _AND.sub("", rest, count=1) if _AND.match(rest) else rest
    return tuple(pairs)


def _check_expression(text: str, expression: str, columns: Sequence[str]) -> None:
    try:
        parsed = parse(expression)
    except ExpressionError as error:
        raise UsageError(f"{text!r}: {expression!r}: {error}", remedy=_HELP) from error
    if parsed.aggregates:
        raise UsageError(f"{text!r}: {expression!r} sums over rows", remedy="A change is made row by row.")
    for name in parsed.names:
        if name not in columns:
            raise UsageError(f"{text!r}: there is no column {name!r}", remedy=advice(name, columns))


def _unquoted(word: str) -> str:
    if len(word) >= 2 and word[0] == word[-1] and word[0] in "'\"":
        return word[1:-1].replace(word[0] * 2, word[0])
    return word
