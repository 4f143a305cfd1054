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
from charter.core.errors import UsageError
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


def test_skew_is_told_row_by_row() -> None:
    offline = pl.DataFrame(
        {"id": [1, 2, 3, 4], "x": [1.0, 2.0, None, 0.0], "s": ["a", "b", None, "d"], "gone": [1] * 4}
    )
    online = pl.DataFrame(
        {"id": [4, 3, 2, 1], "x": [1e-20, math.nan, 2.0 + 1e-8, 1.5], "s": ["d", None, "B", "a"]}
    )
    found = {c.name: c for c in find_skew(offline, online, ["id"]).checks}
    assert found["rows on both sides"].verdict is Verdict.PASS
    assert (found["skew of x"].observed, found["skew of x"].note) == (
        "1 of 4 rows differ",
        "1.0 offline, 1.5 online",
    )
    assert found["skew of s"].observed == "1 of 4 rows differ"
    assert found["skew of gone"].observed == "the server does not compute it"
    allowed = find_skew(offline.select("id", "x"), online, ["id"], allowed_share=0.25)
    assert allowed.verdict is Verdict.PASS
    nobody = find_skew(offline, online.with_columns(pl.col("id") + 10), ["id"])
    assert nobody.checks[1].verdict is Verdict.UNKNOWN


def test_keys_must_identify_rows() -> None:
    twice = pl.DataFrame({"id": [1, 1], "x": [1.0, 2.0]})
    with pytest.raises(UsageError, match="does not identify the offline rows"):
        find_skew(twice, twice, ["id"])
    with pytest.raises(UsageError, match="'key' is not on both sides"):
        find_skew(twice, twice, ["key"])
