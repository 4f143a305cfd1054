"""Curves, paired tests and permutation importance."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest
from scipy.stats import norm
from sklearn import metrics as sk
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.inspection import permutation_importance as peer_importance
from statsmodels.stats.contingency_tables import mcnemar

from charter.core.errors import UsageError
from charter.data.metrics import Sample
from charter.evaluate.compare import bootstrap_test, delong_test, mcnemar_test
from charter.evaluate.curves import curves, deciles
from charter.evaluate.importance import permutation_importance
from charter.evaluate.value import value_report
from charter.spec.types import ModelSpec


def _two(seed: int, n: int = 400, noise: float = 2.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 2, n)
    return y, y + rng.normal(0, 1, n), y + rng.normal(0, noise, n)


def test_curves_go_through_the_peers_points() -> None:
    rng = np.random.default_rng(0)
    y, score = rng.integers(0, 2, 150), rng.integers(0, 100, 150) / 100
    found = curves(Sample(y, score))
    fpr, tpr, _ = sk.roc_curve(y, score, drop_intermediate=False)
    assert found.roc.fpr == pytest.approx(fpr)
    assert found.roc.tpr == pytest.approx(tpr)
    precision, recall, at = sk.precision_recall_curve(y, score)
    assert found.pr.recall == pytest.approx(recall[:-1][::-1])
    assert found.pr.precision == pytest.approx(precision[:-1][::-1])
    assert found.pr.threshold == pytest.approx(at[::-1])


def test_curves_are_thinned_between_their_ends() -> None:
    rng = np.random.default_rng(1)
    found = curves(Sample(rng.integers(0, 2, 5000), rng.random(5000)))
    assert len(found.roc.fpr) == len(found.roc.threshold) == 200
    assert (found.roc.fpr[0], found.roc.tpr[0], found.roc.fpr[-1], found.roc.tpr[-1]) == (0, 0, 1, 1)
    assert len(found.pr.recall) == 199
    assert curves(Sample(np.ones(5), np.arange(5))) is None


def test_deciles_do_not_depend_on_the_order_of_ties() -> None:
    rng = np.random.default_rng(2)
    y, score = rng.integers(0, 2, 333), rng.integers(0, 7, 333) / 7
    turn = rng.permutation(333)
    table, turned = deciles(Sample(y, score)), deciles(Sample(y[turn], score[turn]))
    assert table == turned
    assert sum(d.n for d in table) == 333
    assert sum(d.positives for d in table) == pytest.approx(y.sum())
    assert table[-1].gain == table[-1].cumulative_lift == pytest.approx(1)
    assert deciles(Sample(np.zeros(5), np.arange(5))) == ()
    assert sum(d.n for d in deciles(Sample(np.array([0, 1, 1]), np.arange(3)))) == 3


def test_deciles_count_positives_from_the_top() -> None:
    rng = np.random.default_rng(3)
    y, score = rng.integers(0, 2, 500), rng.random(500)
    top = y[np.argsort(-score)][:50]
    first = deciles(Sample(y, score))[0]
    assert first.positives == top.sum()
    assert first.lift == pytest.approx(top.mean() / y.mean())


def test_delongs_test_agrees_with_the_formula_by_hand() -> None:
    y, a, b = _two(4)
    wins = [(s[y == 1][:, None] > s[y == 0][None, :]) * 1.0 for s in (a, b)]
    rows, columns = [w.mean(axis=1) for w in wins], [w.mean(axis=0) for w in wins]
    s = np.cov(*rows) / len(rows[0]) + np.cov(*columns) / len(columns[0])
    z = (wins[0].mean() - wins[1].mean()) / np.sqrt(s[0, 0] + s[1, 1] - 2 * s[0, 1])
    found = delong_test(y, a, b)
    assert found.p_value == pytest.approx(2 * norm.sf(abs(z)))
    assert found.better == "a"
    assert delong_test(y, b, a).better == "b"
    assert found.difference.low > 0


def test_delongs_test_rejects_as_often_as_it_should() -> None:
    rng = np.random.default_rng(5)
    p = []
    for _ in range(400):
        y, common = rng.integers(0, 2, 120), rng.normal(0, 1, 120)
        p.append(
            delong_test(y, y + common + rng.normal(0, 1, 120), y + common + rng.normal(0, 1, 120)).p_value
        )
    assert 0.03 < np.mean(np.array(p) < 0.05) < 0.08


def test_delongs_test_without_anything_to_compare() -> None:
    y, a, _ = _two(6)
    same = delong_test(y, a, a)
    assert (same.p_value, same.difference.value, same.better) == (1.0, 0.0, "neither")
    assert delong_test(np.ones(9), a[:9], a[:9]).p_value is None
    one = delong_test(np.array([1, 0, 0, 0]), a[:4], a[:4])
    assert (one.p_value, one.difference.low) == (None, None)
    with pytest.raises(UsageError, match="same rows"):
        delong_test(y, a, a[:-1])


def test_delongs_test_is_not_fooled_by_copies() -> None:
    y, a, b = _two(7, n=80)
    once = delong_test(y, a, b).p_value
    entity = np.tile(np.arange(80), 5)
    copies = delong_test(np.tile(y, 5), np.tile(a, 5), np.tile(b, 5), cluster=entity)
    assert copies.p_value == pytest.approx(once, rel=0.1)
    assert delong_test(np.tile(y, 5), np.tile(a, 5), np.tile(b, 5)).p_value < once / 5


@pytest.mark.parametrize("n", [40, 800])
def test_mcnemar_agrees_with_the_peer(n: int) -> None:
    rng = np.random.default_rng(8)
    y = rng.integers(0, 2, n)
    a, b = np.where(rng.random(n) < 0.85, y, 1 - y), np.where(rng.random(n) < 0.75, y, 1 - y)
    table = np.array([[((a == y) & (b == y)).sum(), ((a == y) & (b != y)).sum()],
                      [((a != y) & (b == y)).sum(), ((a != y) & (b != y)).sum()]])  # fmt: skip
    exact = table[0, 1] + table[1, 0] < 25
    assert exact == (n == 40)
    found = mcnemar_test(y, a, b)
    assert found.p_value == pytest.approx(mcnemar(table, exact=exact, correction=True).pvalue)
    assert found.test == ("mcnemar_exact" if exact else "mcnemar")
    assert found.difference.value == pytest.approx((a == y).mean() - (b == y).mean())


def test_mcnemar_without_discord() -> None:
    y = np.array([0, 1, 1, 0])
    assert mcnemar_test(y, y, y).p_value == 1.0
    assert mcnemar_test(np.array([]), np.array([]), np.array([])).p_value is None


def test_the_bootstrap_agrees_with_delong() -> None:
    y, a, b = _two(9)
    found, wanted = bootstrap_test("roc_auc", y, a, b, seed=1), delong_test(y, a, b)
    assert (found.difference.low, found.difference.high) == pytest.approx(
        (wanted.difference.low, wanted.difference.high), abs=0.015
    )
    assert found.p_value <= 0.01
    assert found.better == "a"


def test_the_bootstrap_knows_which_way_is_better() -> None:
    rng = np.random.default_rng(10)
    y = rng.integers(0, 2, 300)
    good, bad = np.where(y > 0, 0.8, 0.2), np.full(300, 0.5)
    found = bootstrap_test("brier_score", y, good, bad)
    assert found.difference.value < 0
    assert found.better == "a"
    same = bootstrap_test("brier_score", y, good, good)
    assert (same.p_value, same.better) == (1.0, "neither")
    undefined = bootstrap_test("roc_auc", np.ones(50), np.arange(50.0), np.arange(50.0))
    assert (undefined.a, undefined.p_value) == (None, None)


class _Linear(RegressorMixin, BaseEstimator):
    """What the peer takes for a fitted model."""

    def fit(self, x: np.ndarray, y: np.ndarray) -> _Linear:
        return self

    def predict(self, x: np.ndarray) -> np.ndarray:
        return x @ np.array([2.0, 1.0, 0.0])


def test_importance_agrees_with_the_peer() -> None:
    rng = np.random.default_rng(11)
    x = rng.normal(size=(800, 3))
    y = _Linear().predict(x) + rng.normal(0, 0.5, 800)
    frame = pl.DataFrame(x, schema=["a", "b", "c"])
    found = permutation_importance(
        frame, y, lambda f: _Linear().predict(f.to_numpy()), ["c", "b", "a"],
        metric="mean_absolute_error", seed=0, repeats=20,
    )  # fmt: skip
    peer = peer_importance(_Linear(), x, y, scoring="neg_mean_absolute_error", n_repeats=20, random_state=0)
    assert [one.column for one in found] == ["a", "b", "c"]
    assert [one.drop for one in found] == pytest.approx(peer.importances_mean, rel=0.05, abs=1e-12)


def test_importance_is_seeded_and_subsampled() -> None:
    rng = np.random.default_rng(12)
    frame = pl.DataFrame({"a": rng.random(3000), "b": rng.random(3000), "word": ["x", "y", "z"] * 1000})
    y = (frame["a"].to_numpy() > 0.5) * 1
    seen = []

    def predict(rows: pl.DataFrame) -> np.ndarray:
        seen.append(rows.height)
        return rows["a"].to_numpy()

    def run(*columns: str) -> dict[str, float]:
        found = permutation_importance(
            frame, y, predict, columns, metric="f1", seed=3, repeats=2, max_rows=500, threshold=0.5
        )
        return {one.column: one.drop for one in found}

    first = run("a", "b", "word")
    assert seen == [500, 1000, 1000, 1000]
    assert first == run("word", "a", "b")
    assert first["a"] == run("a")["a"] > 0.3
    assert first["b"] == first["word"] == 0


def test_value_is_broken_down(spec_of: Callable[..., ModelSpec]) -> None:
    value = spec_of().value
    found = value_report({"tp": 10, "fp": 20, "fn": 5, "tn": 65}, value)
    assert found.net_value == pytest.approx((1000 - 200 - 250) / 100)
    assert found.net_value_per_month == pytest.approx(5.5 * 1000 - 750)
    assert sum(o.per_month for o in found.outcomes) - found.costs_per_month == pytest.approx(
        found.net_value_per_month
    )
    assert found.without_model_per_month == pytest.approx(-50 * 15 / 100 * 1000)
    assert value_report({"tp": 0, "fp": 0, "fn": 0, "tn": 0}, value) is None
