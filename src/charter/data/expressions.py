"""From the expression language of the specification to Polars; what has no value is null, never infinite.

The language is the row and aggregate part of SQL that ``pl.sql_expr`` reads. Its arithmetic follows IEEE 754,
where ``1 / 0`` is infinite and ``1 / 0 > 2`` is true. Here what has no value is missing: a divisor of zero
and a function outside its domain give null *at that place*, so that ``COALESCE(a / b, 0)`` and ``a / b > 2``
mean what they say.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeVar

import polars as pl
import polars.selectors as cs

from charter.core.errors import UsageError
from charter.spec.expression import AGGREGATE_FUNCTIONS, ExpressionError, parse

Rows = TypeVar("Rows", pl.DataFrame, pl.LazyFrame)
# The parser hands over tokens parted by single spaces, so that this only has to keep texts and quoted names whole.
_TOKEN = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|\S+")
# Functions of finite arguments whose result may be infinite or NaN.
_PARTIAL = frozenset(
    {"ACOS", "ASIN", "DEGREES", "EXP", "LN", "LOG10", "LOG1P", "LOG2", "MOD", "POWER", "SQRT", "TAN"}
)


def compile_expression(text: str) -> pl.Expr:
    """Compile an expression of the specification.

    Parameters
    ----------
    text
        An expression over columns, for example ``"BILL_AMT1 / (LIMIT_BAL + 1)"`` or ``"COUNT(*) > 0"``. Names
        that are not plain words stand in double quotes, texts in single quotes.

    Returns
    -------
    Polars expression without an alias. A division by zero, and a function outside its domain (``LN(0)``,
    ``SQRT(-1)``), are null wherever they stand within it. Overflow of ``+ - *`` is left to `finite`.

    Raises
    ------
    UsageError
        When the text is not an expression.

    Examples
    --------
    >>> frame = pl.DataFrame({"a": [1, 2], "b": [0, 4]})
    >>> frame.select(ratio=compile_expression("a / b"), safe=compile_expression("COALESCE(a / b, 0)")).rows()
    [(None, 0.0), (0.5, 0.5)]
    """
    try:
        return pl.sql_expr(guard(parse(text).sql))
    except ExpressionError as error:
        raise UsageError(f"expression {text!r} {error.message}", remedy=error.hint or None) from error
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise UsageError(
            f"expression {text!r} cannot be read: {str(error).splitlines()[0]}",
            remedy='Write SQL over the columns, such as "amount / NULLIF(limit, 0) > 0.5".',
        ) from error


def finite(frame: Rows) -> Rows:
    """Turn NaN and infinities of all float columns into null.

    Examples
    --------
    >>> finite(pl.DataFrame({"x": [1.0, float("nan"), float("-inf")]}))["x"].to_list()
    [1.0, None, None]
    """
    return frame.with_columns(pl.when(cs.float().is_finite()).then(cs.float()).name.keep())


def guard(sql: str) -> str:
    """Rewrite SQL so that divisors of zero and arguments outside a function's domain give null.

    Parameters
    ----------
    sql
        Tokens parted by spaces, as `charter.spec.expression.parse` gives them.

    Examples
    --------
    >>> guard('"a" / ( "b" + 1 ) > 2')
    '"a" / ( NULLIF ( ( "b" + 1 ) , 0 ) * CAST ( "a" IS NOT DISTINCT FROM "a" AS BIGINT ) ) > 2'

    By what is the same for all rows Polars divides with the help of a reciprocal, which may end in another bit than the
    division of one row by itself. A comparison is the one thing that it never carries as a single value, so a divisor
    is multiplied by one that comes from there, and all rows are divided alike.
    """
    tokens = _TOKEN.findall(sql)
    some = [token for token in tokens if token.startswith('"')][:1]
    if any(token.upper() in AGGREGATE_FUNCTIONS for token in tokens):
        some = ["COUNT", "(", "*", ")"]
    one = ["CAST", "(", *some, "IS", "NOT", "DISTINCT", "FROM", *some, "AS", "BIGINT", ")"]
    return " ".join(_guarded(tokens, ["*", *one] if some else []))


def _divisor(operand: Sequence[str], times_one: Sequence[str]) -> list[str]:
    return ["(", "NULLIF", "(", *_guarded(operand, times_one), ",", "0", ")", *times_one, ")"]


def _guarded(tokens: Sequence[str], times_one: Sequence[str]) -> list[str]:
    out: list[str] = []
    at = 0
    while at < len(tokens):
        token = tokens[at]
        if token in ("/", "%"):
            end = _operand_end(tokens, at + 1)
            out += [token, *_divisor(tokens[at + 1 : end], times_one)]
            at = end
        elif token.upper() in _PARTIAL and tokens[at + 1] == "(":
            end = _operand_end(tokens, at)
            call = [token, *_guarded(tokens[at + 1 : end], times_one)]
            # x - x is zero for finite x and NaN otherwise.
            out += ["(", "CASE", "WHEN", *call, "-", *call, "=", "0", "THEN", *call, "END", ")"]
            at = end
        elif token.upper() == "DIV" and tokens[at + 1] == "(":
            # Polars casts the quotient to an integer and stops at one that is none.
            end = _operand_end(tokens, at)
            comma = _argument_end(tokens, at + 2)
            divisor = _divisor(tokens[comma + 1 : end - 1], times_one)
            out += ["DIV", "(", *_guarded(tokens[at + 2 : comma], times_one), ",", *divisor, ")"]
            at = end
        elif token.upper() in ("GREATEST", "LEAST") and tokens[at + 1] == "(":
            # Pair by pair: of more than two at once Polars asks its threads, for which a few rows wait in vain.
            end = _operand_end(tokens, at)
            first, *others = _arguments(tokens, at + 2, end)
            call = _guarded(first, times_one)
            for other in others:
                call = [token, "(", *call, ",", *_guarded(other, times_one), ")"]
            out += call
            at = end
        else:
            # What cannot be cast is missing, too.
            out.append("TRY_CAST" if token.upper() == "CAST" else token)
            at += 1
    return out


def _arguments(tokens: Sequence[str], start: int, end: int) -> list[Sequence[str]]:
    """Arguments of a call: the first begins at ``start``, the call is over before ``end``."""
    found = []
    while start < end:
        stop = start
        while stop < end - 1 and tokens[stop] != ",":
            stop = _closing(tokens, stop, "(", ")") if tokens[stop] == "(" else stop + 1
        found.append(tokens[start:stop])
        start = stop + 1
    return found


def _argument_end(tokens: Sequence[str], start: int) -> int:
    """Index of the comma after the first argument of a call, which begins at ``start``."""
    at = start
    while tokens[at] != ",":
        at = _closing(tokens, at, "(", ")") if tokens[at] == "(" else at + 1
    return at


def _operand_end(tokens: Sequence[str], start: int) -> int:
    """Index after the operand at ``start``: sign, then name, number, call, CASE or parenthesis."""
    at = start
    while tokens[at] in ("+", "-"):
        at += 1
    if tokens[at].upper() == "CASE":
        return _closing(tokens, at, "CASE", "END")
    if tokens[at] != "(":
        at += 1
    return _closing(tokens, at, "(", ")") if tokens[at : at + 1] == ["("] else at


def _closing(tokens: Sequence[str], start: int, opening: str, closing: str) -> int:
    depth = 0
    for at in range(start, len(tokens)):
        depth += (tokens[at].upper() == opening) - (tokens[at].upper() == closing)
        if depth == 0:
            return at + 1
    return len(tokens)
