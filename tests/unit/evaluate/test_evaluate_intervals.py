from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from charter.data.metrics import Sample
from charter.evaluate.calibration import errors_by_chance, reliability
from charter.evaluate.delong import auc_covariance
from charter.evaluate.intervals import auc_interval, basic, bca, estimate, from_replicates
from charter.evaluate.proportion import wilson
from charter.evaluate.resample import Draws, Part, replicate

NAMES = (
    "roc_auc",
    "average_precision",
    "log_loss",
    "f1",
    "precision",
    "recall",
    "expected_calibration_error",
)


def _draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
    score = 1 / (1 + np.exp(-rng.normal(-1, 1.5, n)))
    return (rng.random(n) < score).astype(float), score


@pytest.mark.parametrize(("k", "n"), [(0, 5), (8, 10), (3, 200), (200, 200)])
def test_wilson_agrees_with_the_peer(k: int, n: int) -> None:
    assert wilson(k, n, 0.9) == pytest.approx(proportion_confint(k, n, alpha=0.1, method="wilson"), abs=1e-12)


def test_wilson_knows_nothing_without_trials() -> None:
    assert np.isnan(wilson(0, 0)).all()


def _placements(y: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = score[y == 1][:, None], score[y == 0][None, :]
    wins = (a > b) + (a == b) / 2
    return wins.mean(axis=1), wins.mean(axis=0)


def test_delong_agrees_with_the_u_statistic_by_hand() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 80)
    scores = np.round(np.stack([y + rng.normal(0, 1, 80), y + rng.normal(0, 2, 80)]), 1)
    auc, covariance = auc_covariance(y, scores)
    (p1, n1), (p2, n2) = _placements(y, scores[0]), _placements(y, scores[1])
    wanted = np.cov(p1, p2) / len(p1) + np.cov(n1, n2) / len(n1)
    assert auc == pytest.approx([p1.mean(), p2.mean()])
    assert covariance == pytest.approx(wanted)


def test_delong_gives_the_published_numbers_of_hanley_and_mcneil() -> None:
    """109 CT images rated 1..5 (Radiology 1982, table I); Stata's manual of roctab prints 0.8932 and 0.0307."""
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    score = np.concatenate([np.repeat(np.arange(1.0, 6.0), normal), np.repeat(np.arange(1.0, 6.0), abnormal)])
    y = np.repeat([0.0, 1.0], [58, 51])
    auc, covariance = auc_covariance(y, score[None, :])
    assert round(float(auc[0]), 4) == 0.8932
    assert round(float(covariance[0, 0]) ** 0.5, 4) == 0.0307
    half = 1.959964 * covariance[0, 0] ** 0.5
    assert (auc[0] - half, auc[0] + half) == pytest.approx((0.83295, 0.95339), abs=1e-5)


def test_clustered_delong_is_not_fooled_by_copies() -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 2, 300)
    score = y + rng.normal(0, 1, 300)
    once = auc_covariance(y, score[None, :])[1][0, 0]
    alone = auc_covariance(y, score[None, :], np.arange(300))[1][0, 0]
    copied = auc_covariance(np.tile(y, 4), np.tile(score, 4)[None, :], np.tile(np.arange(300), 4))[1][0, 0]
    assert alone == pytest.approx(once, rel=0.01)
    assert copied == pytest.approx(alone, rel=1e-9)


def test_a_perfect_ranking_still_has_an_interval() -> None:
    low, high = auc_interval(np.repeat([0.0, 1.0], 20), np.arange(40.0))
    assert (low, high) == (pytest.approx(wilson(20, 20)[0]), 1.0)
    clusters = np.tile(np.arange(10), 4)
    assert auc_interval(np.repeat([0.0, 1.0], 20), np.arange(40.0), 0.95, clusters)[0] < low


def test_bca_agrees_with_the_peer() -> None:
    rng = np.random.default_rng(2)
    y = rng.exponential(1, 120)
    sample = Sample(np.zeros(120), y)
    draws = Draws.of(120, resamples=4000, seed=3)
    own = replicate([Part(sample, ("mean_absolute_error",))], draws)[0]
    peer = stats.bootstrap((y,), np.mean, n_resamples=4000, method="BCa", rng=4).confidence_interval
    got = bca(float(y.mean()), *own.of("mean_absolute_error"))
    assert got == pytest.approx((peer.low, peer.high), abs=0.02)


