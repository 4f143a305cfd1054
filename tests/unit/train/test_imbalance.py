from __future__ import annotations

import numpy as np
import pytest

from charter.core.errors import DataError, UsageError
from charter.train.imbalance import balance, class_weights, group_weights


def rows(n=200, rare=20, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 3)).astype(np.float32)
    X[5, 1] = np.nan
    y = np.zeros(n, dtype=np.int64)
    y[:rare] = 1
    return X, y


def test_class_weights_let_classes_count_alike():
    y = np.array([0] * 70 + [1] * 20 + [2] * 10)
    weights = class_weights(y)
    totals = [weights[y == c].sum() for c in range(3)]
    assert totals == pytest.approx([100 / 3] * 3)


def test_none_returns_the_rows_themselves():
    X, y = rows()
    fit_X, fit_y, weight = balance(X, y, "none", seed=1)
    assert fit_X is X
    assert fit_y is y
    assert weight is None


@pytest.mark.parametrize(("kind", "expected"), [("over_sample", 180), ("under_sample", 20), ("smote", 180)])
def test_resampling_makes_classes_equal_and_repeats_itself(kind, expected):
    X, y = rows()
    fit_X, fit_y, weight = balance(X, y, kind, seed=3)
    assert np.bincount(fit_y).tolist() == [expected, expected]
    assert fit_X.dtype == np.float32
    assert fit_X.flags.c_contiguous
    assert weight is None
    again = balance(X, y, kind, seed=3)[0]
    np.testing.assert_array_equal(fit_X, again)
    assert not np.array_equal(fit_X, balance(X, y, kind, seed=4)[0], equal_nan=True)


def test_over_sampling_keeps_every_row():
    X, y = rows()
    fit_X, _, _ = balance(X, y, "over_sample", seed=3)
    assert {row.tobytes() for row in X} == {row.tobytes() for row in fit_X}


def test_smote_keeps_original_rows_and_invents_between_rare_ones():
    X, y = rows()
    fit_X, fit_y, _ = balance(X, y, "smote", seed=3)
    np.testing.assert_array_equal(fit_X[: len(X)], X)
    invented = fit_X[len(X) :]
    assert (fit_y[len(X) :] == 1).all()
    assert np.isfinite(invented).all()
    rare = X[y == 1]
    for j in range(3):
        known = rare[np.isfinite(rare[:, j]), j]
        assert invented[:, j].min() >= known.min() - 1e-5
        assert invented[:, j].max() <= known.max() + 1e-5


def test_smote_says_what_it_lacks():
    X, y = rows(rare=1)
    with pytest.raises(DataError, match="smote needs two rows"):
        balance(X, y, "smote", seed=0)


def test_unknown_kind_is_refused():
    with pytest.raises(UsageError, match="'adasyn' is not known"):
        balance(*rows(), "adasyn", seed=0)


def test_group_weights_make_the_label_independent_of_the_group() -> None:
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 3, 5000)
    y = (rng.random(5000) < 0.1 + 0.2 * groups).astype(int)
    weight = group_weights(groups, y)
    rates = [np.average(y[groups == g], weights=weight[groups == g]) for g in range(3)]
    assert np.ptp([y[groups == g].mean() for g in range(3)]) > 0.3
    assert np.allclose(rates, y.mean(), atol=1e-12)
    assert weight.sum() == pytest.approx(len(y))


def test_rows_that_are_drawn_cannot_be_weighed_by_group() -> None:
    X, y = np.zeros((6, 1), np.float32), np.array([0, 0, 0, 0, 1, 1])
    with pytest.raises(UsageError, match="reweigh"):
        balance(X, y, "over_sample", seed=0, groups=y)
