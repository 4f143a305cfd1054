"""What the tests of governance share: a specification, an evaluation that meets it, and people."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib.resources import files
from typing import Any

import yaml
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from charter.core.digest import digest_json
from charter.registry.signing import Signer
from charter.registry.types import ModelVersion
from charter.spec.types import ModelSpec

NOW = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
MEASUREMENT = {"latency_p95_ms": 6.1, "memory_mb": 180.0, "package_mb": 2.5}
PARITY = {"max_abs_difference": 3e-8, "limit": 1e-5}


def signer(name: str) -> Signer:
    """The same key for the same name, always."""
    return Signer(name, Ed25519PrivateKey.from_private_bytes(bytes.fromhex(digest_json(name))))


def credit_risk(**changes: Any) -> ModelSpec:
    """Return the blueprint's specification, its sections changed."""
    raw = yaml.safe_load((files("charter.blueprints") / "credit_risk" / "model.yaml").read_text())
    for name, value in changes.items():
        raw[name] = (
            {**raw[name], **value} if isinstance(value, dict) and isinstance(raw.get(name), dict) else value
        )
    return ModelSpec.model_validate(raw)


def estimate(value: float | None, spread: float = 0.01) -> dict[str, Any]:
    low, high = (None, None) if value is None else (value - spread, value + spread)
    return {"value": value, "low": low, "high": high, "method": "bca", "n": 6000, "note": ""}


def evaluation(**changes: Any) -> dict[str, Any]:
    """An evaluation that meets every requirement of credit-risk."""
    group = {"positives": 500, "unjudged": [], "note": "", "tpr": estimate(0.6), "fpr": estimate(0.2)}
    slice_ = {
        "n": 2400,
        "positives": 500,
        "judged": True,
        "gap": estimate(0.0),
        "p_value": 0.4,
        "metrics": {},
        "note": "",
    }
    found: dict[str, Any] = {
        "schema_version": 1,
        "task": "binary",
        "primary": "roc_auc",
        "n": 6000,
        "positives": 1327,
        "confidence": 0.95,
        "metrics": {
            "roc_auc": estimate(0.790),
            "expected_calibration_error": estimate(0.012, 0.004),
            "recall": estimate(0.62),
            "net_value_per_month": estimate(181_000.0, 9_000.0),
        },
        "threshold": {"threshold": 0.31, "objective": "net_value", "met": True, "unmet": [], "curve": []},
        "confusion": {"tp": 820, "fp": 900, "fn": 507, "tn": 3773},
        "curves": {"roc": {"fpr": [0, 0.2, 1], "tpr": [0, 0.6, 1], "threshold": [1, 0.3, 0]}},
        "calibration": [{"predicted": 0.1, "observed": 0.11}, {"predicted": 0.6, "observed": 0.58}],
        "slices": [
            {**slice_, "slice": "SEX", "value": "1", "primary": estimate(0.78)},
            {**slice_, "slice": "SEX", "value": "2 | <b>x</b>", "primary": estimate(0.80)},
        ],
        "worst_slice": {**slice_, "slice": "SEX", "value": "1", "primary": estimate(0.78)},
        "slices_note": "after Holm's correction no slice differs",
        "fairness": {
            "SEX": {
                "attribute": "SEX",
                "groups": [
                    {**group, "group": "1", "n": 2400, "selection_rate": estimate(0.29)},
                    {**group, "group": "2", "n": 3600, "selection_rate": estimate(0.26)},
                ],
                "demographic_parity_difference": estimate(0.03),
                "equal_opportunity_difference": estimate(0.01, 0.005),
                "false_positive_rate_difference": estimate(0.02),
                "disparate_impact_ratio": estimate(0.9),
            }
        },
        "baselines": {"no model": {"roc_auc": estimate(0.5)}, "rule today": {"roc_auc": estimate(0.64)}},
        "against_baseline": {
            "baseline": "rule today",
            "metric": "roc_auc",
            "model": 0.79,
            "other": 0.64,
            "difference": estimate(0.15),
            "better": True,
        },
        "value": {"currency": "EUR", "net_value_per_month": 123456.0},
    }
    return {**found, **changes}


def version(number: int = 3) -> ModelVersion:
    return ModelVersion(
        number, digest_json("bundle"), digest_json("spec"), NOW, "waiting", digest_json("package")
    )
