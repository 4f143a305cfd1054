"""What is written down about a training run, as plain data."""

from __future__ import annotations

import platform
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from charter import __version__
from charter.data import metrics
from charter.spec.types import ModelSpec
from charter.train.ports import RunRecord
from charter.train.search import Candidate

CURVE_POINTS = 200
_LIBRARIES = (
    "imbalanced-learn",
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "optuna",
    "polars",
    "scikit-learn",
    "scipy",
)
_MEASURED = {
    "binary": ("roc_auc", "average_precision", "log_loss", "brier_score", "expected_calibration_error"),
    "multiclass": ("log_loss", "accuracy", "balanced_accuracy", "macro_f1"),
    "regression": ("mean_absolute_error", "root_mean_squared_error", "r2"),
    "forecast": ("wmape", "bias", "root_mean_squared_error"),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came out of a search; see `charter.train.types.Trained` for the fields."""

    learner: str
    params: Mapping[str, Any]
    metric: str
    value: float
    fold_values: tuple[float, ...]
    baselines: Mapping[str, float | None]
    candidates: tuple[Candidate, ...]
    importance: Mapping[str, float]
    parity: Mapping[str, float]


def run_record(
    spec: ModelSpec, outcome: Outcome, *, y: np.ndarray, score: np.ndarray, rows: int, columns: int
) -> RunRecord:
    """Describe a training run with one child per trial.

    Parameters
    ----------
    y, score
        Labels (codes) and calibrated scores of the out-of-fold rows.
    rows, columns
        Shape of the training matrix.
    """
    plan = spec.train
    measured = {
        f"oof_{name}": metrics.compute(name, y, score, None, spec.value) for name in _MEASURED[plan.task]
    }
    best_so_far = _best_so_far(outcome)
    documents: dict[str, Any] = {
        "environment.json": environment(),
        "importance.json": dict(outcome.importance),
        "baselines.json": dict(outcome.baselines),
    }
    if plan.task == "binary":
        documents["curves.json"] = curves(y, score)
    if plan.task not in ("regression", "forecast"):
        documents["confusion_matrix.json"] = confusion_matrix(y, score)
    return RunRecord(
        name=f"{spec.name} {outcome.learner}",
        params={
            "task": plan.task,
            "learner": outcome.learner,
            "imbalance": plan.imbalance,
            "calibrate": plan.calibrate,
            "folds": str(plan.split.folds),
            "split": plan.split.kind,
            "trials": str(len(outcome.candidates)),
            "seed": str(plan.seed),
            "rows": str(rows),
            "columns": str(columns),
            **{f"{outcome.learner}.{key}": str(value) for key, value in outcome.params.items()},
        },
        metrics={
            **measured,
            f"cv_{outcome.metric}": outcome.value,
            "parity_max_abs_difference": outcome.parity["max_abs_difference"],
            **{
                f"baseline_{name.replace(' ', '_')}_{outcome.metric}": value
                for name, value in outcome.baselines.items()
                if value is not None
            },
        },
        series={f"best_{outcome.metric}": best_so_far, f"fold_{outcome.metric}": outcome.fold_values},
        tags={"charter.model": spec.name, "charter.stage": "train", "charter.search_metric": outcome.metric},
        documents=documents,
        children=tuple(_child(candidate, outcome.metric) for candidate in outcome.candidates),
    )


def curves(y: np.ndarray, score: np.ndarray) -> dict[str, dict[str, list[float]]]:
    """ROC and precision-recall curve, exact at no more than `CURVE_POINTS` thresholds, highest first."""
    order = np.argsort(-score, kind="stable")
    ends = np.flatnonzero(np.append(score[order][1:] != score[order][:-1], True))
    tp = np.cumsum(y[order])[ends].astype(np.float64)
    fp = ends + 1 - tp
    keep = np.unique(np.linspace(0, len(ends) - 1, min(len(ends), CURVE_POINTS)).astype(np.int64))
    positives, negatives = max(tp[-1], 1.0), max(fp[-1], 1.0)
    threshold = score[order][ends][keep].tolist()
    recall = (tp[keep] / positives).tolist()
    return {
        "roc": {
            "threshold": threshold,
            "false_positive_rate": (fp[keep] / negatives).tolist(),
            "true_positive_rate": recall,
        },
        "precision_recall": {
            "threshold": threshold,
            "precision": (tp[keep] / (tp[keep] + fp[keep])).tolist(),
            "recall": recall,
        },
    }


def confusion_matrix(y: np.ndarray, score: np.ndarray) -> dict[str, Any]:
    """Counts by actual class (outer list) and decision: at 0.5 (binary), the most probable class otherwise."""
    decision = (score >= 0.5).astype(np.int64) if score.ndim == 1 else score.argmax(axis=1)
    k = 2 if score.ndim == 1 else score.shape[1]
    counts = np.bincount(y.astype(np.int64) * k + decision, minlength=k * k).reshape(k, k)
    return {"decided": "at 0.5" if score.ndim == 1 else "most probable class", "counts": counts.tolist()}


def environment() -> dict[str, Any]:
    """Versions and machine, for people who compare runs."""
    libraries: dict[str, str] = {}
    for name in _LIBRARIES:
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "charter": __version__,
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "machine": platform.machine(),
        "libraries": libraries,
    }


def _best_so_far(outcome: Outcome) -> list[float]:
    sign = 1.0 if metrics.direction(outcome.metric) == "up" else -1.0
    found: list[float] = []
    for candidate in outcome.candidates:
        last = found[-1] if found else None
        if not candidate.pruned and (last is None or sign * candidate.score > sign * last):
            found.append(candidate.score)
        elif last is not None:
            found.append(last)
    return found


def _child(candidate: Candidate, metric: str) -> RunRecord:
    return RunRecord(
        name=f"trial {candidate.number}",
        params={"learner": candidate.learner, **{k: str(v) for k, v in candidate.params.items()}},
        metrics={f"cv_{metric}": candidate.score, "seconds": candidate.seconds},
        series={f"fold_{metric}": candidate.fold_scores},
        tags={"charter.pruned": str(candidate.pruned).lower()},
    )
