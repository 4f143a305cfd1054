"""Commands for incidents: open, list, show, note, act, close, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, elsewhere, emit, say, table

if TYPE_CHECKING:
    from charter.govern.incident import Incident

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
NAME = typer.Argument(..., help="An incident, for example I3.")
BY = typer.Option(None, "--as", help="The identity that acts; by default whoever is logged in.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    incident = typer.Typer(
        help="What went wrong: opened, noted, acted on, closed with its cause.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    incident.command("open")(incident_open)
    incident.command("list")(incident_list)
    incident.command("show")(incident_show)
    incident.command("note")(incident_note)
    incident.command("act")(incident_act)
    incident.command("close")(incident_close)
    incident.command("report")(incident_report)
    app.add_typer(incident, name="incident")


def incident_open(
    title: str = typer.Argument(..., help="What went wrong, in a few words."),
    severity: str = typer.Option("high", "--severity", help="low, high or critical."),
    evidence: list[str] = typer.Option([], "--evidence", help="NAME=WHAT was observed; may be repeated."),
    owner: str | None = typer.Option(None, "--owner", help="Who sees to it; by default the model's team."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Open an incident by hand; the same title again while it is open gives the same incident."""
    from typing import cast

    from charter.core.errors import UsageError
    from charter.core.text import one_line
    from charter.flow.incident import open_incident
    from charter.flow.workspace import Workspace
    from charter.govern.incident import Severity

    observed = {}
    for text in evidence:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise UsageError(f"--evidence is {text!r}", remedy="Write for example --evidence 'errors=12 %'.")
        observed[one_line(name, "the name of evidence")] = one_line(
            value, f"the evidence {name.strip()[:80]!r}"
        )
    title, owner = one_line(title, "the title"), one_line(owner, "the owner") if owner is not None else None
    workspace = Workspace.at(spec)
    found = open_incident(
        workspace,
        workspace.load(),
        title=title,
        severity=cast(Severity, severity),  # checked there, with the nearest word
        source=f"by hand/{title}",
        evidence=observed,
        owner=owner,
    )
    _tell(found, as_json)


def incident_list(
    every: bool = typer.Option(False, "--all", help="Closed ones, too."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """List the open incidents; exit 1 while a critical one is open."""
    from charter.flow.incident import list_incidents
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = [i for i in list_incidents(workspace, workspace.load()) if every or i.is_open]
    if as_json:
        emit([i.to_json() for i in found])
    elif not found:
        say("No incident." if every else "No incident is open.")
    else:
        rows = [
            (i.name, i.severity, "open" if i.is_open else "closed", f"{i.opened_at:%Y-%m-%d %H:%M}", i.owner, i.title)
            for i in found
        ]  # fmt: skip
        table(rows)
    if any(i.is_open and i.severity == "critical" for i in found):
        raise typer.Exit(1)


def incident_show(name: str = NAME, spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Show an incident: what was observed, the steps of the playbook, and what happened since."""
    from charter.flow.incident import list_incidents
    from charter.flow.workspace import Workspace
    from charter.govern.incident import find

    workspace = Workspace.at(spec)
    _tell(find(list_incidents(workspace, workspace.load()), name), as_json)


def incident_note(
    name: str = NAME,
    text: str = typer.Argument("", help="What you saw."),
    owner: str | None = typer.Option(None, "--owner", help="Who sees to it from now on."),
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Keep what somebody saw, or hand the incident over."""
    from charter.flow.incident import remark
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    _tell(remark(workspace, workspace.load(), name, text, done=False, owner=owner, by=by), as_json)


def incident_act(
    name: str = NAME,
    text: str = typer.Argument("", help="What you did; of a step of the playbook it may be left out."),
    step: int | None = typer.Option(None, "--step", help="Number of the step that was carried out."),
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Keep what somebody did, in their own words or as a step of the playbook."""
    from charter.flow.incident import remark
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    _tell(remark(workspace, workspace.load(), name, text, done=True, step=step, by=by), as_json)


def incident_close(
    name: str = NAME,
    cause: str = typer.Option(..., "--cause", help="Why it happened."),
    impact: str = typer.Option("", "--impact", help="What it did to whom."),
    action: list[str] = typer.Option(
        [], "--action", help="What will be done so that it does not come again; may be repeated."
    ),
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Close an incident with its cause; takes the role of monitor.roles.incidents."""
    from charter.flow.incident import close
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = close(workspace, workspace.load(), name, cause=cause, impact=impact, actions=action, by=by)
    _tell(found, as_json)
    if not as_json:
        say(f"Post-mortem: `charter incident report {found.name}`.")


def incident_report(
    name: str = NAME,
    form: str = typer.Option("markdown", "--format", help="markdown, html or json."),
    to: Path | None = typer.Option(
        None, "--to", callback=elsewhere, help="File to write; default MODEL-NAME in the folder."
    ),
    spec: Path = SPEC,
) -> None:
    """Write the post-mortem: what happened, the timeline from the audit trail, impact, cause, actions."""
    from charter.flow.incident import write_report
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    say(str(write_report(workspace, workspace.load(), name, form=form, to=to)))


def _tell(found: Incident, as_json: bool) -> None:
    if as_json:
        emit(found.to_json())
        return
    status = "open" if found.closed is None else "closed"
    say(f"{found.name}  {found.title}  ({found.severity}, {status}, {found.owner})")
    facts = [("opened", f"{found.opened_at:%Y-%m-%d %H:%M} by {found.opened_by}, {found.source}")]
    facts += [(name, value) for name, value in found.evidence.items()]
    table(facts)
    for i, text in enumerate(found.playbook, 1):
        say(f"  [{'x' if i in found.steps_done else ' '}] {i}. {text}")
    table([(f"{r.at:%Y-%m-%d %H:%M}", r.actor, "did" if r.done else "saw", r.text) for r in found.remarks])
    if found.closed is not None:
        c = found.closed
        table([(f"{c.at:%Y-%m-%d %H:%M}", c.actor, "closed", c.cause)])
        for text in c.actions:
            say(f"    next: {text}")
