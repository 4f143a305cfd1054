"""Whether a model's features may be computed row by row: asked of rows such as requests bring."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any

import polars as pl

from charter.features.featureset import FeatureSet
from charter.features.few_rows import FewRows
from charter.features.row_features import few_rows
from charter.features.windows import window_names
from charter.serve.types import Input
from charter.serve.values import DTYPES

_ROWS = 24
_WIDE = 1e6


def computes_few(features: FeatureSet, inputs: Sequence[Input]) -> FewRows | None:
    """What computes the features of a few rows, proven on rows such as training saw; None where nothing does."""
    if features.series is not None or not features.rows:
        return None
    found = few_rows(features, sample(inputs, window_names({w.name: w for w in features.windows})))
    return found if found.steps else None


def sample(
    inputs: Sequence[Input], numbers: Sequence[str] = (), *, rows: int = _ROWS, seed: int = 0
) -> pl.DataFrame:
    """Rows drawn from the ranges that training saw, with zeros, ones and what is missing among them.

    Parameters
    ----------
    numbers
        Further columns, Float64.

    Examples
    --------
    >>> sample([Input("age", "integer", seen_min=18, seen_max=90)], rows=100)["age"].is_between(0, 90).all()
    True
    """
    chance = random.Random(seed)  # noqa: S311 - the same rows each time
    drawn = {i.name: [_value(i, chance) for _ in range(rows)] for i in inputs}
    schema = {i.name: DTYPES[i.type] for i in inputs} | dict.fromkeys(numbers, pl.Float64)
    free = Input("", "float", nullable=True)
    return pl.DataFrame(
        drawn | {name: [_value(free, chance) for _ in range(rows)] for name in numbers}, schema=schema
    )


def _value(field: Input, chance: random.Random) -> Any:
    kind = chance.random()
    if field.nullable and kind < 0.1:
        return None
    match field.type:
        case "integer" | "float":
            low, high = (float(end) if end is not None else edge for end, edge in _ends(field))
            value = chance.choice([0.0, 1.0]) if kind > 0.8 else chance.uniform(low, high)
            return round(value) if field.type == "integer" else value
        case "boolean":
            return kind < 0.5
        case "category" | "text":
            return chance.choice(field.seen_values or field.values or ("a", ""))
        case "date":
            return date.fromordinal(730_000 + chance.randrange(10_000))
        case _:
            return datetime(2000, 1, 1) + timedelta(seconds=chance.randrange(10**9))  # noqa: DTZ001 - without a zone, as inputs are


def _ends(field: Input) -> Sequence[tuple[float | str | None, float]]:
    low = field.seen_min if field.seen_min is not None else field.min
    high = field.seen_max if field.seen_max is not None else field.max
    return ((low, -_WIDE), (high, _WIDE))
