"""Sizes equal those of statsmodels and of simulation; boundaries those of published tables."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import NormalIndPower, TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep, samplesize_proportions_2indep_onetail

from charter.core.effect import Effect
from charter.core.errors import UsageError
from charter.core.measure import Measure
from charter.iterate.boundary import (
    fixed_boundary,
    mixture_weight,
    planned_boundary,
    sequential_boundary,
    sequential_p_value,
)
from charter.iterate.multiplicity import benjamini_hochberg, dunnett_boundary, dunnett_tail
from charter.iterate.power import Question, design, ratio_spread, smallest_effect

TWO = {"control": 0.5, "new": 0.5}


def test_five_to_five_and_a_half_per_cent_takes_what_statsmodels_says() -> None:
    found = design(Question(0.05, Effect.parse("+10%"), TWO), units_per_day=5000)
    expected = samplesize_proportions_2indep_onetail(0.005, 0.05, 0.8, alpha=0.05, alternative="two-sided")
    assert (
        found.units
        == {"control": math.ceil(expected), "new": math.ceil(expected)}
        == {"control": 31234, "new": 31234}
    )
    assert (
        power_proportions_2indep(0.005, 0.05, 31234).power
        >= 0.8
        > power_proportions_2indep(0.005, 0.05, 31233).power
    )
    assert found.days == math.ceil(62468 / 5000)


@pytest.mark.parametrize("ratio", [1.0, 0.5, 1 / 9])
@pytest.mark.parametrize(("p0", "change"), [(0.05, 0.005), (0.3, -0.03), (0.9, 0.01)])
def test_unequal_arms_take_what_statsmodels_says(ratio: float, p0: float, change: float) -> None:
    shares = {"control": 1 / (1 + ratio), "new": ratio / (1 + ratio)}
    found = design(Question(p0, Effect(change, False), shares))
    control = found.units["control"]
    # statsmodels calls nobs1 the group with p1 = p0 + change, and ratio is nobs2 / nobs1.
    power = power_proportions_2indep(change, p0, found.units["new"], ratio=control / found.units["new"]).power
    assert power == pytest.approx(0.8, abs=0.002)


@pytest.mark.parametrize("size", [0.05, 0.1, 0.5])
@pytest.mark.parametrize("ratio", [1.0, 3.0])
def test_means_take_what_statsmodels_says(size: float, ratio: float) -> None:
    shares = {"control": 1 / (1 + ratio), "new": ratio / (1 + ratio)}
    found = design(Question(10.0, Effect(size, False), shares, spread=1.0, power=0.9))
    expected = TTestIndPower().solve_power(size, alpha=0.05, power=0.9, ratio=ratio)
    assert found.units["control"] == pytest.approx(expected, abs=2)


def test_a_covariate_saves_the_share_of_variance_that_it_explains() -> None:
    plain = design(Question(10.0, Effect.parse("+1%"), TWO, spread=8.0))
    helped = design(Question(10.0, Effect.parse("+1%"), TWO, spread=8.0, correlation=0.6))
    assert helped.total / plain.total == pytest.approx(1 - 0.36, abs=1e-3)


def test_a_design_keeps_its_power_in_simulation() -> None:
    found = design(Question(0.2, Effect.parse("+15%"), {"a": 0.4, "b": 0.3, "c": 0.3}))
    rng = np.random.default_rng(3)
    n = found.units
    p = {arm: rng.binomial(n[arm], 0.23 if arm == "c" else 0.2, 40_000) / n[arm] for arm in n}
    pooled = (p["a"] * n["a"] + p["c"] * n["c"]) / (n["a"] + n["c"])
    z = (p["c"] - p["a"]) / np.sqrt(pooled * (1 - pooled) * (1 / n["a"] + 1 / n["c"]))
    assert (z > found.boundary).mean() == pytest.approx(0.8, abs=0.01)


def test_the_smallest_effect_is_the_inverse_of_the_size() -> None:
    for asked in (
        Question(0.05, Effect.parse("+1%"), TWO, sequential=True),
        Question(0.05, Effect.parse("-1%"), {"a": 0.9, "b": 0.1}),
        Question(20.0, Effect.parse("+1%"), TWO, spread=5.0, correlation=0.3),
    ):
        effect = smallest_effect(asked, 50_000)
        again = design(Question(**{**_fields(asked), "mde": effect})).total
        assert again == pytest.approx(50_000, abs=3)
        assert math.copysign(1, effect.size) == asked.mde.direction


def _fields(question: Question) -> dict[str, object]:
    return {name: getattr(question, name) for name in question.__dataclass_fields__}


def test_the_spread_of_a_ratio_is_that_of_its_linearised_values() -> None:
    rng = np.random.default_rng(0)
    x = rng.poisson(4, 200_000) + 1.0
    y = rng.binomial(x.astype(int), 0.3).astype(float)
    from charter.iterate.moments import linearised

    told = ratio_spread(y.mean(), x.mean(), y.std(), x.std(), np.corrcoef(y, x)[0, 1])
    assert told == pytest.approx(linearised(y, x).std(), rel=1e-9)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: Question(0.95, Effect.parse("+10%"), TWO), "cannot change by"),
        (lambda: Question(5.0, Effect.parse("+10%"), TWO), "standard deviation"),
        (lambda: Question(5.0, Effect.parse("+10%"), TWO, spread=0.0), "not above 0"),
        (lambda: Question(0.5, Effect.parse("+10%"), {"a": 1.0}), "two arms at least"),
        (lambda: Question(0.5, Effect.parse("+10%"), {"a": 0.8, "b": 0.4}), "more than 1"),
        (lambda: Question(0.5, Effect.parse("+10%"), TWO, alpha=0.0), "do not fit"),
        (lambda: Question(0.5, Effect.parse("+10%"), TWO, power=0.01), "do not fit"),
        (lambda: Question(0.5, Effect.parse("+10%"), TWO, correlation=1.0), "between -1 and 1"),
        (lambda: Question(0.0, Effect.parse("+10%"), TWO, spread=1.0), "not 0"),
        (lambda: design(Question(0.5, Effect.parse("+0.00001%"), TWO)), "takes"),
        (lambda: design(Question(0.5, Effect.parse("+1%"), TWO), units_per_day=0), "never gets there"),
        (lambda: Effect.parse("ten"), "is not a change"),
        (lambda: Effect.parse("0%"), "is no change"),
        (lambda: Measure.parse("a / "), "is not a measure"),
        (lambda: Measure.parse("a/b/c"), "is not a measure"),
        (lambda: Measure.parse("p0(x)"), "above 0"),
    ],
)
def test_what_cannot_be_asked_is_refused(wrong: object, words: str) -> None:
    with pytest.raises((UsageError, ValueError), match=words):
        wrong()  # type: ignore[operator]


@pytest.mark.parametrize("text", ["+10%", "-0.5%", "+0.005", "-3"])
def test_changes_are_written_as_they_are_read(text: str) -> None:
    assert str(Effect.parse(text)) == text


@pytest.mark.parametrize("text", ["converted", "clicks / views", "p95(latency_ms)", "median(x)", "p99.9(x)"])
def test_measures_are_written_as_they_are_read(text: str) -> None:
    assert str(Measure.parse(text)) == text


def test_the_boundary_of_one_look_and_of_arcsine_power() -> None:
    assert fixed_boundary(0.05) == pytest.approx(stats.norm.ppf(0.975))
    # The arcsine approximation differs from ours by its nature, but not by much.
    arcsine = NormalIndPower().solve_power(
        2 * (math.asin(0.055**0.5) - math.asin(0.05**0.5)), alpha=0.05, power=0.8
    )
    assert design(Question(0.05, Effect.parse("+10%"), TWO)).units["new"] == pytest.approx(arcsine, rel=1e-3)


def test_a_sequence_is_narrowest_where_it_was_planned() -> None:
    planned = 10_000
    widths = {
        factor: float(sequential_boundary(planned, mixture_weight(planned * factor, 0.05), 0.05))
        for factor in (0.5, 0.8, 1.0, 1.25, 2.0)
    }
    assert min(widths, key=widths.__getitem__) == 1.0
    assert widths[1.0] == pytest.approx(planned_boundary(0.05))


def test_the_p_value_of_a_sequence_is_where_its_boundary_is() -> None:
    weight = mixture_weight(5000, 0.05)
    for n, alpha in ((500, 0.05), (5000, 0.01), (50_000, 0.2)):
        z = float(sequential_boundary(n, weight, alpha))
        assert sequential_p_value(z, n, weight) == pytest.approx(alpha)
    assert sequential_p_value(0.0, 100, weight) == 1.0
    assert sequential_p_value(math.inf, 100, weight) == 0.0


def test_dunnett_equals_scipy_and_the_published_table() -> None:
    # Dunnett (1955), table 2b: two-sided 95 %, infinite degrees of freedom, 1 to 9 treatments.
    table = [1.96, 2.21, 2.35, 2.44, 2.51, 2.57, 2.61, 2.65, 2.69]
    for k, expected in enumerate(table, 1):
        assert dunnett_boundary(0.05, [math.sqrt(0.5)] * k) == pytest.approx(expected, abs=0.006)
    rng = np.random.default_rng(5)
    control, *arms = rng.normal(0, 1, 3000), rng.normal(0.05, 1, 1500), rng.normal(0.09, 1, 2000)
    found = stats.dunnett(*arms, control=control)
    variances = [x.var(ddof=1) / len(x) for x in (control, *arms)]
    loadings = [math.sqrt(variances[0] / (variances[0] + v)) for v in variances[1:]]
    for p, z in zip(found.pvalue, found.statistic, strict=True):
        assert dunnett_tail(abs(z), loadings) == pytest.approx(p, abs=0.004)


def test_benjamini_hochberg_equals_scipy() -> None:
    rng = np.random.default_rng(2)
    for n in (1, 2, 17):
        p = rng.random(n)
        np.testing.assert_allclose(benjamini_hochberg(p), stats.false_discovery_control(p))
    assert benjamini_hochberg([]).tolist() == []
