"""Triggers and restraints of retraining, and runs as the audit trail tells them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.core.decision import Verdict
from charter.govern.audit import append
from charter.iterate.retrain_runs import FINISHED, REVIEW, STARTED, Run, runs
from charter.iterate.retraining import RESTRAINTS, Condition, Signals, held_back, should_retrain
from charter.spec.types import RetrainSpec, RunBudget

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def signals(**changed) -> Signals:
    return Signals(**{"now": NOW, "champion": "v3", "made_at": ago(days=100), **changed})


def run(number: int, ended: datetime | None, **changed) -> Run:
    begun = ended - timedelta(minutes=5) if ended is not None else NOW
    return Run(
        number, begun, "eva", "v3", ("age",), ended_at=ended, ending="rejected" if ended else None, **changed
    )


def drifted(holds: bool | None) -> Condition:
    return Condition(
        "drifted",
        "psi(any) > 0.2 for 2 windows",
        holds,
        "psi(x) = 0.3",
        "retrain.when.drifted",
    )


@pytest.mark.parametrize(
    ("policy", "known", "verdict", "on"),
    [
        (RetrainSpec(), {}, Verdict.UNKNOWN, ""),
        (RetrainSpec(max_age="100d"), {}, Verdict.FAIL, ""),
        (RetrainSpec(max_age="99d"), {}, Verdict.PASS, "age"),
        (RetrainSpec(every="90d"), {}, Verdict.PASS, "schedule"),
        (RetrainSpec(every="90d"), {"runs": (run(1, ago(days=89)),)}, Verdict.FAIL, ""),
        (RetrainSpec(every="30d"), {"runs": (run(1, ago(days=31)),)}, Verdict.PASS, "schedule"),
        (RetrainSpec(), {"conditions": (drifted(holds=True),)}, Verdict.PASS, "drifted"),
        (RetrainSpec(), {"conditions": (drifted(holds=False),)}, Verdict.FAIL, ""),
        (RetrainSpec(), {"conditions": (drifted(holds=None),)}, Verdict.UNKNOWN, ""),
        (RetrainSpec(max_age="9d"), {"conditions": (drifted(holds=None),)}, Verdict.PASS, "age"),
        (RetrainSpec(new_rows=10), {"new_rows": 9}, Verdict.FAIL, ""),
        (RetrainSpec(new_rows=10), {"new_rows": 10}, Verdict.PASS, "new rows"),
        (RetrainSpec(new_rows=10), {"new_rows": -5}, Verdict.FAIL, ""),
        (RetrainSpec(new_rows=10), {}, Verdict.UNKNOWN, ""),
        (RetrainSpec(max_age="9d", every="1d"), {}, Verdict.PASS, "schedule, age"),
    ],
)  # fmt: skip
def test_one_trigger_suffices(policy, known, verdict, on):
    found = should_retrain(signals(**known), policy)
    assert found.verdict is verdict
    assert found.evidence == {"champion": "v3", "triggers": on}
    assert all(c.observed and c.required for c in found.checks)


@pytest.mark.parametrize(
    ("policy", "known", "holds"),
    [
        ({"cooldown": "2d"}, {"runs": (run(1, ago(hours=47)),)}, ("cool-down",)),
        ({"cooldown": "2d"}, {"runs": (run(1, ago(hours=48)),)}, ()),
        ({"cooldown": "2d"}, {"runs": (run(1, ago(days=9)), run(2, None))}, ()),
        ({}, {"again": "v3"}, ("something new",)),
        ({}, {"tried": "v4"}, ("nothing tried",)),
        ({}, {"stopped": True}, ("not stopped",)),
        ({"budget": RunBudget(runs=1, per="week")}, {"runs": (run(1, ago(days=6)),)}, ("budget",)),
        ({"budget": RunBudget(runs=1, per="week")}, {"runs": (run(1, ago(days=8)),)}, ()),
        ({"budget": RunBudget(runs=2, per="year")}, {"runs": (run(1, ago(days=300)), run(2, ago(days=9)))},
         ("budget",)),
    ],
)  # fmt: skip
def test_a_restraint_holds_a_trigger_back(policy, known, holds):
    found = should_retrain(signals(**known), RetrainSpec(max_age="9d", **policy))
    assert found.allows is not bool(holds)
    assert tuple(c.name for c in held_back(found)) == holds
    by_person = should_retrain(signals(**known), RetrainSpec(max_age="9d", **policy), asked=True)
    assert tuple(c.name for c in held_back(by_person)) == tuple(h for h in holds if h == "budget")
    quiet = should_retrain(signals(**known), RetrainSpec(max_age="900d", **policy))
    assert not quiet.allows
    assert held_back(quiet) == ()


@given(
    st.booleans(),
    st.sampled_from([True, False, None]),
    st.integers(0, 40),
    st.sampled_from([None, "v3"]),
    st.integers(1, 3),
)
def test_it_trains_exactly_where_a_trigger_holds_and_no_restraint_does(asked, holds, hours, again, most):
    past = (run(1, ago(days=8)), run(2, ago(days=7)), run(3, ago(hours=hours)))
    found = should_retrain(
        signals(conditions=(drifted(holds),), runs=past, again=again),
        RetrainSpec(cooldown="20h", budget=RunBudget(runs=most, per="month")),
        asked=asked,
    )
    trigger = asked or holds is True
    free = (asked or (hours >= 20 and again is None)) and most > 3
    assert found.allows == (trigger and free)
    assert {c.name for c in found.checks if c.name in RESTRAINTS} >= {"budget"}


def test_runs_are_told_by_the_trail_alone():
    told = [
        (STARTED, "loans", {"run": 1, "champion": "v1", "triggers": ["age"], "reason": ""}),
        (STARTED, "others", {"run": 1, "champion": "v8", "triggers": ["asked"], "reason": "a test"}),
        ("apply.started", "loans", {}),
        (REVIEW, "loans", {"run": 1, "champion": "v1", "candidate": "v2", "reasons": []}),
        (FINISHED, "loans", {"run": 1, "ending": "manual", "candidate": "v2"}),
        (STARTED, "loans", {"run": 2, "champion": "v1", "triggers": ["drifted", "age"], "reason": ""}),
    ]
    events, last = [], None
    for i, (action, subject, detail) in enumerate(told):
        last = append(last, at=ago(hours=-i), actor="eva", action=action, subject=subject, detail=detail)
        events.append(last)
    first, second = runs(events, "loans")
    assert (first.ending, first.candidate, first.review, first.ended_at) == (
        "manual",
        "v2",
        True,
        ago(hours=-4),
    )
    assert (second.number, second.triggers, second.ended_at) == (2, ("drifted", "age"), None)
    assert [r.reason for r in runs(events, "others")] == ["a test"]
