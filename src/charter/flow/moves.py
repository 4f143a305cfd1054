"""What every move of a rollout leaves behind: a deployment and an entry at once, or an entry of its refusal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.decision import Decision
from charter.core.errors import DataError, PackageError, Refusal
from charter.core.text import one_line
from charter.flow.acting import Acting, Role, acting
from charter.flow.rolling import Rolling, rolling, traffic_of
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.io.records import Records
    from charter.registry.types import AuditEvent, Deployment

STARTED, MOVED, HELD = "rollout.started", "rollout.moved", "rollout.held"
FINISHED, WENT_BACK, KILLED = "rollout.finished", "rollout.went_back", "rollout.killed"
CHALLENGED = "rollout.challenged"
STOPPED, RESUMED, REFUSED = "model.stopped", "model.resumed", "rollout.refused"


_WAITS, _STOP_WAITS = 30, 2
"""Seconds for which a move waits for another; a stop does not wait for one that hangs."""


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a model stands after an action.

    Attributes
    ----------
    did
        What this action changed, as the audit trail calls it; empty where nothing.
    decision
        Where one was made: each guard with what was observed and required.
    """

    model: str
    traffic: Traffic
    since: str
    did: str = ""
    leg: str = ""
    decision: Decision | None = None
    incident: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "did": self.did,
            "stage": self.traffic.stage,
            "leg": self.leg,
            "champion": self.traffic.champion,
            "candidate": self.traffic.candidate,
            "since": self.since,
            "decision": self.decision.to_json() if self.decision is not None else None,
            "incident": self.incident,
            "traffic": self.traffic.to_json(),
        }


@contextmanager
def moving(
    workspace: Workspace,
    loaded: Loaded,
    subject: str,
    to: str,
    name: str | None,
    role: Role,
    *,
    action: str = REFUSED,
    stops: bool = False,
) -> Iterator[Acting]:
    """Make a move in the name of whoever may make it; what is refused stands in the audit trail.

    Parameters
    ----------
    subject, to, name, action
        As in `refusing`.
    role
        What it takes, by the records, which have proved themselves before.
    stops
        True asks the records for no proof: damage must not keep a model answering.

    Raises
    ------
    Refusal
        When the records are not what the audit trail tells, or whoever asks does not hold the role.
    """
    from charter.flow.release import trusted_keys

    def proven(records: Records) -> str | None:
        if not stops:
            trusted_keys(workspace, records)
        return role(records)

    with (
        refusing(workspace, loaded, subject, to, name, action=action),
        acting(
            workspace, loaded.spec.name, name, proven, to=to, wait_seconds=_STOP_WAITS if stops else _WAITS
        ) as act,
    ):
        yield act


@contextmanager
def refusing(
    workspace: Workspace, loaded: Loaded, subject: str, to: str, name: str | None, *, action: str = REFUSED
) -> Iterator[None]:
    """Leave an entry in the audit trail of what is refused; the same again, with nothing between, leaves no second one.

    Parameters
    ----------
    subject
        What it is about, such as ``v4``.
    to
        What somebody wanted to do.
    name
        Who; None is whoever is logged in.
    """
    from charter.govern.io.trail import Trail

    try:
        yield
    except (Refusal, PackageError) as refusal:
        actor = workspace.settings.actor  # a name that was claimed may be anybody's
        judged = refusal.decision if isinstance(refusal, Refusal) else None
        decision = judged.to_json() if judged is not None else None
        detail = {"model": loaded.spec.name, "to": to, "message": refusal.message, "decision": decision,
                  "claimed": name}  # fmt: skip

        def once(events: Sequence[AuditEvent]) -> tuple[str, Mapping[str, Any]] | None:
            mine = (e for e in reversed(events) if e.actor == actor)
            # One refusal may leave entries of two acts, a release and the rollout that it is part of.
            own = (e for e in mine if e.action == action or e.detail.get("message") != detail["message"])
            last = next(own, None)
            known = last is not None and (last.action, last.subject, last.detail) == (action, subject, detail)
            return None if known else (subject, detail)

        # Where the trail itself is damaged, nothing is added to it, and what was refused is said all the same.
        with suppress(Refusal, DataError), workspace.records(loaded.spec.name) as records:
            Trail(records, workspace.anchor_file).append_if(
                at=workspace.clock.now(), actor=actor, action=action, judge=once
            )
        raise


def record(
    workspace: Workspace,
    act: Acting,
    action: str,
    serving: Deployment,
    traffic: Traffic,
    proof: Mapping[str, str],
    detail: Mapping[str, Any],
    *,
    stages: int | None = None,
    retires: int | None = None,
) -> None:
    """Let the champion serve with this traffic, and tell of it, in one transaction."""
    from charter.registry.types import Deployment

    at = workspace.clock.now()
    told = {**detail, "role": act.role, "traffic": traffic.to_json()}
    if isinstance(reason := told.get("reason"), str):
        told["reason"] = one_line(reason, "the reason")
    plain = {} if traffic.stage == "full" else traffic.to_json()
    subject = traffic.candidate or (f"v{retires}" if retires is not None else traffic.champion)
    with act.trail.recording(at=at, actor=act.name, action=action, subject=subject, detail=told) as change:
        change.add_deployment(Deployment(serving.version, serving.package, act.name, at, proof, plain))
        change.update_version(serving.version, status="released")
        if stages is not None:
            change.update_version(stages, status="staging")
        if retires is not None:
            change.update_version(retires, status="retired")


def stand(
    workspace: Workspace,
    loaded: Loaded,
    act: Acting,
    *,
    did: str = "",
    decision: Decision | None = None,
    incident: str = "",
) -> Stand:
    """Say where the model stands after an action, and let servers know of it."""
    from charter.flow.serving import deployment_file

    serving = serving_now(loaded, act)
    if did:
        deployment_file(workspace, loaded)
    now = rolling(workspace, loaded, act.records)
    if now is None:
        return Stand(loaded.spec.name, full(serving), iso(serving.at), did, "", decision, incident)
    return Stand(loaded.spec.name, now.traffic, iso(serving.at), did, leg_name(now), decision)


def full(serving: Deployment) -> Traffic:
    """Who answers while nothing is tried."""
    return traffic_of(serving) or Traffic("full", f"v{serving.version}")


def leg_name(now: Rolling) -> str:
    """How the present leg is called."""
    return now.way[now.leg].name if now.leg is not None else now.traffic.stage


def serving_now(loaded: Loaded, act: Acting) -> Deployment:
    """What serves; refuses where nothing does."""
    serving = act.records.deployment()
    if serving is None:
        raise nothing(loaded)
    return serving


def refuse_late_clock(workspace: Workspace, serving: Deployment) -> None:
    """Refuse to begin or go on under a clock that is behind: requests of before would count as seen since."""
    now = workspace.clock.now()
    if now < serving.at:
        raise Refusal(
            f"the clock says {iso(now)}, before the last deployment, {iso(serving.at)}",
            remedy="Set the clock right, and take this step again. `charter kill` ends a rollout under any clock.",
        )


def nothing(loaded: Loaded) -> Refusal:
    """Say that nothing is released."""
    return Refusal(
        f"nothing of {loaded.spec.name} is released, so there is nothing to go over from",
        remedy="The first version is released by `charter apply`.",
    )


def tried_now(workspace: Workspace, loaded: Loaded) -> str:
    """Version that is tried by the last deployment, or the model's name."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        deployment = records.deployment()
    candidate = deployment.traffic.get("candidate") if deployment is not None else None
    return str(candidate or loaded.spec.name)
