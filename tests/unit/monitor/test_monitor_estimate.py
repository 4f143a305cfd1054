"""Quality before labels."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from charter.monitor.estimate import ESTIMABLE, cbpe
from charter.spec.types import Costs, PerDecision, Value

WORTH = Value(
    currency="EUR",
    per_decision=PerDecision(true_positive=10, false_positive=-2, false_negative=-8, true_negative=0),
    volume="1000 per month",
    costs=Costs(),
)
# NannyML 0.13.1, estimate_roc_auc, estimate_ap, estimate_f1, ... on the same rows.
NANNYML = {
    "roc_auc": 0.7769691098005589,
    "average_precision": 0.460372274929087,
    "f1": 0.4000232190398738,
    "precision": 0.518871890972019,
    "recall": 0.32547296758114014,
    "specificity": 0.9257900343685175,
    "accuracy": 0.807309622437603,
}


def test_it_equals_nannyml() -> None:
    p = np.random.default_rng(7).beta(1, 4, 5000)
    found = cbpe(p, (p >= 0.4).astype(float))
    for name, expected in NANNYML.items():
        assert found[name].value == pytest.approx(expected, abs=1e-8), name


def test_with_ties_it_is_the_expectation_of_scikit_learns_metrics() -> None:
    rng = np.random.default_rng(3)
    p = np.round(rng.beta(2, 2, 4000), 1)
    found = cbpe(p, (p >= 0.5).astype(float))
    drawn = [(rng.random(len(p)) < p).astype(int) for _ in range(200)]
    for name, metric in (("roc_auc", roc_auc_score), ("average_precision", average_precision_score)):
        realised = [metric(y, p) for y in drawn]
        assert found[name].value == pytest.approx(
            np.mean(realised), abs=4 * np.std(realised) / 200**0.5 + 5e-4
        )


def test_the_interval_holds_the_realised_metric_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    names, inside, runs = ("roc_auc", "precision", "recall", "net_value", "brier_score"), {}, 150
    for run in range(runs):
        p = rng.beta(1, 3, 600)
        y, said = (rng.random(600) < p).astype(float), (p >= 0.3).astype(float)
        found = cbpe(p, said, value=WORTH, metrics=names, seed=run)
        tp, fp = float((y * said).sum()), float(((1 - y) * said).sum())
        fn = float((y * (1 - said)).sum())
        realised = {
            "roc_auc": roc_auc_score(y, p),
            "precision": tp / (tp + fp),
            "recall": tp / (tp + fn),
            "net_value": (10 * tp - 2 * fp - 8 * fn) / 600,
            "brier_score": float(((p - y) ** 2).mean()),
        }
        for name in names:
            low, high = found[name].low, found[name].high
            inside[name] = inside.get(name, 0) + (low <= realised[name] <= high)
    # The interval also covers which rows come, so it errs on the side of caution: at least 95 %, less 3 sigma.
    assert all(count / runs >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5 for count in inside.values()), inside


def test_every_metric_that_is_offered_can_be_estimated() -> None:
    p = np.linspace(0, 1, 500)
    found = cbpe(p, (p > 0.5).astype(float), value=WORTH)
    assert set(found) == set(ESTIMABLE)
    assert all(one.value is not None and one.low <= one.value <= one.high for one in found.values())


def test_what_is_undefined_is_said_and_few_rows_get_no_interval() -> None:
    nobody = cbpe(np.full(200, 0.1), np.zeros(200))
    assert nobody["precision"].value is None
    assert nobody["roc_auc"].value == 0.5
    few = cbpe(np.linspace(0.1, 0.9, 20), np.ones(20))
    assert few["precision"].value == pytest.approx(0.5)
    assert few["precision"].low is None
    assert cbpe(np.array([]), np.array([]))["roc_auc"].n == 0
    assert cbpe(np.array([np.nan, 0.4]), np.zeros(2))["accuracy"].n == 1
    assert "net_value" not in nobody
