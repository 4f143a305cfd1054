"""The plan: which stages must run to make reality match the specification, and why. Building it touches nothing.

A stage is up to date when a result is recorded under its key, the digest of its inputs. Inputs are digests of the
parts of the specification that the stage reads and of the outputs of earlier stages. Where an earlier stage must run
first, the later key cannot be known yet, and the plan says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

from charter import data, evaluate, features, govern, registry, train
from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest, digest_json
from charter.flow.retrain_review import REMEDY
from charter.spec.parts import part_digest
from charter.spec.types import ModelSpec


class Stage(StrEnum):
    """The life of a model, in order."""

    SNAPSHOT = "snapshot"
    FEATURES = "features"
    TRAIN = "train"
    EVALUATE = "evaluate"
    GATE = "gate"
    PACKAGE = "package"
    APPROVE = "approve"
    RELEASE = "release"


STAGING = "staging"
"""Among the inputs of a release, the version that goes to its rollout instead of serving at once."""

TRIED = "tried"
"""And the same, where it is being tried already."""

REPLACES = "replaces"
"""And the version that serves, where another would take its place at once."""

JUDGED = "judged"
"""And, where the redeployment rules are asked, what they said: a word of `charter.iterate.redeploy`, or ``not yet``."""

RECORDED = (Stage.SNAPSHOT, Stage.FEATURES, Stage.TRAIN, Stage.EVALUATE, Stage.GATE, Stage.PACKAGE)
"""Stages whose results are kept and reused; approval and release are judged afresh each time."""

ALGORITHM: Mapping[Stage, int] = {
    Stage.SNAPSHOT: data.ALGORITHM,
    Stage.FEATURES: features.ALGORITHM,
    Stage.TRAIN: train.ALGORITHM,
    Stage.EVALUATE: evaluate.ALGORITHM,
    Stage.GATE: govern.ALGORITHM,
    Stage.PACKAGE: registry.ALGORITHM,
}
"""Revision of each stage's work, kept beside the code that does it; a result of an older one is no longer current."""


_RULES = "release.redeploy"


class Action(StrEnum):
    """What applying the plan will do to a stage."""

    KEEP = "="
    CREATE = "+"
    CHANGE = "~"
    WAIT = "."
    REFUSED = "!"