def test_basic_is_mirrored_at_the_point() -> None:
    low, high = basic(1.0, np.linspace(1.0, 2.0, 1001), 0.9)
    assert (low, high) == pytest.approx((0.05, 0.95))


def test_intervals_hold_as_often_as_they_say() -> None:
    """300 seeded samples of 250 rows: with 95 %, between 91 % and 98.5 % of the intervals hold the truth."""
    rng = np.random.default_rng(5)
    y, score = _draw(rng, 1_000_000)
    truth = Sample(y, score, score >= 0.3).measure(NAMES, np.ones((1, len(y))))[:, 0]
    truth[NAMES.index("expected_calibration_error")] = 0.0
    hits = np.zeros(len(NAMES))
    for seed in range(300):
        y, score = _draw(rng, 250)
        sample = Sample(y, score, score >= 0.3)
        draws = Draws.of(250, resamples=200, seed=seed)
        found = estimate(NAMES, sample, replicate([Part(sample, NAMES)], draws)[0], draws, confidence=0.95)
        hits += [found[m].low <= t <= found[m].high for m, t in zip(NAMES, truth, strict=True)]
    assert ((hits / 300 > 0.91) & (hits / 300 < 0.985)).all(), dict(zip(NAMES, hits / 300, strict=True))


def test_whole_entities_are_drawn_where_they_repeat() -> None:
    """80 entities of 6 like rows: by rows the interval is far too sure of itself, by entities it is right."""
    rng = np.random.default_rng(6)
    names = ("brier_score", "roc_auc", "accuracy")
    every = _clustered(rng, 40_000)[:2]
    truth = Sample(*every, every[1] >= 0.5).measure(names, np.ones((1, len(every[0]))))[:, 0]
    hits = {True: np.zeros(3), False: np.zeros(3)}
    for seed in range(200):
        y, score, entity = _clustered(rng, 80)
        sample = Sample(y, score, score >= 0.5)
        for clustered in hits:
            draws = Draws.of(len(y), resamples=200, seed=seed, cluster=entity if clustered else None)
            own = replicate([Part(sample, names)], draws)[0]
            found = estimate(names, sample, own, draws, confidence=0.95)
            hits[clustered] += [found[m].low <= t <= found[m].high for m, t in zip(names, truth, strict=True)]
    assert (hits[True] / 200 > 0.90).all(), hits
    assert (hits[False] / 200 < 0.80).all(), hits


