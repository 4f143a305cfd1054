"""A Pratt parser of the expression language.

Pratt, V. R., "Top down operator precedence", POPL 1973. Strengths are those of SQL: ``OR``, ``AND``, ``NOT``,
tests (``IN``, ``LIKE``, ...), comparisons, sums, products, signs.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from charter.core.nearest import did_you_mean
from charter.spec.functions import (
    AGE,
    AGGREGATE_FUNCTIONS,
    CAST_TYPES,
    EXTRACT_PARTS,
    OTHER_NAMES,
    ROW_FUNCTIONS,
    Function,
)
from charter.spec.tokens import ExpressionError, Token, tokenize
from charter.spec.tree import Node

MAX_DEPTH = 100
"""Levels of a tree, which is also the longest chain of one operator."""
MAX_NESTING = 15
"""Levels of brackets, calls and CASE. Polars' parser gives up at about 50 recursions, several on each."""

_STRENGTH = {"OR": 1, "AND": 2, "+": 7, "-": 7, "*": 8, "/": 8, "%": 8}
_STRENGTH.update(dict.fromkeys(("=", "<>", "<", "<=", ">", ">="), 5))
_NOT, _TEST, _SIGN = 3, 4, 9
_SAME = {"==": "=", "!=": "<>"}
_MOMENTS = {
    "DATE": ("%Y-%m-%d", "DATE '2011-03-01'"),
    "TIMESTAMP": ("%Y-%m-%d %H:%M:%S", "TIMESTAMP '2011-03-01 09:30:00'"),
}
_INSTEAD = {"MIN": "the least of several columns is LEAST(a, b)", "MAX": "the greatest is GREATEST(a, b)"}


class _Span(Protocol):
    """Anything that has a place: a token or a piece."""

    @property
    def position(self) -> int: ...
    @property
    def width(self) -> int: ...


def _fault(message: str, at: _Span, hint: str = "") -> ExpressionError:
    return ExpressionError(message, at.position, hint, at.width)


