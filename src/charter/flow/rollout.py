"""Rollouts: a version on its way to full traffic, each move a deployment and an entry of the audit trail at once.

Nothing is remembered but the last deployment. So a step that is killed is simply taken again: before its transaction
nothing has happened, and after it only the file for the server and the incident may be missing, which the next step
sees to first. A step that is taken twice changes nothing the second time.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.decision import Decision, Verdict
from charter.core.digest import Digest
from charter.core.errors import CharterError, Refusal, UsageError
from charter.flow.acting import Acting
from charter.flow.moves import (
    CHALLENGED,
    FINISHED,
    HELD,
    MOVED,
    REFUSED,
    STARTED,
    WENT_BACK,
    Stand,
    full,
    leg_name,
    moving,
    nothing,
    record,
    refuse_late_clock,
    serving_now,
    stand,
    tried_now,
)
from charter.flow.observe import evidence, judge_approvals, package_result
from charter.flow.rolling import (
    LEG,
    Rolling,
    alone,
    attempts,
    challenges,
    keep_spec,
    rolling,
    traffic_of,
    tried,
    trying,
)
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.iterate.rollout import Leg, Move
    from charter.registry.io.records import Records
    from charter.registry.types import AuditEvent, Deployment


def start(
    workspace: Workspace, loaded: Loaded, version: str, *, name: str | None = None, reason: str = ""
) -> Stand:
    """Begin the rollout that the specification declares, with its first leg.

    Parameters
    ----------
    version
        Approved, and another than the one that serves.
    name
        Identity of whoever starts it; asked for where ``release.rollout.roles.start`` names a role.

    Raises
    ------
    UsageError
        When the version does not exist, or the specification declares no rollout.
    Refusal
        When nothing serves, something is being tried already, the model is stopped, approvals are missing or have
        lapsed, a leg has no guard, or whoever asks does not hold the role. Each is an entry of the audit trail.
    """
    rollout = loaded.spec.release.rollout
    if rollout is None:
        raise UsageError(
            "the specification declares no rollout",
            remedy="Add release.rollout; see docs/rollout.md. Without one, `charter apply` releases what is approved.",
        )
    to = f"start the rollout of {version}"
    with moving(workspace, loaded, version, to, name, lambda _records: rollout.roles.start) as act:
        from charter.iterate.rollout import legs

        way = legs(loaded.spec.release)
        bare = next((leg.name for leg in way if not leg.guards), None)
        if bare is not None or not way:
            what = f"{bare} has no guard, so it would never be left" if bare else "the rollout has no stage"
            raise Refusal(what, remedy="Declare a guard in release.rollout.guards.")
        return begin(workspace, loaded, act, version, way[0], STARTED, reason, place="0")


def step(workspace: Workspace, loaded: Loaded, *, name: str | None = None, reason: str = "") -> Stand:
    """Judge the leg that a rollout is in and go on, hold, or go back. Taken twice it changes nothing the second time.

    Raises
    ------
    Refusal
        When it would go on and the approvals have lapsed meanwhile, or whoever asks does not hold the role.
    """
    subject, to = tried_now(workspace, loaded), "step the rollout"
    known = _judged(workspace, loaded)
    with moving(
        workspace, loaded, subject, to, name, lambda records: stepper(workspace, loaded, records)
    ) as act:
        now = rolling(workspace, loaded, act.records)
        if now is None or now.leg is None:
            return stand(workspace, loaded, act, incident=_catch_up(workspace, loaded, act))
        if known is not None and known[0] == now.deployment:
            move, decision = known[1]
        else:
            move, decision = judge_now(workspace, now)
        return _carry_out(workspace, loaded, act, now, move, decision, reason)


def status(workspace: Workspace, loaded: Loaded) -> Stand:
    """Say where a model stands, and how its rollout would be judged now; changes nothing.

    Raises
    ------
    Refusal
        When nothing is released.
    """
    with workspace.records(loaded.spec.name, readonly=True) as records:
        serving = records.deployment()
        if serving is None:
            raise nothing(loaded)
        now = rolling(workspace, loaded, records)
    if now is None:
        return Stand(loaded.spec.name, full(serving), iso(serving.at))
    decision = judge_now(workspace, now)[1] if now.leg is not None else None
    return Stand(loaded.spec.name, now.traffic, iso(now.deployment.at), "", leg_name(now), decision)


def begin(
    workspace: Workspace,
    loaded: Loaded,
    act: Acting,
    version: str,
    leg: Leg,
    action: str,
    reason: str,
    *,
    place: str,
) -> Stand:
    """Try a version beside the one that serves, from this leg on.

    Raises
    ------
    Refusal
        When something stands against it.
    """
    from charter.flow.release import lay_out, package_folder, trusted_keys
    from charter.flow.serving import deployment_file
    from charter.iterate.rollout import traffic_of as dealt
    from charter.registry.io.packages import verify

    model, records = loaded.spec.name, act.records
    serving = serving_now(loaded, act)
    refuse_late_clock(workspace, serving)
    found = records.version(version_number(version))
    before, champion = traffic_of(serving) or Traffic("full", f"v{serving.version}"), f"v{serving.version}"
    if before.stage != "full" and challenges(serving) != found.name:
        deployment_file(workspace, loaded)  # whoever was killed may not have come as far
        what = (
            "the model is stopped"
            if before.candidate is None
            else f"{before.candidate} is being tried already"
        )
        raise Refusal(
            what, remedy="`charter rollout status`; end it: `charter kill`, or `charter rollout resume`."
        )
    if found.number == serving.version:
        raise Refusal(f"{found.name} serves already", remedy="`charter history` lists the versions.")
    if found.package is None or found.status == "refused":
        raise Refusal(
            f"{found.name} has not passed its gate", remedy=f"`charter show {found.name}` says why."
        )
    signed = _refuse_unfit(workspace, loaded, records, found.number, found.package)
    built = package_result(records, found.package)
    assert built is not None
    folder = package_folder(workspace, model, found.package)
    lay_out(workspace.blobs(), found.package, Digest(built.summary["signature"]), folder)
    verify(folder, trusted_keys(workspace, records))
    _refuse_undealt(loaded, package_folder(workspace, model, serving.package))
    # A name is the salt of a trial and the key of its results: an experiment and a rollout share none.
    begun = (STARTED, CHALLENGED, "experiment.started")
    times = sum(e.action in begun and e.subject == found.name for e in records.events())
    name = f"{model[:48]}-{found.name}" + (f"-{times + 1}" if times else "")
    traffic = dealt(
        leg, loaded.spec.release, champion=champion, candidate=found.name, name=name, before=before
    )
    proof = trying(
        serving.evidence, evidence(loaded.spec, records, found.package), keep_spec(workspace, loaded), place
    )
    detail = {"reason": reason, "leg": leg.name, "signed": signed}
    record(workspace, act, action, serving, traffic, proof, detail, stages=found.number)
    return stand(workspace, loaded, act, did=action)


def _refuse_undealt(loaded: Loaded, champion: Path) -> None:
    """Refuse a unit or a stratum that is no field of requests, or has no one way to be written."""
    from charter.serve.bundle import read_bundle
    from charter.spec.vocabulary import UNIT_TYPES

    release = loaded.spec.release
    asked = {i.name: i.type for i in read_bundle(champion).signature.inputs}
    wanted = [release.rollout.unit if release.rollout is not None else None]
    if release.experiment is not None and (release.rollout is None or release.rollout.experiment is not None):
        wanted += [release.experiment.unit, release.experiment.stratum if release.experiment.strata else None]
    for name in (n for n in wanted if n is not None):
        if asked.get(name) not in UNIT_TYPES:
            kind = f"is of type {asked[name]}" if name in asked else "is no field of requests"
            raise Refusal(
                f"{name} {kind}, so no unit can be dealt out by it",
                remedy=f"Name one of {', '.join(n for n, t in asked.items() if t in UNIT_TYPES)}.",
            )


def judge_now(workspace: Workspace, now: Rolling) -> tuple[Move, Decision]:
    """Judge the leg that a rollout is in by what is logged and known now."""
    from charter.flow.arms import signals
    from charter.iterate.rollout import judge

    spec, rollout = now.loaded.spec, now.loaded.spec.release.rollout
    assert now.leg is not None
    assert rollout is not None
    leg = now.way[now.leg]
    since = now.deployment.at
    trial = None
    if leg.stage == "experiment":
        from charter.flow.trial import read

        _, trial = read(workspace, now)
    with workspace.records(spec.name, readonly=True) as records:
        attempt = attempts(records, spec.name, f"v{now.candidate}")
    return judge(
        leg,
        signals(workspace, spec, now.traffic, since),
        elapsed=workspace.clock.now() - since,
        confidence=rollout.confidence,
        by_unit=now.traffic.unit is not None,
        experiment=trial,
        attempt=max(attempt, 1),
    )


def _judged(workspace: Workspace, loaded: Loaded) -> tuple[Deployment, tuple[Move, Decision]] | None:
    """Judge before anything is held: a stop does not wait until a long log is read. None where nothing is judged."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        try:
            now = rolling(workspace, loaded, records)
            known = now is not None and now.leg is not None
            return (now.deployment, judge_now(workspace, now)) if now is not None and known else None
        except (CharterError, ValueError):  # what is damaged is said where it stands in the audit trail
            return None


