"""Training anew: judge the triggers, make a candidate of the newest rows, and let the redeployment rules decide.

What serves is touched only after the rules have said that it may be, and then by the same steps as any release. A run
begins and ends with an entry of the audit trail. One that was killed has no second entry: the next call goes on with
it, and since every stage is kept by its inputs, comes to the same end.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import Refusal, UsageError
from charter.core.progress import NoProgress, Progress
from charter.core.text import one_line
from charter.flow.apply import Listener, Outcome, apply
from charter.flow.challenger import challenge
from charter.flow.compare import compare_versions
from charter.flow.lock import hold
from charter.flow.plan import Stage
from charter.flow.retrain_signals import has_trigger, signals
from charter.flow.rolling import traffic_of
from charter.flow.rollout import start
from charter.flow.workspace import Workspace
from charter.iterate.redeploy import Redeployment
from charter.iterate.retrain_runs import FINISHED, REVIEW, STARTED, Ending, Run
from charter.iterate.retraining import Signals, held_back, should_retrain
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.flow.plan import Plan


@dataclass(frozen=True, slots=True)
class RetrainReport:
    """What was decided, and what came of it.

    Attributes
    ----------
    decision
        Of the triggers and restraints; None where a killed run was gone on with.
    run
        Its number; None where nothing was trained.
    resumed
        Whether it goes on with a run that was killed.
    ending, candidate
        None where nothing was trained.
    redeployment
        The rules by which the candidate may replace the champion, with what was observed; None without a candidate.
    serving
        Version that serves afterwards.
    tried
        Stage of the rollout in which the candidate is; None where it is in none.
    next
        What a person does now, in words; empty where nothing is left to do.
    """

    model: str
    champion: str
    decision: Decision | None
    run: int | None = None
    resumed: bool = False
    ending: Ending | None = None
    candidate: str | None = None
    redeployment: Decision | None = None
    serving: str | None = None
    tried: str | None = None
    next: str = ""

    @property
    def done(self) -> bool:
        """Whether nothing is left to a person."""
        if self.run is None:
            return self.decision is None or all(c.name != "budget" for c in held_back(self.decision))
        return self.ending == "unchanged" or (self.ending == "automatic" and not self.next)

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "model": self.model,
            "champion": self.champion,
            "decision": self.decision.to_json() if self.decision is not None else None,
            "run": self.run,
            "resumed": self.resumed,
            "ending": self.ending,
            "candidate": self.candidate,
            "redeployment": self.redeployment.to_json() if self.redeployment is not None else None,
            "serving": self.serving,
            "tried": self.tried,
            "next": self.next,
        }


def judge(workspace: Workspace, loaded: Loaded) -> Decision:
    """Judge the triggers; changes nothing."""
    return should_retrain(signals(workspace, loaded), loaded.spec.retrain)


def retrain(
    workspace: Workspace,
    loaded: Loaded,
    *,
    if_needed: bool,
    reason: str | None = None,
    identity: str | None = None,
    progress: Progress | None = None,
    heard: Listener | None = None,
    wait_seconds: float = 0,
) -> RetrainReport:
    """Train anew where a trigger holds, or because a person asks, and let the redeployment rules decide.

    Parameters
    ----------
    if_needed
        Only where a trigger of the specification holds and no restraint does.
    reason
        Why a person asks; kept in the audit trail.
    identity
        Who starts the rollout, where ``release.rollout.roles.start`` names a role.

    Raises
    ------
    UsageError
        When nothing is released, or ``if_needed`` is asked of a specification without triggers.
    Busy
        When another run is under way.
    Refusal, UsageError
        When the data breaks its contract, leaks, or does not allow a model; or a package is damaged.
        The run is recorded as failed.
    """
    spec = loaded.spec
    if if_needed and not has_trigger(spec):
        raise UsageError(
            "the specification names no trigger of retraining",
            remedy="Declare one in `retrain`, such as `max_age: 180d`, or ask for one run: `charter retrain`.",
        )
    actor = workspace.settings.actor
    with hold(
        workspace.state / "retrain.lock",
        doing="charter retrain",
        actor=actor,
        clock=workspace.clock,
        wait_seconds=wait_seconds,
        can_wait=True,
    ):
        found = signals(workspace, loaded)
        left = found.runs[-1] if found.runs and found.runs[-1].ended_at is None else None
        decision = None
        if left is None:
            decision = should_retrain(found, spec.retrain, asked=not if_needed)
            if not decision.allows:
                return RetrainReport(spec.name, found.champion, decision, serving=found.champion)
        run = left or _begin(workspace, loaded, found, decision, reason)
        work = _Work(workspace, loaded, run, identity, progress or NoProgress(), heard, wait_seconds)
        return work.carry_out(found.champion, decision, resumed=left is not None)


def _begin(
    workspace: Workspace, loaded: Loaded, found: Signals, decision: Decision | None, reason: str | None
) -> Run:
    number = found.runs[-1].number + 1 if found.runs else 1
    assert decision is not None
    triggers = [name for name in decision.evidence["triggers"].split(", ") if name]
    detail = {"run": number, "champion": found.champion, "triggers": triggers,
              "reason": one_line(reason or "", "the reason"), "decision": decision.to_json()}  # fmt: skip
    _tell(workspace, loaded, STARTED, detail)
    return Run(number, found.now, workspace.settings.actor, found.champion, tuple(triggers), reason or "")


def _tell(workspace: Workspace, loaded: Loaded, action: str, detail: Mapping[str, Any]) -> None:
    from charter.govern.io.trail import Trail

    name = loaded.spec.name
    with workspace.records(name) as records:
        Trail(records, workspace.anchor_file).append(
            at=workspace.clock.now(),
            actor=workspace.settings.actor,
            action=action,
            subject=name,
            detail=detail,
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """A run that is under way."""

    workspace: Workspace
    loaded: Loaded
    run: Run
    identity: str | None
    progress: Progress
    heard: Listener | None
    wait_seconds: float

    def carry_out(self, champion: str, decision: Decision | None, *, resumed: bool) -> RetrainReport:
        try:
            made = self._apply(releases=False).plan
        except (Refusal, UsageError) as error:
            self._end("failed", champion, None, {"message": error.message})
            raise
        candidate = _candidate(made)
        if champion == candidate:  # where a killed run had come as far as releasing it
            champion = self.run.champion
        verdict: Decision | None = None
        ending: Ending = "unchanged"
        if candidate != champion:
            verdict = self._compare(champion, candidate)
            ending = Redeployment(verdict.evidence["outcome"]).value
        follow = {"automatic": self._automatic, "manual": self._manual}.get(ending)
        words = follow(made, verdict) if follow is not None and verdict is not None else ""
        detail = {
            **_digests(made),
            "redeployment": verdict.to_json() if verdict is not None else None,
            "next": words,
        }
        self._end(ending, champion, candidate, detail)
        with self.workspace.records(self.loaded.spec.name, readonly=True) as records:
            serves = records.deployment()
        traffic = traffic_of(serves)
        return RetrainReport(
            self.loaded.spec.name,
            champion,
            decision,
            self.run.number,
            resumed,
            ending,
            candidate,
            verdict,
            f"v{serves.version}" if serves is not None else None,
            traffic.stage if traffic is not None and traffic.candidate == candidate else None,
            words or _rest(ending, champion, candidate),
        )

    def _apply(self, *, releases: bool) -> Outcome:
        return apply(
            self.workspace,
            self.loaded,
            progress=self.progress,
            heard=self.heard,
            wait_seconds=self.wait_seconds,
            releases=releases,
        )

    def _compare(self, champion: str, candidate: str) -> Decision:
        """Judge by the redeployment rules; where the two cannot be compared, a person decides."""
        try:
            found = compare_versions(self.workspace, self.loaded, champion, candidate, progress=self.progress)
        except (Refusal, UsageError) as error:
            check = Check(
                "comparison", error.message, "both on the same rows", Verdict.UNKNOWN, note=error.remedy or ""
            )
            evidence = {"outcome": Redeployment.MANUAL.value, "champion": champion, "candidate": candidate}
            return Decision("redeployment", Verdict.UNKNOWN, (check,), evidence)
        return found.decision

    def _automatic(self, made: Plan, verdict: Decision) -> str:
        """Go on as any release does: signatures, verification, and the rollout where one is declared."""
        candidate, champion = verdict.evidence["candidate"], verdict.evidence["champion"]
        rollout = self.loaded.spec.release.rollout
        if not _approved(made):
            then = _by_person(self.loaded, candidate, approved=False)
            return f"{candidate} may replace {champion}, and waits for signatures: {then}."
        try:
            self._verify(candidate)
            stopped = self._apply(releases=True).stopped
            if stopped is not None:
                return f"{candidate} may replace {champion}, but {stopped.stage} stopped it: `charter plan` says why."
            if rollout is not None and _tried(self.workspace, self.loaded) != candidate:
                start(
                    self.workspace,
                    self.loaded,
                    candidate,
                    name=self.identity,
                    reason=f"run {self.run.number}",
                )
        except (Refusal, UsageError) as refusal:
            return (
                f"{candidate} may replace {champion}, but {refusal.message}. {refusal.remedy or ''}".strip()
            )
        return ""

    def _verify(self, candidate: str) -> None:
        """Verify the package where the specification releases nothing that is not; what fails is refused later."""
        required = self.loaded.spec.release.verify
        if required != "none":
            from charter.flow.verify import profile_of, verify

            verify(self.workspace, self.loaded, candidate, profile_of(required), progress=self.progress)

    def _manual(self, made: Plan, verdict: Decision) -> str:
        """Ask a person, once; meanwhile the candidate may challenge in shadow."""
        candidate, champion = verdict.evidence["candidate"], verdict.evidence["champion"]
        if not self.run.review:
            reasons = [f"{c.name}: {c.observed}, required {c.required}" for c in verdict.reasons]
            detail = {
                "run": self.run.number,
                "champion": champion,
                "candidate": candidate,
                "reasons": reasons,
            }
            _tell(self.workspace, self.loaded, REVIEW, detail)
        release, approved = self.loaded.spec.release, _approved(made)
        if release.rollout is not None and approved and self.loaded.spec.retrain.challenger == "shadow":
            self._challenge(candidate)
        then = _by_person(self.loaded, candidate, approved=approved)
        return f"A person decides: `charter compare {champion} {candidate}`, {then}, or leave it."

    def _challenge(self, candidate: str) -> None:
        if _tried(self.workspace, self.loaded) == candidate:
            return
        with suppress(
            Refusal, UsageError
        ):  # what stands against it is on record; the person is asked all the same
            self._verify(candidate)
            reason = f"run {self.run.number}"
            challenge(self.workspace, self.loaded, candidate, name=self.identity, reason=reason)

    def _end(self, ending: Ending, champion: str, candidate: str | None, detail: Mapping[str, Any]) -> None:
        told = {"run": self.run.number, "triggers": list(self.run.triggers), "ending": ending, "champion": champion,
                "candidate": candidate, **detail}  # fmt: skip
        _tell(self.workspace, self.loaded, FINISHED, told)


def _tried(workspace: Workspace, loaded: Loaded) -> str | None:
    """The version that is tried beside the champion, if any."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        traffic = traffic_of(records.deployment())
    return traffic.candidate if traffic is not None else None


