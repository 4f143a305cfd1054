"""What another policy would have been worth, where the truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from charter.core.errors import UsageError
from charter.monitor.policy_value import FEWEST, METHODS, policy_value
from charter.spec.types import PerDecision

WORTH = PerDecision(true_positive=4, false_positive=-1, false_negative=-3, true_negative=0)
SERVED, WANTED, SHARE = 0.6, 0.45, 0.05


def chances(score: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """Decisions change what happens: half of those who are helped are saved; and the score is too sure."""
    truth = 0.1 + 0.6 * score
    return np.where(positive, truth / 2, truth)


def logged(rng: np.random.Generator, n: int, *, share: float = SHARE):
    score = rng.random(n)
    greedy, turned = score >= SERVED, rng.random(n) < share
    taken = greedy ^ turned
    outcome = (rng.random(n) < chances(score, taken)).astype(float)
    return taken, np.where(turned, share, 1 - share), outcome, score


def worth(decided: np.ndarray, chance: np.ndarray) -> np.ndarray:
    return np.where(decided, 4 * chance - (1 - chance), -3 * chance)


def true_value(threshold: float) -> float:
    score = (np.arange(1_000_000) + 0.5) / 1_000_000
    return float(worth(score >= threshold, chances(score, score >= threshold)).mean())


@pytest.mark.parametrize("n", [8_000, 20_000])
def test_intervals_hold_the_truth_as_often_as_they_promise(n):
    """500 replays, binomial: 95 % +- 2.9 points (3 standard errors); a little too careful is forgiven."""
    rng = np.random.default_rng(n)
    truth, gained = true_value(WANTED), true_value(WANTED) - true_value(SERVED)
    replays = 500
    held = {(what, m): 0 for what in ("value", "gain") for m in METHODS}
    errors: dict[str, list[float]] = {m: [] for m in METHODS}
    for _ in range(replays):
        taken, propensity, outcome, score = logged(rng, n)
        found = policy_value(taken, propensity, outcome, score >= WANTED, score, WORTH)
        for m in METHODS:
            v, g = found.value[m], found.gain[m]
            held["value", m] += v.low <= truth <= v.high
            held["gain", m] += g.low <= gained <= g.high
            errors[m].append(g.value - gained)
    for what, count in held.items():
        assert 0.92 <= count / replays <= 0.985, (what, count)
    for m in METHODS:  # right on average
        e = np.array(errors[m])
        assert abs(e.mean()) < 3.5 * e.std() / replays**0.5, m


def test_where_refusals_hide_outcomes_the_explored_ones_stand_for_them():
    rng = np.random.default_rng(5)
    truth = 0.1 + 0.6 * (np.arange(1_000_000) + 0.5) / 1_000_000
    grid = (np.arange(1_000_000) + 0.5) / 1_000_000
    gained = float((worth(grid >= 0.75, truth) - worth(grid >= SERVED, truth)).mean())
    held = dict.fromkeys(METHODS, 0)
    for _ in range(300):
        score = rng.random(10_000)
        greedy, turned = score >= SERVED, rng.random(10_000) < SHARE
        taken = greedy ^ turned
        outcome = (rng.random(10_000) < 0.1 + 0.6 * score).astype(float)
        outcome[taken | (rng.random(10_000) < 0.2)] = np.nan  # positive is refused; a fifth is lost by chance
        propensity = np.where(turned, SHARE, 1 - SHARE)
        found = policy_value(taken, propensity, outcome, score >= 0.75, score, WORTH)
        assert found.seen == "negative"
        for m in METHODS:
            held[m] += found.gain[m].low <= gained <= found.gain[m].high
    assert all(0.91 <= count / 300 <= 0.99 for count in held.values()), held


def test_the_policy_that_served_gains_nothing_and_is_worth_what_it_was():
    taken, propensity, outcome, score = logged(np.random.default_rng(1), 5_000)
    found = policy_value(taken, propensity, outcome, score >= SERVED, score, WORTH)
    assert (found.changed, found.informative) == (0, 0)
    assert all(found.gain[m].value == pytest.approx(0, abs=1e-12) for m in METHODS)
    own = propensity > 0.5
    paid = worth(taken, outcome)[own].mean()
    assert found.value["self_normalised"].value == pytest.approx(paid)


def test_an_honest_score_makes_the_doubly_robust_estimate_the_sharpest():
    taken, propensity, _, score = logged(np.random.default_rng(6), 20_000)
    outcome = (np.random.default_rng(7).random(20_000) < score).astype(float)
    found = policy_value(taken, propensity, outcome, score >= WANTED, score, WORTH).value
    width = {m: found[m].high - found[m].low for m in METHODS}
    assert width["doubly_robust"] < min(width["self_normalised"], width["horvitz_thompson"])


def test_horvitz_and_thompson_by_hand():
    taken = np.array([True, False, True, False])
    found = policy_value(
        taken, np.array([0.2, 0.8, 0.8, 0.8]), np.array([1.0, 0, 0, 1]), np.array([True, False, False, False]),
        np.full(4, 0.5), WORTH,
    )  # fmt: skip
    assert found.value["horvitz_thompson"].value == pytest.approx((4 / 0.2 + 0 / 0.8 + 0 - 3 / 0.8) / 4)
    assert found.value["self_normalised"].value == pytest.approx((20 - 3.75) / (5 + 1.25 + 1.25))
    assert found.effective_rows == pytest.approx(7.5**2 / (25 + 2 * 1.25**2))
    assert found.value["horvitz_thompson"].low is None
    assert str(FEWEST) in found.note


def test_what_never_could_have_been_decided_is_refused():
    taken, propensity, outcome, score = logged(np.random.default_rng(2), 20_000)
    near = np.abs(score - SERVED) <= 0.1
    taken, propensity = np.where(near, taken, score >= SERVED), np.where(near, propensity, 1.0)
    inside = policy_value(taken, propensity, outcome, score >= 0.55, score, WORTH)
    assert inside.unsupported == 0
    assert inside.gain["doubly_robust"].low is not None
    beyond = policy_value(taken, propensity, outcome, score >= 0.3, score, WORTH)
    assert beyond.unsupported > 0
    assert not beyond.value
    assert "no overlap" in beyond.note


def test_rows_of_one_customer_count_as_one():
    rng = np.random.default_rng(3)
    taken, propensity, outcome, score = logged(rng, 8_000)
    alone = policy_value(taken, propensity, outcome, score >= WANTED, score, WORTH)
    five = [np.repeat(a, 5) for a in (taken, propensity, outcome, score)]
    groups = np.repeat(np.arange(8_000), 5)
    together = policy_value(*five[:3], five[3] >= WANTED, five[3], WORTH, groups=groups)
    for m in METHODS:
        assert together.gain[m].low == pytest.approx(alone.gain[m].low)
        assert together.value[m].high == pytest.approx(alone.value[m].high)


def test_nothing_is_said_before_outcomes_come_and_nonsense_is_refused():
    taken, propensity, outcome, score = logged(np.random.default_rng(4), 100)
    found = policy_value(taken, propensity, np.full(100, np.nan), score >= WANTED, score, WORTH)
    assert (found.labelled, found.value, found.note) == (0, {}, "no outcome is known yet")
    with pytest.raises(UsageError, match="propensity"):
        policy_value(taken, propensity * 0, outcome, taken, score, WORTH)
    with pytest.raises(UsageError, match="as many"):
        policy_value(taken[:5], propensity, outcome, taken, score, WORTH)


def test_an_interval_of_few_informative_rows_is_as_wide_as_few_rows_make_it():
    rng = np.random.default_rng(5)
    n = 10_000
    score = rng.random(n)
    greedy, turned = score >= 0.7, rng.random(n) < 0.02
    outcome = (rng.random(n) < score).astype(float)
    worth = PerDecision(true_positive=1, false_positive=-1, false_negative=0, true_negative=0)
    found = policy_value(greedy ^ turned, np.where(turned, 0.02, 0.98), outcome, score >= 0.5, score, worth)
    gain = found.gain["horvitz_thompson"]
    weighed = np.where((greedy != (score >= 0.5)) & turned, (2 * outcome - 1) / 0.02, 0.0)
    error = weighed.std(ddof=1) / n**0.5
    assert 30 <= found.informative < 50
    assert stats.t.ppf(0.975, found.informative) < (gain.high - gain.value) / error < stats.t.ppf(0.975, 20)
