"""Estimated losses of a regression, before outcomes are known."""

from __future__ import annotations

import numpy as np
import pytest

from charter.monitor.loss import ExpectedLoss, dle, learn_losses, row_losses


def rows(rng: np.random.Generator, n: int, *, low: float = 0.0, high: float = 1.0):
    """Errors that grow with the first column, and do not depend on the second."""
    X = np.column_stack([rng.uniform(low, high, n), rng.random(n)]).astype(np.float32)
    said = 10 + X[:, 1].astype(np.float64)
    return X, said + rng.normal(0, 0.2 + X[:, 0].astype(np.float64)), said


@pytest.fixture(scope="module")
def learned():
    return learn_losses(*rows(np.random.default_rng(0), 4000))


def test_a_shift_towards_hard_rows_is_seen_without_a_label(learned):
    rng = np.random.default_rng(1)
    easy, _, _ = rows(rng, 2000, high=0.3)
    hard, y, said = rows(rng, 2000, low=0.7)
    before, after = dle(learned, easy, n=2000), dle(learned, hard, n=2000)
    for name, loss in row_losses(y, said).items():
        assert before[name].high < after[name].low
        real = np.sqrt(loss.mean()) if name.startswith("root") else loss.mean()
        assert after[name].low < real < after[name].high


def test_intervals_hold_about_as_often_as_they_say(learned):
    held = np.zeros(2)
    for seed in range(60):
        X, y, said = rows(np.random.default_rng(100 + seed), 800, low=0.4)
        found = dle(learned, X, n=800)
        for place, name in enumerate(("mean_absolute_error", "root_mean_squared_error")):
            loss = row_losses(y, said)[name].mean()
            real = np.sqrt(loss) if place else loss
            held[place] += found[name].low <= real <= found[name].high
    assert (held / 60 >= 0.85).all()


def test_where_nothing_can_be_learned_the_mean_stands():
    rng = np.random.default_rng(2)
    X = rng.random((1000, 3)).astype(np.float32)
    found = learn_losses(X, rng.normal(size=1000), np.zeros(1000))["mean_absolute_error"]
    assert found.model == ""
    assert found.expect(X) == pytest.approx(np.full(1000, found.mean))
    assert learn_losses(X[:299], np.zeros(299), np.zeros(299)) == {}


def test_what_was_learned_survives_being_kept(learned):
    X, _, _ = rows(np.random.default_rng(3), 500)
    kept = {name: ExpectedLoss.from_json(one.to_json()) for name, one in learned.items()}
    assert dle(kept, X, n=500) == dle(learned, X, n=500)
    assert learn_losses(*rows(np.random.default_rng(0), 4000)) == learned


def test_few_rows_get_no_interval_and_a_sample_a_wider_one(learned):
    X, _, _ = rows(np.random.default_rng(4), 1000)
    assert dle(learned, X[:99], n=99)["mean_absolute_error"].low is None
    assert dle(learned, X[:0], n=0) == {}
    whole, part = (dle(learned, x, n=1000)["mean_absolute_error"] for x in (X, X[:100]))
    assert part.high - part.low > whole.high - whole.low


def test_a_zero_has_no_percentage():
    assert "mean_absolute_percentage_error" not in row_losses(np.array([0.0, 1.0]), np.ones(2))