def _carry_out(
    workspace: Workspace,
    loaded: Loaded,
    act: Acting,
    now: Rolling,
    move: Move,
    decision: Decision,
    reason: str,
) -> Stand:
    from charter.iterate.rollout import Move
    from charter.iterate.rollout import traffic_of as dealt

    assert now.leg is not None
    way, serving, candidate = now.way, now.deployment, now.candidate
    told = {"decision": decision.to_json(), "leg": way[now.leg].name, "reason": reason}
    if move is Move.GO_BACK:
        full = Traffic("full", now.traffic.champion)
        record(workspace, act, WENT_BACK, serving, full, alone(serving.evidence), told, retires=candidate)
        incident = _catch_up(workspace, loaded, act)
        return stand(workspace, loaded, act, did=WENT_BACK, decision=decision, incident=incident)
    if move is Move.HOLD:
        did = _hold(workspace, act, now, told)
        _catch_up(workspace, loaded, act)
        return stand(workspace, loaded, act, did=did, decision=decision)
    told["signed"] = _refuse_unfit(workspace, now.loaded, act.records, candidate, now.package)
    proof, place = dict(serving.evidence), now.leg + 1
    if place < len(way):
        traffic = dealt(
            way[place],
            now.loaded.spec.release,
            champion=now.traffic.champion,
            candidate=f"v{candidate}",
            name=now.traffic.name,
            before=now.traffic,
        )
        told["to"] = way[place].name
        record(workspace, act, MOVED, serving, traffic, {**proof, LEG: str(place)}, told)
        return stand(workspace, loaded, act, did=MOVED, decision=decision)
    told["to"] = "full"
    _finish(workspace, act, now, told)
    return stand(workspace, loaded, act, did=FINISHED, decision=decision)


