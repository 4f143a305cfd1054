from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from charter.core.errors import DataError, UsageError
from charter.data.metrics import compute
from charter.train import calibrate
from charter.train.calibrate import Calibration


def sample(n=20_000, seed=0):
    """Scores that are too high, as those of a model fitted on balanced classes."""
    rng = np.random.default_rng(seed)
    truth = rng.beta(1, 4, n)
    y = (rng.random(n) < truth).astype(np.int64)
    return expit(1.3 * logit(truth) + 1.5).astype(np.float32).astype(np.float64), y, truth


@pytest.mark.parametrize("kind", ["sigmoid", "isotonic"])
def test_fitted_maps_give_probabilities_and_keep_the_order(kind):
    score, y, truth = sample()
    fitted = calibrate.fit(kind, score, y)
    probability = fitted.apply(score)
    assert compute("expected_calibration_error", y, score) > 0.1
    assert compute("expected_calibration_error", y, probability) < 0.01
    assert compute("log_loss", y, probability) < compute("log_loss", y, truth) + 0.001
    assert compute("roc_auc", y, probability) == pytest.approx(compute("roc_auc", y, score), abs=1e-12)
    assert len(np.unique(probability)) == len(np.unique(score))


def test_sigmoid_agrees_with_logistic_regression_of_the_log_odds():
    score, y, _ = sample(4000)
    fitted = calibrate.fit("sigmoid", score, y)
    reference = LogisticRegression(C=1e8, tol=1e-10).fit(logit(score)[:, None], y)
    assert fitted.a == pytest.approx(reference.coef_[0, 0], rel=0.01)
    assert fitted.b == pytest.approx(reference.intercept_[0], abs=0.01)


@pytest.mark.parametrize("kind", ["none", "sigmoid", "isotonic"])
def test_json_round_trip_is_exact_and_rows_are_independent(kind):
    score, y, _ = sample(3000)
    fitted = calibrate.fit(kind, score, y)
    again = Calibration.from_json(json.loads(json.dumps(fitted.to_json())))
    assert again == fitted
    together = calibrate.apply(again.to_json(), score)
    alone = np.array([calibrate.apply(fitted, score[i : i + 1])[0] for i in range(200)])
    np.testing.assert_array_equal(together[:200], alone)


def test_isotonic_survives_extreme_and_missing_scores():
    fitted = calibrate.fit("isotonic", np.array([0.0, 0.0, 0.5, 1.0, 1.0]), np.array([0, 0, 1, 1, 1]))
    out = fitted.apply(np.array([0.0, 1.0, 0.25, np.nan]))
    assert 0 < out[0] < out[2] < out[1] < 1
    assert np.isnan(out[3])


def test_isotonic_of_one_score_answers_its_frequency():
    fitted = calibrate.fit("isotonic", np.full(8, 0.5), np.array([0, 1] * 4))
    assert fitted.apply(np.array([0.5]))[0] == pytest.approx(0.5)


def test_an_inverted_model_is_not_turned_round():
    score, y, _ = sample(2000)
    fitted = calibrate.fit("sigmoid", 1 - score, y)
    assert fitted.a > 0


def test_one_class_and_unknown_kind_are_refused():
    with pytest.raises(DataError, match="one class only"):
        calibrate.fit("sigmoid", np.array([0.1, 0.2]), np.array([0, 0]))
    with pytest.raises(UsageError, match="'spline' is not known"):
        calibrate.fit("spline", np.array([0.1, 0.2]), np.array([0, 1]))
    with pytest.raises(UsageError, match="'spline' is not known"):
        Calibration.from_json({"kind": "spline"})


def test_align_takes_out_the_drift_of_folds_and_nothing_else():
    rng = np.random.default_rng(0)
    truth = rng.uniform(0.05, 0.6, 10_000)
    fold = np.arange(10_000) % 2
    drift = np.where(fold == 0, 0.8, -0.5)
    y = (rng.random(10_000) < expit(logit(truth) + drift)).astype(np.int64)
    moved = calibrate.align(truth, y, fold)
    for f in (0, 1):
        assert moved[fold == f].mean() == pytest.approx(y[fold == f].mean(), abs=1e-9)
    assert logit(moved) - logit(truth) == pytest.approx(drift, abs=0.1)
    fitted = calibrate.fit("sigmoid", moved, y)
    assert (fitted.a, fitted.b) == (pytest.approx(1, abs=0.1), pytest.approx(0, abs=0.1))


def test_align_leaves_the_bias_of_balanced_fits_to_calibration():
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 9, 20_000)
    y = (rng.random(20_000) < truth).astype(np.int64)
    base = y.mean()
    biased = expit(logit(truth) - logit(base))
    moved = calibrate.align(biased, y, np.zeros(20_000), offset=-logit(base))
    fitted = calibrate.fit("sigmoid", moved, y)
    assert fitted.apply(biased).mean() == pytest.approx(base, abs=0.01)


def test_serving_needs_neither_scipy_nor_scikit_learn():
    code = (
        "import sys, numpy as np; from charter.train.calibrate import apply;"
        "apply({'kind': 'isotonic', 'x': [0.0, 1.0], 'y': [0.1, 0.9]}, np.array([0.5]));"
        "print([m for m in ('scipy', 'sklearn', 'lightgbm', 'onnx', 'polars') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
