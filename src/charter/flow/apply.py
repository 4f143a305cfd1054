"""Apply: carry out the plan, one step at a time, and stop where a person or a requirement says no.

After each step the plan is built anew from what is recorded, so that `plan` and `apply` cannot disagree, and a crash
leaves a state from which the next `apply` goes on: a result is recorded only when everything it names is on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass

from charter.core.errors import DataError
from charter.core.progress import NoProgress, Progress
from charter.core.spread import HERE, Spread
from charter.core.text import one_line
from charter.flow import release, succession
from charter.flow.context import Context, Done, Output
from charter.flow.lock import hold
from charter.flow.observe import current_plan, fingerprint_sources, remember_spec
from charter.flow.plan import JUDGED, STAGING, Action, Plan, Stage, Step
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

_ABANDONED = 3600
"""Seconds after which a half-written file of the workspace is nobody's."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How far it went.

    Attributes
    ----------
    stopped
        The step whose judgement stopped it; None when what serves is what the specification says.
    """

    plan: Plan
    ran: tuple[Stage, ...]

    @property
    def stopped(self) -> Step | None:
        """The refused step, if any."""
        return self.plan.refused


Listener = Callable[[Step, float], None]
"""Hears each finished step with the seconds it took."""


def apply(
    workspace: Workspace,
    loaded: Loaded,
    *,
    progress: Progress | None = None,
    heard: Listener | None = None,
    wait_seconds: float = 0,
    releases: bool = True,
    reason: str = "",
    spread: Spread = HERE,
) -> Outcome:
    """Make reality match the specification, as far as its own requirements and the approvers allow.

    Parameters
    ----------
    releases
        False leaves what serves as it is.
    reason
        Why a version may follow that the redeployment rules leave to a person; it stands in the audit trail.
    spread
        Who computes what can be computed apart; the results are the same.

    Raises
    ------
    Busy
        When another process changes the workspace and does not end within ``wait_seconds``.
    Refusal
        When the data breaks its contract or leaks; nothing is recorded for that stage.
    """
    actor = workspace.settings.actor
    with (
        hold(
            workspace.lock_file,
            doing="charter apply",
            actor=actor,
            clock=workspace.clock,
            wait_seconds=wait_seconds,
            can_wait=True,
        ),
        workspace.records(loaded.spec.name) as records,
    ):
        said = one_line(reason, "a reason")
        ctx = Context(
            workspace,
            loaded,
            records,
            workspace.blobs(),
            progress or NoProgress(),
            actor,
            reason=said,
            spread=spread,
        )
        with _moving(ctx):  # moves write blobs and entries, too
            _tidy(ctx)
        remember_spec(ctx)
        return _run(ctx, heard or (lambda _step, _seconds: None), releases=releases)


def _moving(ctx: Context) -> AbstractContextManager[None]:
    """Keep versions where they are, for a moment: see `charter.flow.acting`."""
    return hold(
        ctx.workspace.moves_lock,
        doing="charter apply",
        actor=ctx.actor,
        clock=ctx.workspace.clock,
        wait_seconds=600,
    )


def _tidy(ctx: Context) -> None:
    """Remove what an apply that was killed left unfinished; both locks of the workspace are ours."""
    if ctx.workspace.settings.blobs_url is None:  # a store that others write to as well is not ours to tidy
        ctx.blobs.tidy()
    anchor = f".{ctx.workspace.anchor_file.name}."
    for left in ctx.workspace.state.glob(".*"):
        with suppress(FileNotFoundError):  # whoever was writing it has finished meanwhile
            # The anchor is written under the lock; other files may just now be written by a process without it.
            old = left.stat().st_mtime < time.time() - _ABANDONED
            if left.is_file() and (old or left.name.startswith(anchor)):
                left.unlink()


def _run(ctx: Context, heard: Listener, *, releases: bool) -> Outcome:
    ran: list[Stage] = []
    told: set[Stage] = set()
    fingerprints = fingerprint_sources(ctx.workspace, ctx.loaded)
    while True:
        plan = _plan(ctx, fingerprints)
        release.follow(ctx, plan)
        for step in plan.steps:
            if step.action in (Action.KEEP, Action.REFUSED) and step.stage not in told:
                told.add(step.stage)
                heard(step, 0.0)
        due = plan.next
        if due is None or (due.stage is Stage.RELEASE and not releases):
            _touch(ctx, plan)
            return Outcome(plan, tuple(ran))
        if due.stage is Stage.RELEASE and due.inputs.get(JUDGED) == "not yet":
            _judge(ctx, plan)
            continue
        if due.stage is Stage.RELEASE:
            with _moving(ctx):
                now = _plan(ctx, fingerprints)
                if now.next != due:  # somebody moved a version while this plan was made
                    continue
                seconds = _carry_out(ctx, now, due)
        else:
            seconds = _carry_out(ctx, plan, due)
        ran.append(due.stage)
        told.add(due.stage)
        heard(_plan(ctx, fingerprints).step(due.stage), seconds)


def _plan(ctx: Context, fingerprints: Mapping[str, str]) -> Plan:
    return current_plan(ctx.workspace, ctx.loaded, ctx.records, fingerprints, ctx.reason)


def _judge(ctx: Context, plan: Plan) -> None:
    """Ask the redeployment rules of what would be released in place of another version."""
    serving, done = ctx.records.deployment(), Done.of(plan)
    assert serving is not None
    candidate = f"v{done.summary(Stage.PACKAGE)['version']}"
    succession.judge(ctx, f"v{serving.version}", candidate, done.output(Stage.PACKAGE))


def _carry_out(ctx: Context, plan: Plan, step: Step) -> float:
    from charter.flow.serving import deployment_file
    from charter.flow.stages import STAGES

    started = time.monotonic()
    if step.stage is Stage.RELEASE and STAGING in step.inputs:
        release.stage(ctx, Done.of(plan), step.inputs.get(JUDGED, ""))
        return time.monotonic() - started
    if step.stage is Stage.RELEASE:
        release.release(ctx, Done.of(plan), step.inputs.get(JUDGED, ""))
        deployment_file(ctx.workspace, ctx.loaded)  # a server that runs follows it
        return time.monotonic() - started
    output = STAGES[step.stage](ctx, Done.of(plan))
    if step.stage is Stage.SNAPSHOT:
        _refuse_moved(ctx, step)
    seconds = time.monotonic() - started
    _record(ctx, step, output, seconds)
    return seconds


def _refuse_moved(ctx: Context, step: Step) -> None:
    """Refuse rows that changed between looking and reading: they would be recorded under the wrong key."""
    for name, now in fingerprint_sources(ctx.workspace, ctx.loaded).items():
        if step.inputs[f"source {name}"] != now:
            raise DataError(f"the data of source {name} changed while it was read", remedy="Apply again.")


def _record(ctx: Context, step: Step, output: Output, seconds: float) -> None:
    from charter.govern.io.trail import Trail
    from charter.registry.types import StageResult

    assert step.key is not None
    now = ctx.workspace.clock.now()
    with Trail(ctx.records, ctx.workspace.anchor_file).recording(
        at=now,
        actor=ctx.actor,
        action=f"{step.stage}.done",
        subject=f"{ctx.spec.name} {output.digest[:8]}",
        detail={"key": step.key, "output": output.digest},
    ) as change:
        change.save_result(
            StageResult(
                stage=step.stage.value,
                key=step.key,
                output=output.digest,
                summary=dict(output.kept(change).summary),
                seconds=round(seconds, 3),
                actor=ctx.actor,
                finished_at=now,
                inputs=dict(step.inputs),
            )
        )


def _touch(ctx: Context, plan: Plan) -> None:
    for step in plan.steps:
        if step.result is not None and step.key is not None:
            ctx.records.touch(step.stage.value, step.key)
