"""Where a request leaves what training saw: scored, with a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from charter.serve.problem import shown
from charter.serve.types import Input

_TEMPORAL = ("date", "datetime")
_FEW_ROWS = 1024
_SINGLE_ROWS = 4
"""So few rows are read sooner one by one than column by column."""


class SeenRanges:
    """Compares inputs with what training saw; `warn` costs microseconds when nothing is outside."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        numbers = [i for i in inputs if i.type in ("integer", "float") and i.seen_min is not None]
        self._numbers = [
            (i.name, float(i.seen_min or 0.0), float(i.seen_max or 0.0), f"{i.seen_min:g} to {i.seen_max:g}")
            for i in numbers
        ]
        self._moments = [(i.name, str(i.seen_min), str(i.seen_max)) for i in inputs if _has_moments(i)]
        self._categories = [(i.name, frozenset(i.seen_values)) for i in inputs if i.seen_values is not None]

    def warn(self, frame: pl.DataFrame) -> Iterator[tuple[int, str]]:
        """Warnings on a frame of inputs: the row's place, and what is unusual about it.

        Column by column: first the whole, then the rows of one that holds something unusual. A few rows are looked
        at one by one first, for mostly there is nothing to say.
        """
        if frame.height <= _SINGLE_ROWS:
            names = frame.columns
            if all(self._ordinary(dict(zip(names, row, strict=True))) for row in frame.rows()):
                return
        for name, low, high, span in self._numbers:
            column = frame.get_column(name)
            least, most = column.min(), column.max()
            if least is None or (least >= low and most <= high):  # type: ignore[operator]  # they are numbers
                continue
            values = column.to_numpy()
            for row in np.flatnonzero((values < low) | (values > high)).tolist():
                yield row, f"{name} = {shown(_number(values[row]))} is outside the training range, {span}"
        for name, first, last in self._moments:
            for row, value in enumerate(frame.get_column(name).to_list()):
                if value is not None and not first <= value.isoformat() <= last:
                    yield (
                        row,
                        f"{name} = {value.isoformat()} is outside the training range, {first} to {last}",
                    )
        for name, seen in self._categories:
            column = frame.get_column(name)
            different = column if frame.height <= _FEW_ROWS else column.unique()
            strange = set(different.to_list()) - seen - {None}
            if not strange:
                continue
            for row, value in enumerate(column.to_list()):
                if value in strange:
                    yield row, f"{name} = {shown(value)} did not occur in training"

    def _ordinary(self, row: Mapping[str, Any]) -> bool:
        """Whether nothing in a row is unusual: a quick look, after which no words are needed."""
        for name, low, high, _ in self._numbers:
            value = row[name]
            if value is not None and not low <= value <= high:
                return False
        for name, first, last in self._moments:
            value = row[name]
            if value is not None and not first <= value.isoformat() <= last:
                return False
        return all(row[name] is None or row[name] in seen for name, seen in self._categories)


def _has_moments(field: Input) -> bool:
    return field.type in _TEMPORAL and field.seen_min is not None and field.seen_max is not None


def _number(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number
