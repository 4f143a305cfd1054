from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.data.metrics import Sample, calibration_bins, compute
from charter.evaluate.delong import auc_covariance
from charter.evaluate.fairness import Rate, difference, ratio
from charter.evaluate.proportion import wilson
from charter.evaluate.slices import holm
from charter.evaluate.threshold import choose
from charter.spec.types import Threshold


@st.composite
def samples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Rows of both classes, with many ties."""
    n = draw(st.integers(2, 40))
    y = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda v: 0 < sum(v) < len(v)))
    score = draw(st.lists(st.integers(0, 12), min_size=n, max_size=n))
    return np.array(y), np.array(score) / 12


@given(samples())
def test_ranking_metrics_look_at_the_order_only(rows: tuple[np.ndarray, np.ndarray]) -> None:
    y, score = rows
    for name in ("roc_auc", "average_precision", "ks_statistic"):
        assert compute(name, y, score) == compute(name, y, np.exp(3 * score))
    assert abs(compute("roc_auc", y, score) + compute("roc_auc", y, -score) - 1) < 1e-12


@given(samples(), st.integers(0, 2**32 - 1))
def test_the_order_of_the_rows_does_not_matter(rows: tuple[np.ndarray, np.ndarray], seed: int) -> None:
    y, score = rows
    turn = np.random.default_rng(seed).permutation(len(y))
    for name in (
        "roc_auc",
        "average_precision",
        "ks_statistic",
        "expected_calibration_error",
        "f1",
        "log_loss",
    ):
        assert np.isclose(compute(name, y, score), compute(name, y[turn], score[turn]), rtol=0, atol=1e-12)


@given(samples(), st.data())
def test_weights_are_repetitions(rows: tuple[np.ndarray, np.ndarray], data: st.DataObject) -> None:
    y, score = rows
    times = np.array(data.draw(st.lists(st.integers(0, 3), min_size=len(y), max_size=len(y))))
    again = np.repeat(np.arange(len(y)), times)
    names = (
        "roc_auc",
        "average_precision",
        "ks_statistic",
        "f1",
        "log_loss",
        "matthews_correlation",
        "precision",
    )
    got = Sample(y, score).measure(names, times[None, :].astype(float))[:, 0]
    wanted = [compute(name, y[again], score[again]) for name in names]
    assert np.allclose(got, wanted, rtol=0, atol=1e-12, equal_nan=True)


@given(samples())
def test_delongs_area_is_the_area(rows: tuple[np.ndarray, np.ndarray]) -> None:
    y, score = rows
    assert np.isclose(
        auc_covariance(y, score[None, :])[0][0], compute("roc_auc", y, score), rtol=0, atol=1e-12
    )


@given(samples(), st.sampled_from(["f1", "balanced_accuracy", "matthews_correlation", "accuracy"]))
def test_no_threshold_is_better_than_the_chosen_one(rows: tuple[np.ndarray, np.ndarray], name: str) -> None:
    y, score = rows
    choice = choose(y, score, Threshold(maximise=name))
    got = compute(name, y, score, score >= choice.threshold)
    assert np.isclose(got, choice.objective_value, rtol=0, atol=1e-12)
    assert all(got >= compute(name, y, score, score >= t) - 1e-12 for t in np.linspace(-0.1, 1.1, 40))


@given(samples(), st.floats(0, 1))
def test_a_constraint_that_can_be_met_is_met(rows: tuple[np.ndarray, np.ndarray], limit: float) -> None:
    y, score = rows
    choice = choose(y, score, Threshold(maximise="precision", subject_to={"recall": f">= {limit:.3f}"}))
    assert choice.met
    assert compute("recall", y, score, score >= choice.threshold) >= round(limit, 3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60), st.integers(1, 15))
def test_calibration_bins_follow_the_scores(scores: list[float], bins: int) -> None:
    score = np.array(scores)
    found = calibration_bins(score, bins)
    order = np.argsort(score, kind="stable")
    assert (np.diff(found[order]) >= 0).all()
    assert ((found >= 0) & (found < bins)).all()
    for value in np.unique(score):
        assert len(np.unique(found[score == value])) == 1


@given(st.integers(1, 500), st.data(), st.floats(0.5, 0.999))
def test_wilson_holds_the_share(n: int, data: st.DataObject, confidence: float) -> None:
    k = data.draw(st.integers(0, n))
    low, high = wilson(k, n, confidence)
    assert 0 <= low <= k / n <= high <= 1


@settings(max_examples=60)
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(60, 200)), min_size=2, max_size=5))
def test_group_intervals_hold_their_values(groups: list[tuple[int, int]]) -> None:
    rates = [Rate(str(i), k / n, n) for i, (k, n) in enumerate(groups)]
    gap, share = difference(rates), ratio(rates)
    assert 0 <= gap.low <= gap.value <= gap.high <= 1.0000001
    if share.value is not None:
        assert 0 <= share.low <= share.value <= share.high <= 1


@given(st.dictionaries(st.integers(0, 30), st.floats(0, 1), max_size=12))
def test_holm_keeps_the_order_and_only_raises(p_values: dict[int, float]) -> None:
    found = holm(p_values)
    assert found.keys() == p_values.keys()
    assert all(p <= found[key] <= 1 for key, p in p_values.items())
    ordered = [found[key] for key in sorted(p_values, key=lambda k: (p_values[k], k))]
    assert ordered == sorted(ordered)
