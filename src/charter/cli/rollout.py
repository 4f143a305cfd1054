"""Commands that move a version to full traffic, and back: rollout, kill."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, emit, say, show_decision

if TYPE_CHECKING:
    from charter.flow.moves import Stand

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