class Result(Protocol):
    """What the records keep of a finished stage."""

    @property
    def output(self) -> Digest: ...  # noqa: D102
    @property
    def inputs(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def summary(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def seconds(self) -> float: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class State:
    """What is known of reality, read before the plan is built.

    Attributes
    ----------
    fingerprints
        Source name to content digest, now.
    find
        Recorded result of a stage under a key.
    latest
        Result of a stage that was used last, under whatever key.
    code
        Version of the code that trains.
    judge_approvals
        Package digest to the standing of its signatures.
    serving
        Package digest that serves now.
    serving_version
        Number of its version.
    staged
        Packages that were approved and wait for their rollout, or are in one.
    tried
        Version that is being tried beside the one that serves; empty while none is.
    stopped
        Whether a person has stopped the model: nothing is released until a person lets it answer again.
    rejected
        Versions that must not follow the one that serves, each with why.
    """

    fingerprints: Mapping[str, str]
    find: Callable[[str, Digest], Result | None]
    latest: Callable[[str], Result | None]
    code: str
    judge_approvals: Callable[[Digest], Decision]
    serving: Digest | None = None
    serving_version: int | None = None
    staged: frozenset[Digest] = frozenset()
    tried: str = ""
    stopped: bool = False
    rejected: Mapping[int, str] = field(default_factory=dict)
    judged: Callable[[Digest], Decision | None] = lambda _package: None
    """What the redeployment rules said of a package in place of the one that serves; None where not asked yet."""
    reason: str = ""
    """Why a person lets a version follow that the rules leave to one."""


@dataclass(frozen=True, slots=True)
class Step:
    """One stage of the plan.

    Attributes
    ----------
    inputs
        Name to digest of everything that the stage depends on; empty while an earlier stage has to run first.
    key
        Digest of the inputs.
    changed
        Names of the inputs that differ from those of the result used last.
    result
        The recorded result, where there is one.
    decision
        The judgement, where the stage is one.
    """

    stage: Stage
    action: Action
    inputs: Mapping[str, str] = field(default_factory=dict)
    key: Digest | None = None
    changed: tuple[str, ...] = ()
    waits_for: Stage | None = None
    result: Result | None = None
    previous: Result | None = None
    decision: Decision | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All stages in order."""

    name: str
    steps: tuple[Step, ...]

    @property
    def next(self) -> Step | None:
        """The first step that `apply` would carry out."""
        return next((s for s in self.steps if s.action in (Action.CREATE, Action.CHANGE)), None)

    @property
    def refused(self) -> Step | None:
        """The step at which a judgement stops the rest."""
        return next((s for s in self.steps if s.action is Action.REFUSED), None)

    def step(self, stage: Stage) -> Step:
        """Return the step of a stage."""
        return next(s for s in self.steps if s.stage is stage)


def stage_inputs(spec: ModelSpec, state: State, done: Mapping[Stage, Result], stage: Stage) -> dict[str, str]:
    """Name everything that a recorded stage depends on.

    Parameters
    ----------
    done
        Results of the earlier stages, all of them.
    """
    parts = {"format": str(ALGORITHM[stage])}
    match stage:
        case Stage.SNAPSHOT:
            sources = {f"source {name}": state.fingerprints[name] for name in spec.data.sources}
            return parts | {"spec": part_digest(spec, "data")} | sources
        case Stage.FEATURES:
            return parts | {"spec": part_digest(spec, "features"), "snapshot": done[Stage.SNAPSHOT].output}
        case Stage.TRAIN:
            return parts | {
                "spec": part_digest(spec, "train"),
                "features": done[Stage.FEATURES].output,
                "code": state.code,
            }
        case Stage.EVALUATE:
            return parts | {
                "spec": part_digest(spec, "evaluate"),
                "features": done[Stage.FEATURES].output,
                "train": done[Stage.TRAIN].output,
            }
        case Stage.GATE:
            return parts | {"spec": part_digest(spec, "gate"), "evaluate": done[Stage.EVALUATE].output}
        case _:
            return parts | {
                "spec": part_digest(spec, "serve"),
                "train": done[Stage.TRAIN].output,
                "evaluate": done[Stage.EVALUATE].output,
                "gate": done[Stage.GATE].output,
            }


def build_plan(spec: ModelSpec, state: State) -> Plan:
    """Compare the specification with what is recorded. Pure but for reading ``state``."""
    steps: list[Step] = []
    done: dict[Stage, Result] = {}
    stopped: Stage | None = None
    for stage in RECORDED:
        previous = state.latest(stage)
        if stopped is not None:
            steps.append(_waiting(stage, stopped, previous, refused=steps[-1].action))
            stopped = stage if _will_run(steps[-1]) else stopped
            continue
        inputs = stage_inputs(spec, state, done, stage)
        key = digest_json(inputs)
        result = state.find(stage, key)
        if result is None:
            changed = tuple(
                n for n, d in inputs.items() if previous is not None and previous.inputs.get(n) != d
            )
            action = Action.CREATE if previous is None else Action.CHANGE
            steps.append(Step(stage, action, inputs, key, changed, previous=previous))
            stopped = stage
            continue
        decision = Decision.from_json(result.summary["decision"]) if stage is Stage.GATE else None
        refused = decision is not None and not decision.allows
        action = Action.REFUSED if refused else Action.KEEP
        steps.append(Step(stage, action, inputs, key, result=result, decision=decision))
        done[stage] = result
        if refused:
            stopped = stage
    steps.append(_approve(state, done, stopped))
    steps.append(_release(spec, state, done, steps[-1]))
    return Plan(spec.name, tuple(steps))


def _will_run(step: Step) -> bool:
    return step.action in (Action.CREATE, Action.CHANGE)


def _waiting(stage: Stage, cause: Stage, previous: Result | None, *, refused: Action) -> Step:
    if refused in (Action.REFUSED, Action.WAIT):
        return Step(stage, Action.WAIT, waits_for=cause, previous=previous)
    return Step(
        stage, Action.CREATE if previous is None else Action.CHANGE, waits_for=cause, previous=previous
    )


def _approve(state: State, done: Mapping[Stage, Result], stopped: Stage | None) -> Step:
    package = done.get(Stage.PACKAGE)
    if package is None:
        return Step(Stage.APPROVE, Action.WAIT, waits_for=stopped or Stage.PACKAGE)
    decision = state.judge_approvals(package.output)
    action = Action.KEEP if decision.allows else Action.REFUSED
    return Step(Stage.APPROVE, action, decision=decision, inputs={"package": package.output})


def _release(spec: ModelSpec, state: State, done: Mapping[Stage, Result], approve: Step) -> Step:
    if approve.action is not Action.KEEP:
        return Step(Stage.RELEASE, Action.WAIT, waits_for=Stage.APPROVE)
    package = done[Stage.PACKAGE].output
    inputs: dict[str, str] = {"package": package}
    if state.serving == package:
        return Step(Stage.RELEASE, Action.KEEP, inputs)
    if state.serving is None:
        return Step(Stage.RELEASE, Action.CREATE, inputs)
    version = int(done[Stage.TRAIN].summary["version"])
    if version in state.rejected:
        found = Check("redeployment", f"v{version} was {state.rejected[version]}", "not rejected", Verdict.FAIL,
                      note=REMEDY)  # fmt: skip
        return Step(Stage.RELEASE, Action.REFUSED, inputs, decision=Decision.of("release", [found]))
    another = version != state.serving_version
    if another and spec.release.redeploy.judges == "releases":
        judged = state.judged(package)
        inputs[JUDGED] = judged.evidence["outcome"] if judged is not None else "not yet"
        if judged is not None and (stands := _against(spec, state, version, judged)) is not None:
            return Step(Stage.RELEASE, Action.REFUSED, inputs, decision=stands)
    if another and (spec.release.rollout is not None or state.tried):
        # A rollout is the only way from one version to another, once it is declared or under way.
        staging = {**inputs, STAGING: f"v{version}"}
        if state.tried == f"v{version}":
            staging[TRIED] = state.tried
        return Step(Stage.RELEASE, Action.KEEP if package in state.staged else Action.CHANGE, staging)
    if state.tried:
        under_way = Check(
            "rollout", f"{state.tried} is being tried", "nothing under way", Verdict.FAIL,
            note="wait for its end, or end it: `charter kill`",
        )  # fmt: skip
        return Step(Stage.RELEASE, Action.REFUSED, inputs, decision=Decision.of("release", [under_way]))
    if state.stopped:
        held = Check(
            "stopped", "the model is stopped", "a model that answers", Verdict.FAIL,
            note="a person lets it answer again: `charter rollout resume`",
        )  # fmt: skip
        return Step(Stage.RELEASE, Action.REFUSED, inputs, decision=Decision.of("release", [held]))
    if another:
        inputs[REPLACES] = f"v{state.serving_version}"
    return Step(Stage.RELEASE, Action.CHANGE, inputs)


def _against(spec: ModelSpec, state: State, version: int, judged: Decision) -> Decision | None:
    """What stands against a version that the redeployment rules have judged; None where nothing does.

    A rollout is begun by a person, and signatures are persons' words: what is left to one is refused only without both.
    """
    rules = spec.release
    if judged.allows:
        return None
    said = f"v{version} in place of v{state.serving_version}: {judged.evidence['outcome']}"
    why = ", ".join(c.name for c in judged.reasons)
    if judged.verdict is Verdict.FAIL:
        found = Check("redeployment", f"{said} ({why})", "not rejected", Verdict.FAIL, where=_RULES,
                      note=f"`charter compare v{state.serving_version} v{version}` says why; change the model, or "
                           "`release.redeploy`, and apply again")  # fmt: skip
    elif rules.rollout is None and not spec.approve.stages and not state.reason:
        found = Check("redeployment", f"{said} ({why})", "a person's word", Verdict.UNKNOWN, where=_RULES,
                      note=f"look: `charter compare v{state.serving_version} v{version}`; then let it follow, and "
                           "say why: `charter apply --reason '...'`")  # fmt: skip
    else:
        return None
    return Decision.of("release", [found], judged.evidence)
