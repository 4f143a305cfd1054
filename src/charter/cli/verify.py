"""The command that checks a packaged version before release."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, SYMBOLS, elsewhere, emit, say, show_decision
from charter.core.decision import Verdict
from charter.core.errors import UsageError

if TYPE_CHECKING:
    from charter.govern.verification import Verification


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    version: str | None = typer.Argument(
        None, help="A packaged version, for example v3; default: what the specification last gave."
    ),
    profile: str = typer.Option("light", "--profile", help="light (under a minute) or robust (minutes)."),
    junit: Path | None = typer.Option(
        None, "--junit", callback=elsewhere, help="Write JUnit XML, for continuous integration."
    ),
    markdown: Path | None = typer.Option(
        None, "--markdown", callback=elsewhere, help="Write the report for people."
    ),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    as_json: bool = JSON,
) -> None:
    """Run the release checks on a packaged version: a real server, eight checks, recorded (exit 1 when one fails)."""
    from charter.cli.progress import progress
    from charter.core.io.files import write_atomic
    from charter.flow.verify import profile_of
    from charter.flow.verify import verify as carry_out
    from charter.flow.workspace import Workspace
    from charter.govern.verification_report import junit as to_junit
    from charter.govern.verification_report import markdown as to_markdown

    chosen = profile_of(profile)
    for target in (junit, markdown):
        if target is not None and (target.is_dir() or not target.absolute().parent.is_dir()):
            raise UsageError(f"{target} cannot be written", remedy="Name a file in a folder that is there.")
    workspace = Workspace.at(spec)
    found = carry_out(workspace, workspace.load(), version, chosen, progress=progress(quiet=as_json))
    if junit is not None:
        write_atomic(junit, to_junit(found).encode())
    if markdown is not None:
        write_atomic(markdown, to_markdown(found).encode())
    if as_json:
        emit({**found.to_json(), "report": found.digest})
    else:
        _tell(found)
    if not found.decision.allows:
        raise typer.Exit(1)


def _tell(found: Verification) -> None:
    from charter.govern.verification import headline

    say(headline(found))
    for one in found.checks:
        met, total = sum(c.verdict.allows for c in one.checks), len(one.checks)
        took = f"{found.seconds.get(one.subject, 0.0):.1f} s"
        say(f"  {SYMBOLS[one.verdict]} {one.subject:<14} {f'{met} of {total} met':<14} {took}")
        shown = [c for c in one.checks if c.verdict is not Verdict.PASS]
        show_decision(replace(one, checks=tuple(shown)), indent=5)
    said = "It may be released." if found.decision.allows else "It must not be released like this."
    say(f"{said} Report {found.digest[:16]}, named in the audit trail; all of it: --markdown FILE.")
