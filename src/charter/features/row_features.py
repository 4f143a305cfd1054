"""Row features, computed: by Polars, and of a few rows without a query where that gives the same."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import polars as pl

from charter.core.errors import DataError
from charter.features.expressions import FEW_ROWS, columns_of, compile_expression, compile_number
from charter.features.few_rows import FewRows, Unusual

if TYPE_CHECKING:
    from charter.features.featureset import FeatureSet, RowFeature

_SINGLE_ROWS = 8
"""So few rows are computed one by one, where `few_rows` allows."""


def compute(frame: pl.DataFrame, features: FeatureSet, few: FewRows | None = None) -> pl.DataFrame:
    """Add the row features to a frame that has inputs and windows.

    Numbers are Float64, null where they have no value (a division by zero, an overflow).
    """
    if few is not None and 0 < frame.height <= _SINGLE_ROWS:
        with suppress(Unusual):
            columns = few.columns(frame)
            if all(math.isfinite(c.sum()) for c in columns if c.dtype == pl.Float64):
                found = frame.hstack(columns)
                return _computed(found, few.others)[[*frame.columns, *few.order]] if few.others else found
    return _computed(frame, features.rows)


def _computed(frame: pl.DataFrame, rows: tuple[RowFeature, ...]) -> pl.DataFrame:
    for values, numbers in _levels(rows):
        try:
            frame = _with_columns(frame, values)
            # A sum is finite only where all that it is made of is: most frames need no second look.
            if not all(math.isfinite(float(frame.get_column(name).sum())) for name in numbers):
                frame = _with_columns(frame, [_finite(name) for name in numbers])
        except pl.exceptions.PolarsError as error:
            raise DataError(f"row features cannot be computed: {str(error).splitlines()[0]}") from error
    return frame


def few_rows(features: FeatureSet, sample: pl.DataFrame) -> FewRows:
    """What computes the row features of a few rows at once, where it gives the bits that Polars gives.

    Parameters
    ----------
    sample
        Rows as `compute` will get them, on which both are compared.
    """
    expressions = {row.name: _value(row) for level in _depths(features.rows) for row in level}
    found = FewRows.of(expressions, sample.schema).proven(sample, expressions)
    others = tuple(row for row in features.rows if row.name not in found.names)
    return replace(found, others=others, order=tuple(expressions))


def row_expression(row: RowFeature) -> pl.Expr:
    """A row feature as an expression; a number is Float64, null where it has no value."""
    compiled = compile_number(row.expression) if row.kind == "number" else compile_expression(row.expression)
    return compiled.alias(row.name)


def _with_columns(frame: pl.DataFrame, expressions: Sequence[pl.Expr]) -> pl.DataFrame:
    few = frame.height <= FEW_ROWS
    return frame.with_columns_seq(expressions) if few else frame.with_columns(expressions)


def _finite(name: str) -> pl.Expr:
    return pl.when(pl.col(name).is_finite()).then(pl.col(name))


@lru_cache(maxsize=256)
def _levels(rows: tuple[RowFeature, ...]) -> tuple[tuple[tuple[pl.Expr, ...], tuple[str, ...]], ...]:
    """Rows that do not read each other are computed side by side; with the names of those that are numbers.

    What `row_expression` says of each row, in two steps: first their values, then numbers held to be finite.
    """
    return tuple(
        (tuple(_value(r) for r in level), tuple(r.name for r in level if r.kind == "number"))
        for level in _depths(rows)
    )


def _depths(rows: Sequence[RowFeature]) -> list[list[RowFeature]]:
    """Rows by how many others stand between them and the inputs."""
    depth: dict[str, int] = {}
    for row in rows:
        depth[row.name] = 1 + max((depth.get(name, 0) for name in columns_of(row.expression)), default=0)
    deepest = max(depth.values(), default=0)
    return [[r for r in rows if depth[r.name] == at] for at in range(1, deepest + 1)]


def _value(row: RowFeature) -> pl.Expr:
    if row.kind != "number":
        return row_expression(row)
    return compile_expression(row.expression).cast(pl.Float64).alias(row.name)
