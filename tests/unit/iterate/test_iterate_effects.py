"""Effects equal SciPy's and statsmodels'; reduced coverage of each interval (all of it in benchmarks/experiments)."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import confint_proportions_2indep, proportions_ztest

from charter.iterate.boundary import mixture_weight
from charter.iterate.effects import (
    boundary_of,
    mean_effect,
    proportion_effect,
    quantile_draws,
    quantile_effect,
    relative,
    sequence,
    welch,
)
from charter.iterate.moments import Moments, adjusted, linearised, moments
from charter.iterate.ratio_check import check_ratio, ratio_p_value

RUNS = 4000
FEW = 3 * math.sqrt(0.05 * 0.95 / RUNS)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20)


def test_welch_equals_scipy(rng: np.random.Generator) -> None:
    a, b = rng.gamma(2, 3, 40), rng.gamma(2, 4, 25)
    found, expected = mean_effect(moments(a), moments(b), 0.1, None), stats.ttest_ind(b, a, equal_var=False)
    assert found.p_value == pytest.approx(expected.pvalue)
    interval = expected.confidence_interval(0.9)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_proportions_equal_statsmodels() -> None:
    found = proportion_effect(500, 10_000, 560, 9_000, 0.05)
    assert found.p_value == pytest.approx(proportions_ztest([560, 500], [9000, 10_000])[1])
    expected = confint_proportions_2indep(560, 9000, 500, 10_000, method="newcomb", compare="diff")
    assert (found.low, found.high) == pytest.approx(expected)


def test_what_does_not_vary_has_an_effect_without_an_interval() -> None:
    weight = mixture_weight(100, 0.05)
    for how in (None, weight):
        found = mean_effect(Moments(50.0, 3.0, 0.0), Moments(50.0, 4.0, 0.0), 0.05, how)
        assert (found.difference, found.p_value) == (1.0, 1.0)
        assert math.isnan(found.low)
        assert math.isnan(found.high)
    assert proportion_effect(0, 50, 0, 60, 0.05).p_value == 1.0


def test_cuped_is_regression_on_arm_and_covariate(rng: np.random.Generator) -> None:
    import statsmodels.api as sm

    n = 5000
    arm = rng.integers(0, 2, n)
    x = rng.gamma(2, 5, n)
    y = 0.8 * x + 0.5 * arm + rng.normal(0, 3, n)
    a, b = adjusted([moments(y[arm == k], x[arm == k]) for k in (0, 1)])
    fit = sm.OLS(y, sm.add_constant(np.column_stack([arm, x]))).fit()
    gap, low, high, _ = welch(a, b, 0.05)
    assert gap == pytest.approx(fit.params[1], abs=1e-9)
    assert (high - low) == pytest.approx(np.diff(fit.conf_int()[1])[0], rel=0.01)
    assert b.variance / moments(y[arm == 1]).variance == pytest.approx(
        1 - np.corrcoef(x, y)[0, 1] ** 2, abs=0.03
    )


def test_a_covariate_that_says_nothing_or_is_constant_changes_nothing(rng: np.random.Generator) -> None:
    y = rng.normal(0, 1, 100)
    one, two = (moments(part, np.full(50, 3.0)) for part in (y[:50], y[50:]))
    assert [m.mean for m in adjusted([one, two])] == [one.mean, two.mean]


def test_a_ratio_has_the_variance_of_its_bootstrap(rng: np.random.Generator) -> None:
    x = rng.poisson(5, 2000) + 1.0
    y = rng.binomial(x.astype(int), rng.beta(2, 6, 2000)).astype(float)
    draws = rng.integers(0, 2000, (4000, 2000))
    boot = y[draws].sum(axis=1) / x[draws].sum(axis=1)
    own = moments(linearised(y, x))
    assert own.mean == pytest.approx(y.sum() / x.sum())
    assert math.sqrt(own.of_mean) == pytest.approx(boot.std(), rel=0.05)


def test_relative_changes_agree_with_fieller(rng: np.random.Generator) -> None:
    a, b = moments(rng.gamma(3, 2, 3000)), moments(rng.gamma(3, 2.2, 2500))
    z = 1.96
    found = relative(a, b, z)
    assert found is not None
    # Fieller (1954): where (m1 - r m0)^2 = z^2 (v1 + r^2 v0).
    roots = np.roots([a.mean**2 - z**2 * a.of_mean, -2 * a.mean * b.mean, b.mean**2 - z**2 * b.of_mean])
    assert found[1:] == pytest.approx(sorted(roots - 1), abs=2e-3)
    assert relative(Moments(100.0, 0.01, 1.0), b, z) is None


def test_a_median_s_interval_is_the_bootstrap_s(rng: np.random.Generator) -> None:
    values = rng.lognormal(0, 1, 3000)
    found = quantile_draws(values, np.arange(3000), 0.9, seed=1)
    boot = np.quantile(values[rng.integers(0, 3000, (2000, 3000))], 0.9, axis=1, method="inverted_cdf")
    assert np.quantile(found.draws, [0.025, 0.975]) == pytest.approx(
        np.quantile(boot, [0.025, 0.975]), rel=0.03
    )


def test_a_quantile_of_clustered_rows_is_less_sure_than_of_single_ones(rng: np.random.Generator) -> None:
    level = rng.normal(0, 1, 400)
    unit = np.repeat(np.arange(400), 10)
    values = level[unit] + rng.normal(0, 0.1, 4000)
    clustered = quantile_draws(values, unit, 0.5, seed=0).draws.std()
    naive = quantile_draws(values, np.arange(4000), 0.5, seed=0).draws.std()
    whole = np.array(
        [
            np.quantile((level + 0 * rng.integers(0, 400, 400))[rng.integers(0, 400, 400)], 0.5)
            for _ in range(800)
        ]
    )
    assert clustered == pytest.approx(whole.std(), rel=0.15)
    assert clustered > 2.5 * naive


def test_quantile_differences_cover(rng: np.random.Generator) -> None:
    hits = 0
    for seed in range(600):
        a, b = rng.lognormal(0, 1, 800), rng.lognormal(0.1, 1, 800)
        draws = [quantile_draws(v, np.arange(800), 0.75, seed=2 * seed + i) for i, v in enumerate((a, b))]
        found = quantile_effect(*draws, 0.05)
        truth = math.exp(0.1 + 0.6744898) - math.exp(0.6744898)
        hits += found.low <= truth <= found.high
    assert 0.93 <= hits / 600 <= 0.975


def test_proportion_intervals_cover(rng: np.random.Generator) -> None:
    hits = [proportion_effect(a, 2000, b, 1000, 0.05)
            for a, b in zip(rng.binomial(2000, 0.05, RUNS), rng.binomial(1000, 0.06, RUNS), strict=True)]  # fmt: skip
    assert np.mean([e.low <= 0.01 <= e.high for e in hits]) == pytest.approx(0.95, abs=FEW)


def test_a_sequence_holds_at_every_look_and_peeking_at_a_fixed_test_does_not(
    rng: np.random.Generator,
) -> None:
    days, daily = 28, 200
    y = rng.exponential(1.0, (RUNS // 2, 2, days, daily))
    n = (np.arange(days) + 1) * daily
    mean = y.sum(axis=-1).cumsum(axis=-1) / n
    variance = ((y**2).sum(axis=-1).cumsum(axis=-1) / n - mean**2) * n / (n - 1)
    arms = [Moments(n.astype(float), mean[:, k], variance[:, k]) for k in (0, 1)]
    _, low, high = sequence(*arms, 0.05, mixture_weight(2 * days * daily, 0.05))
    assert ((low > 0) | (high < 0)).any(axis=1).mean() <= 0.05
    _, low, high, _ = welch(*arms, 0.05)
    wrong = (low > 0) | (high < 0)
    assert wrong[:, -1].mean() == pytest.approx(0.05, abs=2 * FEW)
    assert wrong.any(axis=1).mean() > 0.2, "peeking at a fixed test must be seen to be wrong"
    assert all(a < b for a, b in pairwise([boundary_of(10, 0.05, None), boundary_of(10, 0.05, 1e-3)]))


def test_the_sample_ratio_check_is_pearson_s_with_yates_correction(rng: np.random.Generator) -> None:
    a, b = 50_600, 49_400
    yates = (abs(a - 50_000) - 0.5) ** 2 / 50_000 * 2
    assert ratio_p_value(np.array([a, b]), np.array([0.5, 0.5])) == pytest.approx(stats.chi2.sf(yates, 1))
    three = np.array([3000.0, 2900, 6100])
    expected = stats.chisquare(three, 12_000 * np.array([0.25, 0.25, 0.5])).pvalue
    assert ratio_p_value(three, np.array([0.25, 0.25, 0.5])) == pytest.approx(expected)
    for shares in ([0.5, 0.5], [0.9, 0.1], [0.2, 0.3, 0.5]):
        counts = rng.multinomial(100_000, shares, 400_000)
        assert (ratio_p_value(counts, np.array(shares)) < 0.001).mean() <= 0.00115
    found = ratio_p_value(rng.multinomial(100_000, [0.51, 0.49], 10_000), np.array([0.5, 0.5]))
    assert (found < 0.001).mean() >= 0.95


def test_too_few_units_say_nothing_of_their_ratio() -> None:
    assert check_ratio({"a": 5, "b": 0}, {"a": 0.5, "b": 0.5}).verdict == "unknown"
    assert check_ratio({"a": 500, "b": 480}, {"a": 0.5, "b": 0.5}).verdict == "pass"