class Grammar:
    """One reading: the tokens, how far we are, and the text for Polars so far (``sql``)."""

    def __init__(self, text: str) -> None:
        self.tokens = tokenize(text)
        self.at = 0
        self.nesting = 0
        self.sql: list[str] = []

    def read(self) -> Node:
        """Read the whole text as one expression."""
        if self.now.kind == "end":
            raise ExpressionError("is empty", 0, "write for example LIMIT_BAL > 0")
        root = self.expression(0)
        if self.now.kind != "end":
            raise self.unexpected("expected an operator or the end")
        return root

    # ------------------------------------------------------------------------------------------- tokens
    @property
    def now(self) -> Token:
        """The token to be read next."""
        return self.tokens[self.at]

    def take(self, sql: str | None = None) -> Token:
        """Go past a token, and pass it on to Polars as ``sql``."""
        token = self.now
        self.at += 1
        self.sql.append(_sql(token) if sql is None else sql)
        return token

    def sees(self, *values: str) -> bool:
        """Whether one of these keywords or signs is next."""
        return self.now.kind in ("keyword", "operator") and self.now.value in values

    def expect(self, value: str, where: str) -> Token:
        """Go past a keyword or sign that must be next."""
        if not self.sees(value):
            raise self.unexpected(f"expected {value} {where}")
        return self.take()

    def unexpected(self, message: str) -> ExpressionError:
        """Say what was expected and what was found."""
        token = self.now
        found = "the end" if token.kind == "end" else repr(token.value)
        return _fault(f"{message}, found {found}", token)

    # ------------------------------------------------------------------------------------------ grammar
    def expression(self, strength: int) -> Node:
        """Read as far as operators stronger than ``strength`` go."""
        left = self.prefix(strength)
        while True:
            token = self.now
            sign = _SAME.get(token.value, token.value) if token.kind in ("keyword", "operator") else ""
            if _STRENGTH.get(sign, 0) > strength:
                self.take(sign)
                right = self.expression(_STRENGTH[sign])
                for side in (left, right):
                    if side.kind == "null":
                        raise _fault(
                            f"{sign} with NULL is always missing", side, "write IS NULL or IS NOT NULL"
                        )
                left = _node(sign, "", (left, right), left.position, right.stop)
            elif strength < _TEST and sign in ("IS", "IN", "NOT", "BETWEEN", "LIKE", "ILIKE"):
                left = self.test(left)
            else:
                return left

    def inner(self) -> Node:
        """Read an expression within brackets, a call or CASE."""
        self.nesting += 1
        if self.nesting > MAX_NESTING:
            raise _fault("is nested too deeply", self.now, "split it into derived columns")
        node = self.expression(0)
        self.nesting -= 1
        return node

    def prefix(self, strength: int) -> Node:
        """Read NOT, a sign, or a value."""
        token = self.now
        if self.sees("NOT"):
            if strength > _NOT:
                raise _fault("NOT stands behind an operator", token, "write brackets: a = (NOT b)")
            self.take()
            if self.sees("NOT"):
                raise _fault("NOT stands twice", self.now, "leave both out")
            operand = self.expression(_NOT)
            return _node("not", "", (operand,), token.position, operand.stop)
        if self.sees("-", "+"):
            self.take()
            if self.sees("-", "+"):
                raise _fault("two signs follow each other", self.now, "write brackets: - (-x)")
            operand = self.expression(_SIGN)
            return _node("sign", token.value, (operand,), token.position, operand.stop)
        return self.primary()

    def primary(self) -> Node:
        """Read one value."""
        token = self.now
        if token.kind == "number":
            return self.number()
        if token.kind == "name":
            return self.name()
        if token.kind == "string":
            return self.leaf("text")
        if self.sees("TRUE", "FALSE"):
            return self.leaf("truth")
        if self.sees("NULL"):
            return self.leaf("null")
        if self.sees("("):
            self.take()
            operand = self.inner()
            closing = self.expect(")", "to close the bracket")
            return _node("brackets", "", (operand,), token.position, closing.stop)
        if self.sees("CASE"):
            return self.case()
        if self.sees("CAST"):
            return self.cast()
        if self.sees("EXTRACT"):
            return self.extract()
        error = self.unexpected("expected a value")
        if token.kind == "keyword":
            error.hint = f'a column of this name is quoted: "{token.value.lower()}"'
        raise error

    def leaf(self, kind: str, sql: str | None = None) -> Node:
        """Take a token as a piece."""
        token = self.take(sql)
        return _node(kind, token.value, (), token.position, token.stop)

    def number(self) -> Node:
        """Read a number; one with a fraction goes to Polars with an exponent, see `Parsed.sql`."""
        token = self.now
        whole = token.value.isdigit()
        if whole and int(token.value) >= 2**63:
            raise _fault(f"{token.value} does not fit 64 bits", token, "write it with an exponent: 1e20")
        if float(token.value) == float("inf"):
            raise _fault(f"{token.value} is not finite", token)
        following = self.tokens[self.at + 1]
        if following.kind in ("name", "number") and following.position == token.stop:
            hint = f'a column that begins with a digit is quoted: "{token.value}{following.value}"'
            raise _fault(f"cannot read {token.value + following.value!r}", token, hint)
        exponent = "e" in token.value.lower()
        return self.leaf("number", token.value if whole or exponent else f"{token.value}e0")

    def name(self) -> Node:
        """Read a call, a moment in time, or a column."""
        token, following = self.now, self.tokens[self.at + 1]
        if not token.quoted and following.kind == "operator" and following.value == "(":
            return self.call()
        if not token.quoted and following.kind == "string":
            return self.moment(token, following)
        if following.kind == "dot":
            parts, at = [token.value], self.at + 1
            while self.tokens[at].kind == "dot" and self.tokens[at + 1].kind in ("name", "keyword"):
                parts.append(self.tokens[at + 1].value)
                at += 2
            raise _fault("a name with dots needs quotes", following, f'write "{".".join(parts)}"')
        return self.leaf("column")

    def moment(self, word: Token, text: Token) -> Node:
        """Read ``DATE '...'`` or ``TIMESTAMP '...'``."""
        if word.value.upper() not in _MOMENTS:
            raise _fault(f"expected an operator after {word.value}", text)
        pattern, example = _MOMENTS[word.value.upper()]
        try:
            datetime.strptime(text.value, pattern)  # noqa: DTZ007 - naive UTC, as every moment in a frame
        except ValueError:
            raise _fault(f"{text.value!r} is not a moment in time", text, f"write {example}") from None
        self.take(word.value.upper())
        self.take()
        return _node("time", text.value, (), word.position, text.stop)

    def call(self) -> Node:
        """Read a call of an allowed function."""
        token = self.now
        name = token.value.upper()
        function = ROW_FUNCTIONS.get(name) or AGGREGATE_FUNCTIONS.get(name)
        if function is None:
            known = OTHER_NAMES.get(name)
            allowed = [*ROW_FUNCTIONS, *AGGREGATE_FUNCTIONS]
            hint = f"write {known}" if known else did_you_mean(name, allowed, limit=len(allowed))
            raise _fault(f"{token.value} is not a function", token, hint)
        start = len(self.sql)
        self.take(name)
        self.take()
        if self.sees("*"):
            if name != "COUNT":
                raise _fault(f"{name}(*) has no meaning", self.now, "only COUNT(*) takes a star")
            self.take()
            closing = self.expect(")", "after COUNT(*")
            return _node("call", name, (), token.position, closing.stop)
        if self.sees("DISTINCT"):
            if not function.distinct:
                raise _fault(f"{name} does not take DISTINCT", self.now)
            self.take()
        args = [] if self.sees(")") else [self.inner()]
        while args and self.sees(","):
            self.take()
            args.append(self.inner())
        closing = self.expect(")", f"to close {name}(")
        _check_call(function, args, token)
        if name == "TREND":
            self.sql[start:] = _trend(self.sql[start + 2 : -1])
        return _node("call", name, tuple(args), token.position, closing.stop)

    def case(self) -> Node:
        """Read ``CASE WHEN ... THEN ... [ELSE ...] END``; arguments alternate, the last odd one is ELSE."""
        start = self.take()
        if not self.sees("WHEN"):
            raise self.unexpected("expected WHEN after CASE")
        args: list[Node] = []
        while self.sees("WHEN"):
            self.take()
            args.append(self.inner())
            self.expect("THEN", "after the condition")
            args.append(self.inner())
        if self.sees("ELSE"):
            self.take()
            args.append(self.inner())
        closing = self.expect("END", "to close CASE")
        return _node("case", "", tuple(args), start.position, closing.stop)

    def cast(self) -> Node:
        """Read ``CAST(x AS type)``."""
        start = self.take()
        self.expect("(", "after CAST")
        operand = self.inner()
        self.expect("AS", "in CAST(x AS type)")
        name = self.now.value.upper()
        if self.now.kind != "name" or name not in CAST_TYPES:
            raise _fault(f"{name or 'the end'} is not a type", self.now, f"types: {', '.join(CAST_TYPES)}")
        self.take(CAST_TYPES[name][0])
        closing = self.expect(")", "to close CAST(")
        return _node("cast", name, (operand,), start.position, closing.stop)

    def extract(self) -> Node:
        """Read ``EXTRACT(part FROM x)``."""
        start = self.take()
        self.expect("(", "after EXTRACT")
        part = self.now.value.upper()
        if self.now.kind != "name" or part not in EXTRACT_PARTS:
            hint = f"parts: {', '.join(EXTRACT_PARTS)}"
            raise _fault(f"{part or 'the end'} is not a part of a moment", self.now, hint)
        self.take(part)
        if self.now.kind != "name" or self.now.value.upper() != "FROM":
            raise self.unexpected("expected FROM in EXTRACT(part FROM x)")
        self.take("FROM")
        operand = self.inner()
        closing = self.expect(")", "to close EXTRACT(")
        return _node("extract", part, (operand,), start.position, closing.stop)

    def test(self, left: Node) -> Node:
        """Read IS [NOT] NULL; [NOT] IN, BETWEEN, LIKE."""
        if self.sees("IS"):
            self.take()
            if self.sees("NOT"):
                self.take()
            if self.sees("TRUE", "FALSE"):  # Polars gives null for null, SQL does not
                raise _fault("IS takes NULL alone", self.now, "write x, NOT x, or COALESCE(x, FALSE)")
            if not self.sees("NULL"):
                raise self.unexpected("expected NULL after IS")
            word = self.take()
            return _node("is_null", "", (left,), left.position, word.stop)
        if self.sees("NOT"):
            self.take()
        if self.sees("IN"):
            self.take()
            self.expect("(", "after IN")
            values = self.literals()
            closing = self.expect(")", "to close IN (")
            return _node("in", "", (left, *values), left.position, closing.stop)
        if self.sees("BETWEEN"):
            self.take()
            low = self.expression(_STRENGTH["="])
            self.expect("AND", "in BETWEEN low AND high")
            high = self.expression(_STRENGTH["="])
            return _node("between", "", (left, low, high), left.position, high.stop)
        if self.sees("LIKE", "ILIKE"):
            self.take()
            if self.now.kind != "string":
                raise self.unexpected("expected a pattern in quotes, such as 'C%'")
            pattern = self.leaf("text")
            return _node("like", "", (left, pattern), left.position, pattern.stop)
        raise self.unexpected("expected IN, BETWEEN or LIKE after NOT")

    def literals(self) -> list[Node]:
        """Read the list of IN."""
        values: list[Node] = []
        while not values or self.sees(","):
            if values:
                self.take()
            value = self.prefix(_SIGN)
            literal = value.args[0] if value.kind == "sign" else value
            if literal.kind not in ("number", "text", "time", "truth"):
                missing = literal.kind == "null"
                hint = "missing values are found by IS NULL" if missing else "write numbers or 'text'"
                raise _fault("IN takes literals", value, hint)
            values.append(value)
        return values


