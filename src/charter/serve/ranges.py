"""Where a request leaves what training saw: scored, with a warning."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from charter.serve.problem import shown
from charter.serve.types import Input

_TEMPORAL = ("date", "datetime")


class SeenRanges:
    """Compares inputs with what training saw; `warn` costs microseconds when nothing is outside."""

    def __init__(self, inputs: Sequence[Input]) -> None:
        numbers = [i for i in inputs if i.type in ("integer", "float") and i.seen_min is not None]
        self._numbers = [i.name for i in numbers]
        self._low = np.array([float(i.seen_min or 0.0) for i in numbers])
        self._high = np.array([float(i.seen_max or 0.0) for i in numbers])
        self._spans = [f"{i.seen_min:g} to {i.seen_max:g}" for i in numbers]
        self._moments = [(i.name, str(i.seen_min), str(i.seen_max)) for i in inputs if _has_moments(i)]
        self._categories = [(i.name, frozenset(i.seen_values)) for i in inputs if i.seen_values is not None]

    def warn(self, frame: pl.DataFrame) -> list[list[str]]:
        """Warnings per row of a frame of inputs."""
        found: list[list[str]] = [[] for _ in range(frame.height)]
        if self._numbers:
            values = frame.select(pl.col(self._numbers).cast(pl.Float64)).to_numpy()
            with np.errstate(invalid="ignore"):
                outside = (values < self._low) | (values > self._high)
            for row, column in np.argwhere(outside).tolist():
                name, value = self._numbers[column], shown(_number(values[row, column]))
                found[row].append(f"{name} = {value} is outside the training range, {self._spans[column]}")
        for name, low, high in self._moments:
            for row, value in enumerate(frame[name].to_list()):
                if value is not None and not low <= value.isoformat() <= high:
                    found[row].append(
                        f"{name} = {value.isoformat()} is outside the training range, {low} to {high}"
                    )
        for name, seen in self._categories:
            for row, value in enumerate(frame[name].to_list()):
                if value is not None and value not in seen:
                    found[row].append(f"{name} = {shown(value)} did not occur in training")
        return found


def _has_moments(field: Input) -> bool:
    return field.type in _TEMPORAL and field.seen_min is not None and field.seen_max is not None


def _number(value: Any) -> int | float:
    number = float(value)
    return int(number) if number.is_integer() and abs(number) < 1e15 else number
