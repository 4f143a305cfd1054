"""Small real models: trained, exported, written and read back as any other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from charter.core.clock import ManualClock
from charter.features.dataset import build_dataset
from charter.features.preprocess import fit_transform
from charter.serve.app import Application
from charter.serve.bundle import write_bundle, write_decision
from charter.serve.scorer import Scorer
from charter.serve.served import Served
from charter.serve.signature import signature
from charter.spec.types import ModelSpec
from charter.train.learners.gbm import LightGBMLearner
from charter.train.learners.logistic import LogisticRegressionLearner

NOW = datetime(2026, 3, 1, tzinfo=UTC)
WORDS = {
    "summary": "A test",
    "owner": {"team": "t", "contact": "c"},
    "purpose": {
        "problem": "p",
        "objective": "o",
        "decision": "d",
        "users": ["u"],
        "today": {"process": "none"},
    },
}
CREDIT: dict[str, Any] = {
    **WORDS,
    "name": "credit-test",
    "data": {
        "sources": {
            "accounts": {
                "uri": "accounts.parquet",
                "key": ["ID"],
                "columns": {
                    "ID": {"type": "integer"},
                    "limit": {"type": "float", "min": 1000, "unit": "EUR"},
                    "late": {"type": "integer", "min": -2, "max": 9},
                    "sex": {"type": "category", "values": ["1", "2"], "sensitivity": "protected"},
                    "grade": {"type": "category", "values": ["1", "2", "3"]},
                    "city": {"type": "category", "nullable": True},
                    "bill": {"type": "float", "nullable": True},
                    "online": {"type": "boolean"},
                    "joined": {"type": "date", "min": "2000-01-01"},
                    "outcome": {"type": "category", "values": ["0", "1"]},
                },
                "derive": {"spent": "bill * 2", "very_late": "late >= 3"},
            }
        },
        "observations": {"source": "accounts", "key": ["ID"]},
        "label": {"name": "bad", "column": "outcome", "positive": "1"},
    },
    "features": {
        "rows": {"use": "bill / limit", "spent_share": "spent / limit", "year": "EXTRACT(YEAR FROM joined)"},
        "exclude": ["sex"],
    },
    "train": {
        "task": "binary",
        "split": {"kind": "random", "test": 0.2},
        "learners": ["logistic_regression"],
    },
    "serve": {
        "reasons": 3,
        "reasons_for": "flagged",
        "bands": {"high": 0.7, "medium": 0.4, "low": 0},
        "fallback": {"rule": "very_late"},
        "factors": {"use": "share of the credit line in use", "late": "months late"},
    },
}
CHURN: dict[str, Any] = {
    **WORDS,
    "name": "churn-test",
    "data": {
        "sources": {
            "orders": {
                "uri": "orders.parquet",
                "columns": {
                    "who": {"type": "integer", "min": 0, "sensitivity": "personal"},
                    "at": {"type": "datetime"},
                    "amount": {"type": "float"},
                    "back": {"type": "boolean"},
                },
                "time": "at",
                "fresh_within": "30d",
            }
        },
        "observations": {
            "entity": "who",
            "cutoffs": {"first": "2025-03-01", "last": "2025-09-01"},
            "population": {"source": "orders", "over": "180d"},
        },
        "label": {"source": "orders", "over_next": "60d", "positive_when": "COUNT(*) = 0"},
    },
    "features": {
        "windows": {
            "recency": {
                "source": "orders",
                "aggregate": "MIN(age_days)",
                "over": ["all"],
                "where": "NOT back",
            },
            "total": {"source": "orders", "aggregate": "SUM(amount)", "over": ["30d", "90d"], "default": 0},
        },
        "rows": {"trend": "total_30d / (total_90d + 1)"},
    },
    "train": {
        "task": "binary",
        "split": {"kind": "time", "train_until": "2025-06-01", "test_from": "2025-08-01"},
        "learners": ["lightgbm"],
    },
    "serve": {"reasons": 2, "reasons_for": "asked", "fallback": {"rule": "recency_all > 60"}},
}


@dataclass(frozen=True)
class Example:
    """A written bundle with what it was made from."""

    spec: ModelSpec
    folder: Path
    dataset: pl.DataFrame
    trained_scores: np.ndarray
    history: Mapping[str, pl.DataFrame]

    def scorer(self) -> Scorer:
        return Scorer.load(self.folder, self.history, clock=ManualClock(NOW))


def accounts(rows: int = 600, seed: int = 1) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    late = rng.integers(-2, 8, rows)
    limit = rng.uniform(1000, 90_000, rows).round(2)
    bill = np.where(rng.random(rows) < 0.1, np.nan, rng.uniform(0, 1, rows) * limit)
    city = rng.choice(["Ghent", "Lille", "Köln"], rows).tolist()
    noise = rng.normal(size=rows)
    return pl.DataFrame(
        {
            "ID": np.arange(rows),
            "limit": limit,
            "late": late,
            "sex": rng.choice(["1", "2"], rows),
            "grade": rng.choice(["1", "2", "3"], rows),
            "city": [None if i % 17 == 0 else c for i, c in enumerate(city)],
            "bill": pl.Series(bill).fill_nan(None),
            "online": rng.random(rows) < 0.5,
            "joined": [date(2010, 1, 1) + timedelta(days=int(d)) for d in rng.integers(0, 4000, rows)],
            "outcome": (late + noise > 3).astype(int).astype(str),
        }
    ).with_columns(spent=pl.col("bill") * 2, very_late=pl.col("late") >= 3)


def orders(people: int = 120, seed: int = 2) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    start = datetime.fromisoformat("2024-06-01")
    n = people * 14
    return pl.DataFrame(
        {
            "who": rng.integers(0, people, n) ** 2 // people,
            "at": [start + timedelta(minutes=int(m)) for m in rng.integers(0, 560 * 1440, n)],
            "amount": rng.gamma(2.0, 20.0, n),
            "back": rng.random(n) < 0.1,
        }
    )


def make(folder: Path, document: dict[str, Any], sources: dict[str, pl.DataFrame], learner: Any) -> Example:
    spec = ModelSpec.model_validate(document)
    dataset, features = build_dataset(sources, spec)
    rows = dataset.filter(pl.col("__split") == "train")
    y = rows[spec.data.label.name].to_numpy()
    task = spec.train.task
    preprocessor, X = fit_transform(rows, y, features, spec.features, task)
    params = {**learner.defaults(task)}
    fitted = learner.fit(X, y, weight=None, params=params, seed=0, monotone=[0] * X.shape[1], task=task)
    write_bundle(
        folder,
        name=spec.name,
        task=task,
        signature=signature(spec, dataset),
        featureset=features.to_json(),
        preprocessor=preprocessor.to_json(),
        calibration={"kind": "sigmoid", "a": 0.9, "b": 0.1},
        classes=["0", "1"],
        model_onnx=fitted.to_onnx(preprocessor.names),
        native=fitted.native(),
        profile=None,
    )
    write_decision(
        folder,
        threshold=0.5,
        bands=spec.serve.bands,
        reasons=spec.serve.reasons,
        reasons_for=spec.serve.reasons_for,
        factors=spec.serve.factors,
        fallback=spec.serve.fallback.model_dump() if spec.serve.fallback else None,
    )
    scores = np.asarray(fitted.predict(preprocessor.transform(dataset)))
    return Example(spec, folder, dataset, scores, sources)


@pytest.fixture(scope="session")
def credit(tmp_path_factory: pytest.TempPathFactory) -> Example:
    folder = tmp_path_factory.mktemp("credit")
    return make(folder, CREDIT, {"accounts": accounts()}, LogisticRegressionLearner())


@pytest.fixture(scope="session")
def churn(tmp_path_factory: pytest.TempPathFactory) -> Example:
    return make(tmp_path_factory.mktemp("churn"), CHURN, {"orders": orders()}, LightGBMLearner())


@pytest.fixture
def application(credit: Example, churn: Example) -> Application:
    return Application(
        [Served("credit-test", "v1", credit.scorer()), Served("churn-test", "v2", churn.scorer())],
        new_id=lambda: "fixed-id",
    )


GOOD: dict[str, Any] = {
    "limit": 20000,
    "late": 1,
    "grade": 2,
    "city": "Ghent",
    "bill": 9000.5,
    "online": True,
    "joined": "2015-05-05",
}
"""A request that `credit` accepts."""
