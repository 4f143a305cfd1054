from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from charter.spec.types import ModelSpec


def make_spec(*, task: str = "binary", value: bool = True, **evaluate: Any) -> ModelSpec:
    """The smallest specification around an ``evaluate`` section."""
    return ModelSpec.model_validate(
        {
            "name": "small",
            "summary": "A model for tests",
            "owner": {"team": "t", "contact": "c"},
            "purpose": {
                "problem": "p",
                "objective": "o",
                "decision": "d",
                "users": ["u"],
                "today": {"process": "none"},
            },
            "data": {
                "sources": {"rows": {"uri": "rows.csv", "columns": {"id": {"type": "integer"}}}},
                "observations": {"source": "rows", "key": ["id"]},
                "label": {"column": "id", "positive": "1"},
            },
            "train": {
                "task": task,
                "split": {"kind": "random", "test": 0.2},
                "learners": ["lightgbm"],
                "seed": 7,
            },
            "evaluate": evaluate,
            **({"value": VALUE} if value else {}),
        }
    )


VALUE = {
    "currency": "EUR",
    "per_decision": {"true_positive": 100, "false_positive": -10, "false_negative": -50, "true_negative": 0},
    "volume": "1000 per month",
    "costs": {"run_per_month": 500, "train_per_month": 250},
}


@pytest.fixture
def spec_of() -> Callable[..., ModelSpec]:
    return make_spec


@pytest.fixture
def rows() -> tuple[pl.DataFrame, np.ndarray, np.ndarray]:
    """1,500 test rows with a group on which the model is blind, a tiny group and a missing value."""
    rng = np.random.default_rng(11)
    n = 1500
    z = rng.normal(-0.8, 1.4, n)
    score = 1 / (1 + np.exp(-z))
    y = (rng.random(n) < score).astype(np.int8)
    region = rng.choice(["north", "south", "east"], n, p=[0.5, 0.3, 0.2])
    blind = region == "east"
    y[blind] = (rng.random(int(blind.sum())) < 0.35).astype(np.int8)
    region[:12] = "atoll"
    frame = pl.DataFrame(
        {
            "region": pl.Series(region.tolist()),
            "sex": rng.choice(["1", "2"], n),
            "age": rng.integers(18, 80, n),
            "entity": rng.integers(0, 500, n),
        }
    ).with_columns(region=pl.when(pl.int_range(n) == 20).then(None).otherwise(pl.col("region")))
    return frame, y, score
