"""Where a request leaves what training saw: scored, with a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from charter.serve.problem import shown
from charter.serve.types import Input

_TEMPORAL = ("date", "datetime")
_MANY_ROWS = 1024


class SeenRanges:
    """Compares inputs with what training saw; `warn` costs microseconds when nothing is outside."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        numbers = [i for i in inputs if i.type in ("integer", "float") and i.seen_min is not None]
        self._numbers = [i.name for i in numbers]
        self._low = np.array([float(i.seen_min or 0.0) for i in numbers])
        self._high = np.array([float(i.seen_max or 0.0) for i in numbers])
        self._every = list(range(len(numbers)))
        self._spans = [f"{i.seen_min:g} to {i.seen_max:g}" for i in numbers]
        self._moments = [(i.name, str(i.seen_min), str(i.seen_max)) for i in inputs if _has_moments(i)]
        self._categories = [(i.name, frozenset(i.seen_values)) for i in inputs if i.seen_values is not None]

    def warn(self, frame: pl.DataFrame) -> Iterator[tuple[int, str]]:
        """Warnings on a frame of inputs: the row's place, and what is unusual about it.

        Few rows are looked at one by one, which is quickest for them; of many, first whole columns.
        """
        many = frame.height > _MANY_ROWS
        columns = self._columns_outside(frame) if many else self._every
        if columns:
            names = [self._numbers[c] for c in columns]
            values = frame.select_seq(names).to_numpy()
            with np.errstate(invalid="ignore"):
                outside = (values < self._low[columns]) | (values > self._high[columns])
            for row, at in np.argwhere(outside).tolist():
                value, span = shown(_number(values[row, at])), self._spans[columns[at]]
                yield row, f"{names[at]} = {value} is outside the training range, {span}"
        for name, low, high in self._moments:
            for row, value in enumerate(frame[name].to_list()):
                if value is not None and not low <= value.isoformat() <= high:
                    yield row, f"{name} = {value.isoformat()} is outside the training range, {low} to {high}"
        for name, seen in self._categories:
            column = frame[name]
            rows = column.is_in(list(seen)).not_().fill_null(False).arg_true().to_list() if many else None
            found = column.to_list() if rows is None else column.gather(rows).to_list()
            for row, value in zip(range(frame.height) if rows is None else rows, found, strict=True):
                if value is not None and value not in seen:
                    yield row, f"{name} = {shown(value)} did not occur in training"

    def _columns_outside(self, frame: pl.DataFrame) -> list[int]:
        """Places of the numbers that leave their range anywhere."""
        if not self._numbers:
            return []
        column = pl.col(self._numbers).cast(pl.Float64)
        least, most = (frame.select(column.min()).row(0), frame.select(column.max()).row(0))
        return [
            i
            for i, (a, b) in enumerate(zip(least, most, strict=True))
            if a is not None and (a < self._low[i] or b > self._high[i])
        ]


def _has_moments(field: Input) -> bool:
    return field.type in _TEMPORAL and field.seen_min is not None and field.seen_max is not None


def _number(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number
