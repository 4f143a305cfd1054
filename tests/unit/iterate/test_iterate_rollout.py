"""The way of a candidate, leg by leg."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from charter.core.decision import Check, Decision, Verdict
from charter.iterate.guards import Shown, Signals
from charter.iterate.rollout import Leg, Move, judge, legs, traffic_of
from charter.registry.traffic import Traffic
from charter.spec.guards import Guard
from charter.spec.types import ReleaseSpec

HOUR = timedelta(hours=1)
GUARDS = {"errors": Guard.parse("error_share > 0.05")}
LEG = Leg("canary", 0.2, HOUR, 24 * HOUR, 500, GUARDS)
DECLARED = {
    "rollout": {
        "shadow": {"guards": {"same": "disagreement > 0.2"}},
        "canary": {"steps": [0.05, 0.2], "guards": {"errors": "error_share > 0.02"}},
        "experiment": {},
        "guards": {"errors": "error_share > 0.05"},
    },
    "experiment": {
        "unit": "customer",
        "arms": {"old": 0.5, "new": 0.5},
        "control": "old",
        "metric": "converted",
        "mde": "+10%",
        "stratum": "region",
        "strata": {"EU": {"old": 1.0}, "US": {"old": 0.9, "new": 0.1}},
        "exclude": ["tester"],
        "holdout": {"salt": "held", "start": 0.0, "stop": 0.05},
    },
}


def seen(n: int, *, errors: int = 0, champion: int | None = None) -> Signals:
    old = Shown(4 * n if champion is None else champion)
    return Signals(old, Shown(n, errors, np.full(n, 5.0)))


def moved(signals: Signals, elapsed: timedelta = 2 * HOUR, leg: Leg = LEG, **more) -> Move:
    return judge(leg, signals, elapsed=elapsed, confidence=0.95, **more)[0]


@pytest.mark.parametrize(
    ("signals", "elapsed", "move"),
    [
        (seen(1000), 2 * HOUR, Move.GO_ON),
        (seen(1000), HOUR / 2, Move.HOLD),
        (seen(400), 2 * HOUR, Move.HOLD),
        (seen(0), 2 * HOUR, Move.HOLD),
        (seen(1000, errors=40), 2 * HOUR, Move.HOLD),
        (seen(1000, errors=200), HOUR / 60, Move.GO_BACK),
        (seen(30, errors=30), HOUR / 60, Move.GO_BACK),
        (seen(400), 25 * HOUR, Move.GO_BACK),
        (seen(1000), 25 * HOUR, Move.GO_ON),
    ],
)
def test_surely_kept_goes_on_surely_broken_goes_back_and_anything_else_holds(signals, elapsed, move):
    assert moved(signals, elapsed) is move


def test_who_tries_often_enough_does_not_pass_by_luck():
    close = seen(1000, errors=25)
    assert moved(close) is Move.GO_ON
    assert moved(close, attempt=8) is Move.HOLD
    decision = judge(LEG, close, elapsed=2 * HOUR, confidence=0.95, attempt=3)[1]
    (told,) = [c for c in decision.checks if c.name == "attempt"]
    assert (told.observed, told.required) == ("3 of this version", "guards hold with confidence 0.9875")


def test_without_a_guard_nothing_goes_on():
    bare = Leg("canary", 0.2, HOUR, 24 * HOUR, 500)
    move, decision = judge(bare, seen(10_000), elapsed=2 * HOUR, confidence=0.95)
    assert move is Move.HOLD
    assert any("no guard is configured" in c.note for c in decision.reasons)


def test_a_candidate_that_leaves_requests_unanswered_does_not_go_on():
    silent = seen(20, champion=4000)
    assert moved(silent, by_unit=False) is Move.GO_BACK
    assert moved(silent) is Move.HOLD
    assert moved(replace(seen(1000, champion=60_000), meant=0.02), by_unit=False) is Move.GO_ON


@pytest.mark.parametrize(
    ("outcome", "verdict", "move"),
    [
        ("ship", Verdict.PASS, Move.GO_ON),
        ("do not ship", Verdict.FAIL, Move.GO_BACK),
        ("keep running", Verdict.UNKNOWN, Move.HOLD),
        ("invalid", Verdict.FAIL, Move.HOLD),
    ],
)
def test_the_experiment_decides_and_what_must_not_be_read_holds(outcome, verdict, move):
    leg = Leg("experiment", 0.5, HOUR, 24 * HOUR, 500, GUARDS)
    decision = Decision.of("experiment", [Check("converted", "x", "a rise", verdict)], {"outcome": outcome})
    assert moved(seen(1000), leg=leg, experiment=decision) is move
    assert moved(seen(1000), leg=leg) is Move.HOLD


def test_the_way_has_the_guards_of_the_rollout_and_of_the_stage():
    found = legs(ReleaseSpec.model_validate(DECLARED))
    assert [leg.name for leg in found] == ["shadow", "canary 5%", "canary 20%", "experiment"]
    assert [str(g) for g in found[1].guards.values()] == ["error_share > 0.02"]
    assert sorted(found[0].guards) == ["errors", "same"]
    assert sorted(found[3].guards) == ["errors"]
    assert legs(ReleaseSpec()) == ()


def test_nobody_goes_back_and_who_is_kept_out_sees_the_champion_alone():
    release = ReleaseSpec.model_validate(DECLARED)
    traffic, before = Traffic("full", "v1"), set()
    units = [f"c{i}" for i in range(4000)]
    for leg in legs(release):
        traffic = traffic_of(leg, release, champion="v1", candidate="v2", name="m-v2", before=traffic)
        now = {u for u in units if traffic.version_for(u)[0] == "v2"}
        assert before <= now, leg.name
        before = now
        for region, most in (("EU", 0.0), ("US", 0.1)):
            share = sum(traffic.version_for(u, region)[0] == "v2" for u in units) / len(units)
            assert share <= most + 0.02
        assert traffic.version_for("tester")[0] == "v1"
    assert traffic.arms == {"old": "v1", "new": "v2"}
    assert 0.4 < len(before) / len(units) < 0.55
    assert traffic.assignment is not None
    assert all(traffic.assignment.assign(u)[1] != "holdout" or u not in before for u in units)
