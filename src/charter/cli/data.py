"""Commands that look into tables: profile and drift."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, elsewhere, emit, say, show_decision, table, unread
from charter.core.decision import Verdict

if TYPE_CHECKING:
    from charter.spec.types import DriftSpec


def register(data: typer.Typer) -> None:
    """Add the commands to the group ``data``."""
    data.command()(profile)
    data.command()(drift)


def profile(
    file: Path = typer.Argument(..., help="A table: CSV, Parquet, JSON Lines or Arrow."),
    target: str | None = typer.Option(None, "--target", help="The column to be predicted."),
    time: str | None = typer.Option(None, "--time", help="The column with the moment of a row."),
    out: Path | None = typer.Option(
        None, "--out", callback=elsewhere, help="Write a page of HTML, with charts, to this file."
    ),
    like: str | None = typer.Option(
        None, "--like", help="Print the profile alone (JSON), in the bins of this table, profile or package."
    ),
    as_json: bool = JSON,
) -> None:
    """Describe a table and say what is odd about it; --json gives the profile that drift can be measured against."""
    from charter.cli.progress import progress
    from charter.flow.drift import profile_like
    from charter.flow.explore import explore_file, write_page

    if like is not None:
        emit(profile_like(str(file), like).to_json())
        return
    unread(out, file)
    found = explore_file(file, target=target, time=time, progress=progress(quiet=as_json))
    if out is not None:
        write_page(found, file.name, out)
    if as_json:
        emit(found.to_json())
        return
    some = (
        ""
        if found.looked_at == found.rows
        else f"; correlations and tests rest on {found.looked_at:,} of them"
    )
    say(f"{file}: {found.rows:,} rows, {len(found.profile.columns):,} columns{some}")
    table([(f.severity, f.words) for f in found.findings] or [("", "Nothing is odd.")])
    for name, why in found.left_out.items():
        say(f"  {name} was left out: {why}")
    if out is not None:
        say(f"Written to {out}.")


def drift(
    reference: str = typer.Argument(
        ..., help="A table, a profile (JSON), or a package's folder; FILE#NAME for one of several."
    ),
    current: str = typer.Argument(..., help="What to compare with it."),
    spec: Path | None = typer.Option(
        None, "--spec", help="Take the limits of this specification's monitor.drift."
    ),
    exact: bool = typer.Option(False, "--exact", help="Distances of the values rather than of their bins."),
    classifier: bool = typer.Option(
        True,
        "--classifier/--no-classifier",
        help="Also train a classifier that tells the rows of two tables apart.",
    ),
    out: Path | None = typer.Option(
        None, "--out", callback=elsewhere, help="Write a page of HTML, with charts, to this file."
    ),
    as_json: bool = JSON,
) -> None:
    """Say which columns changed from one table or profile to another; exit code 1 when one changed much."""
    from charter.cli.progress import progress
    from charter.flow.drift import compare_files, write_drift_page

    unread(out, *(Path(side.partition("#")[0]) for side in (reference, current)))
    report, before, after = compare_files(
        reference,
        current,
        limits=_limits(spec),
        exact=exact,
        classifier=classifier,
        progress=progress(quiet=as_json),
    )
    if out is not None:
        write_drift_page(report, before, after, names=(reference, current), to=out)
    decision = report.decision
    if as_json:
        emit(report.to_json())
    else:
        say(
            f"{current} against {reference}: {after.rows:,} rows against {before.rows:,}, {report.tests:,} tests"
        )
        odd = tuple(c for c in decision.checks if c.verdict is not Verdict.PASS)
        show_decision(replace(decision, checks=odd), indent=2)
        passed = len(decision.checks) - len(odd)
        say(
            f"  {passed:,} {'further checks' if odd else 'checks'} passed.{'' if odd else ' No column changed.'}"
        )
        for remark in report.remarks:
            say(f"  {remark}")
        if out is not None:
            say(f"Written to {out}.")
    if not decision.allows:
        raise typer.Exit(1)


def _limits(spec: Path | None) -> DriftSpec:
    from charter.spec.types import DriftSpec

    if spec is None:
        return DriftSpec()
    from charter.flow.workspace import Workspace

    return Workspace.at(spec).load().spec.monitor.drift