def _approved(made: Plan) -> bool:
    decision = made.step(Stage.APPROVE).decision
    return decision is not None and decision.allows


def _by_person(loaded: Loaded, candidate: str, *, approved: bool) -> str:
    """Commands by which a person lets a version go on."""
    go = (
        f"`charter rollout start {candidate}`"
        if loaded.spec.release.rollout is not None
        else "`charter apply`"
    )
    return go if approved else f"sign (`charter show {candidate}` says who is missing), then {go}"


def _candidate(made: Plan) -> str:
    trained = made.step(Stage.TRAIN).result
    assert trained is not None
    return f"v{trained.summary['version']}"


def _digests(made: Plan) -> dict[str, Any]:
    """Outputs by which the run can be looked up and repeated, and the days that its dates stood for."""
    features = made.step(Stage.FEATURES).result
    window = features.summary.get("window") if features is not None else None
    return {
        "outputs": {s.stage.value: s.result.output for s in made.steps if s.result is not None},
        **({"window": window} if window is not None else {}),
    }


def _rest(ending: Ending, champion: str, candidate: str) -> str:
    if ending == "rejected":
        return f"{candidate} is rejected and {champion} goes on: `charter compare {champion} {candidate}`."
    if ending == "unchanged":
        return f"Training gave {champion} again: neither its rows nor its specification have changed."
    return ""
