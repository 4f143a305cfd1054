"""Distances and false discovery control are those of SciPy and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon
from statsmodels.stats.multitest import multipletests

from charter.data.discovery import benjamini_hochberg
from charter.data.distance import (
    chi_square,
    jensen_shannon,
    ks_of_counts,
    ks_of_values,
    pooled,
    psi,
    wasserstein_of_counts,
    wasserstein_of_values,
)

RNG = np.random.default_rng(20)
CASES = [
    (RNG.normal(size=500), RNG.normal(0.3, 1.2, 700)),
    (RNG.integers(0, 5, 300).astype(float), RNG.integers(1, 6, 300).astype(float)),
    (RNG.exponential(size=37), RNG.exponential(2, 4000)),
    (np.array([1.0]), np.array([1.0, 1.0])),
    (np.array([1.0, 2.0]), np.array([7.0])),
]
COUNTS = [(RNG.integers(1, 400, k), RNG.integers(1, 300, k)) for k in (2, 5, 10, 31)]


@pytest.mark.parametrize(("a", "b"), CASES)
def test_distances_of_values_are_those_of_scipy(a: np.ndarray, b: np.ndarray) -> None:
    x, y = np.sort(a), np.sort(b)
    assert ks_of_values(x, y) == pytest.approx(stats.ks_2samp(a, b).statistic, abs=1e-12)
    assert ks_of_values(y, x) == pytest.approx(ks_of_values(x, y), abs=1e-12)
    assert wasserstein_of_values(x, y) == pytest.approx(stats.wasserstein_distance(a, b), rel=1e-12)


SMALL = st.lists(st.integers(-5, 5).map(float), min_size=1, max_size=12)


@settings(max_examples=200, deadline=None)
@given(SMALL, SMALL)
def test_ties_and_short_samples_too(a: list[float], b: list[float]) -> None:
    x, y = np.sort(a), np.sort(b)
    every = np.concatenate([x, y])  # SciPy warns of samples that are so short
    shares = [np.searchsorted(side, every, side="right") / len(side) for side in (x, y)]
    assert ks_of_values(x, y) == pytest.approx(np.abs(shares[0] - shares[1]).max(), abs=1e-12)
    assert wasserstein_of_values(x, y) == pytest.approx(stats.wasserstein_distance(a, b), abs=1e-12)


@pytest.mark.parametrize(("a", "b"), COUNTS)
def test_distances_of_counts_are_those_of_scipy(a: np.ndarray, b: np.ndarray) -> None:
    p, q = a / a.sum(), b / b.sum()
    assert psi(a, b) == pytest.approx(stats.entropy(p, q) + stats.entropy(q, p), rel=1e-12)
    assert jensen_shannon(a, b) == pytest.approx(jensenshannon(p, q, base=2), rel=1e-12)
    expected = stats.chi2_contingency(np.array([a, b]), correction=False)
    assert chi_square(a, b) == (pytest.approx(expected.statistic, rel=1e-12), expected.dof)
    places = np.arange(len(a), dtype=float)
    assert ks_of_counts(a, b) == pytest.approx(
        stats.ks_2samp(np.repeat(places, a), np.repeat(places, b)).statistic, abs=1e-12
    )


def test_published_stability_index() -> None:
    """Table of ten score bands in Siddiqi's form, computed by hand to four digits."""
    expected = np.array([7, 8, 9, 10, 12, 13, 12, 11, 10, 8])
    actual = np.array([8, 11, 10, 9, 11, 12, 11, 10, 10, 8])
    by_hand = sum((q - p) / 100 * np.log(q / p) for p, q in zip(expected, actual, strict=True))
    assert psi(expected, actual) == pytest.approx(by_hand, rel=1e-12)


def test_the_stability_index_of_no_change_has_its_known_distribution() -> None:
    rng, shares = np.random.default_rng(0), np.full(10, 0.1)
    n, m = 2_000, 5_000
    draws = [psi(rng.multinomial(n, shares), rng.multinomial(m, shares)) for _ in range(3_000)]
    scaled = np.array(draws) / (1 / n + 1 / m)
    assert scaled.mean() == pytest.approx(9, rel=0.04)
    assert (scaled > stats.chi2.ppf(0.95, 9)).mean() == pytest.approx(0.05, abs=0.012)


def test_empty_bins_and_sides() -> None:
    assert psi([10, 10, 0], [10, 10, 0]) == 0.0
    assert psi([10, 10], [20, 0]) == pytest.approx((0.5 - 1) * np.log(0.5 / 1) + (0.5 - 1 / 40) * np.log(20))
    for measure in (psi, jensen_shannon, ks_of_counts):
        assert np.isnan(measure([0, 0], [1, 2]))
    assert np.isnan(ks_of_values(np.array([]), np.array([1.0])))
    assert np.isnan(wasserstein_of_values(np.array([]), np.array([1.0])))
    assert np.isnan(wasserstein_of_counts([0.0, 1.0], [0], [1]))
    assert chi_square([0, 0], [1, 2]) == (0.0, 0)
    with pytest.raises(ValueError, match="same bins"):
        psi([1, 2], [1, 2, 3])


def test_wasserstein_of_counts_is_that_of_scipy() -> None:
    rng = np.random.default_rng(1)
    places, a, b = np.sort(rng.normal(size=20)), rng.integers(0, 50, 20), rng.integers(0, 50, 20)
    expected = stats.wasserstein_distance(places, places, a, b)
    assert wasserstein_of_counts(places, a, b) == pytest.approx(expected, rel=1e-12)


@given(
    st.lists(st.integers(0, 50), min_size=2, max_size=12),
    st.lists(st.integers(0, 50), min_size=12, max_size=12),
)
def test_pooling_loses_no_row(a: list[int], b: list[int]) -> None:
    x, y = pooled(a, b[: len(a)])
    assert (x.sum(), y.sum()) == (sum(a), sum(b[: len(a)]))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=60))
def test_false_discovery_control_is_that_of_statsmodels(p: list[float]) -> None:
    np.testing.assert_allclose(benjamini_hochberg(p), multipletests(p, method="fdr_bh")[1], atol=1e-12)


def test_what_was_not_tested_does_not_count() -> None:
    found = benjamini_hochberg([0.01, np.nan, 0.04])
    assert found[[0, 2]].tolist() == [0.02, 0.04]
    assert np.isnan(found[1])
    assert np.isnan(benjamini_hochberg([np.nan])).all()
