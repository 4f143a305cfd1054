"""How far predicted changes are off: the bound holds the next ones, and common shocks are no error of a change."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError
from charter.evaluate.effect import EffectSpread, effect_spread


def past(seed: int = 0, shock: float = 0.5, effect_error: float = 0.0, weeks: int = 60) -> pl.DataFrame:
    """Series of which a third is on promotion each week; the model knows the promotion's effect but for an error."""
    rng = np.random.default_rng(seed)
    n = 30
    promoted = rng.random((n, weeks)) < 0.33
    noise = rng.normal(0, 0.1, (n, weeks)) + rng.normal(0, shock, (1, weeks))
    actual = 50 * np.exp(1.0 * promoted + noise)
    forecast = 50 * np.exp((1.0 + effect_error) * promoted)
    i, t = (index.ravel() for index in np.indices((n, weeks)))
    return pl.DataFrame(
        {
            "series": [f"{k % 3}/{k // 3}" for k in i],
            "brand": i % 3,
            "as_of": t,
            "step": np.ones(n * weeks, dtype=np.int32),
            "target": t,
            "deal": promoted.ravel(),
            "actual": actual.ravel(),
            "forecast": forecast.ravel(),
        }
    )


def test_what_a_week_brings_to_everybody_is_no_error_of_a_change() -> None:
    calm, wild = (effect_spread(past(shock=s), {"brand": ["brand"]}, ["deal"]) for s in (0.0, 0.5))
    assert wild.radii == pytest.approx(calm.radii, rel=1e-6)


def test_sums_of_more_series_have_narrower_bounds() -> None:
    found = effect_spread(past(), {"brand": ["brand"]}, ["deal"])
    assert found.sizes[0] == 1
    assert found.radii[0] > found.radii[1] > found.radii[2]
    assert found.radius(1) == found.radii[0]
    assert found.radius(10_000) == found.radii[-1]
    # A change of a single series holds the noise of two weeks: 1.645 * sqrt(2) * 0.1, and a little of the others'.
    assert found.radii[0] == pytest.approx(1.645 * np.sqrt(2) * 0.1, rel=0.1)


def test_the_bound_holds_the_next_changes() -> None:
    found = effect_spread(past(effect_error=0.4), {}, ["deal"], share=0.9)
    later = past(seed=9, effect_error=0.4, shock=0.0, weeks=200)
    actual, forecast = (later[c].to_numpy().reshape(30, 200) for c in ("actual", "forecast"))
    deal = later["deal"].to_numpy().reshape(30, 200)
    changed = deal[:, 1:] != deal[:, :-1]
    error = np.abs(np.diff(np.log(actual)) - np.diff(np.log(forecast)))[changed]
    assert 0.87 <= (error <= found.radii[0]).mean() <= 0.93


def test_it_survives_json_and_refuses_a_single_period() -> None:
    found = effect_spread(past(), {"brand": ["brand"]}, ["deal"])
    assert EffectSpread.from_json(found.to_json()) == found
    with pytest.raises(DataError, match="one period"):
        effect_spread(past(weeks=1), {}, ["deal"])
