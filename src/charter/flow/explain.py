"""A plan in words: what would happen to each stage, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from charter.core.digest import short
from charter.core.quantity import parse_duration
from charter.core.text import some
from charter.flow.plan import JUDGED, REPLACES, STAGING, TRIED, Action, Plan, Result, Stage, Step
from charter.govern.approval import asked, signatures
from charter.spec.diff import FIRST_STAGE, Change
from charter.spec.types import ModelSpec

_WORK_OF = {
    Stage.SNAPSHOT: "preparation of rows",
    Stage.FEATURES: "making of features",
    Stage.TRAIN: "training",
    Stage.EVALUATE: "evaluation",
    Stage.GATE: "judgement",
    Stage.PACKAGE: "packaging",
}
"""What a raised revision (``ALGORITHM``) is called."""


@dataclass(frozen=True, slots=True)
class Line:
    """One stage in words: a symbol, what is the case, and what that means."""

    symbol: str
    stage: str
    what: str
    remark: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A plan in words."""

    name: str
    lines: tuple[Line, ...]
    closing: str

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "name": self.name,
            "stages": [
                {
                    "stage": x.stage,
                    "action": Action(x.symbol).name.lower(),
                    "what": x.what,
                    "remark": x.remark,
                }
                for x in self.lines
            ],
            "closing": self.closing,
        }


def explain(
    plan: Plan, spec: ModelSpec, changes: Sequence[Change], where: Callable[[tuple[str | int, ...]], str]
) -> Explanation:
    """Say in words what applying the plan would do.

    Parameters
    ----------
    changes
        Differences between the specification applied last and this one.
    where
        Turns a path of the specification into ``file:line``.
    """
    lines = tuple(_line(step, plan, spec, changes, where) for step in plan.steps)
    return Explanation(plan.name, lines, _closing(plan))


def _line(
    step: Step,
    plan: Plan,
    spec: ModelSpec,
    changes: Sequence[Change],
    where: Callable[[tuple[str | int, ...]], str],
) -> Line:
    match step.action:
        case Action.KEEP:
            what, remark = _kept(step), _up_to_date(step)
        case Action.REFUSED:
            what, remark = _refused(step)
        case Action.WAIT:
            what, remark = f"waits for {step.waits_for}", ""
        case _:
            what, remark = _why(step, changes, where), _work(step, spec)
    return Line(step.action.value, step.stage.value, what, remark)


def _kept(step: Step) -> str:
    if step.decision is not None:
        if step.stage is Stage.APPROVE:
            return signatures(step.decision)
        total = len(step.decision.checks)
        return f"{total} of {total} requirements"
    if step.stage is Stage.RELEASE:
        beside = f" of {step.inputs[STAGING]}, beside what serves" if STAGING in step.inputs else ""
        return f"package {short(step.inputs['package'])}{beside}"
    assert step.result is not None
    return describe(step.stage, step.result)


def _up_to_date(step: Step) -> str:
    if step.stage is not Stage.RELEASE:
        return "up to date"
    if TRIED in step.inputs:
        return f"{step.inputs[TRIED]} is being tried"
    return f"{step.inputs[STAGING]} is approved for its rollout" if STAGING in step.inputs else "serves"


def _refused(step: Step) -> tuple[str, str]:
    assert step.decision is not None
    total, open_ = len(step.decision.checks), len(step.decision.reasons)
    if step.stage is Stage.APPROVE:
        names = ", ".join(c.name for c in step.decision.reasons)
        if not asked(step.decision):
            return signatures(step.decision), f"tampered with: {names}"
        return f"{signatures(step.decision)} for this evidence", f"missing: {names}"
    return f"{total - open_} of {total} requirements met", "refused: " + ", ".join(
        c.name for c in step.decision.reasons
    )


def _why(step: Step, changes: Sequence[Change], where: Callable[[tuple[str | int, ...]], str]) -> str:
    if step.waits_for is not None:
        return f"because of {step.waits_for}"
    if step.stage is Stage.RELEASE:
        return _release(step)
    if step.previous is None:
        return "new"
    reasons = []
    for name in step.changed:
        if name == "spec":
            own = [c for c in changes if FIRST_STAGE[c.part] == step.stage.value]
            reasons += [f"{c.words}{_at(where(c.path))}" for c in own[:3]]
            reasons += [f"and {len(own) - 3} more changes"] if len(own) > 3 else []
            reasons += [] if own else ["the specification changed"]
        elif name.startswith("source "):
            reasons.append(f"the data of {name} changed")
        elif name == "format":
            reasons.append(f"Charter's {_WORK_OF[step.stage]} changed")
        elif name == "code":
            reasons.append("Charter's version changed")
        else:
            reasons.append(f"because of {name}")
    if not reasons and step.previous.inputs == step.inputs:
        return "what it made is no longer there"
    return "; ".join(reasons) or "no result is recorded for these inputs"


