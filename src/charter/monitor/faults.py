"""Faults put into a replay on purpose, so that it can be seen what notices them, and when. Pure.

``KIND:COLUMN:SIZE@DAY``: from that day on the column is wrong in every request.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Literal, get_args

import numpy as np
import polars as pl

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean

Kind = Literal["shift", "scale", "missing", "new_category", "schema", "concept", "delay", "outage"]
WITHOUT_COLUMN: tuple[Kind, ...] = ("concept", "delay", "outage")
_SHARES = ("missing", "new_category", "schema", "concept")
_RENAMED = "_new"
_MOST_DAYS = 3650
_FAULT = re.compile(r"([a-z_]+):([^:@]*):([-+0-9.eE]+)@(\d{4}-\d{2}-\d{2})")


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes
    ----------
    kind
        ``shift`` adds ``size`` standard deviations; ``scale`` multiplies (a wrong unit); ``missing`` empties a share;
        ``new_category`` gives a share of the rows a category that training has not seen; ``schema`` sends a share of
        the rows with the field under another name, as text; ``concept`` turns the outcomes of a share of the rows
        around, which no look at the inputs can show; ``delay`` lets outcomes come so many days later; ``outage`` lets
        nobody answer for so many days.
    column
        Empty for ``concept``, ``delay`` and ``outage``.
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
        if (kind in WITHOUT_COLUMN) != (column == ""):
            words = " and ".join([", ".join(WITHOUT_COLUMN[:-1]), WITHOUT_COLUMN[-1]])
            raise UsageError(f"--fault: {text!r}; {words} take no column, every other kind takes one")
        try:
            number, first = float(size), date.fromisoformat(day)
        except ValueError as error:
            raise UsageError(f"--fault: {text!r}: {error}") from error
        if kind in _SHARES and not 0 <= number <= 1:
            raise UsageError(f"--fault: {text!r}; the size of {kind} is a share, 0 to 1")
        if kind in ("delay", "outage") and not 0 < number <= _MOST_DAYS:
            raise UsageError(f"--fault: {text!r}; the size of {kind} is a number of days")
        return cls(kind, column, number, first)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.kind}:{self.column}:{self.size:g}@{self.first}"

    def down(self, day: date) -> bool:
        """Whether nobody answers on that day because of it."""
        return self.kind == "outage" and self.first <= day < self.first + timedelta(days=self.size)


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
    if fault.kind in WITHOUT_COLUMN:
        return inputs
    if fault.column not in inputs.columns:
        raise UsageError(
            f"--fault: requests have no field {fault.column!r}",
            remedy=did_you_mean(fault.column, inputs.columns),
        )
    column, dtype = pl.col(fault.column), inputs.schema[fault.column]
    hit = pl.Series(np.random.default_rng(seed).random(inputs.height) < fault.size)
    match fault.kind:
        case "schema":
            return inputs  # a frame has one schema; see `rename_field`
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


def rename_field(requests: Sequence[dict[str, Any]], fault: Fault, *, seed: int) -> None:
    """Let a share of the requests, in place, bring a field under another name and as text, for ``schema``."""
    hit = np.random.default_rng(seed).random(len(requests)) < fault.size
    for request, changed in zip(requests, hit, strict=True):
        if changed and fault.column in request:
            value = request.pop(fault.column)
            request[fault.column + _RENAMED] = None if value is None else str(value)


def turn_around(outcome: pl.Series, fault: Fault, *, seed: int) -> pl.Series:
    """Turn the outcomes (1 and 0) of a share of the rows around, for ``concept``."""
    hit = pl.Series(np.random.default_rng(seed).random(len(outcome)) < fault.size)
    return (1 - outcome).zip_with(hit, outcome)
