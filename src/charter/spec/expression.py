"""The expression language of a specification: a small part of SQL, read here and never evaluated by Python.

Numbers, ``'text'``, names, ``"quoted names"``, ``DATE '2011-03-01'``, ``+ - * / %``, comparisons,
``AND OR NOT``, ``IN (...)``, ``BETWEEN``, ``IS [NOT] NULL``, ``LIKE``, ``CASE WHEN``, ``CAST``, ``EXTRACT``,
and the functions of `functions`. What is accepted here, Polars' SQL reads too.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from charter.spec.functions import AGE, AGGREGATE_FUNCTIONS, ROW_FUNCTIONS
from charter.spec.grammar import Grammar
from charter.spec.tokens import ExpressionError
from charter.spec.tree import Node, Reference

__all__ = ["AGGREGATE_FUNCTIONS", "ROW_FUNCTIONS", "ExpressionError", "Node", "Parsed", "Reference", "parse"]

MAX_LENGTH = 2000


@dataclass(frozen=True, slots=True)
class Parsed:
    """An expression that was read.

    Attributes
    ----------
    text
        As written.
    sql
        The same for Polars' SQL; hand over this one. Every name is quoted, so that no column clashes with a
        word of SQL, and every number with a fraction is a double: there ``1.5`` alone would be a decimal, and
        ``1.0 / 3`` would be cut after seven digits. Tokens are separated by one space.
    columns
        Every mention of a column, in order, and the age that ``TREND`` reads; `names` has each once.
    functions
        Upper-case names of the functions used, each once, sorted.
    aggregates
        Whether it aggregates over rows; then no column stands outside an aggregate.
    root
        The tree.
    """

    text: str
    sql: str
    root: Node
    columns: tuple[Reference, ...]
    functions: tuple[str, ...]
    aggregates: bool

    @property
    def names(self) -> tuple[str, ...]:
        """The columns used, each once, in order of first mention."""
        return tuple(dict.fromkeys(reference.name for reference in self.columns))

    @property
    def column(self) -> str | None:
        """The column, if the expression is nothing but one."""
        return self.root.value if self.root.kind == "column" else None


@lru_cache(maxsize=4096)
def parse(text: str) -> Parsed:
    """Read an expression.

    Parameters
    ----------
    text
        At most 2000 characters.

    Raises
    ------
    ExpressionError
        With the place of the first fault and what to write instead.

    Examples
    --------
    >>> parsed = parse("BILL_AMT1 / (LIMIT_BAL + 1.5)")
    >>> parsed.names, parsed.aggregates
    (('BILL_AMT1', 'LIMIT_BAL'), False)
    >>> parsed.sql
    '"BILL_AMT1" / ( "LIMIT_BAL" + 1.5e0 )'
    >>> parse("SUM(amount) / COUNT(DISTINCT invoice)").functions
    ('COUNT', 'SUM')
    """
    if len(text) > MAX_LENGTH:
        raise ExpressionError("is longer than 2000 characters", MAX_LENGTH, "split it into derived columns")
    grammar = Grammar(text)
    root = grammar.read()
    nodes = list(root.walk())
    mentions = [Reference(n.value, n.position, n.width) for n in nodes if n.kind == "column"]
    mentions += [
        Reference(AGE, n.position, len("TREND")) for n in nodes if n.value == "TREND" and n.kind == "call"
    ]
    calls = {n.value for n in nodes if n.kind == "call"}
    aggregates = any(name in AGGREGATE_FUNCTIONS for name in calls)
    if aggregates:
        _refuse_bare_columns(root)
    return Parsed(
        text=text,
        sql=" ".join(grammar.sql),
        root=root,
        columns=tuple(sorted(mentions, key=lambda m: m.position)),
        functions=tuple(sorted(calls)),
        aggregates=aggregates,
    )


def _refuse_bare_columns(node: Node) -> None:
    """An aggregate has one value for many rows; a column beside it would have many."""
    if node.kind == "call" and node.value in AGGREGATE_FUNCTIONS:
        for inner in (n for arg in node.args for n in arg.walk()):
            if inner.kind == "call" and inner.value in AGGREGATE_FUNCTIONS:
                message = f"{inner.value} stands inside {node.value}"
                raise ExpressionError(message, inner.position, "aggregates do not nest", len(inner.value))
        return
    if node.kind == "column":
        message = f"{node.value} stands outside an aggregate"
        raise ExpressionError(message, node.position, f"wrap it, for example MAX({node.value})", node.width)
    for arg in node.args:
        _refuse_bare_columns(arg)