def _node(kind: str, value: str, args: tuple[Node, ...], position: int, stop: int) -> Node:
    depth = 1 + max((arg.depth for arg in args), default=0)
    if depth > MAX_DEPTH:
        message = "has too many operators in a row"
        raise ExpressionError(message, position, "split it into derived columns", stop - position)
    return Node(kind, value, args, position, stop, depth)


def _check_call(function: Function, args: list[Node], token: Token) -> None:
    if len(args) < function.low or (function.high is not None and len(args) > function.high):
        message = f"{function.name} takes {function.arity()}, not {len(args)}"
        raise _fault(message, token, _INSTEAD.get(function.name, ""))
    for place in sorted(function.fixed):
        if place >= len(args):
            continue
        arg, wanted = args[place], function.takes[min(place, len(function.takes) - 1)]
        if arg.kind != wanted:
            kind = "number" if wanted == "number" else "text in quotes"
            raise _fault(f"{function.name} needs a plain {kind} here", arg)
        if function.name == "QUANTILE_CONT" and float(arg.value) > 1:
            raise _fault("a quantile lies between 0 and 1", arg)
        if function.name == "ROUND" and not (arg.value.isdigit() and int(arg.value) <= 15):
            raise _fault("ROUND takes 0 to 15 digits", arg)


def _trend(value: list[str]) -> list[str]:
    """Slope of the least-squares line against time, which age counts backwards; the ages of missing values are out."""
    age = f'"{AGE}"'
    known = ["CASE", "WHEN", "(", *value, ")", "IS", "NOT", "NULL", "THEN", age, "END"]
    covariance = ["COVAR", "(", *value, ",", age, ")"]
    return ["(", "0", "-", *covariance, "/", "VARIANCE", "(", *known, ")", ")"]


def _sql(token: Token) -> str:
    if token.kind == "name":
        return '"' + token.value.replace('"', '""') + '"'
    if token.kind == "string":
        return "'" + token.value.replace("'", "''") + "'"
    return token.value
