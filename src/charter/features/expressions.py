"""Expressions of the specification, compiled once, with the columns that they read."""

from __future__ import annotations

from functools import lru_cache

import polars as pl

from charter.data import expressions

__all__ = ["FEW_ROWS", "columns_of", "compile_expression", "compile_number"]

FEW_ROWS = 4096
"""Handing so few rows to other threads costs more than it gives."""


@lru_cache(maxsize=4096)
def compile_expression(text: str) -> pl.Expr:
    """Compile an expression, remembering the result: a server compiles each of its features once.

    See Also
    --------
    charter.data.expressions.compile_expression : the language, and what happens to a division by zero.
    """
    return expressions.compile_expression(text)


@lru_cache(maxsize=4096)
def compile_number(text: str) -> pl.Expr:
    """Compile an expression whose result is a number: Float64, null instead of NaN and infinity.

    Truth values become 1.0 and 0.0. A result that is neither a number nor a truth value makes Polars refuse
    the frame when the expression is evaluated.

    Examples
    --------
    >>> pl.DataFrame({"a": [1, 2], "b": [0, 4]}).select(ratio=compile_number("a / b"))["ratio"].to_list()
    [None, 0.5]
    """
    value = compile_expression(text).cast(pl.Float64)
    return pl.when(value.is_finite()).then(value)


@lru_cache(maxsize=4096)
def columns_of(text: str) -> tuple[str, ...]:
    """Names of the columns that an expression reads, sorted.

    Examples
    --------
    >>> columns_of("SUM(CASE WHEN kind = 'a' THEN amount ELSE 0 END)")
    ('amount', 'kind')
    """
    return tuple(sorted(set(compile_expression(text).meta.root_names())))
