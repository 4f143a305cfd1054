from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from charter.core import plugins
from charter.core.errors import UsageError
from charter.data.metrics import (
    METRICS,
    Sample,
    calibration_bins,
    compute,
    direction,
    from_cells,
    why_undefined,
)
from charter.data.ratios import ADDITIVE, Bounds, Totals
from charter.spec.types import Costs, PerDecision, Value

VALUE = Value(
    currency="EUR",
    per_decision=PerDecision(true_positive=1200, false_positive=-60, false_negative=-1500, true_negative=2),
    volume="1200 per year",
    costs=Costs(build=1, run_per_month=20_000, train_per_month=5_000),
)


def _binary(seed: int = 0, n: int = 400, ties: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    score = np.clip(0.3 * y + rng.random(n) * 0.7, 0, 1)
    if ties:
        score = np.round(score, 1)
    return y, score, (score >= 0.45).astype(int)


BINARY = {
    "roc_auc": lambda y, s, d: sk.roc_auc_score(y, s),
    "average_precision": lambda y, s, d: sk.average_precision_score(y, s),
    "gini": lambda y, s, d: 2 * sk.roc_auc_score(y, s) - 1,
    "ks_statistic": lambda y, s, d: stats.ks_2samp(s[y == 1], s[y == 0]).statistic,
    "log_loss": lambda y, s, d: sk.log_loss(y, s),
    "brier_score": lambda y, s, d: sk.brier_score_loss(y, s),
    "accuracy": lambda y, s, d: sk.accuracy_score(y, d),
    "balanced_accuracy": lambda y, s, d: sk.balanced_accuracy_score(y, d),
    "precision": lambda y, s, d: sk.precision_score(y, d),
    "recall": lambda y, s, d: sk.recall_score(y, d),
    "specificity": lambda y, s, d: sk.recall_score(y, d, pos_label=0),
    "f1": lambda y, s, d: sk.f1_score(y, d),
    "matthews_correlation": lambda y, s, d: sk.matthews_corrcoef(y, d),
    "selection_rate": lambda y, s, d: d.mean(),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize("ties", [True, False])
def test_binary_metrics_agree_with_the_peers(name: str, ties: bool) -> None:
    for seed in range(5):
        y, score, decision = _binary(seed, ties=ties)
        assert compute(name, y, score, decision) == pytest.approx(BINARY[name](y, score, decision), abs=1e-12)


def _bounds(score: np.ndarray) -> Bounds:
    return Bounds(score - 1.0, score + 1.5, 0.9)


@pytest.mark.parametrize("name", METRICS)
def test_every_word_of_the_vocabulary_is_computed(name: str) -> None:
    rng = np.random.default_rng(1)
    for task in METRICS[name].tasks:
        if task == "binary":
            args = _binary()
        elif task == "multiclass":
            score = rng.dirichlet([1, 1, 1], 200)
            args = (rng.integers(0, 3, 200), score, score.argmax(axis=1))
        else:
            args = (rng.normal(3, 1, 200), rng.normal(3, 1, 200), None)
        got = compute(name, *args, value=VALUE, bounds=_bounds(args[1]))
        word = METRICS[name]
        assert math.isfinite(got)
        assert word.low is None or got >= word.low
        assert word.high is None or got <= word.high


def test_several_classes_agree_with_the_peer() -> None:
    rng = np.random.default_rng(2)
    y, score = rng.integers(0, 4, 300), rng.dirichlet([1, 1, 1, 1, 1], 300)
    said = score.argmax(axis=1)
    assert compute("accuracy", y, score) == pytest.approx(sk.accuracy_score(y, said))
    assert compute("log_loss", y, score) == pytest.approx(sk.log_loss(y, score, labels=range(5)))
    assert compute("macro_f1", y, score) == pytest.approx(sk.f1_score(y, said, average="macro"))
    with pytest.warns(UserWarning, match="not in y_true"):
        assert compute("balanced_accuracy", y, score) == pytest.approx(sk.balanced_accuracy_score(y, said))


def test_regression_agrees_with_the_peer() -> None:
    rng = np.random.default_rng(3)
    y = rng.normal(1e6, 2, 300)
    guess = y + rng.normal(0, 1, 300)
    assert compute("mean_absolute_error", y, guess) == pytest.approx(sk.mean_absolute_error(y, guess))
    assert compute("root_mean_squared_error", y, guess) == pytest.approx(sk.root_mean_squared_error(y, guess))
    assert compute("r2", y, guess) == pytest.approx(sk.r2_score(y, guess), rel=1e-9)
    wanted = sk.mean_absolute_percentage_error(y, guess)
    assert compute("mean_absolute_percentage_error", y, guess) == pytest.approx(wanted)


def test_value_counts_each_outcome_and_a_months_costs() -> None:
    y, decision = np.array([1, 1, 0, 0, 0]), np.array([1, 0, 1, 0, 0])
    mean = (1200 - 1500 - 60 + 2 + 2) / 5
    assert compute("net_value", y, decision, decision, VALUE) == pytest.approx(mean)
    assert compute("net_value_per_month", y, decision, decision, VALUE) == pytest.approx(mean * 100 - 25_000)
    with pytest.raises(UsageError, match="worth of outcomes"):
        compute("net_value", y, decision, decision)


def test_calibration_error_is_over_bins_of_equal_mass() -> None:
    rng = np.random.default_rng(4)
    score = rng.random(150)
    y = (rng.random(150) < score**2).astype(int)
    order = np.argsort(score)
    wanted = sum(abs(score[b].mean() - y[b].mean()) * len(b) / 150 for b in np.array_split(order, 15))
    assert compute("expected_calibration_error", y, score) == pytest.approx(wanted)


def test_equal_scores_share_a_bin() -> None:
    assert set(calibration_bins(np.full(100, 0.3))) == {0}
    bins = calibration_bins(np.array([0.1, 0.9, 0.1, 0.5, 0.9, 0.9]), bins=3)
    assert bins.tolist() == [0, 1, 0, 1, 1, 1]


@pytest.mark.parametrize(
    "name", [*sorted(BINARY), "expected_calibration_error", "net_value", "net_value_per_month"]
)
def test_weights_are_repetitions(name: str) -> None:
    y, score, decision = _binary(5, n=60)
    rng = np.random.default_rng(6)
    weights = rng.integers(0, 4, (8, 60)).astype(float)
    got = Sample(y, score, decision, VALUE).measure((name,), weights)[0]
    for row, one in zip(weights, got, strict=True):
        rows = np.repeat(np.arange(60), row.astype(int))
        if name == "expected_calibration_error":  # the bins' edges are the full sample's
            bins = calibration_bins(score)[rows]
            gap = [abs((score[rows] - y[rows])[bins == b].sum()) for b in np.unique(bins)]
            assert one == pytest.approx(sum(gap) / len(rows))
        else:
            assert one == pytest.approx(compute(name, y[rows], score[rows], decision[rows], VALUE), abs=1e-12)


def test_weights_are_repetitions_for_classes_and_numbers() -> None:
    rng = np.random.default_rng(7)
    weights = rng.integers(0, 3, (5, 50)).astype(float)
    classes, score = rng.integers(0, 3, 50), rng.dirichlet([1, 1, 1], 50)
    numbers, guess = rng.normal(5, 1, 50), rng.normal(5, 1, 50)
    for name, word in METRICS.items():
        of_numbers = bool({"regression", "forecast"} & word.tasks)
        for y, s in [(classes, score)] * ("multiclass" in word.tasks) + [(numbers, guess)] * of_numbers:
            bounds = _bounds(guess)
            got = Sample(y, s, bounds=bounds).measure((name,), weights)[0]
            for row, one in zip(weights, got, strict=True):
                rows = np.repeat(np.arange(50), row.astype(int))
                assert one == pytest.approx(
                    compute(name, y[rows], s[rows], bounds=bounds.take(rows)), abs=1e-12
                )


def test_forecast_metrics_agree_with_the_peer_and_the_hand() -> None:
    y, guess = np.array([10.0, 20, 0, 30, 40]), np.array([12.0, 15, 3, 30, 50])
    assert compute("wmape", y, guess) == pytest.approx((2 + 5 + 3 + 0 + 10) / 100)
    assert compute("bias", y, guess) == pytest.approx((2 - 5 + 3 + 0 + 10) / 100)
    assert compute("absolute_bias", y, 2 * y - guess) == pytest.approx(0.1)
    assert compute("bias", y, 2 * y - guess) == pytest.approx(-0.1)
    known = y != 0
    wanted = sk.mean_absolute_percentage_error(y[known], guess[known])
    assert compute("mape", y, guess) == pytest.approx(wanted)
    assert compute("median_ape", y, guess) == pytest.approx(np.median([0.2, 0.25, 0.0, 0.25]))
    assert math.isnan(compute("wmape", 0 * y, guess))
    for name in ("wmape", "mape", "median_ape", "bias"):
        assert why_undefined(name, 0 * y, guess) == "every actual value is 0"


def test_metrics_of_intervals_by_hand() -> None:
    y, guess = np.array([10.0, 20, 0, 30]), np.array([12.0, 15, 3, 30])
    bounds = Bounds(np.array([9.0, 10, 1, 20]), np.array([15.0, 18, 4, 30]), 0.8)
    found = {
        name: compute(name, y, guess, bounds=bounds)
        for name in ("interval_coverage", "coverage_error", "interval_width", "interval_score")
    }
    assert found["interval_coverage"] == 0.5
    assert found["coverage_error"] == pytest.approx(0.3)
    assert found["interval_width"] == pytest.approx((6 + 8 + 3 + 10) / 60)
    assert found["interval_score"] == pytest.approx((27 + 10 * (2 + 1)) / 4)
    assert math.isnan(compute("interval_coverage", y, guess))
    assert why_undefined("interval_coverage", y, guess) == "there are no intervals"


@pytest.mark.parametrize("rows", [2, 6, 200])
def test_totals_of_units_are_the_rows_repeated(rows: int) -> None:
    rng = np.random.default_rng(8)
    n = 15 * rows
    y, guess, unit = (
        rng.poisson(2, n) * 1.0,
        rng.gamma(2, 1, n).round(1),
        rng.permutation(np.repeat(np.arange(15), rows)),
    )
    names = tuple(sorted(ADDITIVE - {"mean_absolute_percentage_error"}))
    sample = Sample(y, guess, bounds=_bounds(guess))
    weights = rng.integers(0, 4, (7, 15)).astype(float)
    got = Totals(sample, unit, 15).measure(names, weights)
    assert np.isfinite(got).all()
    np.testing.assert_allclose(got, sample.measure(names, weights[:, unit]), rtol=1e-12)
    for row, one in zip(weights[:, unit], got[names.index("median_ape")], strict=True):
        repeated = np.repeat(np.arange(n), row.astype(int))
        known = repeated[y[repeated] != 0]
        assert one == pytest.approx(np.median(np.abs(guess[known] - y[known]) / y[known]))
    assert np.isnan(Totals(sample, unit, 15).measure(("median_ape",), np.zeros((1, 15)))).all()


def test_rows_without_an_interval_do_not_count_in_what_measures_intervals() -> None:
    y, score = np.array([10.0, 20, 5]), np.array([12.0, 20, 5])
    some = Sample(y, score, bounds=Bounds(np.array([9.0, 21, np.nan]), np.array([15.0, 30, np.nan]), 0.8))
    whole = Sample(y[:2], score[:2], bounds=Bounds(np.array([9.0, 21]), np.array([15.0, 30]), 0.8))
    names = ("interval_coverage", "interval_width", "interval_score")
    assert some.measure(names, np.ones((1, 3))).tolist() == whole.measure(names, np.ones((1, 2))).tolist()
    assert some.measure(("mean_absolute_error",), np.ones((1, 3))).item() == pytest.approx(2 / 3)


def test_undefined_is_nan_with_a_reason() -> None:
    ones, score = np.ones(5), np.linspace(0, 1, 5)
    for name in (
        "roc_auc",
        "gini",
        "ks_statistic",
        "specificity",
        "balanced_accuracy",
        "matthews_correlation",
    ):
        assert math.isnan(compute(name, ones, score))
        assert why_undefined(name, ones, score) == "the rows hold one class only"
    assert math.isnan(compute("recall", np.zeros(5), score))
    y = np.array([0, 1, 0, 1, 0])
    assert math.isnan(compute("precision", y, score, np.zeros(5)))
    assert why_undefined("precision", y, score, np.zeros(5)) == "no row is flagged"
    assert compute("matthews_correlation", y, score, np.zeros(5)) == sk.matthews_corrcoef(y, np.zeros(5)) == 0
    assert math.isnan(compute("brier_score", y, score * 40))
    assert why_undefined("brier_score", y, score * 40) == "the score is not a probability"
    assert compute("roc_auc", y, score * 40) == compute("roc_auc", y, score)
    assert math.isnan(compute("roc_auc", y, np.where(score > 0.9, np.nan, score)))
    assert why_undefined("roc_auc", y, np.full(5, np.nan)) == "a score is missing or infinite"
    assert math.isnan(compute("roc_auc", np.array([]), np.array([])))
    assert why_undefined("roc_auc", np.array([]), np.array([])) == "there are no rows"
    assert math.isnan(compute("r2", ones, score))
    assert why_undefined("r2", ones, score) == "the actual values are all equal"
    assert math.isnan(compute("mean_absolute_percentage_error", y, score))
    assert why_undefined("mean_absolute_percentage_error", y, score) == "an actual value is 0"


def test_types_of_input_do_not_matter() -> None:
    y, score, decision = _binary(8)
    wanted = [compute(n, y, score, decision) for n in BINARY]
    got = [compute(n, y.astype(np.int8), score, decision.astype(bool)) for n in BINARY]
    assert got == wanted
    assert compute("accuracy", y.astype(bool), score, decision) == compute("accuracy", y, score, decision)


def test_without_a_decision_it_is_a_half_or_the_likeliest_class() -> None:
    y, score, _ = _binary(9)
    assert compute("f1", y, score) == compute("f1", y, score, score >= 0.5)


def test_unknown_metrics_and_lengths_are_named() -> None:
    with pytest.raises(UsageError, match=r"roc_auk(.|\n)*roc_auc"):
        direction("roc_auk")
    with pytest.raises(UsageError, match="roc_auk"):
        compute("roc_auk", np.array([0, 1]), np.array([0.0, 1.0]))
    with pytest.raises(UsageError, match="y has 3 rows, score 2"):
        compute("roc_auc", np.array([0, 1, 1]), np.array([0.0, 1.0]))
    with pytest.raises(UsageError, match="not computed from decisions"):
        from_cells("roc_auc", *(np.ones(1),) * 4)


class _Flagged:
    better = "down"
    needs = "decision"

    def compute(self, y: np.ndarray, score: np.ndarray, decision: np.ndarray, value: Value | None) -> float:
        return float(decision.sum())


def test_a_metric_from_outside_is_measured_on_repeated_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "names", lambda group: ("flagged",))
    monkeypatch.setattr(plugins, "load", lambda group, name: _Flagged)
    y, score, decision = _binary(10, n=20)
    assert direction("flagged") == "down"
    assert compute("flagged", y, score, decision) == decision.sum()
    weights = np.random.default_rng(0).integers(0, 3, (4, 20)).astype(float)
    assert Sample(y, score, decision).measure(("flagged",), weights)[0] == pytest.approx(weights @ decision)
