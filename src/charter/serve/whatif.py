"""What a forecast would be if prices or promotions were others, and how far that can be trusted. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
import polars as pl

from charter.core.errors import UsageError
from charter.core.nearest import advice
from charter.evaluate.effect import EffectSpread
from charter.features.expressions import compile_expression
from charter.serve.question import Change

_FEW_VALUES = 12
_SHOWN = 3
_NEAR = 0.1
"""Numbers are near each other within so much of the range that their series has seen."""
_KEYS = ("series", "as_of", "step")


def change_rows(rows: pl.DataFrame, changes: Sequence[Change]) -> pl.DataFrame:
    """Make the changes, one after the other.

    Parameters
    ----------
    rows
        One row per series and step: ``step`` and the columns that the changes name.

    Returns
    -------
    The rows with new values; types stay as they were.

    Raises
    ------
    UsageError
        When a change meets no row, or gives a value that its column cannot hold.
    """
    for change in changes:
        meets = pl.lit(True)
        for column, value in change.of:
            known = rows[column].cast(pl.String)
            if not (known == value).any():
                raise UsageError(
                    f"{change.text!r}: no row has {column} = {value!r}",
                    remedy=advice(value, known.drop_nulls().unique().to_list()),
                )
            meets &= pl.col(column).cast(pl.String) == value
        if change.first is not None and change.last is not None:
            meets &= pl.col("step").is_between(change.first, change.last)
        if rows.filter(meets).is_empty():
            raise UsageError(
                f"{change.text!r} meets no row to be forecast", remedy="Its conditions never hold together."
            )
        dtype = rows.schema[change.column]
        try:
            setting = compile_expression(change.expression)
            new = rows.with_columns(pl.when(meets).then(setting).otherwise(None).alias("__new"))["__new"]
            cast = new.cast(dtype, strict=True)
        except pl.exceptions.PolarsError as error:
            raise UsageError(
                f"{change.text!r}: {change.expression!r} is no value of {change.column}, which holds {_kind(dtype)}",
                remedy=f"Give {_kind(dtype)}, or an expression that makes such of the row's columns.",
            ) from error
        if new.dtype.is_float() and dtype.is_integer() and (new != cast).any():
            raise UsageError(f"{change.text!r}: {change.column} holds whole numbers")
        if rows.filter(meets).height != cast.drop_nulls().len():
            raise UsageError(
                f"{change.text!r}: {change.expression!r} has no value in some rows",
                remedy="Give COALESCE(..., 0) or a number.",
            )
        rows = rows.with_columns(
            pl.when(meets).then(cast).otherwise(pl.col(change.column)).alias(change.column)
        )
    return rows


def _kind(dtype: pl.DataType) -> str:
    """What a column holds, in words."""
    if dtype.is_numeric():
        return "whole numbers" if dtype.is_integer() else "numbers"
    return {pl.Boolean(): "true or false", pl.String(): "text"}.get(dtype, "dates")


@dataclass(frozen=True, slots=True)
class Effect:
    """A forecast before and after, summed over rows.

    Attributes
    ----------
    name
        What is summed: ``total``, ``step 2``, ``brand 3``.
    before, after
        Units, over all rows of the name.
    low, high
        Interval of ``difference``; equal to it where nothing changed.
    series
        Series whose forecast changed.
    """

    name: str
    before: float
    after: float
    low: float
    high: float
    series: int

    @property
    def difference(self) -> float:
        """After less before."""
        return self.after - self.before


def effects(
    before: pl.DataFrame, after: pl.DataFrame, spread: EffectSpread, *, by: Sequence[str] = ()
) -> list[Effect]:
    """Sum the difference over all rows, by step, and by the values of columns.

    Parameters
    ----------
    before, after
        The same rows (``series``, ``as_of``, ``step``, ``by``) with ``forecast``.

    Notes
    -----
    With b and a the sums over the rows whose forecast changed, and q the bound of the log error of a predicted change
    of a sum over so many series, the difference lies in ``[a exp(-q) - b, a exp(q) - b]``.
    """
    others = [column for column in dict.fromkeys(by) if column not in _KEYS]
    joined = before.select(*_KEYS, *others, pl.col("forecast").alias("before")).join(
        after.select(*_KEYS, pl.col("forecast").alias("after")), on=_KEYS, how="inner", validate="1:1"
    )
    found = [_effect("total", joined, spread)]
    for column in dict.fromkeys(("step", *by)):
        parts = joined.sort(column).partition_by(column, maintain_order=True)
        found += [_effect(f"{column} {part[column][0]}", part, spread) for part in parts]
    return found


def _effect(name: str, rows: pl.DataFrame, spread: EffectSpread) -> Effect:
    moved = rows.filter((pl.col("after") - pl.col("before")).abs() > 1e-9 * pl.col("before").abs())
    series = moved["series"].n_unique()
    b, a = float(moved["before"].sum()), float(moved["after"].sum())
    q = spread.radius(series) if series else 0.0
    low, high = (a * float(np.exp(-q)) - b, a * float(np.exp(q)) - b) if series else (0.0, 0.0)
    return Effect(name, float(rows["before"].sum()), float(rows["after"].sum()), low, high, series)


def unseen(
    before: pl.DataFrame, after: pl.DataFrame, history: pl.DataFrame, known_ahead: Sequence[str]
) -> Iterator[str]:
    """Say where a change leaves what the history holds.

    Parameters
    ----------
    before, after
        The same rows in the same order, with ``series`` and the columns of ``known_ahead``.
    history
        What was known when the model was made, ``series`` and the columns of ``known_ahead``.

    Yields
    ------
    Sentences: numbers beyond what their series has seen, combinations of few-valued columns that no row has, and
    numbers that their series has never been near with such a value of a few-valued column (a promotion at full price).
    """
    columns = [c for c in known_ahead if c in after.columns and c in history.columns]
    touched = [c for c in columns if not after[c].equals(before[c], null_equal=True)]
    for column in touched:
        if after.schema[column].is_numeric() and history[column].n_unique() > _FEW_VALUES:
            yield from _beyond(after.filter(after[column].ne_missing(before[column])), history, column)
    few = [c for c in columns if history[c].n_unique() <= _FEW_VALUES]
    if any(c in few for c in touched):
        changed = after.filter(pl.any_horizontal(after[c].ne_missing(before[c]) for c in touched))
        never = changed.select(few).unique().join(
            history.select(few).unique(), on=few, how="anti", nulls_equal=True
        ).sort(few)  # fmt: skip
        for row in never.head(_SHOWN).iter_rows(named=True):
            told = ", ".join(f"{name} = {value}" for name, value in row.items())
            yield f"{told} never occurred{' together' if len(row) > 1 else ''}: the model was taught nothing about it"
    many = [c for c in columns if c not in few and after.schema[c].is_numeric()]
    apart = (
        told
        for value in few
        for number in many
        if value in touched or number in touched
        for told in _apart(before, after, history, value, number)
    )
    yield from islice(apart, _SHOWN)


def _apart(
    before: pl.DataFrame, after: pl.DataFrame, history: pl.DataFrame, value: str, number: str
) -> Iterator[str]:
    """Say where a number is not near those that its series has had with the value of another column."""
    low, high = pl.col(number).min(), pl.col(number).max()
    whole = history.group_by("series").agg(low.alias("__least"), high.alias("__most"))
    own = history.group_by("series", value).agg(low.alias("__low"), high.alias("__high"))
    near = (pl.col("__most") - pl.col("__least")) * _NEAR
    rows = after.filter(after[value].ne_missing(before[value]) | after[number].ne_missing(before[number]))
    rows = rows.join(whole, on="series", how="left", maintain_order="left").join(
        own, on=["series", value], how="left", maintain_order="left", nulls_equal=True
    )
    outside = rows.filter(
        pl.col(number).is_between("__least", "__most")
        & ~pl.col(number).is_between(pl.col("__low") - near, pl.col("__high") + near)
    )
    if outside.is_empty():
        return
    first = outside.row(0, named=True)
    yield (
        f"{value} = {first[value]} never occurred together with {number} near {first[number]:g} in "
        f"{outside['series'].n_unique():,} of {rows['series'].n_unique():,} series (series {first['series']}: with "
        f"{number} {first['__low']:g} to {first['__high']:g})"
    )


def _beyond(rows: pl.DataFrame, history: pl.DataFrame, column: str) -> Iterator[str]:
    spans = history.group_by("series").agg(
        pl.col(column).min().alias("__low"), pl.col(column).max().alias("__high")
    )
    outside = rows.join(spans, on="series", how="left", maintain_order="left").filter(
        ~pl.col(column).is_between("__low", "__high").fill_null(False)
    )
    if outside.is_empty():
        return
    first = outside.row(0, named=True)
    series = outside["series"].n_unique()
    span = "nothing" if first["__low"] is None else f"{first['__low']:g} to {first['__high']:g}"
    yield (
        f"{column} = {first[column]:g} is beyond what {series:,} of {rows['series'].n_unique():,} series have seen "
        f"(series {first['series']}: {span})"
    )
