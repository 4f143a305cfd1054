from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from charter.core.errors import UsageError
from charter.data.metrics import compute
from charter.evaluate.threshold import choose, rule_of
from charter.spec.types import ModelSpec, Threshold


def _rows(seed: int = 0, n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, np.clip(np.round(0.3 * y + 0.7 * rng.random(n), 2), 0, 1)


def test_the_objective_is_what_the_decisions_give(spec_of: Callable[..., ModelSpec]) -> None:
    y, score = _rows()
    for name in ("net_value", "f1", "balanced_accuracy", "matthews_correlation"):
        value = spec_of().value
        choice = choose(y, score, Threshold(maximise=name), value)
        assert choice.objective_value == pytest.approx(
            compute(name, y, score, score >= choice.threshold, value)
        )
        assert not (score == choice.threshold).any()
        for t in np.unique(score):
            assert choice.objective_value >= compute(name, y, score, score >= t, value) - 1e-12


def test_a_loss_is_made_small() -> None:
    y, score = _rows()
    choice = choose(y, score, Threshold(maximise="selection_rate", subject_to={"recall": ">= 0.9"}))
    decision = score >= choice.threshold
    assert choice.met
    assert compute("recall", y, score, decision) >= 0.9
    assert compute("recall", y, score, score > score[decision].min()) < 0.9


def test_impossible_constraints_give_the_least_violation() -> None:
    y, score = _rows()
    choice = choose(
        y, score, Threshold(maximise="f1", subject_to={"recall": ">= 0.5", "precision": "> 0.999"})
    )
    assert not choice.met
    assert choice.unmet
    assert set(choice.unmet) <= {"recall >= 0.5", "precision > 0.999"}


def test_strict_limits_exclude_the_limit() -> None:
    y, score = np.array([0, 1]), np.array([0.2, 0.8])
    assert choose(y, score, Threshold(maximise="f1", subject_to={"recall": ">= 1"})).met
    assert not choose(y, score, Threshold(maximise="f1", subject_to={"recall": "> 1"})).met


def test_nobody_or_everybody_may_be_best() -> None:
    y, score = np.array([0, 0, 1]), np.array([0.2, 1.0, 0.0])
    nobody = choose(y, score, Threshold(maximise="specificity"))
    assert nobody.threshold > 1
    assert not (score >= nobody.threshold).any()
    everybody = choose(y, score, Threshold(maximise="recall"))
    assert everybody.threshold == 0
    raw = choose(y, score - 5, Threshold(maximise="recall"))
    assert (score - 5 >= raw.threshold).all()


def test_neighbouring_floats_are_told_apart() -> None:
    low = 0.3
    high = float(np.nextafter(low, 1))
    choice = choose(np.array([0, 1]), np.array([low, high]), Threshold(maximise="f1"))
    assert low < choice.threshold <= high


def test_a_fixed_threshold_is_left_alone() -> None:
    y, score = _rows()
    choice = choose(y, score, Threshold(fixed=0.35))
    assert (choice.threshold, choice.objective, choice.objective_value, choice.met) == (
        0.35,
        None,
        None,
        True,
    )
    assert 0 < len(choice.curve) <= 200


def test_the_curve_holds_the_chosen_point() -> None:
    rng = np.random.default_rng(3)
    y, score = rng.integers(0, 2, 5000), rng.random(5000)
    choice = choose(y, score, Threshold(maximise="f1", subject_to={"selection_rate": "<= 0.123"}))
    assert len(choice.curve) <= 200
    point = next(p for p in choice.curve if p.threshold == choice.threshold)
    assert point.objective == choice.objective_value
    assert point.selection_rate <= 0.123
    assert [p.threshold for p in choice.curve] == sorted((p.threshold for p in choice.curve), reverse=True)


def test_one_class_only_still_gives_a_threshold() -> None:
    choice = choose(np.zeros(5), np.linspace(0, 1, 5), Threshold(maximise="recall"))
    assert choice.objective_value is None


def test_wrong_use_is_refused() -> None:
    y, score = _rows()
    with pytest.raises(UsageError, match="does not depend on the threshold"):
        choose(y, score, Threshold(maximise="roc_auc"))
    with pytest.raises(UsageError, match="does not depend on the threshold"):
        choose(y, score, Threshold(maximise="f1", subject_to={"log_loss": "<= 1"}))
    with pytest.raises(UsageError, match="worth of outcomes"):
        choose(y, score, Threshold(maximise="net_value"))
    with pytest.raises(UsageError, match="without rows"):
        choose(np.array([]), np.array([]), Threshold(maximise="f1"))


def test_the_rule_follows_from_the_specification(spec_of: Callable[..., ModelSpec]) -> None:
    assert rule_of(spec_of()).maximise == "net_value"
    assert rule_of(spec_of(value=False)).maximise == "f1"
    assert rule_of(spec_of(threshold={"fixed": 0.4})).fixed == 0.4
