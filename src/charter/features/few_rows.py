"""Row features of a few rows at once, without planning a query for them.

Polars plans each query anew, at two to three microseconds for each node of an expression, however few rows there are:
for one row of ten features that is most of what an answer costs. There is one definition of a feature, its expression
as Polars has compiled it. What is done here is read off that tree, for those nodes whose result is the same in Python
to the last bit: comparisons, choices, and the four operations of IEEE 754 on numbers of 64 bits. An expression with any
other node is left to Polars, and so is a row with a value for which the two might differ (`Unusual`). And nothing is
believed: `FewRows.proven` computes rows both ways before any are served.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

import polars as pl

Row = dict[str, Any]
Value = Callable[[Row], Any]
Kind = Literal["int", "float", "truth", "text", "null"]
_KINDS: Mapping[Any, Kind] = {pl.Int64: "int", pl.Float64: "float", pl.Boolean: "truth", pl.String: "text"}
_DTYPES: Mapping[Kind, Any] = {kind: dtype for dtype, kind in _KINDS.items()}
_SMALL = 2**31 - 1
"""Whole numbers that every integer of Polars holds; literals alone make one of 32 bits."""
_COMPARED = {
    "Eq": operator.eq, "NotEq": operator.ne, "Lt": operator.lt, "LtEq": operator.le, "Gt": operator.gt,
    "GtEq": operator.ge,
}  # fmt: skip
_AMISS = (KeyError, TypeError, OverflowError)
"""Raised where columns are not what they were said to be."""
_COMPUTED = {"Plus": operator.add, "Minus": operator.sub, "Multiply": operator.mul}


class Unusual(Exception):
    """A value for which Python and Polars might differ: too large, NaN, or a zero whose sign would decide."""


class _Unknown(Exception):
    """A node that is not computed here."""


@dataclass(frozen=True, slots=True)
class _Node:
    kind: Kind
    value: Value


@dataclass(frozen=True, slots=True)
class FewRows:
    """Computes the row features that it can, in an order in which each finds what it reads.

    Attributes
    ----------
    steps
        Name, dtype and how to compute it.
    """

    steps: tuple[tuple[str, Any, Value], ...]
    others: tuple[Any, ...] = ()
    """What Polars has to compute, and after this."""
    order: tuple[str, ...] = ()
    """Names of both, as Polars orders them when it computes all."""

    @classmethod
    def of(cls, expressions: Mapping[str, pl.Expr], schema: Mapping[str, Any]) -> FewRows:
        """Read expressions, in their order; those that cannot be computed here are left out.

        Parameters
        ----------
        schema
            Columns that rows bring, and their dtypes.

        Examples
        --------
        >>> few = FewRows.of({"ratio": pl.col("a") + pl.lit(1.5), "log": pl.col("a").log()}, {"a": pl.Float64})
        >>> few.names, few.columns(pl.DataFrame({"a": [2.0, None]}))[0].to_list()
        (('ratio',), [3.5, None])
        """
        kinds = {name: _KINDS[dtype] for name, dtype in schema.items() if dtype in _KINDS}
        steps = []
        for name, expression in expressions.items():
            try:
                node = _read(json.loads(expression.meta.serialize(format="json")), kinds)
            except (_Unknown, KeyError, TypeError, ValueError, pl.exceptions.PolarsError):
                continue
            if node.kind in _DTYPES:
                kinds[name] = node.kind
                steps.append((name, _DTYPES[node.kind], node.value))
        return cls(tuple(steps))

    @property
    def names(self) -> tuple[str, ...]:
        """What is computed here."""
        return tuple(name for name, _, _ in self.steps)

    def columns(self, frame: pl.DataFrame) -> list[pl.Series]:
        """Compute the features of a frame with rows, equal to the bit to what Polars computes.

        Raises
        ------
        Unusual
            When some row has to be computed by Polars.
        """
        names, rows = frame.columns, []
        try:
            for values in frame.rows():
                row = dict(zip(names, values, strict=True))
                made: Row = {}
                for name, _, value in self.steps:
                    made[name] = row[name] = value(row)
                rows.append(made)
            return pl.from_dicts(rows, schema={name: dtype for name, dtype, _ in self.steps}).get_columns()
        except _AMISS as error:
            raise Unusual from error

    def proven(self, frame: pl.DataFrame, expressions: Mapping[str, pl.Expr]) -> FewRows:
        """Keep what gives the same bits as Polars on the rows of a frame, all together and each by itself."""
        steps, many, single = [], frame, [frame[i] for i in range(frame.height)]
        rows = frame.to_dicts()
        for name, dtype, value in self.steps:
            expression = expressions[name].alias(name)
            try:
                together = many.with_columns(expression)
                alone = [row.with_columns_seq(expression) for row in single]
            except pl.exceptions.PolarsError:  # it reads what was not kept
                continue
            theirs, same = [row[name][0] for row in alone], []
            for row, other in zip(rows, theirs, strict=True):
                with suppress(Unusual, *_AMISS):
                    same.append(_bits([value(row)]) == _bits([other]))
            if same and all(same) and _bits(together[name].to_list()) == _bits(theirs):
                steps.append((name, dtype, value))
                many, single = together, alone
                for row, other in zip(rows, theirs, strict=True):
                    row[name] = other
        return FewRows(tuple(steps))


def _bits(values: Sequence[Any]) -> list[Any]:
    """Values to compare by; a zero has no sign, which no division and no tree tells apart."""
    return [(value + 0.0).hex() if isinstance(value, float) else value for value in values]


def _read(node: Any, kinds: Mapping[str, Kind]) -> _Node:
    """How to compute a node of an expression, as Polars writes it as JSON."""
    (name, body), *others = node.items()
    if others:
        raise _Unknown
    match name:
        case "Alias":
            return _read(body[0], kinds)
        case "Column":
            return _Node(kinds[body], operator.itemgetter(body))
        case "Literal":
            return _literal(body)
        case "Cast":
            return _cast(_read(body["expr"], kinds), body["dtype"]["Literal"])
        case "Ternary":
            return _choice(*(_read(body[part], kinds) for part in ("predicate", "truthy", "falsy")))
        case "BinaryExpr":
            return _binary(body["op"], _read(body["left"], kinds), _read(body["right"], kinds))
        case "Function":
            return _function(body["function"], [_read(part, kinds) for part in body["input"]])
    raise _Unknown


def _literal(body: Any) -> _Node:
    match body:
        case {"Dyn": {"Int": int(value)}} if abs(value) <= _SMALL:
            return _Node("int", lambda _: value)
        case {"Dyn": {"Float": float(value)}}:
            return _Node("float", lambda _: value)
        case {"Scalar": {"String": str(value)}}:
            return _Node("text", lambda _: value)
        case {"Scalar": {"Null": _}}:
            return _Node("null", lambda _: None)
    raise _Unknown


def _cast(node: _Node, dtype: str) -> _Node:
    if dtype == "Boolean" and node.kind == "truth":
        return node
    if dtype == "Float64" and node.kind in ("int", "float", "truth"):
        return _as_float(node)
    if dtype == "Int64" and node.kind == "truth":
        return _Node("int", _converted(node.value, int))
    raise _Unknown


def _as_float(node: _Node) -> _Node:
    return node if node.kind == "float" else _Node("float", _converted(node.value, float))


def _converted(value: Value, to: Callable[[Any], Any]) -> Value:
    return lambda row: None if (found := value(row)) is None else to(found)


def _alike(*nodes: _Node) -> tuple[_Node, ...]:
    """Of one kind, as Polars would cast them; a null is of any."""
    kinds = {node.kind for node in nodes} - {"null"}
    if kinds == {"int", "float"}:
        return tuple(node if node.kind == "null" else _as_float(node) for node in nodes)
    if len(kinds) != 1:
        raise _Unknown
    return nodes


def _kind(nodes: Sequence[_Node]) -> Kind:
    return next(node.kind for node in nodes if node.kind != "null")


def _choice(predicate: _Node, truthy: _Node, falsy: _Node) -> _Node:
    if predicate.kind != "truth":
        raise _Unknown
    parts = _alike(truthy, falsy)
    asked, yes, no = predicate.value, parts[0].value, parts[1].value
    return _Node(_kind(parts), lambda row: yes(row) if asked(row) is True else no(row))


def _binary(name: str, left: _Node, right: _Node) -> _Node:
    if name in ("And", "Or"):
        return _logic(left, right, decides=name == "Or")
    left, right = _alike(left, right)
    kind = _kind((left, right))
    if name == "EqValidity":
        return _Node("truth", _same(left.value, right.value))
    if name in _COMPARED:
        return _comparison(_COMPARED[name], kind, left.value, right.value)
    if name in _COMPUTED and kind in ("int", "float"):
        return _arithmetic(_COMPUTED[name], kind, left.value, right.value)
    raise _Unknown


def _arithmetic(operation: Callable[[Any, Any], Any], kind: Kind, left: Value, right: Value) -> _Node:
    def computed(row: Row) -> Any:
        a, b = left(row), right(row)
        return None if a is None or b is None else operation(a, b)

    def whole(row: Row) -> Any:
        found = computed(row)
        if found is not None and not -_SMALL <= found <= _SMALL:
            raise Unusual
        return found

    return _Node(kind, whole if kind == "int" else computed)


def _comparison(operation: Callable[[Any, Any], Any], kind: Kind, left: Value, right: Value) -> _Node:
    if kind == "truth":
        raise _Unknown

    def compared(row: Row) -> bool | None:
        a, b = left(row), right(row)
        if a is None or b is None:
            return None
        if a != a or b != b:  # Polars calls NaN equal to itself, and larger than any number
            raise Unusual
        return bool(operation(a, b))

    return _Node("truth", compared)


def _same(left: Value, right: Value) -> Value:
    """Equal, or both missing."""

    def same(row: Row) -> bool:
        a, b = left(row), right(row)
        if a != a or b != b:
            raise Unusual
        return bool(a == b)

    return same


def _logic(left: _Node, right: _Node, *, decides: bool) -> _Node:
    """``AND`` and ``OR`` of three values: false decides the one, true the other."""
    if {left.kind, right.kind} != {"truth"}:
        raise _Unknown
    first, second = left.value, right.value

    def logic(row: Row) -> Any:
        a, b = first(row), second(row)
        if a is decides or b is decides:
            return decides
        return None if a is None or b is None else not decides

    return _Node("truth", logic)


def _function(function: Any, inputs: list[_Node]) -> _Node:
    match function:
        case {"Sql": {"Binary": "Mul"}}:
            return _binary("Multiply", *inputs)
        case {"Sql": {"Binary": "Div"}}:
            return _division(*inputs)
        case "MaxHorizontal" | "MinHorizontal":
            return _extreme(_alike(*inputs), largest=function == "MaxHorizontal")
        case "Abs" if inputs[0].kind in ("int", "float"):
            return _arithmetic(lambda a, _: abs(a), inputs[0].kind, inputs[0].value, lambda _: 0)
        case "Coalesce":
            return _coalesced(_alike(*inputs))
        case {"Boolean": "Not"} if inputs[0].kind == "truth":
            value = inputs[0].value
            return _Node("truth", lambda row: None if (found := value(row)) is None else not found)
        case {"Boolean": "IsNull" | "IsNotNull" as name}:
            value, null = inputs[0].value, name == "IsNull"
            return _Node("truth", lambda row: (value(row) is None) is null)
    raise _Unknown


def _division(left: _Node, right: _Node) -> _Node:
    if not {left.kind, right.kind} <= {"int", "float"}:
        raise _Unknown
    divided, divisor = _as_float(left).value, _as_float(right).value

    def quotient(row: Row) -> float | None:
        a, b = divided(row), divisor(row)
        if a is None or b is None:
            return None
        if b == 0:
            raise Unusual
        return float(a / b)

    return _Node("float", quotient)


def _extreme(nodes: Sequence[_Node], *, largest: bool) -> _Node:
    kind, values, choose = _kind(nodes), [node.value for node in nodes], max if largest else min
    if kind not in ("int", "float"):
        raise _Unknown

    def extreme(row: Row) -> Any:
        found = [v for value in values if (v := value(row)) is not None]
        if kind == "float" and any(v != v or v == 0 for v in found):
            raise Unusual
        return choose(found, default=None)

    return _Node(kind, extreme)


def _coalesced(nodes: Sequence[_Node]) -> _Node:
    values = [node.value for node in nodes]
    return _Node(
        _kind(nodes), lambda row: next((v for value in values if (v := value(row)) is not None), None)
    )
