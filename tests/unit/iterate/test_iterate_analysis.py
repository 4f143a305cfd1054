"""What results say: ship, do not ship, keep running, invalid; and the known verdict of a published experiment."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from charter.core.effect import Effect
from charter.core.errors import DataError, UsageError
from charter.core.measure import Measure
from charter.iterate.analysis import analyse
from charter.iterate.types import ExperimentPlan, ExperimentReport, Outcome

TWO = {"old": 0.5, "new": 0.5}
PLAN = ExperimentPlan("id", "arm", TWO, Measure("y"))


def table(
    n: int = 4000, lift: float = 0.0, seed: int = 0, arms: tuple[str, ...] = ("old", "new")
) -> pl.DataFrame:
    """Units with a metric of mean 10 and spread 3, a covariate, a second metric and a segment."""
    rng = np.random.default_rng(seed)
    arm = rng.integers(0, len(arms), n)
    before = rng.normal(10, 3, n)
    return pl.DataFrame(
        {
            "id": np.arange(n),
            "arm": np.array(arms)[arm],
            "before": before,
            "y": 2 + 0.8 * before + rng.normal(0, 1.8, n) + lift * (arm > 0),
            "hit": rng.random(n) < 0.3,
            "delay": rng.lognormal(3, 0.5, n),
            "where": np.array(["EU", "US"])[rng.integers(0, 2, n)],
        }
    )


def told(report: ExperimentReport, name: str) -> str:
    return next(c for c in report.decision.checks if c.name == name).note


def test_a_better_arm_ships_and_a_worse_one_does_not() -> None:
    better = analyse(table(lift=0.5), PLAN)
    assert (better.outcome, better.arm, better.decision.verdict) == (Outcome.SHIP, "new", "pass")
    assert better.decision.evidence == {"outcome": "ship", "arm": "new"}
    worse = analyse(table(lift=-0.5), PLAN)
    assert (worse.outcome, worse.decision.verdict) == (Outcome.STOP, "fail")
    assert told(worse, "y") == "worse"
    fall = analyse(table(lift=-0.5), replace(PLAN, better=-1.0))
    assert fall.outcome is Outcome.SHIP


def test_the_data_may_not_tell() -> None:
    open_end = analyse(table(n=600), PLAN)
    assert (open_end.outcome, open_end.decision.verdict) == (Outcome.CONTINUE, "unknown")
    assert told(open_end, "y") == "the data cannot tell better from worse"
    planned = replace(PLAN, mde=Effect.parse("+1%"), planned_units=600)
    assert "planned size is reached" in told(analyse(table(n=600), planned), "y")
    nothing = analyse(table(n=40_000), replace(PLAN, mde=Effect.parse("+2%"), planned_units=30_000))
    assert nothing.outcome is Outcome.STOP
    assert "no change as large as +2%" in told(nothing, "y")
    trifle = analyse(table(n=40_000, lift=0.15), replace(PLAN, mde=Effect.parse("+3%")))
    assert (trifle.outcome, trifle.decision.verdict) == (Outcome.SHIP, "warn")
    assert "surely by less than +3%" in told(trifle, "y")


def test_a_fixed_horizon_is_not_read_before_its_time_but_a_sequence_is() -> None:
    early = analyse(table(lift=1.0), replace(PLAN, planned_units=10_000))
    assert early.outcome is Outcome.CONTINUE
    assert told(early, "y") == "not read before its time"
    assert (
        analyse(table(lift=1.0), replace(PLAN, planned_units=10_000, sequential=True)).outcome is Outcome.SHIP
    )


def test_a_wrong_sample_ratio_stops_the_reading() -> None:
    frame = table(lift=1.0)
    fewer = frame.filter((pl.col("arm") == "old") | (pl.col("id") % 5 != 0))
    report = analyse(fewer, PLAN)
    assert (report.outcome, report.decision.verdict) == (Outcome.INVALID, "fail")
    assert report.effects == ()
    assert report.arms[0].metrics == {}
    assert analyse(frame, PLAN).outcome is Outcome.SHIP
    stated = replace(PLAN, shares={"old": 5 / 9, "new": 4 / 9})
    assert analyse(fewer, stated).outcome is Outcome.SHIP


def test_units_seen_in_two_arms_are_left_out_and_too_many_are_no_experiment() -> None:
    frame = table(lift=1.0)
    other = pl.col("arm").replace({"old": "new", "new": "old"})
    few = pl.concat([frame, frame.head(20).with_columns(arm=other)])
    report = analyse(few, PLAN)
    assert (report.outcome, report.decision.verdict) == (Outcome.SHIP, "warn")
    assert sum(a.units for a in report.arms) == 3980
    many = pl.concat([frame, frame.head(80).with_columns(arm=other)])
    assert analyse(many, PLAN).outcome is Outcome.INVALID


def test_guardrails_need_the_whole_interval_on_the_safe_side() -> None:
    frame = table(lift=1.0).with_columns(
        delay=pl.col("delay") * pl.when(pl.col("arm") == "new").then(1.2).otherwise(1)
    )
    harmed = analyse(frame, replace(PLAN, guardrails={Measure("delay"): Effect.parse("+10%")}))
    assert harmed.outcome is Outcome.STOP
    assert "surely rises by more" in told(harmed, "delay")
    unsure = analyse(frame, replace(PLAN, guardrails={Measure("delay"): Effect.parse("+20%")}))
    assert unsure.outcome is Outcome.CONTINUE
    assert "cannot tell whether delay rises by more" in told(unsure, "delay")
    fine = analyse(frame, replace(PLAN, guardrails={Measure("delay"): Effect.parse("+30%")}))
    assert fine.outcome is Outcome.SHIP
    assert "worse, within what is tolerated" in told(fine, "delay")
    both = analyse(
        frame,
        replace(
            PLAN,
            guardrails={
                Measure("hit"): Effect.parse("-0.1"),
                Measure("delay", quantile=0.95): Effect.parse("+50%"),
            },
        ),
    )
    assert both.outcome is Outcome.SHIP


def test_of_several_arms_the_best_that_may_ship_is_decided_about() -> None:
    frame = table(n=9000, lift=0.4, arms=("old", "a", "b"))
    frame = frame.with_columns(
        y=pl.col("y") + (pl.col("arm") == "b") * 1.0,
        delay=pl.col("delay") * pl.when(pl.col("arm") == "b").then(2).otherwise(1),
    )
    plan = replace(PLAN, shares={"old": 1 / 3, "a": 1 / 3, "b": 1 / 3})
    assert analyse(frame, plan).arm == "b"
    guarded = analyse(frame, replace(plan, guardrails={Measure("delay"): Effect.parse("+10%")}))
    assert (guarded.arm, guarded.outcome) == ("a", Outcome.SHIP)
    alone = analyse(frame.filter(pl.col("arm") != "b"), replace(PLAN, shares={"old": 0.5, "a": 0.5}))
    widths = [
        next(e.difference.high - e.difference.low for e in r.effects if e.arm == "a")
        for r in (guarded, alone)
    ]
    assert widths[0] == pytest.approx(widths[1] * 2.212 / 1.96, rel=0.02)


def test_a_covariate_narrows_the_interval_and_moves_nothing_else() -> None:
    frame = table(lift=0.3)
    plain, helped = analyse(frame, PLAN), analyse(frame, replace(PLAN, covariate="before"))
    a, b = plain.effects[0], helped.effects[0]
    assert b.variance_kept == pytest.approx(0.36, abs=0.03)
    assert (b.difference.high - b.difference.low) == pytest.approx(
        0.6 * (a.difference.high - a.difference.low), rel=0.05
    )
    assert helped.arms[0].metrics == plain.arms[0].metrics
    gaps = frame.with_columns(before=pl.when(pl.col("id") % 3 == 0).then(None).otherwise(pl.col("before")))
    assert 0.36 < analyse(gaps, replace(PLAN, covariate="before")).effects[0].variance_kept < 0.8


def test_several_rows_a_unit_are_one_unit() -> None:
    frame = table(lift=0.3)
    doubled = pl.concat([frame, frame, frame])
    once, thrice = analyse(frame, PLAN), analyse(doubled, PLAN)
    e, f = once.effects[0].difference, thrice.effects[0].difference
    assert f.value == pytest.approx(e.value)
    assert (f.high - f.low) == pytest.approx(e.high - e.low, rel=1e-6)
    assert any("several rows" in remark for remark in thrice.remarks)
    ratio = analyse(frame.with_columns(views=pl.lit(2.0)), replace(PLAN, primary=Measure("y", "views")))
    assert ratio.effects[0].difference.value == pytest.approx(e.value / 2)
    quantile = replace(PLAN, primary=Measure("y", quantile=0.5))
    wide, narrow = (analyse(x, quantile).effects[0].difference for x in (doubled, frame))
    assert (wide.high - wide.low) == pytest.approx(narrow.high - narrow.low, rel=0.1)


def test_segments_decide_nothing_and_are_corrected() -> None:
    frame = table(lift=0.4)
    report = analyse(frame, replace(PLAN, segments=("where", "id")))
    assert report.outcome is Outcome.SHIP
    by = [e for e in report.segments if e.segment == "where"]
    assert [e.value for e in by] == ["EU", "US"]
    assert all(e.p_value is not None and e.p_value >= 0 for e in by)
    rare = frame.with_columns(where=pl.when(pl.col("id") < 50).then(pl.lit("ZZ")).otherwise(pl.col("where")))
    small = next(e for e in analyse(rare, replace(PLAN, segments=("where",))).segments if e.value == "ZZ")
    assert small.difference.value is None
    assert "too few to tell" in small.difference.note


def test_missing_values_and_foreign_arms_are_said() -> None:
    frame = table().with_columns(
        y=pl.when(pl.col("id") % 100 == 0).then(float("nan")).otherwise(pl.col("y")),
        arm=pl.when(pl.col("id") % 50 == 1)
        .then(pl.lit("staff"))
        .when(pl.col("id") % 400 == 2)
        .then(None)
        .otherwise(pl.col("arm")),
    )
    remarks = " ".join(analyse(frame, PLAN).remarks)
    assert "40 rows without y" in remarks
    assert "80 rows of arms that the plan does not have" in remarks
    assert "10 rows without a unit or an arm" in remarks


def test_arms_that_lose_outcomes_at_different_rates_are_said_to() -> None:
    frame = table(lift=1.0)
    alike = frame.with_columns(y=pl.when(pl.col("id") % 10 == 0).then(None).otherwise(pl.col("y")))
    assert (
        next(c for c in analyse(alike, PLAN).decision.checks if c.name == "missing values").verdict == "pass"
    )
    lost = (pl.col("id") % 10 == 0) & (pl.col("arm") == "new")
    uneven = analyse(frame.with_columns(y=pl.when(lost).then(None).otherwise(pl.col("y"))), PLAN)
    assert (uneven.outcome, uneven.decision.verdict) == (Outcome.SHIP, "warn")
    assert "at different rates" in told(uneven, "missing values")


def test_a_report_is_plain_data() -> None:
    report = analyse(
        table(lift=0.4), replace(PLAN, segments=("where",), guardrails={Measure("hit"): Effect.parse("-20%")})
    )
    document = json.loads(json.dumps(report.to_json()))
    assert document["outcome"] == "ship"
    assert document["plan"]["guardrails"] == {"hit": "-20%"}


@pytest.mark.parametrize(
    ("change", "plan", "error", "words"),
    [
        ({}, {"unit": "user"}, DataError, "no column 'user'"),
        ({}, {"primary": Measure("where")}, DataError, "a metric is a number"),
        ({"y": float("inf")}, {}, DataError, "infinite"),
        ({}, {"shares": {"old": 0.5, "newer": 0.5}}, DataError, "no unit is in the arm 'newer'"),
        ({}, {"shares": {"old": 1.0}}, UsageError, "two arms"),
        ({}, {"alpha": 0.9}, UsageError, "alpha"),
        ({}, {"mde": Effect.parse("-1%")}, UsageError, "better direction"),
        (
            {},
            {"sequential": True, "primary": Measure("y", quantile=0.5)},
            UsageError,
            "quantiles cannot be read",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(
    change: dict[str, float], plan: dict[str, object], error: type[Exception], words: str
) -> None:
    frame = table(n=200)
    for name, value in change.items():
        frame = frame.with_columns(pl.when(pl.col("id") == 3).then(value).otherwise(pl.col(name)).alias(name))
    with pytest.raises(error, match=words):
        analyse(frame, replace(PLAN, **plan))  # type: ignore[arg-type]


def test_a_metric_that_never_varies_and_arms_of_one_unit_do_not_break_it() -> None:
    flat = table(n=400).with_columns(y=pl.lit(5.0), hit=pl.lit(value=False))
    assert analyse(flat, PLAN).outcome is Outcome.CONTINUE
    assert (
        analyse(
            flat, replace(PLAN, primary=Measure("hit"), guardrails={Measure("y"): Effect.parse("-1%")})
        ).outcome
        is Outcome.CONTINUE
    )
    few = analyse(table(n=3).with_columns(arm=pl.Series(["old", "old", "new"])), PLAN)
    assert few.outcome is Outcome.CONTINUE


def outcomes(old: list[float], new: list[float], rows: int = 1) -> pl.DataFrame:
    """A row for each unit, but ``rows`` of the first."""
    y = [old[0]] * (rows - 1) + old + new
    arms = ["old"] * (rows - 1 + len(old)) + ["new"] * len(new)
    return pl.DataFrame({"id": [0] * (rows - 1) + list(range(len(old) + len(new))), "arm": arms, "y": y})


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        (outcomes([1.0] * 5, [0.0] * 3), "too few units: an arm has 3"),
        (outcomes([0.5] * 5, [1.0] * 3), "too few units: an arm has 3"),
        (outcomes([0.5] * 90, [1.5] * 90), "does not vary in an arm"),
        (outcomes([0.5] * 90, [1.5, 2.5] * 45), "does not vary in an arm"),
        (outcomes([0.1, 0.2] * 45, [1.5, 2.5] * 45, rows=100_000), "too few units: an arm has 1"),
    ],
)
def test_a_handful_of_units_or_values_that_do_not_vary_decide_nothing(frame: pl.DataFrame, why: str) -> None:
    report = analyse(frame, replace(PLAN, sequential=True))
    assert report.outcome is Outcome.CONTINUE
    assert why in told(report, "y")
    assert report.effects[0].p_value is None


def test_events_that_nobody_had_hold_nothing_up() -> None:
    frame = outcomes([1.0, 2.0] * 500, [2.0, 3.0] * 500).with_columns(fell=pl.lit(0.0))
    report = analyse(
        frame, replace(PLAN, sequential=True, guardrails={Measure("fell"): Effect.parse("+0.01")})
    )
    assert report.outcome is Outcome.SHIP
    fell = report.effects[1].difference
    assert fell.value == 0
    assert fell.high is not None
    assert 0.003 < fell.high < 0.01, "of 1,000 units without an event the rule of three allows 0.003"


@pytest.fixture(scope="module")
def cookie_cats(data_folder: Path) -> pl.DataFrame:
    """Players of Cookie Cats, whose first gate stood at level 30 or 40."""
    file = data_folder / "cookie_cats_ab" / "cookie_cats.parquet"
    if not file.is_file():
        pytest.skip(f"{file} is not there")
    return pl.read_parquet(file)


@pytest.mark.data
def test_cookie_cats_gets_its_known_verdict(cookie_cats: pl.DataFrame) -> None:
    plan = ExperimentPlan("userid", "version", {"gate_30": 0.5, "gate_40": 0.5}, Measure("retention_7"))
    report = analyse(cookie_cats, plan)
    assert sum(a.units for a in report.arms) == 90_189
    rates = [a.metrics["retention_7"].value for a in report.arms]
    assert rates == pytest.approx([0.1902, 0.1820], abs=5e-5)
    assert report.outcome is Outcome.STOP, "retention of day 7 falls"
    assert report.effects[0].p_value == pytest.approx(0.00155, abs=1e-5)
    first = analyse(cookie_cats, replace(plan, primary=Measure("retention_1")))
    assert [a.metrics["retention_1"].value for a in first.arms] == pytest.approx([0.4482, 0.4423], abs=5e-5)
    assert first.effects[0].p_value == pytest.approx(0.0744, abs=1e-4)
    assert first.outcome is Outcome.CONTINUE, "day 1 alone cannot tell"
    rounds = analyse(cookie_cats, replace(plan, primary=Measure("sum_gamerounds", quantile=0.5)))
    assert [a.metrics["median(sum_gamerounds)"].value for a in rounds.arms] == [17.0, 16.0]
