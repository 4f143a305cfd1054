"""Bounds that hold however often one looks, and what a guard makes of them."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import numpy as np
import pytest

from charter.core.decision import Verdict
from charter.iterate.guards import (
    Draws,
    Shown,
    Signals,
    check,
    distance_bounds,
    draws,
    quantile_bounds,
    share_bounds,
)
from charter.spec.guards import Guard

LOOKS = (20, 50, 100, 200, 400, 800, 1600)


def ever_wrong(bounds, truth: float, draw, runs: int = 400) -> float:
    """Share of runs in which the bounds leave out the truth at any look."""
    rng = np.random.default_rng(4)
    wrong = 0
    for _ in range(runs):
        drawn = draw(rng)
        ends = (bounds(drawn[:n]) for n in LOOKS)
        wrong += any(not low <= truth <= high for low, high in ends)
    return wrong / runs


@pytest.mark.parametrize("p", [0.002, 0.05, 0.5])
def test_bounds_of_a_share_hold_at_all_looks_together(p):
    def bounds(drawn):
        return share_bounds(int(drawn.sum()), len(drawn), 0.05)

    assert ever_wrong(bounds, p, lambda rng: rng.random(LOOKS[-1]) < p) <= 0.05


def test_bounds_of_a_quantile_hold_at_all_looks_together():
    truth = -math.log(0.05)
    assert (
        ever_wrong(
            lambda x: quantile_bounds(x, 0.95, 0.05), truth, lambda rng: rng.exponential(size=LOOKS[-1])
        )
        <= 0.05
    )


def test_bounds_of_a_distance_hold_at_all_looks_together():
    def bounds(x):
        return distance_bounds(x[:, 0], x[:, 1], 0.05)[1:]

    assert ever_wrong(bounds, 0.0, lambda rng: rng.normal(size=(LOOKS[-1], 2)), runs=100) <= 0.05


def test_an_ordinary_interval_read_again_and_again_does_not_hold():
    """Why it takes more than a 95 % interval: the same looks leave the truth out far more often."""

    def wald(drawn):
        p, n = drawn.mean(), len(drawn)
        half = 1.96 * math.sqrt(max(p * (1 - p), 1e-12) / n)
        return p - half, p + half

    assert ever_wrong(wald, 0.5, lambda rng: rng.random(LOOKS[-1]) < 0.5) > 0.1


def test_requests_of_few_units_prove_no_more_than_the_units_do():
    """A few units make most requests, and each does the same most of the time."""

    def story(rng):
        sizes = np.ceil(rng.pareto(1.2, 150) + 1).clip(max=300).astype(int)
        bad = rng.random(150) < 0.2
        unit = rng.permutation(np.repeat(np.arange(150), sizes))
        return np.stack([unit, np.where(rng.random(len(unit)) < 0.1, rng.random(len(unit)) < 0.2, bad[unit])])

    def by_units(drawn):
        worth = draws(np.unique(drawn[0], return_counts=True)[1])
        return share_bounds(int(drawn[1].sum()), len(drawn[1]), 0.05, worth)

    def by_requests(drawn):
        return share_bounds(int(drawn[1].sum()), len(drawn[1]), 0.05)

    def wrong(bounds):
        rng = np.random.default_rng(9)
        told = [story(rng) for _ in range(150)]
        ends = [[bounds(one[:, :n]) for n in (100, 300, one.shape[1])] for one in told]
        return np.mean([any(not low <= 0.2 <= high for low, high in looks) for looks in ends])

    assert wrong(by_units) <= 0.05
    assert wrong(by_requests) > 0.1


@pytest.mark.parametrize(
    "text",
    ["error_share > 0.01", "error_share_rise > 0.02", "p95_latency_ms > 50", "p95_latency_rise > 0.2",
     "score_shift > 0.25", "value_drop > 0.3"],
)  # fmt: skip
def test_what_one_unit_does_is_sure_of_nobody(text):
    one = replace(shown(3000, seed=1), draws=Draws(1.0, 1.0, 1.0, 1.0))
    found = check(Guard.parse(text), Signals(GOOD, one), name="g", alpha=0.05)
    assert found.verdict is Verdict.UNKNOWN
    if text.startswith("error_share >"):
        assert "one unit" in found.note


@pytest.mark.parametrize(("hits", "n"), [(0, 1), (1, 1), (0, 1000), (1000, 1000), (3, 1000), (1, 10**7)])
def test_bounds_of_a_share_enclose_what_was_seen(hits, n):
    low, high = share_bounds(hits, n, 0.05)
    assert 0 <= low <= hits / n <= high <= 1
    narrower = share_bounds(hits, n, 0.2)
    assert low <= narrower[0]
    assert narrower[1] <= high


def test_nothing_seen_bounds_nothing():
    assert share_bounds(0, 0, 0.05) == (0.0, 1.0)
    assert quantile_bounds(np.empty(0), 0.95, 0.05) == (-math.inf, math.inf)
    assert quantile_bounds(np.ones(3), 0.95, 0.05)[1] == math.inf
    assert distance_bounds(np.empty(0), np.ones(5), 0.05) == (0.0, 0.0, 1.0)


def shown(n: int, *, errors: int = 0, latency: float = 10.0, value: float = 1.0, seed: int = 0) -> Shown:
    rng = np.random.default_rng(seed)
    return Shown(n, errors, np.full(n, latency), rng.normal(size=n), rng.normal(value, 1, n))


GOOD = shown(3000)


@pytest.mark.parametrize(
    ("text", "candidate", "verdict"),
    [
        ("error_share > 0.01", shown(3000), Verdict.PASS),
        ("error_share > 0.01", shown(100), Verdict.UNKNOWN),
        ("error_share > 0.01", shown(100, errors=20), Verdict.FAIL),
        ("error_share_rise > 0.02", shown(3000), Verdict.PASS),
        ("error_share_rise > 0.02", shown(3000, errors=300), Verdict.FAIL),
        ("p95_latency_ms > 50", shown(500), Verdict.PASS),
        ("p95_latency_ms > 50", shown(20), Verdict.UNKNOWN),
        ("p95_latency_ms > 50", shown(20, latency=80), Verdict.FAIL),
        ("p95_latency_rise > 0.2", shown(500), Verdict.PASS),
        ("p95_latency_rise > 0.2", shown(500, latency=20), Verdict.FAIL),
        ("score_shift > 0.25", shown(3000, seed=1), Verdict.PASS),
        ("score_shift > 0.25", shown(100, seed=1), Verdict.UNKNOWN),
        ("value_drop > 0.3", shown(3000, seed=1), Verdict.PASS),
        ("value_drop > 0.3", shown(3000, value=0.2, seed=1), Verdict.FAIL),
        ("value_drop > 0.3", shown(50, value=0.2, seed=1), Verdict.UNKNOWN),
        ("disagreement > 0.1", shown(10), Verdict.UNKNOWN),
        ("p99_latency_ms > 50", Shown(), Verdict.UNKNOWN),
    ],
)
def test_a_guard_is_kept_or_broken_for_sure_or_not_known(text, candidate, verdict):
    found = check(Guard.parse(text), Signals(GOOD, candidate), name="g", alpha=0.05)
    assert found.verdict is verdict, found


def test_a_guard_of_latency_says_how_many_requests_were_timed_and_how_many_are_missing():
    def note(candidate: Shown) -> str:
        return check(Guard.parse("p95_latency_ms > 50"), Signals(GOOD, candidate), name="g", alpha=0.05).note

    few = replace(shown(20), requests=2800)
    said = note(few)
    assert said.startswith("20 of 2,800 requests were timed; about ")
    more = int(re.search(r"about (\d+) more", said)[1])
    assert note(replace(shown(20 + more), requests=2800)) == ""
    assert 96 <= more <= 140  # 116 in all are enough where none is late
    assert note(shown(40, latency=49.9)).endswith("more timed ones would show it")
    late = replace(few, latency_ms=np.append(np.full(18, 10.0), np.full(2, 60.0)))
    assert note(late) == "20 of 2,800 requests were timed; the data cannot tell yet"
    assert "of one unit" in note(replace(shown(20), draws=Draws(latency=1.0)))


def test_hardly_varied_worths_prove_nothing():
    """Where hardly a decision is worth more than nothing, no spread is known: the limit is not surely kept."""
    for rare in (0, 3):
        worth = np.where(np.arange(5000) < rare, 100.0, 0.0)
        both = Shown(5000, 0, np.ones(5000), np.ones(5000), worth)
        found = check(Guard.parse("value_drop > 0.01"), Signals(both, both), name="g", alpha=0.05)
        assert found.verdict is Verdict.UNKNOWN
        assert found.note.startswith(f"{30 - rare} more decisions")


def test_what_moved_is_seen():
    moved = Shown(3000, 0, np.ones(3000), GOOD.score + 2, np.ones(3000))
    found = check(Guard.parse("score_shift > 0.25"), Signals(GOOD, moved), name="g", alpha=0.05)
    assert found.verdict is Verdict.FAIL
    differ = Signals(GOOD, GOOD, compared=1000, differing=400)
    assert check(Guard.parse("disagreement > 0.1"), differ, name="g", alpha=0.05).verdict is Verdict.FAIL


def test_it_says_how_many_more_requests_would_show_it():
    found = check(Guard.parse("error_share > 0.01"), Signals(GOOD, shown(400)), name="g", alpha=0.05)
    more = int(found.note.split()[1].replace(",", ""))
    enough = Signals(GOOD, shown(400 + more))
    assert check(Guard.parse("error_share > 0.01"), enough, name="g", alpha=0.05).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "text",
    [
        "error_share < 0.1",
        "errors > 0.1",
        "error_share > 0.1 for 5m",
        "error_share > 0.1 when maturity > 0.5",
    ],
)
def test_what_is_no_guard_is_refused(text):
    with pytest.raises(ValueError, match=r"measure of a guard|must read"):
        Guard.parse(text)
