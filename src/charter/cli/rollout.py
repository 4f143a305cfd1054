"""Commands that move a version to full traffic, and back: rollout, kill; and the pass that does it by the clock."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import typer

from charter.cli.output import JSON, emit, say, show_decision, table
from charter.core.decision import Decision
from charter.core.errors import UsageError

if TYPE_CHECKING:
    from charter.flow.moves import Stand
    from charter.flow.replay import Past

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
NAME = typer.Option(None, "--as", help="The identity that acts, where the specification asks for a role.")
REASON = typer.Option("", "--reason", help="Why; kept in the audit trail.")
_DID = {
    "rollout.started": "began",
    "rollout.moved": "went on",
    "rollout.finished": "is finished",
    "rollout.went_back": "went back",
    "rollout.held": "holds",
    "rollout.killed": "was ended",
    "model.stopped": "was stopped",
    "model.resumed": "answers again",
    "experiment.started": "began",
    "experiment.stopped": "was ended",
}


def register(app: typer.Typer) -> None:
    """Add the commands."""
    rollout = typer.Typer(
        help="Bring a version to full traffic by the stages of the specification.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    rollout.command("start")(start)
    rollout.command("step")(step)
    rollout.command("status")(status)
    rollout.command("resume")(resume)
    app.add_typer(rollout, name="rollout")
    app.command()(kill)
    app.command()(schedule)


def start(
    version: str = typer.Argument(..., help="An approved version, for example v4."),
    name: str | None = NAME,
    reason: str = REASON,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Begin the rollout of a version, with the first stage that release.rollout declares."""
    from charter.flow.rollout import start as begin
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    show(begin(workspace, workspace.load(), version, name=name, reason=reason), as_json=as_json)


def step(name: str | None = NAME, reason: str = REASON, spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Judge the stage that a rollout is in: go on, hold (exit 0 all the same), or go back to the champion (exit 1)."""
    from charter.flow.moves import WENT_BACK
    from charter.flow.rollout import step as judge
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = judge(workspace, workspace.load(), name=name, reason=reason)
    show(found, as_json=as_json)
    if found.did == WENT_BACK:
        raise typer.Exit(1)


def status(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Say what is tried, since when, and how each guard stands; changes nothing."""
    from charter.flow.rollout import status as look
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    show(look(workspace, workspace.load()), as_json=as_json)


def resume(name: str | None = NAME, reason: str = REASON, spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Let a model that `charter kill --all` has stopped answer again."""
    from charter.flow.kill import resume as go_on
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    show(go_on(workspace, workspace.load(), name=name, reason=reason), as_json=as_json)


def kill(
    everything: bool = typer.Option(
        False, "--all", help="The champion, too: the fallback answers everything, or 503 where there is none."
    ),
    name: str | None = NAME,
    reason: str = REASON,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """End a rollout or an experiment at once: all requests go to the champion, in a second."""
    from charter.flow.kill import kill as end
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    show(end(workspace, workspace.load(), everything=everything, name=name, reason=reason), as_json=as_json)


def schedule(
    every: str = typer.Option("5m", "--every", help="Time between two passes."),
    once: bool = typer.Option(False, "--once", help="One pass, for cron or systemd."),
    print_: Literal["systemd", "cron"] | None = typer.Option(
        None, "--print", help="Print the lines that make cron or systemd do it, and do nothing."
    ),
    name: str | None = NAME,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Watch the model, step its rollout and train it anew where that is due: every so often, until Ctrl-C."""
    from charter.core.quantity import parse_duration
    from charter.flow.schedule import cron_line, run_pass, unit_files
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    try:
        seconds = parse_duration(every).total_seconds()
    except ValueError as error:
        raise UsageError(f"--every: {error}") from error
    if seconds < 1:
        raise UsageError(f"--every is {every}", remedy="Passes are at least a second apart.")
    if print_ is not None:
        program = shutil.which("charter") or "charter"
        written = unit_files if print_ == "systemd" else cron_line
        say(written(workspace.root, program, int(seconds), name))
        return
    while True:
        tasks = run_pass(workspace, name=name)
        if as_json:
            emit([t.to_json() for t in tasks])
        else:
            table([(workspace.clock.now().strftime("%H:%M:%S"), t.name, t.said) for t in tasks])
        if once:
            raise typer.Exit(1 if any(t.failed for t in tasks) else 0)
        time.sleep(seconds)


def show(found: Stand, *, as_json: bool) -> None:
    """Print where a model stands."""
    if as_json:
        emit(found.to_json())
        return
    traffic, since = found.traffic, found.since[:19].replace("T", " ")
    what = "" if found.did not in _DID else f": it {_DID[found.did]}"
    if found.did and found.did.startswith("rollout."):
        what = f": the rollout {_DID[found.did]}"
    say(f"{found.model}{what}")
    match traffic.stage:
        case "full":
            say(f"  {traffic.champion} answers everything since {since}")
        case "stopped":
            say(f"  stopped since {since}: the fallback answers, or nobody. `charter rollout resume` ends it")
        case "shadow":
            say(
                f"  {traffic.champion} answers; {traffic.candidate} scores the same requests unseen since {since}"
            )
        case _:
            arms = traffic.assignment.arms.shares if traffic.assignment is not None else {}
            shares = ", ".join(f"{traffic.arms[a]} {share:.4g}" for a, share in arms.items())
            say(f"  {found.leg}: {shares} of {traffic.unit or 'requests'} since {since}")
    if found.decision is not None:
        show_decision(found.decision, indent=2)
    if found.incident:
        say(f"  incident {found.incident} is open: `charter incident show {found.incident}`")


def show_past(found: Past, *, as_json: bool) -> None:
    """Print who answered at a moment."""
    if as_json:
        emit(found.to_json())
        return
    traffic = found.traffic
    tried = f", {traffic.candidate} is tried ({traffic.stage})" if traffic.candidate is not None else ""
    stopped = "was stopped" if traffic.stage == "stopped" else f"package {found.package[:8]} serves"
    say(f"{found.model} at {found.at[:19]}Z: {traffic.champion} {stopped}{tried}")
    say(f"  since {found.since[:19]}Z by entry {found.sequence}: {found.action} of {found.actor}")
    if traffic.assignment is not None:
        shares = ", ".join(f"{arm} {share:.4g}" for arm, share in traffic.assignment.arms.shares.items())
        say(f"  shares of {traffic.unit or 'requests'}: {shares}")
    if found.reason:
        say(f"  reason: {found.reason}")
    if found.decision is not None:
        show_decision(Decision.from_json(found.decision), indent=2)
