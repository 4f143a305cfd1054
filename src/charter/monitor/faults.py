"""Faults put into a replay on purpose, so that it can be seen what notices them, and when. Pure.

``KIND:COLUMN:SIZE@DAY``: from that day on the column is wrong in every request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal, get_args

import numpy as np
import polars as pl

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean

Kind = Literal["shift", "scale", "missing", "new_category", "concept"]
_FAULT = re.compile(r"([a-z_]+):([^:@]*):([-+0-9.eE]+)@(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes
    ----------
    kind
        ``shift`` adds ``size`` standard deviations; ``scale`` multiplies (a wrong unit); ``missing`` empties a share;
        ``new_category`` gives a share of the rows a category that training has not seen; ``concept`` turns the
        outcomes of a share of the rows around, which no look at the inputs can show.
    column
        Empty for ``concept``.
    first
        Day from which it holds.
    """

    kind: Kind
    column: str
    size: float
    first: date

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``shift:AGE:0.5@2026-03-01``.

        Raises
        ------
        UsageError
            When it is no fault.

        Examples
        --------
        >>> Fault.parse("concept::0.5@2026-03-01").kind
        'concept'
        """
        found = _FAULT.fullmatch(text)
        if found is None:
            raise UsageError(
                f"--fault is {text!r}", remedy="Write KIND:COLUMN:SIZE@DAY, such as shift:AGE:0.5@2026-03-01."
            )
        kind, column, size, day = found.groups()
        kinds = get_args(Kind)
        if kind not in kinds:
            raise UsageError(f"--fault: {kind!r} is no kind of fault", remedy=did_you_mean(kind, kinds))
        if (kind == "concept") != (column == ""):
            raise UsageError(f"--fault: {text!r}; concept takes no column, every other kind takes one")
        try:
            number, first = float(size), date.fromisoformat(day)
        except ValueError as error:
            raise UsageError(f"--fault: {text!r}: {error}") from error
        if kind in ("missing", "new_category", "concept") and not 0 <= number <= 1:
            raise UsageError(f"--fault: {text!r}; the size of {kind} is a share, 0 to 1")
        return cls(kind, column, number, first)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}:{self.column}:{self.size:g}@{self.first}"


def inject(inputs: pl.DataFrame, fault: Fault, *, deviation: float | None, seed: int) -> pl.DataFrame:
    """Spoil the inputs of requests.

    Parameters
    ----------
    deviation
        Standard deviation of the column in training, for ``shift``.

    Raises
    ------
    UsageError
        When there is no such column, or its type does not suit the fault.
    """
    if fault.kind == "concept":
        return inputs
    if fault.column not in inputs.columns:
        raise UsageError(
            f"--fault: requests have no field {fault.column!r}",
            remedy=did_you_mean(fault.column, inputs.columns),
        )
    column, dtype = pl.col(fault.column), inputs.schema[fault.column]
    hit = pl.Series(np.random.default_rng(seed).random(inputs.height) < fault.size)
    match fault.kind:
        case "missing":
            return inputs.with_columns(pl.when(~hit).then(column))
        case "new_category" if dtype == pl.String:
            return inputs.with_columns(
                pl.when(hit).then(pl.lit("never seen before")).otherwise(column).alias(fault.column)
            )
        case "scale" if dtype.is_numeric():
            return inputs.with_columns((column * fault.size).cast(dtype))
        case "shift" if dtype.is_numeric() and deviation is not None:
            return inputs.with_columns((column + fault.size * deviation).cast(dtype))
    raise UsageError(f"--fault: {fault.kind} does not suit {fault.column!r}, which is {dtype}")


def turn_around(outcome: pl.Series, fault: Fault, *, seed: int) -> pl.Series:
    """Turn the outcomes (1 and 0) of a share of the rows around, for ``concept``."""
    hit = pl.Series(np.random.default_rng(seed).random(len(outcome)) < fault.size)
    return (1 - outcome).zip_with(hit, outcome)
