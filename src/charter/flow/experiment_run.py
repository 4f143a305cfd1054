"""An experiment by itself: two versions against each other, begun and ended by a person.

Where the specification declares a rollout, that leads to the experiment, and nothing else does.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from charter.core.errors import Refusal, UsageError
from charter.flow.experiment import declared
from charter.flow.moves import Stand, moving, record, serving_now, stand
from charter.flow.rolling import ALONE, Rolling, alone, rolling
from charter.flow.rollout import begin
from charter.flow.trial import read
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.iterate.types import ExperimentReport

STARTED, STOPPED = "experiment.started", "experiment.stopped"


def start(
    workspace: Workspace, loaded: Loaded, version: str, *, name: str | None = None, reason: str = ""
) -> Stand:
    """Deal units out between the version that serves and another approved one.

    Raises
    ------
    UsageError
        When the specification declares no experiment, or one of more than two arms.
    Refusal
        As `charter.flow.rollout.start`; and where a rollout is declared, whose stages would be skipped.
    """
    from charter.iterate.rollout import Leg, candidate_arm

    experiment = declared(loaded.spec)
    if len(experiment.arms) != 2:
        raise UsageError(
            f"release.experiment has {len(experiment.arms)} arms; two versions are compared at a time",
            remedy="Declare two arms, one of them the control.",
        )
    to = f"start the experiment with {version}"
    with moving(workspace, loaded, version, to, name, lambda _records: None) as act:
        if loaded.spec.release.rollout is not None:
            raise Refusal(
                "the specification declares a rollout, and its stages are not skipped",
                remedy=f"`charter rollout start {version}`; release.rollout.experiment makes the experiment a stage.",
            )
        leg = Leg("experiment", experiment.arms[candidate_arm(experiment)], timedelta(0), timedelta.max, 0)
        return begin(workspace, loaded, act, version, leg, STARTED, reason, place=ALONE)


def status(workspace: Workspace, loaded: Loaded) -> tuple[Stand, ExperimentReport | None]:
    """Say how the experiment stands that runs, by itself or within a rollout; changes nothing.

    Raises
    ------
    Refusal
        When none runs.
    """
    from charter.core.clock import iso

    with workspace.records(loaded.spec.name, readonly=True) as records:
        now = _running(rolling(workspace, loaded, records))
    report, decision = read(workspace, now)
    at = iso(now.deployment.at)
    return Stand(loaded.spec.name, now.traffic, at, "", "experiment", decision), report


def stop(workspace: Workspace, loaded: Loaded, *, name: str | None = None, reason: str = "") -> Stand:
    """End an experiment that was begun by itself; the champion answers everything, and the verdict is kept.

    Raises
    ------
    Refusal
        When none runs, or it is a stage of a rollout.
    """
    with moving(
        workspace, loaded, loaded.spec.name, "stop the experiment", name, lambda _records: None
    ) as act:
        now = _running(rolling(workspace, loaded, act.records))
        if now.leg is not None:
            raise Refusal(
                "the experiment is a stage of a rollout",
                remedy="`charter rollout step` judges it; `charter kill` ends it.",
            )
        _, decision = read(workspace, now)
        serving = serving_now(loaded, act)
        full = Traffic("full", now.traffic.champion)
        detail = {"decision": decision.to_json(), "reason": reason}
        record(workspace, act, STOPPED, serving, full, alone(serving.evidence), detail, retires=now.candidate)
        return stand(workspace, loaded, act, did=STOPPED, decision=decision)


def _running(now: Rolling | None) -> Rolling:
    if now is None or now.traffic.stage != "experiment":
        raise Refusal("no experiment is running", remedy="`charter rollout status` says what is tried.")
    return now