def _clustered(rng: np.random.Generator, entities: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    score = np.repeat(rng.random(entities), 6)
    y = (np.repeat(rng.random(entities), 6) < score).astype(float)
    return y, np.clip(score + rng.normal(0, 0.01, len(score)), 0, 1), np.repeat(np.arange(entities), 6)


def test_proportions_of_one_among_entities_count_entities() -> None:
    y, entity = np.ones(60), np.repeat(np.arange(12), 5)
    sample = Sample(y, np.ones(60), np.ones(60))
    draws = Draws.of(60, resamples=100, seed=0, cluster=entity)
    own = replicate([Part(sample, ("recall", "precision"))], draws)[0]
    found = estimate(("recall", "precision"), sample, own, draws, confidence=0.95)
    assert found["recall"].low == found["precision"].low == pytest.approx(wilson(12, 12)[0])


def test_a_lopsided_interval_of_the_calibration_error_is_explained() -> None:
    sample = Sample(*_draw(np.random.default_rng(5), 250))
    names = ("expected_calibration_error",)
    draws = Draws.of(250, resamples=200, seed=0)
    found = estimate(names, sample, replicate([Part(sample, names)], draws)[0], draws, confidence=0.95)[
        names[0]
    ]
    assert found.value - found.low > found.high - found.value
    assert found.note.endswith("the interval takes that away, so it reaches further down than up")


def test_too_few_rows_get_no_interval() -> None:
    names = ("log_loss", "f1", "expected_calibration_error")
    sample = Sample(np.array([0, 1, 0, 1]), np.array([0.1, 0.7, 0.8, 0.6]))
    draws = Draws.of(4, resamples=100, seed=0)
    own = replicate([Part(sample, names)], draws)[0]
    for found in estimate(names, sample, own, draws, confidence=0.95).values():
        assert found.value is not None
        assert (found.low, found.high, found.method) == (None, None, "none")
        assert "fewer than 10" in found.note


def test_undefined_on_resamples_or_at_all_is_said() -> None:
    mostly = np.where(np.arange(100) < 20, np.nan, 0.5)
    found = from_replicates(0.5, mostly, np.ones(5), confidence=0.95, n=50, units=50)
    assert (found.low, found.note) == (None, "no interval: undefined on too many resamples")
    assert from_replicates(float("nan"), mostly, mostly, confidence=0.95, n=50, units=50).value is None
    same = from_replicates(0.5, np.full(100, 0.5), np.full(9, 0.5), confidence=0.95, n=50, units=50)
    assert (same.low, same.high) == (0.5, 0.5)
    assert "too narrow" in same.note
    sample = Sample(np.ones(30), np.linspace(0, 1, 30))
    draws = Draws.of(30, resamples=100, seed=0)
    own = replicate([Part(sample, ("roc_auc",))], draws)[0]
    one = estimate(("roc_auc",), sample, own, draws, confidence=0.95)["roc_auc"]
    assert (one.value, one.note) == (None, "the rows hold one class only")


def test_one_positive_has_an_area_but_no_interval() -> None:
    y = np.zeros(30)
    y[10] = 1
    sample = Sample(y, np.linspace(0, 1, 30))
    draws = Draws.of(30, resamples=100, seed=0)
    own = replicate([Part(sample, ("roc_auc",))], draws)[0]
    one = estimate(("roc_auc",), sample, own, draws, confidence=0.95)["roc_auc"]
    assert one.value is not None
    assert one.low is None


def test_chance_alone_explains_the_error_of_a_perfect_model() -> None:
    rng = np.random.default_rng(7)
    y, score = _draw(rng, 3000)
    chance = errors_by_chance(Sample(y, score), resamples=300, seed=0)
    truth = [Sample((rng.random(3000) < score) * 1.0, score) for _ in range(300)]
    measured = [s.measure(("expected_calibration_error",), np.ones((1, 3000)))[0, 0] for s in truth]
    assert chance.mean() == pytest.approx(np.mean(measured), rel=0.05)
    assert chance.std() == pytest.approx(np.std(measured), rel=0.2)


def test_the_reliability_table_adds_up_to_the_error() -> None:
    rng = np.random.default_rng(8)
    y, score = _draw(rng, 1003)
    table = reliability(y, np.round(score, 2))
    assert sum(b.n for b in table) == 1003
    gap = sum(b.n * abs(b.predicted - b.observed) for b in table) / 1003
    own = Sample(y, np.round(score, 2)).measure(("expected_calibration_error",), np.ones((1, 1003)))[0, 0]
    assert gap == pytest.approx(own)
    assert all(b.low <= b.observed <= b.high and b.lowest <= b.predicted <= b.highest for b in table)
    assert all(a.highest < b.lowest for a, b in pairwise(table))


def test_resamples_depend_on_the_seed_only(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = np.array(["b", "a", "b", "c", "a", "d"])
    draws = Draws.of(6, resamples=50, seed=1, cluster=cluster)
    units, left_out = (np.concatenate(list(found)) for found in (draws.bootstrap(6), draws.jackknife(6)))
    monkeypatch.setattr("charter.evaluate.resample._BLOCK_CELLS", 18)
    assert np.array_equal(np.concatenate(list(draws.bootstrap(6))), units)
    assert np.array_equal(np.concatenate(list(draws.jackknife(6))), left_out)
    whole, left = units[:, draws.unit], left_out[:, draws.unit]
    assert (whole[:, 0] == whole[:, 2]).all()
    assert (whole[:, 1] == whole[:, 4]).all()
    assert (whole[:, [0, 1, 3, 5]].sum(axis=1) == 4).all()
    assert left.shape == (4, 6)
    assert sorted((left == 0).sum(axis=1)) == [1, 1, 2, 2]
