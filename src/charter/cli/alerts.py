"""Commands for alerts that were found: list, acknowledge, silence, resolve."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, emit, say, table

if TYPE_CHECKING:
    from charter.monitor.lifecycle import Standing

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
NAME = typer.Argument(..., help="An alert by its name.")
VERSION = typer.Option(None, "--version", help="Only of this version.")
BY = typer.Option(None, "--as", help="The identity that acts; by default whoever is logged in.")
REASON = typer.Option("", "--reason", help="Why; kept in the audit trail.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    alerts = typer.Typer(
        help="What the monitor found: seen, silent for a while, resolved.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    alerts.command("list")(alerts_list)
    alerts.command("acknowledge")(alerts_acknowledge)
    alerts.command("silence")(alerts_silence)
    alerts.command("resolve")(alerts_resolve)
    app.add_typer(alerts, name="alerts")


def alerts_list(
    every: bool = typer.Option(False, "--all", help="Those that are off, too."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """List alerts that are on; exit 1 while a critical one is, or while the monitor has stopped."""
    from charter.core.quantity import span
    from charter.flow.alerts import list_alerts
    from charter.flow.workspace import Workspace
    from charter.monitor.io.alerts import place

    workspace = Workspace.at(spec)
    found = list_alerts(workspace, workspace.load())
    shown = [s for s in found.standings if every or s.alert.firing]
    if as_json:
        emit(
            {
                "alerts": [s.to_json() for s in shown],
                "silences": [s.to_json() for s in found.silences],
                "stopped_for_seconds": found.stopped_for.total_seconds() if found.stopped_for else None,
                "undelivered": [{"id": w.notice.id, "to": place(w.address)} for w in found.waiting],
            }
        )
    else:
        if found.stopped_for is not None:
            say(f"The monitor has stopped: no pass for {span(found.stopped_for)}. `charter monitor run`")
        _show(shown)
        for silence in found.silences:
            said = f"{silence.said.actor}: {silence.said.reason}"
            say(f"  {silence.name} is silent until {silence.until:%Y-%m-%d %H:%M} ({said})")
        for address in dict.fromkeys(w.address for w in found.waiting):
            count = sum(w.address == address for w in found.waiting)
            say(f"  {count:,} notices were not taken by {place(address)} yet")
    if found.is_critical:
        raise typer.Exit(1)


def alerts_acknowledge(
    name: str = NAME,
    version: str | None = VERSION,
    reason: str = REASON,
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Say that you have seen an alert and see to it: it is not told again while it is on."""
    from charter.flow.alerts import acknowledge
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = acknowledge(workspace, workspace.load(), name, version=version, reason=reason, by=by)
    _tell(found, as_json)


def alerts_silence(
    name: str = typer.Argument(..., help="An alert, or a group of alerts."),
    until: str | None = typer.Option(None, "--until", help="For example 2h, 2026-03-01 or 2026-03-01T12:00."),
    end: bool = typer.Option(False, "--end", help="End a silence at once instead."),
    reason: str = REASON,
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Tell nothing of an alert or a group until a moment; what is still on then is told then."""
    from charter.core.errors import UsageError
    from charter.flow.alerts import silence
    from charter.flow.workspace import Workspace

    if end == (until is not None):
        raise UsageError("a silence has an end", remedy="Give either --until MOMENT or --end.")
    workspace = Workspace.at(spec)
    found = silence(workspace, workspace.load(), name, until=until, reason=reason, by=by)
    if as_json:
        emit(found.to_json())
    elif end:
        say(f"{name} is no longer silent.")
    else:
        say(f"{name} is silent until {found.until:%Y-%m-%d %H:%M} UTC.")


def alerts_resolve(
    name: str = NAME,
    version: str | None = VERSION,
    reason: str = typer.Option(..., "--reason", help="Why; kept in the audit trail."),
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Call an alert resolved, though its rule still holds; takes the role of monitor.roles.alerts."""
    from charter.flow.alerts import resolve
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    _tell(resolve(workspace, workspace.load(), name, version=version, reason=reason, by=by), as_json)


def _tell(found: tuple[Standing, ...], as_json: bool) -> None:
    if as_json:
        emit([s.to_json() for s in found])
    else:
        _show(list(found))


def _show(found: list[Standing]) -> None:
    if not found:
        say("No alert is on.")
        return
    rows = []
    for s in found:
        a = s.alert
        since = f"{a.since:%Y-%m-%d}" if a.since is not None else ""
        rows.append(
            (a.rule.spec.severity, a.rule.name, a.version, s.words, since, a.observed, str(a.rule.rule))
        )
    table(rows, head=("severity", "alert", "version", "standing", "since", "observed", "rule"))