def _finish(workspace: Workspace, act: Acting, now: Rolling, detail: Mapping[str, Any]) -> None:
    from charter.registry.types import Deployment

    at, left = workspace.clock.now(), now.deployment.version
    proof = tried(now.deployment.evidence)
    told = {**detail, "role": act.role, "left": f"v{left}"}
    subject = f"v{now.candidate}"
    with act.trail.recording(at=at, actor=act.name, action=FINISHED, subject=subject, detail=told) as change:
        change.add_deployment(Deployment(now.candidate, now.package, act.name, at, proof))
        change.update_version(now.candidate, status="released")
        change.update_version(left, status="retired")


def _hold(workspace: Workspace, act: Acting, now: Rolling, told: Mapping[str, Any]) -> str:
    """Tell why it holds, once for each set of reasons."""

    def reasons(decision: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [(c["name"], c["verdict"]) for c in decision["checks"]]

    candidate = now.traffic.candidate
    mine = [e for e in act.records.events() if e.subject == candidate and e.action.startswith("rollout.")]
    last = next((e for e in reversed(mine) if e.action != REFUSED), None)
    if (
        last is not None
        and last.action == HELD
        and reasons(last.detail["decision"]) == reasons(told["decision"])
    ):
        return ""
    act.trail.append(
        at=workspace.clock.now(), actor=act.name, action=HELD, subject=candidate or "", detail=told
    )
    return HELD


def _catch_up(workspace: Workspace, loaded: Loaded, act: Acting) -> str:
    """See to what a step that was killed has left undone: the server's file, and the incident of a way back."""
    from charter.flow.serving import deployment_file
    from charter.govern.attest import told

    if act.records.deployment() is None:
        return ""
    deployment_file(workspace, loaded)
    mine = (e for e in reversed(act.records.events()) if any(
        row.get("model") == loaded.spec.name for row in told([e], "deployments")))  # fmt: skip
    last = next(mine, None)
    return _incident(workspace, loaded, last) if last is not None and last.action == WENT_BACK else ""


def _incident(workspace: Workspace, loaded: Loaded, event: AuditEvent) -> str:
    """Open the incident of a way back, once."""
    from charter.flow.incident import list_incidents, open_incident

    source = f"rollout/{event.subject}/{event.sequence}"
    known = next((i for i in list_incidents(workspace, loaded) if i.source == source), None)
    if known is not None:
        return known.name
    decision = Decision.from_json(event.detail["decision"])
    broken = [c for c in decision.checks if c.verdict is Verdict.FAIL]
    return open_incident(
        workspace,
        loaded,
        title=f"Rollout of {event.subject} went back: {', '.join(c.name for c in broken)}",
        severity="high",
        source=source,
        evidence={c.name: f"{c.observed}, required {c.required}" for c in broken},
    ).name


def _refuse_unfit(
    workspace: Workspace, loaded: Loaded, records: Records, version: int, package: Digest
) -> list[str]:
    """Refuse a version that may not be tried, or not any more; return by whom it is signed."""
    from charter.flow.retrain_review import refuse_rejected
    from charter.flow.verify import refuse_unverified

    approvals = judge_approvals(workspace, loaded, records, package)
    if not approvals.allows:
        raise Refusal(
            f"v{version} is not approved",
            decision=approvals,
            remedy=f"See `charter show v{version}`, and sign; a rollout under way ends by `charter kill`.",
        )
    refuse_unverified(workspace, loaded, records, package)
    refuse_rejected(records, loaded.spec.name, version)
    return [f"{c.name}: {c.observed}" for c in approvals.checks]


def stepper(workspace: Workspace, loaded: Loaded, records: Records) -> str | None:
    """Role that it takes, by the specification under which the rollout began."""
    now = rolling(workspace, loaded, records)
    rollout = now.loaded.spec.release.rollout if now is not None else None
    return rollout.roles.step if rollout is not None else None
