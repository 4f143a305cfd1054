"""Commands by which persons decide: identity, approve, reject, audit."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import typer

from charter.cli.output import JSON, emit, say, show_decision, table

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
VERSION = typer.Argument(..., help="A version, for example v3.")
STAGE = typer.Option(..., "--stage", help="A stage of the specification's approval policy.")
NAME = typer.Option(..., "--as", help="The identity that signs.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(approve)
    app.command()(reject)
    identity = typer.Typer(help="Who may sign: keys and roles.", no_args_is_help=True, rich_markup_mode=None)
    identity.command("create")(identity_create)
    identity.command("grant")(identity_grant)
    identity.command("list")(identity_list)
    app.add_typer(identity, name="identity")
    audit = typer.Typer(help="The audit trail.", no_args_is_help=True, rich_markup_mode=None)
    audit.command("verify")(audit_verify)
    audit.command("list")(audit_list)
    audit.command("export")(audit_export)
    audit.command("adopt")(audit_adopt)
    app.add_typer(audit, name="audit")


def approve(
    version: str = VERSION,
    stage: str = STAGE,
    name: str = NAME,
    reason: str = typer.Option("", "--reason", help="Why; kept with the signature."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Sign a version's evidence for one stage. Lapses by itself when the evidence changes."""
    _sign(version, stage, name, "approve", reason, spec, as_json)


def reject(
    version: str = VERSION,
    stage: str = STAGE,
    name: str = NAME,
    reason: str = typer.Option(..., "--reason", help="Why; kept with the signature."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Refuse a version at one stage, with a reason."""
    _sign(version, stage, name, "reject", reason, spec, as_json)


def _sign(
    version: str,
    stage: str,
    name: str,
    verdict: Literal["approve", "reject"],
    reason: str,
    spec: Path,
    as_json: bool,
) -> None:
    from charter.flow.approvals import sign
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    decision = sign(workspace, workspace.load(), version, stage, name, verdict, reason)
    if as_json:
        emit(decision.to_json())
        return
    say(f"{name} signed: {verdict} {version} at stage {stage}.")
    show_decision(decision, indent=2)
    if decision.allows:
        say("Every signature is there. `charter apply` releases it.")


def identity_create(
    name: str = typer.Argument(..., help="Lower-case words and hyphens, for example mary-jones."),
    role: list[str] = typer.Option([], "--role", help="A role of the approval policy; may be repeated."),
    by: str | None = typer.Option(None, "--by", help="The administrator who grants the roles."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Make a key pair on this machine and register its public half; the first identity becomes administrator."""
    from charter.flow.approvals import create_identity
    from charter.flow.workspace import Workspace

    created = create_identity(Workspace.at(spec), name, roles=tuple(role), by=by)
    if as_json:
        emit(created)
        return
    already = (
        ", which this machine had already: whoever uses it signs here, too"
        if created["key"] == "taken"
        else ""
    )
    say(f"{name}: key in {created['key_file']}{already}")
    say(f"  roles: {', '.join(created['roles']) or 'none yet'}")


def identity_grant(
    name: str = typer.Argument(..., help="An identity."),
    role: str = typer.Argument(..., help="A role, for example risk-officer."),
    by: str = typer.Option(..., "--by", help="The administrator who grants it."),
    revoke: bool = typer.Option(False, "--revoke", help="Take the role away instead."),
    spec: Path = SPEC,
) -> None:
    """Give an identity a role, signed by an administrator."""
    from charter.flow.approvals import grant
    from charter.flow.workspace import Workspace

    grant(Workspace.at(spec), name, role, by=by, revoke=revoke)
    say(f"{name} {'no longer has' if revoke else 'has'} the role {role}.")


def identity_list(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """List identities and their roles."""
    from charter.flow.approvals import list_identities
    from charter.flow.workspace import Workspace

    found = list_identities(Workspace.at(spec))
    if as_json:
        emit(found)
        return
    if not found:
        say("No identity yet. Make one: `charter identity create NAME --role tech-lead`.")
        return
    table(
        [(i["name"], ", ".join(i["roles"]), i["public_key"][:16]) for i in found],
        head=("name", "roles", "key"),
    )


def audit_verify(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Check the chain: names every entry that was altered, removed, inserted or moved (exit 1)."""
    from charter.flow.audit import verify
    from charter.flow.workspace import Workspace

    report = verify(Workspace.at(spec))
    if as_json:
        emit(report.to_json())
    else:
        for line in report.lines():
            say(line)
    if not report.sound:
        raise typer.Exit(1)


def audit_list(
    spec: Path = SPEC,
    last: int = typer.Option(20, "--last", min=1, help="How many entries."),
    as_json: bool = JSON,
) -> None:
    """List who did what, when, on what."""
    from charter.flow.audit import entries
    from charter.flow.workspace import Workspace

    found = entries(Workspace.at(spec))[-last:]
    if as_json:
        emit(found)
        return
    table([(str(e["sequence"]), e["at"][:19], e["actor"], e["action"], e["subject"]) for e in found])


def audit_export(
    target: Path = typer.Argument(..., help="File to write, one JSON document a line."), spec: Path = SPEC
) -> None:
    """Write the whole trail as JSON lines."""
    from charter.flow.audit import export
    from charter.flow.workspace import Workspace

    count = export(Workspace.at(spec), target)
    say(f"{target}: {count} entries")


def audit_adopt(spec: Path = SPEC) -> None:
    """Trust the records as they are: for a workspace that joins shared records, or whose anchor file was lost."""
    from charter.flow.audit import adopt
    from charter.flow.workspace import Workspace

    anchor = adopt(Workspace.at(spec))
    say(f"The trail is anchored at entry {anchor}.")
