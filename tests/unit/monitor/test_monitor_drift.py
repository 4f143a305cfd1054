"""Drift is an effect that is large enough, that is not chance, and that persists."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats

from charter.core.decision import Verdict
from charter.core.digest import canonical_json
from charter.data.profile import Profile, profile
from charter.monitor.compare import OTHER_BINS, cells, compare
from charter.monitor.drift import judge_drift
from charter.monitor.drift_types import DriftReport, Measured
from charter.monitor.significance import (
    chi_square_p,
    smallest_change,
    smallest_psi,
    two_shares_p,
    unseen_p,
)
from charter.spec.types import DriftSpec

ONCE = DriftSpec(persistence=1)


def frame(seed: int, rows: int = 10_000, shift: float = 0.0, **columns: Any) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    own = {
        "x": rng.normal(size=rows) + shift,
        "n": rng.poisson(3, rows),
        "flag": rng.random(rows) < 0.02,
        "s": rng.choice(["a", "b", "c"], rows, p=[0.5, 0.3, 0.2]),
    }
    return pl.DataFrame({**own, **columns})


BEFORE = profile(frame(0, 30_000))


def measured(after: pl.DataFrame, before: Profile = BEFORE) -> tuple[Measured, ...]:
    return compare(before, profile(after, before))


def judged(*windows: tuple[Measured, ...], limits: DriftSpec = ONCE) -> DriftReport:
    return judge_drift(windows, limits)


def told(report: DriftReport) -> dict[str, str]:
    return {c.name: c.verdict.value for c in report.decision.checks if c.verdict is not Verdict.PASS}


def test_what_did_not_change_passes() -> None:
    report = judged(measured(frame(1)))
    assert (told(report), report.drifted, report.decision.verdict) == ({}, (), Verdict.PASS)
    assert report.tests == 9  # four distributions, four shares of missing values, one of unseen categories


def test_a_moderate_shift_warns_and_a_large_one_fails() -> None:
    assert told(judged(measured(frame(1, shift=0.4)))) == {"drift of x": "warn"}
    assert told(judged(measured(frame(1, shift=0.6)))) == {"drift of x": "fail"}


def test_a_rare_value_that_becomes_frequent_is_seen() -> None:
    """Quantiles alone would put 0 and 1 into one bin when 2 % are 1."""
    rng = np.random.default_rng(3)
    report = judged(measured(frame(1, flag=rng.random(10_000) < 0.5)))
    assert told(report) == {"drift of flag": "fail"}


def test_missing_values_and_unseen_categories_are_told_by_themselves() -> None:
    after = frame(1).with_columns(
        x=pl.when(pl.int_range(pl.len()) % 5 == 0).then(None).otherwise("x"),
        s=pl.when(pl.int_range(pl.len()) % 50 == 0).then(pl.lit("zz")).otherwise("s"),
    )
    report = judged(measured(after))
    found = told(report)
    assert found["drift of x, missing values"] == found["drift of s, unseen values"] == "fail"
    (check,) = [c for c in report.decision.checks if c.name == "drift of s, unseen values"]
    assert check.observed.startswith("2.0% of the rows")
    assert check.note.startswith("zz; 10,000 rows against 30,000")


def test_a_column_that_is_gone_fails_at_once() -> None:
    limits = DriftSpec(persistence=3)
    gone = judged(measured(frame(1).drop("n")), limits=limits)
    assert told(gone) == {"drift of n": "fail"}


def test_a_number_that_arrives_as_words_is_missing_everywhere() -> None:
    report = judged(measured(frame(1, x=["high"] * 10_000)))
    assert told(report)["drift of x, missing values"] == "fail"


def test_a_change_must_persist() -> None:
    calm, moved = measured(frame(1)), measured(frame(2, shift=0.5))
    limits = DriftSpec(persistence=2)
    once = judged(calm, moved, limits=limits)
    assert told(once) == {}
    (note,) = [c.note for c in once.decision.checks if c.name == "drift of x"]
    assert "in 1 of 2 windows in a row" in note
    assert told(judged(calm, moved, moved, limits=limits)) == {"drift of x": "fail"}
    assert told(judged(moved, moved, calm, limits=limits)) == {}
    assert told(judged(moved, limits=limits)) == {}


def test_what_persists_is_as_bad_as_its_best_window() -> None:
    large, moderate = measured(frame(1, shift=0.6)), measured(frame(2, shift=0.4))
    limits = DriftSpec(persistence=2)
    assert told(judged(large, moderate, limits=limits)) == {"drift of x": "warn"}
    assert told(judged(moderate, large, limits=limits)) == {"drift of x": "warn"}


def test_few_rows_say_that_they_cannot_tell() -> None:
    report = judged(measured(frame(1, rows=60)))
    found = told(report)
    assert found == {f"drift of {name}": "unknown" for name in ("x", "n", "flag", "s")}
    (note,) = [c.note for c in report.decision.checks if c.name == "drift of x"]
    assert "too few rows to see even a large change" in note
    assert "60 rows against 30,000" in note


def test_columns_without_values_do_not_stop_the_rest() -> None:
    empty = pl.DataFrame(
        {"x": pl.Series([None] * 500, dtype=pl.Float64), "s": pl.Series([None] * 500, dtype=pl.String)}
    )
    before = profile(empty)
    report = judge_drift([compare(before, profile(empty, before))], ONCE)
    assert {f.verdict for f in report.findings} == {Verdict.UNKNOWN, Verdict.PASS}
    canonical_json(report.to_json())
    nothing = judge_drift([compare(BEFORE, profile(frame(1).clear(), BEFORE))], ONCE)
    assert nothing.decision.verdict is Verdict.UNKNOWN
    canonical_json(nothing.to_json())
    assert judge_drift([], ONCE).decision.verdict is Verdict.UNKNOWN


def test_moments_move_on_and_are_not_judged() -> None:
    days = [datetime(2024, 1, 1) + timedelta(hours=i) for i in range(1000)]  # noqa: DTZ001 - naive UTC
    before = profile(pl.DataFrame({"at": days}))
    later = profile(pl.DataFrame({"at": [d + timedelta(days=90) for d in days]}), before)
    assert [m.aspect for m in compare(before, later)] == ["missing"]


def test_columns_can_be_left_out() -> None:
    found = compare(BEFORE, profile(frame(1), BEFORE), ignore=["x", "s"])
    assert {m.column for m in found} == {"n", "flag"}


def test_predictions_are_named_as_such() -> None:
    score = pl.DataFrame({"score": np.random.default_rng(0).beta(2, 5, 5000)})
    before = profile(score)
    after = profile(score.select(pl.col("score") * 0.5 + 0.5), before)
    report = judge_drift([compare(before, after, role="prediction")], ONCE)
    assert told(report)["prediction of score"] == "fail"


def test_other_bins_give_effects_but_no_significance() -> None:
    other = profile(frame(1, shift=0.5))
    (found,) = [m for m in compare(BEFORE, other) if (m.column, m.aspect) == ("x", "distribution")]
    assert found.p_value is None
    assert found.note == OTHER_BINS
    exact = next(m for m in measured(frame(1, shift=0.5)) if m.column == "x")
    assert found.effects["psi"] == pytest.approx(exact.effects["psi"], rel=0.3)
    assert found.effects["ks"] == pytest.approx(exact.effects["ks"], rel=0.05)
    report = judged(compare(BEFORE, other))
    assert told(report)["drift of x"] == "unknown"


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.floats(-50, 50), min_size=1, max_size=60),
    st.lists(st.floats(-50, 50), min_size=1, max_size=60),
)
def test_rebinning_keeps_all_rows(a: list[float], b: list[float]) -> None:
    one, two = profile(pl.DataFrame({"x": a})).columns["x"], profile(pl.DataFrame({"x": b})).columns["x"]
    found = cells(one, two)
    assert len(found) == len(two.counts)
    assert found.sum() == pytest.approx(len(a))
    assert (found >= -1e-9).all()


def test_reports_are_plain_data() -> None:
    report = judged(measured(frame(1, shift=0.6)))
    data = json.loads(canonical_json(report.to_json()))
    assert data["drifted"] == ["x"]
    assert data["findings"][0]["rows"] == {"reference": 30_000, "current": 10_000}
    assert data["findings"][0]["smallest_visible"] < 0.01


def test_limits_are_in_order() -> None:
    with pytest.raises(ValidationError, match="must not be above"):
        DriftSpec(psi_warning=0.3)


def test_probabilities_are_those_of_scipy() -> None:
    assert chi_square_p(12.3, 4) == pytest.approx(stats.chi2.sf(12.3, 4), rel=1e-12)
    table = [[30, 970], [55, 945]]
    assert two_shares_p(30, 1000, 55, 1000) == pytest.approx(
        stats.chi2_contingency(table, correction=False).pvalue, rel=1e-9
    )
    assert two_shares_p(1, 20, 6, 20) == pytest.approx(
        stats.fisher_exact([[1, 19], [6, 14]]).pvalue, rel=1e-9
    )
    assert unseen_p(3, 50, 4, 200) == pytest.approx(stats.nbinom.sf(2, 5, 200 / 250), rel=1e-9)


def test_the_smallest_visible_change_is_found_in_four_of_five_cases() -> None:
    n, m, alpha, freedom = 20_000, 3_000, 0.001, 9
    psi = smallest_psi(freedom, n, m, alpha)
    assert psi is not None
    rng, p = np.random.default_rng(0), np.full(10, 0.1)
    tilt = np.linspace(-1, 1, 10)
    low, high = 0.0, 1.0
    for _ in range(60):  # a tilt of exactly that PSI
        middle = (low + high) / 2
        q = p * np.exp(middle * tilt) / (p * np.exp(middle * tilt)).sum()
        low, high = (middle, high) if ((q - p) * np.log(q / p)).sum() < psi else (low, middle)
    draws = 2_000
    a, b = rng.multinomial(n, p, draws), rng.multinomial(m, q, draws)
    expected = (a + b) / (n + m)
    statistic = ((a - n * expected) ** 2 / (n * expected) + (b - m * expected) ** 2 / (m * expected)).sum(
        axis=1
    )
    power = (stats.chi2.sf(statistic, freedom) < alpha).mean()
    assert power == pytest.approx(0.8, abs=0.04)
    change = smallest_change(0.1, n, m, 0.05)
    assert change == pytest.approx((1.96 + 0.8416) * (0.09 * (1 / n + 1 / m)) ** 0.5, rel=1e-3)
    assert smallest_psi(9, 0, 5, 0.05) is None
    assert smallest_change(0.1, 5, 0, 0.05) is None


def test_new_categories_of_a_long_tail_are_no_alarm() -> None:
    """Where categories keep coming, unseen ones are expected; the chance of so many is told rightly."""
    rng = np.random.default_rng(0)
    alarms = 0
    for _ in range(200):
        draw = rng.zipf(1.8, 6_000)
        before = profile(pl.DataFrame({"s": [f"v{v}" for v in draw[:4_000]]}))
        after = profile(pl.DataFrame({"s": [f"v{v}" for v in draw[4_000:]]}), before)
        found = [m for m in compare(before, after) if m.aspect == "unseen"]
        alarms += any(m.p_value is not None and m.p_value < 0.05 for m in found)
    assert alarms <= 20
