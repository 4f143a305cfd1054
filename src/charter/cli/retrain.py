"""Training anew on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.build import SPEC, WAIT, tell
from charter.cli.output import JSON, SYMBOLS, emit, say, show_decision, table
from charter.cli.progress import progress
from charter.core.decision import Verdict

if TYPE_CHECKING:
    from charter.core.decision import Decision
    from charter.flow.retrain import RetrainReport
    from charter.spec.loader import Loaded


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(retrain)


def retrain(
    spec: Path = SPEC,
    if_needed: bool = typer.Option(
        False, "--if-needed", help="Only where a trigger of the specification holds; for a schedule."
    ),
    reason: str | None = typer.Option(None, "--reason", help="Why you ask; kept in the audit trail."),
    identity: str | None = typer.Option(
        None, "--as", help="Your identity, where starting a rollout takes a role."
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="Judge the triggers and change nothing."),
    wait: float = WAIT,
    as_json: bool = JSON,
) -> None:
    """Train on the newest data, compare with what serves, and let the redeployment rules decide.

    Exit 0: nothing is needed, or what had to be done is done; 1: a person must decide, or the candidate is rejected.
    """
    from charter.flow.retrain import judge
    from charter.flow.retrain import retrain as carry_out
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    if dry_run:
        decision = judge(workspace, loaded)
        if as_json:
            emit(decision.to_json())
        else:
            _triggers(loaded, decision)
        return
    heard = (lambda _step, _seconds: None) if as_json else (lambda step, seconds: tell(step, seconds, loaded))
    found = carry_out(
        workspace,
        loaded,
        if_needed=if_needed,
        reason=reason,
        identity=identity,
        progress=progress(quiet=as_json),
        heard=heard,
        wait_seconds=wait,
    )
    if as_json:
        emit(found.to_json())
    else:
        _print(loaded, found)
    raise typer.Exit(0 if found.done else 1)


def _triggers(loaded: Loaded, decision: Decision) -> None:
    """Print every trigger and every restraint with what was observed."""
    from charter.flow.views import with_lines
    from charter.iterate.retraining import RESTRAINTS, held_back

    on = decision.evidence["triggers"]
    held = ", ".join(c.name for c in held_back(decision))
    if decision.allows:
        say(f"retrain: yes ({on})")
    elif held:
        say(f"retrain: no; {on} asks for it, {held} holds it back")
    else:
        say("retrain: no trigger holds")
    words = {Verdict.PASS: "on", Verdict.FAIL: "", Verdict.UNKNOWN: "?"}
    table(
        [
            (
                SYMBOLS[c.verdict] if c.name in RESTRAINTS else words.get(c.verdict, ""),
                c.name,
                c.observed,
                c.required,
                c.where,
                c.note,
            )
            for c in with_lines(decision, loaded.source).checks
        ],
        head=("", "", "observed", "required"),
    )


def _print(loaded: Loaded, found: RetrainReport) -> None:
    from charter.flow.views import with_lines

    if found.decision is not None:
        _triggers(loaded, found.decision)
    if found.run is None:
        return
    if found.resumed:
        say(f"run {found.run} was interrupted, and is gone on with")
    if found.redeployment is not None:
        say(f"{found.ending}: {found.candidate} in place of {found.champion}")
        show_decision(with_lines(found.redeployment, loaded.source), indent=2)
    beside = f", {found.candidate} is tried ({found.tried})" if found.tried else ""
    say(f"run {found.run}: {found.serving} serves{beside}. {found.next}".rstrip())
