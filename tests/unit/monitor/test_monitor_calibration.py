"""Calibration drift and concept drift, over outcomes that are known."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import statsmodels.api as sm

from charter.monitor.calibration import calibration_line
from charter.monitor.concept import BLOCKS, Losses, concepts, excess, follow, rarer_share


def test_slope_and_intercept_are_those_of_statsmodels():
    rng = np.random.default_rng(1)
    p = rng.beta(1, 3, 3000)
    y = (rng.random(3000) < p**1.3).astype(float)
    odds = np.log(p / (1 - p))
    found = calibration_line(p, y, confidence=0.9)
    slope = sm.GLM(y, sm.add_constant(odds), family=sm.families.Binomial()).fit()
    large = sm.GLM(y, np.ones(3000), family=sm.families.Binomial(), offset=odds).fit()
    one, other = found["calibration_slope"], found["calibration_intercept"]
    assert (one.value, one.low, one.high) == pytest.approx(
        (slope.params[1], *slope.conf_int(0.1)[1]), rel=1e-7
    )
    assert (other.value, other.low, other.high) == pytest.approx(
        (large.params[0], *large.conf_int(0.1)[0]), rel=1e-7
    )


def test_intervals_of_slope_and_intercept_hold_as_often_as_they_say():
    held = np.zeros(2)
    for seed in range(300):
        rng = np.random.default_rng(seed)
        p = rng.beta(2, 4, 400)
        found = calibration_line(p, (rng.random(400) < p).astype(float))
        for place, (name, truth) in enumerate((("calibration_slope", 1), ("calibration_intercept", 0))):
            held[place] += found[name].low <= truth <= found[name].high
    assert (np.abs(held / 300 - 0.95) < 0.04).all()


@pytest.mark.parametrize(
    ("score", "y", "there"),
    [
        (np.full(200, 0.3), np.arange(200) % 3 == 0, {"calibration_intercept"}),
        (np.linspace(0.1, 0.9, 200), np.arange(200) >= 100, {"calibration_intercept"}),
        (np.linspace(0.1, 0.9, 200), np.arange(200) < 29, set()),
    ],
    ids=["alike", "separated", "few"],
)
def test_what_cannot_be_fitted_is_left_open(score, y, there):
    found = calibration_line(score, y.astype(float))
    assert {name for name, one in found.items() if one.value is not None} == there
    assert all(one.note for one in found.values() if one.value is None)


def losses(rng: np.random.Generator, n: int, *, bent: float = 1.0) -> Losses | None:
    p = rng.beta(1, 4, n)
    truth = 1 / (1 + np.exp(-bent * np.log(p / (1 - p))))
    y = (rng.random(n) < truth).astype(int)
    return Losses.of(excess(pl.DataFrame({"score": p, "outcome": y.astype(str)}), "binary"))


def test_a_changed_relation_is_told_and_a_lasting_one_is_not():
    false = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        told = follow([losses(rng, 1000) for _ in range(6)] + [losses(rng, 1000, bent=0.5) for _ in range(2)])
        false.append(any(c.at is not None for pair in told[:6] for c in pair))
        assert all(any(pair[d].at is not None for pair in told[6:]) for d in (0, 1))
    assert np.mean(false) <= 0.1


@pytest.mark.parametrize("rate", [0.005, 0.02])
def test_rare_outcomes_are_no_alarm(rate):
    """A constant calibrated score: nothing changes, and single positives are far from normal."""
    alarms = windows = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        outcomes = (rng.random((6, 5000)) < rate).astype(int).astype(str)
        rows = [pl.DataFrame({"score": np.full(5000, rate), "outcome": y}) for y in outcomes]
        told = follow([Losses.of(excess(r, "binary"), rarer_share(r, "binary")) for r in rows])
        alarms += sum(any(c.at is not None for c in pair) for pair in told)
        windows += len(told)
    assert alarms / windows <= 0.01
    few = rows[0].head(400)
    assert Losses.of(excess(few, "binary"), rarer_share(few, "binary")) is None


def test_errors_that_shrink_are_no_alarm():
    rng = np.random.default_rng(0)
    told = follow([Losses.of(rng.normal(0.2, 0.1, 1000)), Losses.of(rng.normal(0.0, 0.1, 1000))])
    assert all(c.at is None for pair in told for c in pair)
    assert follow([]) == ()


def test_losses_are_those_beyond_what_was_promised():
    rng = np.random.default_rng(0)
    p = rng.random(100_000)
    y = (rng.random(100_000) < p).astype(int).astype(str)
    assert excess(pl.DataFrame({"score": p, "outcome": y}), "binary").mean() == pytest.approx(0, abs=0.005)
    rows = pl.DataFrame({"score": [0.9, 0.6], "decision": ["a", "b"], "outcome": ["a", "c"]})
    assert excess(rows, "multiclass") == pytest.approx([-0.1, 0.6])
    assert excess(pl.DataFrame({"score": [1.0], "outcome": ["3.5"]}), "regression") == pytest.approx([2.5])


def test_blocks_keep_all_rows():
    values = np.arange(1234, dtype=float)
    found = Losses.of(values)
    assert (found.every, len(found.means)) == (3, 411)
    assert len(found.means) <= BLOCKS
    assert Losses.of(values[:99]) is None
    kept = {"every": 1, "deviation": 0.0, "means": [0.0] * 100}
    windows = [
        {"version": "v1", "start": "a", "losses": kept},
        {"version": "v1", "start": "b", "losses": None},
    ]
    assert list(concepts(windows)) == [("v1", "a")]
