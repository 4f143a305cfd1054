"""Exact comparison, the domain classifier, importance and skew."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from scipy import stats
from sklearn.metrics import ndcg_score

from charter.core.decision import Verdict
from charter.core.digest import canonical_json, plain
from charter.monitor.domain import MAX_ROWS, domain_shift
from charter.monitor.exact import compare_values
from charter.monitor.importance import importance_shift
from charter.monitor.skew import find_skew


def test_exact_distances_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.gamma(2, size=3000), rng.gamma(2.2, size=2000)
    before = pl.DataFrame({"x": [*a, None, math.nan], "s": ["u"] * 3002})
    found = compare_values(before, pl.DataFrame({"x": [*b, math.inf, None], "s": ["v"] * 2002}))
    x = next(m for m in found if (m.column, m.aspect) == ("x", "distribution"))
    assert x.effects["ks"] == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert x.effects["wasserstein"] == pytest.approx(
        stats.wasserstein_distance(a, b) / a.std(ddof=1), rel=1e-9
    )
    nothing = pl.DataFrame({"x": pl.Series([None], dtype=pl.Float64)})
    assert compare_values(nothing, nothing)[0].effects == {}


def rows(seed: int, n: int = 2000, *, correlation: float = 0.0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n)
    y = correlation * x + math.sqrt(1 - correlation**2) * rng.normal(size=n)
    return pl.DataFrame({"x": x, "y": y, "s": rng.choice(["a", "b", None], n), "flag": rng.random(n) < 0.5})


def test_the_classifier_finds_a_change_that_no_column_shows() -> None:
    shifted = domain_shift(rows(0), rows(1, correlation=0.9), seed=0)
    assert shifted.auc is not None
    assert shifted.auc > 0.75
    assert {name for name, _ in shifted.columns[:2]} == {"x", "y"}
    check = shifted.check(0.7)
    assert check.verdict is Verdict.FAIL
    assert check.note.startswith("told by")
    same = domain_shift(rows(0), rows(1), seed=0)
    assert same.check(0.7).verdict is Verdict.PASS
    assert domain_shift(rows(0), rows(1), seed=0) == same
    canonical_json(plain(same.to_json()))


def test_the_interval_holds_where_nothing_changed() -> None:
    inside = 0
    for seed in range(40):
        found = domain_shift(rows(2 * seed, 400), rows(2 * seed + 1, 400), seed=seed)
        assert found.low is not None
        assert found.high is not None
        inside += found.low <= 0.5 <= found.high
    assert inside >= 37


def test_large_tables_are_sampled_and_small_ones_not_judged() -> None:
    found = domain_shift(rows(0, MAX_ROWS + 50), rows(1, 300), seed=0, ignore=["s"])
    assert (found.n_reference, found.n_current) == (MAX_ROWS, 300)
    assert "s" not in dict(found.columns)
    few = domain_shift(rows(0, 20), rows(1, 300), seed=0)
    assert (few.auc, few.check(0.7).verdict) == (None, Verdict.UNKNOWN)
    assert domain_shift(rows(0).select("x"), rows(1).select("y"), seed=0).auc is None


def test_agreement_of_importance_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    before = {f"f{i:02}": float(v) for i, v in enumerate(rng.random(12))}
    now = {f"f{i:02}": float(v) for i, v in enumerate(rng.random(12))}
    expected = ndcg_score([list(before.values())], [list(now.values())])
    assert importance_shift(before, now).ndcg == pytest.approx(expected, rel=1e-9)
    assert importance_shift(before, before).ndcg == 1.0
    assert importance_shift({}, {}).ndcg == 1.0
    assert importance_shift(before, now).check(0.999).verdict is Verdict.WARN
    assert importance_shift(before, before).check(0.9).verdict is Verdict.PASS


def test_skew_is_told_answer_by_answer() -> None:
    served = np.array([0.1, 0.2, 0.3, math.nan, math.nan])
    again = np.array([0.1 * (1 + 1e-8), 0.25, math.nan, 0.4, math.nan])
    found = find_skew(served, again)
    assert (found.rows, found.differing, found.share) == (5, 3, 0.6)
    assert found.largest == pytest.approx(0.05)
    assert found.check(0.6).verdict is Verdict.PASS
    failed = found.check(0.5)
    assert (failed.verdict, failed.observed) == (Verdict.FAIL, "3 of 5 answers differ when computed again")
    assert failed.note.startswith("0.2 served, 0.25 again; 0.3 served, nan again")
    assert find_skew(np.empty(0), np.empty(0)).check(0.5).verdict is Verdict.UNKNOWN
