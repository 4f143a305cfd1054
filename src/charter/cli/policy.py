"""``charter monitor policy``: what another threshold or rule would have been worth."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, emit, say, table

if TYPE_CHECKING:
    from charter.evaluate.types import Estimate

_WORDS = {
    "doubly_robust": "doubly robust",
    "self_normalised": "self-normalised",
    "horvitz_thompson": "Horvitz-Thompson",
}


def policy(
    threshold: float | None = typer.Option(None, "--threshold", help="Positive from this score on."),
    rule: str | None = typer.Option(
        None, "--rule", help="Positive where this expression over inputs is true."
    ),
    version: str | None = typer.Option(
        None, "--version", help="Whose decisions to learn from; by default the one that serves."
    ),
    since: str | None = typer.Option(None, "--since", help="Only decisions from this day on."),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    as_json: bool = JSON,
) -> None:
    """Estimate what another threshold or rule would have been worth, from explored decisions; exit 1 if it cannot."""
    from charter.core.errors import UsageError
    from charter.flow.policy import value_of
    from charter.flow.workspace import Workspace

    try:
        moment = datetime.fromisoformat(since) if since is not None else None
    except ValueError:
        raise UsageError(f"--since is {since!r}; it must be a day such as 2026-03-01") from None
    workspace = Workspace.at(spec)
    report = value_of(
        workspace, workspace.load(), threshold=threshold, rule=rule, version=version, since=moment
    )
    found = report.found
    if as_json:
        emit(report.to_json())
    else:
        say(
            f"{report.policy}, beside what {report.version} decided {report.since:%Y-%m-%d} to {report.until:%Y-%m-%d}"
        )
        say(
            f"  {found.rows:,} decisions, {found.labelled:,} with a known outcome; {found.changed:,} would be others, "
            f"of which {found.informative:,} tell; worth {found.effective_rows:,.0f} rows of equal weight"
        )
        if found.seen != "both":
            say(
                f"  outcomes are seen after {found.seen} decisions only, and taken to be what would have been anyhow"
            )
        if report.left_out:
            say(f"  {report.left_out:,} left out: no propensity is logged, or the outcome is not due")
        rows = [
            (
                _WORDS[name],
                _money(found.value.get(name)),
                _money(gain),
                _money(gain, times=report.per_month),
            )
            for name, gain in found.gain.items()
        ]
        if rows:
            head = (f"{report.currency} per decision", "worth", "more than what serves", "the same a month")
            table(rows, head=head, right=(1, 2, 3))
        if found.note:
            say(f"  {found.note}")
    if not found.gain:
        raise typer.Exit(1)


def _money(found: Estimate | None, times: float = 1.0) -> str:
    if found is None or found.value is None:
        return "-"
    digits = 0 if times != 1.0 else 3
    if found.low is None or found.high is None:
        return f"{found.value * times:,.{digits}f}"
    low, high = found.low * times, found.high * times
    return f"{found.value * times:,.{digits}f} [{low:,.{digits}f}, {high:,.{digits}f}]"
