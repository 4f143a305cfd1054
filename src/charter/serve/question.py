"""What people ask a forecast: ``price of brand 3 = 1.99 in weeks 2..3``.

    CHANGE  = COLUMN [of COLUMN VALUE [and COLUMN VALUE]...] = EXPRESSION [in PERIODS A[..B]]

COLUMN must be known ahead (a price, a promotion); the columns after ``of`` say which rows change, those after ``in``
which steps ahead of the origin, 1 the first. EXPRESSION is one of the specification's language over the row's columns:
``1.99``, ``price * 0.9``, ``'flyer'``. Names with blanks stand in double quotes, values with blanks in single ones.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

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


def read_changes(
    text: str,
    *,
    known_ahead: Sequence[str],
    derived: Mapping[str, str],
    columns: Sequence[str],
    every: str,
    horizon: int,
) -> tuple[Change, ...]:
    """Read a change that may name a derived column, as the changes of what that is derived from.

    A derived column can be set where it picks one of several columns by a key: with ``price: CASE WHEN brand = '3' THEN
    price3 ... END``, ``price of brand 3 = 1.99`` sets ``price3``, in all rows, because rivals see it, too. Without
    ``of brand`` every branch is set.

    Parameters
    ----------
    derived
        Derived columns that are known ahead, with their expressions.

    Raises
    ------
    UsageError
        As `read_change`; and when a derived column cannot be set.
    """
    settable = [*known_ahead, *derived]
    change = read_change(
        text, known_ahead=settable, columns=[*columns, *derived], every=every, horizon=horizon
    )
    for name in parse(change.expression).names:
        if name not in columns and name != change.column:
            raise UsageError(
                f"{text!r}: {name} is derived; a change is made from what it is derived from",
                remedy=f"Columns: {', '.join(columns)}.",
            )
    if change.column in known_ahead:
        return (change,)
    picks = dict(_picks(derived[change.column], known_ahead))
    keys = {key for key, _ in picks}
    if not picks or len(keys) != 1:
        names = sorted({n for n in parse(derived[change.column]).names if n in known_ahead})
        raise UsageError(
            f"{text!r}: {change.column} is derived, so it cannot be set",
            remedy=f"Set what it is derived from: {', '.join(names)}.",
        )
    (key,) = keys
    wanted = [value for name, value in change.of if name == key]
    if wanted and (key, wanted[0]) not in picks:
        raise UsageError(
            f"{text!r}: {change.column} is not told for {key} {wanted[0]!r}",
            remedy=advice(wanted[0], [value for _, value in picks]),
        )
    others = tuple(pair for pair in change.of if pair[0] != key)
    return tuple(
        replace(change, column=column, of=others, expression=_renamed(change, column))
        for (_, value), column in picks.items()
        if not wanted or value == wanted[0]
    )


def _picks(text: str, known_ahead: Sequence[str]) -> Iterator[tuple[tuple[str, str], str]]:
    """Pairs ((key, value), column) of ``CASE WHEN key = 'value' THEN column ... END``."""
    root = parse(text).root
    if root.kind != "case":
        return
    for condition, result in zip(root.args[::2], root.args[1::2], strict=False):
        sides = {side.kind: side.value for side in condition.args}
        if condition.kind not in ("=", "==") or result.kind != "column" or result.value not in known_ahead:
            return
        value = sides.get("text", sides.get("number"))
        if "column" not in sides or value is None:
            return
        yield (sides["column"], value), result.value


def _renamed(change: Change, column: str) -> str:
    """Let ``price * 0.9`` speak of the column that is set."""
    text = change.expression
    for place in reversed(parse(text).columns):
        if place.name == change.column:
            text = f'{text[: place.position]}"{column}"{text[place.position + place.width :]}'
    return text


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
        beyond = [(first, min(last, 0))] if first < 1 else []
        beyond += [(max(first, horizon + 1), last)] if last > horizon else []
        told = " and ".join(f"{every} {a}" if a == b else f"{every}s {a} to {b}" for a, b in beyond)
        several = len(beyond) > 1 or beyond[0][0] < beyond[0][1]
        raise UsageError(
            f"{text!r}: {told} {'are' if several else 'is'} not forecast",
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
