"""The plan is a pure function of the specification and of what is recorded."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest, digest_json
from charter.flow.explain import describe, explain
from charter.flow.plan import ALGORITHM, RECORDED, Action, Plan, Stage, State, build_plan
from charter.spec.diff import diff
from charter.spec.loader import loads
from charter.spec.types import ModelSpec

TEXT = """\
spec_version: 1
name: tiny
summary: SUMMARY
owner: {team: t, contact: t@example.org}
purpose: {problem: p, objective: o, decision: d, users: [u], today: {process: none}}
data:
  sources:
    rows:
      uri: rows.csv
      key: [id]
      columns: {id: {type: integer}, x: {type: float, min: MINIMUM}, y: {type: category, values: [0, 1]}}
  observations: {source: rows, key: [id]}
  label: {column: y, positive: 1}
features: {rows: {z: "FEATURE"}}
train: {task: binary, split: {kind: random, test: 0.2}, learners: [logistic_regression], seed: SEED}
evaluate: {require: {roc_auc: ">= REQUIRED"}, resamples: RESAMPLES}
approve: {stages: [{stage: final, role: chief}], valid_for: 30d}
serve: {reasons: REASONS, bands: {high: BAND, low: 0}}
"""
FIRST = {
    "SUMMARY": "One",
    "MINIMUM": "0",
    "FEATURE": "x * 2",
    "SEED": "1",
    "REQUIRED": "0.7",
    "RESAMPLES": "200",
    "REASONS": "1",
    "BAND": "0.7",
}
OTHER = {
    "SUMMARY": "Two",
    "MINIMUM": "1",
    "FEATURE": "x * 3",
    "SEED": "2",
    "REQUIRED": "0.6",
    "RESAMPLES": "300",
    "REASONS": "2",
    "BAND": "0.8",
}
INVALIDATES = {
    "SUMMARY": None,
    "MINIMUM": Stage.SNAPSHOT,
    "FEATURE": Stage.FEATURES,
    "SEED": Stage.FEATURES,  # the seed also assigns the split
    "RESAMPLES": Stage.EVALUATE,
    "REQUIRED": Stage.GATE,
    "REASONS": Stage.EVALUATE,  # they cost time, which is measured there
    "BAND": Stage.PACKAGE,
}


@cache
def spec(**changed: str) -> ModelSpec:
    text = TEXT
    for name, value in {**FIRST, **changed}.items():
        text = text.replace(name, value)
    return loads(text, "model.yaml").spec


@dataclass
class Result:
    output: Digest
    inputs: Mapping[str, str]
    summary: Mapping[str, Any]
    seconds: float = 1.0


@dataclass
class World:
    """Records in memory, and stages that make a digest of what they are given."""

    data: str = "rows-1"
    code: str = "1"
    results: dict[tuple[str, str], Result] = field(default_factory=dict)
    used: dict[str, Result] = field(default_factory=dict)
    signed: set[str] = field(default_factory=set)
    serving: Digest | None = None
    best: float = 0.8

    def state(self) -> State:
        return State(
            fingerprints={"rows": self.data},
            find=lambda stage, key: self.results.get((stage, key)),
            latest=self.used.get,
            code=self.code,
            judge_approvals=self.judge,
            serving=self.serving,
        )

    def judge(self, package: Digest) -> Decision:
        verdict = Verdict.PASS if package in self.signed else Verdict.FAIL
        return Decision.of("approve", [Check("final", "signed", "signed", verdict)])

    def plan(self, wanted: ModelSpec) -> Plan:
        return build_plan(wanted, self.state())

    def apply(self, wanted: ModelSpec) -> list[Stage]:
        ran = []
        while (step := self.plan(wanted).next) is not None:
            ran.append(step.stage)
            if step.stage is Stage.RELEASE:
                self.serving = Digest(step.inputs["package"])
                continue
            assert step.key is not None
            result = Result(
                digest_json([step.stage, dict(step.inputs)]), step.inputs, self.summary(step.stage, wanted)
            )
            self.results[step.stage, step.key] = self.used[step.stage] = result
        for step in self.plan(wanted).steps:
            if step.result is not None:
                self.used[step.stage] = self.results[step.stage, str(step.key)]
        return ran

    def summary(self, stage: Stage, wanted: ModelSpec) -> dict[str, Any]:
        match stage:
            case Stage.SNAPSHOT:
                return {"rows": {"rows": 1200}}
            case Stage.FEATURES:
                return {"features": 2, "rows": 1000, "positive_share": 0.25}
            case Stage.TRAIN:
                return {"version": 1, "learner": "logistic_regression", "metric": "roc_auc", "value": 0.8}
            case Stage.EVALUATE:
                return {"rows": 200, "primary": {"name": "roc_auc", "value": 0.8, "low": None, "high": None}}
            case Stage.PACKAGE:
                return {"bytes": 100_000}
        required = float(wanted.evaluate.require["roc_auc"].split()[1])
        verdict = Verdict.PASS if self.best >= required else Verdict.FAIL
        return {
            "decision": Decision.of("gate", [Check("roc_auc", "0.8", "", verdict)]).to_json(),
            "met": 1,
            "total": 1,
        }

    def sign(self, wanted: ModelSpec) -> None:
        self.signed.add(self.plan(wanted).step(Stage.APPROVE).inputs["package"])


@pytest.fixture
def world() -> World:
    made = World()
    made.apply(spec())
    made.sign(spec())
    made.apply(spec())
    return made


def test_a_new_model_goes_through_every_stage():
    world = World()
    plan = world.plan(spec())
    assert [s.action for s in plan.steps] == [Action.CREATE] * 6 + [Action.WAIT] * 2
    assert world.apply(spec()) == list(RECORDED)
    assert [s.action for s in world.plan(spec()).steps] == [Action.KEEP] * 6 + [Action.REFUSED, Action.WAIT]
    world.sign(spec())
    assert world.apply(spec()) == [Stage.RELEASE]
    assert {s.action for s in world.plan(spec()).steps} == {Action.KEEP}


@pytest.mark.parametrize("change", INVALIDATES)
def test_a_change_invalidates_its_stage_and_those_after_it(world, change):
    first = INVALIDATES[change]
    wanted = spec(**{change: OTHER[change]})
    promised = [s.stage for s in world.plan(wanted).steps if s.action in (Action.CREATE, Action.CHANGE)]
    expected = list(RECORDED[RECORDED.index(first) :]) if first else []
    assert promised == expected
    assert world.apply(wanted) == expected
    changed = diff(spec(), wanted)
    told = explain(world.plan(wanted), wanted, changed, lambda _path: "model.yaml:1")
    assert len(told.lines) == len(Stage)


@pytest.mark.parametrize(
    ("name", "value", "first"), [("data", "rows-2", Stage.SNAPSHOT), ("code", "2", Stage.TRAIN)]
)
def test_changed_rows_and_changed_code_are_seen(world, name, value, first):
    setattr(world, name, value)
    plan = world.plan(spec())
    step = plan.next
    assert step is not None
    assert step.stage is first
    told = explain(plan, spec(), [], lambda _path: "")
    line = next(x for x in told.lines if x.stage == first.value)
    assert line.what == {"data": "the data of source rows changed", "code": "Charter's version changed"}[name]


@pytest.mark.parametrize(("stage", "package", "words"), [
    (Stage.SNAPSHOT, "data", "preparation of rows"), (Stage.FEATURES, "features", "making of features"),
    (Stage.TRAIN, "train", "training"), (Stage.EVALUATE, "evaluate", "evaluation"),
    (Stage.GATE, "govern", "judgement"), (Stage.PACKAGE, "registry", "packaging"),
])  # fmt: skip
def test_the_revision_of_a_stage_is_part_of_its_key(world, monkeypatch, stage, package, words):
    declared = importlib.import_module(f"charter.{package}").ALGORITHM
    assert ALGORITHM[stage] == declared
    monkeypatch.setattr("charter.flow.plan.ALGORITHM", {**ALGORITHM, stage: declared + 1})
    plan = world.plan(spec())
    assert plan.next is not None
    assert plan.next.stage is stage
    told = explain(plan, spec(), [], lambda _path: "")
    assert next(x for x in told.lines if x.stage == stage.value).what == f"Charter's {words} changed"
    assert world.apply(spec())[0] is stage


def test_a_version_that_was_rejected_is_not_released(world):
    wanted = spec(FEATURE="x * 3")
    world.apply(wanted)
    world.sign(wanted)
    state = replace(world.state(), serving_version=7, rejected={1: "rejected by run 2"})
    step = build_plan(wanted, state).step(Stage.RELEASE)
    assert step.action is Action.REFUSED
    assert step.decision is not None
    assert step.decision.checks[0].observed == "v1 was rejected by run 2"
    assert "charter retrain" in explain(build_plan(wanted, state), wanted, [], lambda _path: "").closing


@pytest.mark.parametrize(
    ("outcome", "approve", "reason", "action"),
    [
        ("automatic", True, "", Action.CHANGE),
        ("manual", True, "", Action.CHANGE),  # who signed this very package has decided
        ("manual", False, "", Action.REFUSED),
        ("manual", False, "agreed with the owner", Action.CHANGE),
        ("rejected", True, "please", Action.REFUSED),
        (None, True, "", Action.CHANGE),
    ],
)
def test_the_redeployment_rules_are_asked_before_another_version_is_released(
    world, outcome, approve, reason, action
):
    wanted = spec(FEATURE="x * 3")
    rules = wanted.release.redeploy.model_copy(update={"judges": "releases"})
    asked = {"release": wanted.release.model_copy(update={"redeploy": rules})}
    wanted = wanted.model_copy(update=asked)
    if not approve:
        wanted = wanted.model_copy(update={"approve": wanted.approve.model_copy(update={"stages": ()})})
    world.apply(wanted)
    world.sign(wanted)
    verdict = {"automatic": Verdict.PASS, "manual": Verdict.UNKNOWN, "rejected": Verdict.FAIL}
    check = Check("gain in roc_auc", "+0.1%", "more than 1%", verdict.get(outcome, Verdict.PASS))
    judged = Decision.of("redeployment", [check], {"outcome": outcome}) if outcome else None
    state = replace(world.state(), serving_version=7, judged=lambda _package: judged, reason=reason)
    plan = build_plan(wanted, state)
    step = plan.step(Stage.RELEASE)
    assert (step.action, step.inputs["judged"]) == (action, outcome or "not yet")
    told = explain(plan, wanted, [], lambda _path: "")
    if action is Action.REFUSED:
        assert f"v1 in place of v7: {outcome} (gain in roc_auc)" in told.closing
        assert "charter compare v7 v1" in told.closing
    else:
        what = next(x.what for x in told.lines if x.stage == "release")
        assert what.startswith("in place of v7")
        assert (outcome or "asked first") in what


def test_a_release_in_place_of_another_says_that_the_rules_were_not_asked(world):
    wanted = spec(FEATURE="x * 3")
    world.apply(wanted)
    world.sign(wanted)
    plan = build_plan(wanted, replace(world.state(), serving_version=7))
    told = next(x.what for x in explain(plan, wanted, [], lambda _path: "").lines if x.stage == "release")
    assert told.startswith("in place of v7; the redeployment rules are not asked")


def test_a_model_that_was_stopped_stays_stopped(world):
    wanted = spec(FEATURE="x * 3")
    world.apply(wanted)
    world.sign(wanted)
    plan = build_plan(wanted, replace(world.state(), serving_version=7, stopped=True))
    assert plan.next is None
    assert plan.refused is plan.step(Stage.RELEASE)
    assert "charter rollout resume" in plan.refused.decision.checks[0].note


def test_a_refusal_stops_what_comes_after(world):
    wanted = spec(REQUIRED="0.9")
    assert world.apply(wanted) == [Stage.GATE]
    plan = world.plan(wanted)
    assert plan.refused is plan.step(Stage.GATE)
    assert [plan.step(s).action for s in (Stage.PACKAGE, Stage.APPROVE, Stage.RELEASE)] == [Action.WAIT] * 3
    assert world.serving is not None
    told = explain(plan, wanted, [], lambda _path: "")
    assert [x.remark for x in told.lines if x.stage == "gate"] == ["refused: roc_auc"]


def test_what_a_stage_is_told_to_wait_for(world):
    plan = world.plan(spec(FEATURE="x * 9"))
    assert [s.waits_for for s in plan.steps] == [
        None, None, Stage.FEATURES, Stage.TRAIN, Stage.EVALUATE, Stage.GATE, Stage.PACKAGE, Stage.APPROVE,
    ]  # fmt: skip
    told = explain(
        plan, spec(FEATURE="x * 9"), diff(spec(), spec(FEATURE="x * 9")), lambda _path: "model.yaml:15"
    )
    assert "model.yaml:15" in next(x for x in told.lines if x.stage == "features").what
    assert next(x for x in told.lines if x.stage == "train").what == "because of features"


variants = st.dictionaries(st.sampled_from(sorted(FIRST)), st.just(None)).map(
    lambda d: {k: OTHER[k] for k in d}
)


@settings(max_examples=25)
@given(walk=st.lists(st.tuples(variants, st.booleans()), min_size=1, max_size=8))
def test_whatever_is_changed_and_changed_back_the_plan_keeps_its_word(walk):
    """What the plan promises is what apply does; nothing is ever done twice; a plan after apply promises nothing."""
    world, done = World(), set()
    for changed, sign in walk:
        wanted = spec(**changed)
        plan = world.plan(wanted)
        promised = [s.stage for s in plan.steps if s.action in (Action.CREATE, Action.CHANGE)]
        ran = world.apply(wanted)
        # A stage that waits for an earlier one may turn out to be known already, or end at a refusal.
        assert ran[:1] == promised[:1]
        assert set(ran) <= {*promised, Stage.RELEASE}
        assert all(step.result.output in done for step in plan.steps if step.result is not None)
        done |= {r.output for r in world.results.values()}
        assert world.plan(wanted).next is None
        if sign and world.plan(wanted).step(Stage.APPROVE).inputs:
            world.sign(wanted)
            assert world.apply(wanted) in ([], [Stage.RELEASE])
        total = len(world.results)
        assert world.apply(wanted) == []
        assert len(world.results) == total


def test_finished_stages_in_words(world):
    told = {x.stage: x.what for x in explain(world.plan(spec()), spec(), [], lambda _path: "").lines}
    assert told["snapshot"].startswith("rows: 1,200 rows, ")
    assert told["features"] == "2 features, 1,000 observations, 25.0% positive"
    assert told["train"] == "v1 logistic_regression, roc_auc 0.800 out of fold"
    assert told["evaluate"] == "roc_auc 0.800 on 200 test rows"
    assert told["gate"] == "1 of 1 requirements"
    assert told["package"].endswith(", 0.1 MB")


def test_a_measure_without_a_value_is_told_as_such(world):
    result = Result(
        Digest("0" * 64), {}, {"rows": 9, "primary": {"name": "roc_auc", "value": None, "low": None}}
    )
    assert describe(Stage.EVALUATE, result) == "roc_auc is not defined on 9 test rows"


def test_features_that_say_nothing_are_told():
    summary = {"features": 5, "rows": 10, "empty": ["a_30d", "b", "c", "d"]}
    assert describe(Stage.FEATURES, Result(Digest("0" * 64), {}, summary)) == (
        "5 features, 4 without a value in any training row: a_30d, b, c and 1 more, 10 observations"
    )


def test_work_is_counted_in_words():
    told = {x.stage: x.remark for x in explain(World().plan(spec()), spec(), [], lambda _path: "").lines}
    assert told["features"] == "1 expression, 0 window aggregates"
    assert told["train"] == "1 learner, 40 trials"
    assert told["evaluate"] == "0 slices"
    assert told["gate"] == "1 requirement, 0 KPIs"