def _release(step: Step) -> str:
    """Say what a release takes the place of, and what the redeployment rules say of it, or who may be asked."""
    follows = f"in place of {step.inputs[REPLACES]}" if REPLACES in step.inputs else "new"
    match step.inputs.get(JUDGED):
        case None:
            aside = "; the redeployment rules are not asked: `charter compare` tells what they say"
            return follows + (aside if REPLACES in step.inputs else "")
        case "not yet":
            return f"{follows}, if the redeployment rules let it: they are asked first"
        case judged:
            return f"{follows}; {judged} by the redeployment rules"


def _at(place: str) -> str:
    return f" ({place})" if place else ""


def _work(step: Step, spec: ModelSpec) -> str:
    took = (
        f", about {step.previous.seconds:.0f} s"
        if step.previous is not None and step.previous.seconds >= 1
        else ""
    )
    match step.stage:
        case Stage.SNAPSHOT:
            return ", ".join(spec.data.sources) + took
        case Stage.FEATURES:
            windows = sum(len(w.over) for w in spec.features.windows.values())
            rows = _many(len(spec.features.rows), "expression")
            lags = sum(len(lag.back) + len(lag.season) for lag in spec.features.lags.values())
            looked_up = f", {_many(lags, 'lag')}" if lags else ""
            return f"{rows}, {_many(windows, 'window aggregate')}{looked_up}{took}"
        case Stage.TRAIN:
            learners = _many(len(spec.train.learners), "learner")
            return f"{learners}, {_many(spec.train.search.trials, 'trial')}{took}"
        case Stage.EVALUATE:
            fair = f", fairness by {', '.join(spec.evaluate.fairness.by)}" if spec.evaluate.fairness else ""
            return f"{_many(len(spec.evaluate.slices), 'slice')}{fair}{took}"
        case Stage.GATE:
            required = len(spec.evaluate.require) + sum(map(len, spec.evaluate.require_new_series.values()))
            return f"{_many(required, 'requirement')}, {_many(len(spec.kpis), 'KPI')}"
        case Stage.APPROVE:
            return f"{len(spec.approve.stages)} stages, valid for {parse_duration(spec.approve.valid_for).days} days"
        case _:
            return ""


def describe(stage: Stage, result: Result) -> str:
    """Say what a finished stage produced."""
    s = result.summary
    match stage:
        case Stage.SNAPSHOT:
            rows = ", ".join(f"{name}: {count:,} rows" for name, count in s["rows"].items())
            return f"{rows}, {short(result.output)}"
        case Stage.FEATURES:
            share = s.get("positive_share")
            rare = f", {share:.1%} positive" if share is not None else ""
            left = {"without a label": s.get("unlabelled"), "between training and test": s.get("between")}
            aside = "".join(f", {count:,} {why} left out" for why, count in left.items() if count)
            empty = s.get("empty") or ()
            hollow = f", {len(empty)} without a value in any training row: {some(empty)}" if empty else ""
            return f"{s['features']} features{hollow}, {s['rows']:,} observations{rare}{aside}"
        case Stage.TRAIN:
            return f"v{s['version']} {s['learner']}, {s['metric']} {s['value']:.3f} out of fold"
        case Stage.EVALUATE:
            return f"{_estimate(s['primary'])} on {s['rows']:,} test rows"
        case Stage.GATE:
            return f"{s['met']} of {s['total']} requirements met"
        case _:
            return f"{short(result.output)}, {s['bytes'] / 1e6:.1f} MB"


def _estimate(found: Mapping[str, Any]) -> str:
    if found["value"] is None:
        return f"{found['name']} is not defined"
    span = f" [{found['low']:.3f}, {found['high']:.3f}]" if found["low"] is not None else ""
    return f"{found['name']} {found['value']:.3f}{span}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _closing(plan: Plan) -> str:
    if plan.next is not None:
        return "Nothing has been changed. `charter apply` does this."
    stopped = plan.refused
    staging = plan.step(Stage.RELEASE).inputs.get(STAGING)
    if stopped is None and TRIED in plan.step(Stage.RELEASE).inputs:
        return f"{staging} is being tried: `charter rollout status`."
    if stopped is None and staging is not None:
        return f"{staging} is approved and goes by its rollout: `charter rollout start {staging}`."
    if stopped is None:
        return "Nothing to do: what serves is what the specification says."
    if stopped.stage is Stage.RELEASE and stopped.decision is not None:
        why = stopped.decision.reasons[0]
        return f"Stopped at release: {why.observed}; {why.note}."
    if stopped.stage is Stage.APPROVE:
        if stopped.decision is not None and not asked(stopped.decision):
            return (
                "The records are not what was recorded: `charter audit verify` names what was done to them."
            )
        return "Waiting for signatures: `charter approve VERSION --stage STAGE --as NAME`."
    return "Stopped by the specification's own requirements: `charter show VERSION` says how far it is from each."
