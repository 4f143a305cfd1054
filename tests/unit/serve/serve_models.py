"""Small real models: trained, exported, written and read back as any other."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

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
    classes = ["0", "1"]
    if spec.train.task == "multiclass":
        classes = sorted(set(y.tolist()))
        y = np.searchsorted(classes, y)
    task = spec.train.task
    preprocessor, X = fit_transform(rows, y, features, spec.features, task)
    params = {**learner.defaults(task), **({"trees": 20} if learner.name == "lightgbm" else {})}
    fitted = learner.fit(X, y, weight=None, params=params, seed=0, monotone=[0] * X.shape[1], task=task)
    write_bundle(
        folder,
        name=spec.name,
        task=task,
        signature=signature(spec, dataset),
        featureset=features.to_json(),
        preprocessor=preprocessor.to_json(),
        calibration={"kind": "sigmoid", "a": 0.9, "b": 0.1} if task == "binary" else None,
        classes=classes if task != "regression" else [],
        model_onnx=fitted.to_onnx(preprocessor.names),
        native=fitted.native(),
        profile=None,
    )
    write_decision(
        folder,
        threshold=0.5 if task == "binary" else None,
        bands=spec.serve.bands,
        reasons=spec.serve.reasons,
        reasons_for=spec.serve.reasons_for,
        factors=spec.serve.factors,
        fallback=spec.serve.fallback.model_dump() if spec.serve.fallback else None,
    )
    scores = np.asarray(fitted.predict(preprocessor.transform(dataset)))
    return Example(spec, folder, dataset, scores, sources)


def make_credit(folder: Path) -> Example:
    return make(folder, CREDIT, {"accounts": accounts()}, LogisticRegressionLearner())


def make_churn(folder: Path) -> Example:
    return make(folder, CHURN, {"orders": orders()}, LightGBMLearner())


def make_other(folder: Path, task: str) -> Example:
    """The accounts again, predicting a class of three or a number."""
    document = copy.deepcopy(CREDIT)
    document["name"] = f"{task}-test"
    document["train"] |= {"task": task, "learners": ["lightgbm"]}
    label = "grade" if task == "multiclass" else "bill"
    document["data"]["label"] = {"name": "wanted", "column": label}
    document["data"]["sources"]["accounts"]["derive"] = {}
    document["features"] = {"rows": {}, "exclude": ["sex", "outcome"]}
    document["serve"] = {"reasons": 2, "reasons_for": "always", "bands": {}, "fallback": {"score": 0.5}}
    frame = accounts().drop("spent", "very_late").filter(pl.col("bill").is_not_null())
    return make(folder, document, {"accounts": frame}, LightGBMLearner())


def serve(*examples: Example) -> Application:
    models = [Served(e.spec.name, f"v{i}", e.scorer()) for i, e in enumerate(examples, 1)]
    return Application(models, new_id=lambda: "fixed-id")


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


def call(
    application: Any,
    path: str = "/api/v1/predict/credit-test",
    body: bytes = b"",
    *,
    method: str = "POST",
    headers: dict[str, str] | None = None,
    query: str = "",
    chunk: int = 0,
) -> tuple[int, dict[str, str], bytes]:
    """One request through the bare ASGI interface, as a server would send it."""
    return asyncio.run(
        acall(application, path, body, method=method, headers=headers, query=query, chunk=chunk)
    )


async def acall(
    application,
    path="/api/v1/predict/credit-test",
    body=b"",
    *,
    method="POST",
    headers=None,
    query="",
    chunk=0,
):
    headers = {"content-type": "application/json", "host": "test", **(headers or {})}
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query.encode(),
        "headers": [(k.encode(), v.encode("latin-1")) for k, v in headers.items() if v is not None],
        "server": ("test", 80),
        "client": ("test", 1),
    }
    parts = [body[i : i + chunk] for i in range(0, len(body), chunk)] if chunk else [body]
    incoming = [
        {"type": "http.request", "body": p, "more_body": i + 1 < len(parts)} for i, p in enumerate(parts)
    ] or [{"type": "http.request", "body": b"", "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return incoming.pop(0) if incoming else {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await application(scope, receive, send)
    fields = {k.decode().lower(): v.decode() for k, v in sent[0]["headers"]}
    return sent[0]["status"], fields, b"".join(m.get("body", b"") for m in sent[1:])
