"""Do the kinds of values in an expression fit together? Seen before any data is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charter.spec.functions import AGGREGATE_FUNCTIONS, CAST_TYPES, ROW_FUNCTIONS, Kind
from charter.spec.tokens import ExpressionError
from charter.spec.tree import Node

WORDS: dict[Kind, str] = {
    "number": "a number",
    "truth": "a condition",
    "text": "text",
    "time": "a time",
    "any": "anything",
}
OF_TYPE: dict[str, Kind] = {
    "integer": "number",
    "float": "number",
    "boolean": "truth",
    "category": "text",
    "text": "text",
    "date": "time",
    "datetime": "time",
}
"""Kind of a column by its type in the contract."""

_ARITHMETIC = frozenset("+-*/%")
_COMPARISONS = frozenset({"=", "<>", "<", "<=", ">", ">="})
_LITERALS: dict[str, Kind] = {
    "number": "number",
    "text": "text",
    "time": "time",
    "truth": "truth",
    "null": "any",
}


def kind_of(node: Node, columns: Mapping[str, Kind]) -> Kind:
    """Kind of an expression's value; columns that are not in ``columns`` fit everywhere.

    Raises
    ------
    ExpressionError
        Where two kinds do not fit, for example a category compared with a number.

    Examples
    --------
    >>> from charter.spec.expression import parse
    >>> kind_of(parse("LENGTH(code) > 3").root, {"code": "text"})
    'truth'
    """
    if node.kind in _LITERALS:
        return _LITERALS[node.kind]
    if node.kind == "column":
        return columns.get(node.value, "any")
    kinds = [kind_of(arg, columns) for arg in node.args]
    if node.kind == "brackets":
        return kinds[0]
    if node.kind == "sign":
        _need("number", node.args[0], kinds[0], "a sign")
        return "number"
    if node.kind in ("AND", "OR", "not"):
        for arg, kind in zip(node.args, kinds, strict=True):
            need_condition(arg, kind)
        return "truth"
    if node.kind in _ARITHMETIC:
        return _arithmetic(node, kinds)
    if node.kind in _COMPARISONS or node.kind in ("in", "between"):
        _common(node.args, kinds)
        return "truth"
    if node.kind == "is_null":
        return "truth"
    if node.kind == "like":
        _need("text", node.args[0], kinds[0], "LIKE")
        return "truth"
    if node.kind == "case":
        return _case(node.args, kinds)
    if node.kind == "cast":
        return _cast(node, kinds[0])
    if node.kind == "extract":
        _need("time", node.args[0], kinds[0], "EXTRACT")
        return "number"
    return _call(node, kinds)


def need_condition(node: Node, kind: Kind) -> None:
    """Refuse what is neither true nor false."""
    if kind in ("truth", "any"):
        return
    hint = {
        "number": "compare it, for example > 0",
        "text": "compare it, for example = 'x'",
        "time": "compare it",
    }[kind]
    raise _misfit(f"is {WORDS[kind]}, a condition is needed", node, hint)


def _misfit(message: str, node: Node, hint: str = "") -> ExpressionError:
    name = node.value if node.kind in ("column", "number") else {"text": f"'{node.value}'"}.get(node.kind, "")
    return ExpressionError(f"{name} {message}".strip(), node.position, hint, node.width)


def _need(wanted: Kind, node: Node, kind: Kind, by: str) -> None:
    # Polars counts true as 1, and so does SQL in most dialects.
    if kind in (wanted, "any") or wanted == "any" or (wanted == "number" and kind == "truth"):
        return
    hint = ""
    if kind == "text" and wanted == "number":
        hint = "CAST(... AS DOUBLE) makes a number of it"
    elif wanted == "text" and kind == "number":
        hint = "CAST(... AS VARCHAR) makes text of it"
    raise _misfit(f"is {WORDS[kind]}, {by} needs {WORDS[wanted]}", node, hint)


def _arithmetic(node: Node, kinds: Sequence[Kind]) -> Kind:
    for arg, kind in zip(node.args, kinds, strict=True):
        if kind == "time":
            hint = "seconds are EXTRACT(EPOCH FROM ...); the age of an event is age_days"
            raise _misfit("is a time, which is not reckoned with", arg, hint)
        if kind == "text" and node.kind == "+":
            raise _misfit("is text", arg, "texts are joined by CONCAT(a, b)")
        _need("number", arg, kind, node.kind)
    return "number"


def _common(args: Sequence[Node], kinds: Sequence[Kind]) -> Kind:
    """The kind that all share."""
    known = [(arg, kind) for arg, kind in zip(args, kinds, strict=True) if kind != "any"]
    if not known:
        return "any"
    first, kind = known[0]
    for arg, other in known[1:]:
        if other == kind or {other, kind} == {"number", "truth"}:
            continue
        raise _misfit(
            f"is {WORDS[other]}, but {_name(first)} is {WORDS[kind]}", arg, _advice(first, kind, arg, other)
        )
    return kind


def _name(node: Node) -> str:
    return node.value if node.kind in ("column", "number") else "the other side"


def _advice(first: Node, kind: Kind, arg: Node, other: Kind) -> str:
    literal, wanted = (arg, kind) if arg.kind in ("number", "text") else (first, other)
    if wanted == "text" and literal.kind == "number":
        return f"categories and text are written in quotes: '{literal.value}'"
    if wanted == "number" and literal.kind == "text":
        return "numbers are written without quotes"
    if wanted == "time" and literal.kind == "text":
        return "write DATE '2011-03-01'"
    if wanted == "truth":
        return "a condition stands alone, or with NOT"
    return ""


def _case(args: Sequence[Node], kinds: Sequence[Kind]) -> Kind:
    pairs = len(args) // 2
    for i in range(pairs):
        need_condition(args[2 * i], kinds[2 * i])
    results = [2 * i + 1 for i in range(pairs)] + ([len(args) - 1] if len(args) % 2 else [])
    return _common([args[i] for i in results], [kinds[i] for i in results])


def _cast(node: Node, kind: Kind) -> Kind:
    wanted = CAST_TYPES[node.value][1]
    if wanted == "time" and kind == "text":  # a number counts days since 1970-01-01
        hint = "give its column the type date or datetime, and a format"
        raise _misfit(f"is {WORDS[kind]}, which is not cast to a date", node.args[0], hint)
    if wanted == "truth" and kind == "text":
        raise _misfit(
            "is text, which is not cast to a condition", node.args[0], "compare it, for example = 'yes'"
        )
    return wanted


def _call(node: Node, kinds: Sequence[Kind]) -> Kind:
    function = ROW_FUNCTIONS.get(node.value) or AGGREGATE_FUNCTIONS[node.value]
    for i, (arg, kind) in enumerate(zip(node.args, kinds, strict=True)):
        _need(function.takes[min(i, len(function.takes) - 1)], arg, kind, node.value)
    return _common(node.args, kinds) if function.gives == "any" else function.gives
