"""Commands on the prediction log: show, export, compact, prune."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from charter.cli.output import JSON, elsewhere, emit, say, table

if TYPE_CHECKING:
    from charter.serve.io.compaction import Compacted

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
MODEL = typer.Option(None, "--model", help="Only of this model.")
VERSION = typer.Option(None, "--version", help="Only of this version, for example v3.")
SINCE = typer.Option(None, "--since", help="From this day or moment (UTC) on, or for example 2h back.")
UNTIL = typer.Option(None, "--until", help="Before this day or moment (UTC).")
REQUEST = typer.Option(None, "--id", help="Only of the request with this identifier.")
DECISION = typer.Option(None, "--decision", help="Only of this decision, for example positive.")
WHERE = typer.Option(
    None, "--where", help='A condition on the log\'s columns: "score > 0.9 AND input_AGE < 30".'
)
_SHOWN = ("time", "id", "row", "version", "score", "decision", "band", "latency_us", "route", "warnings")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    log = typer.Typer(help="What the server answered.", no_args_is_help=True, rich_markup_mode=None)
    log.command()(show)
    log.command()(export)
    log.command()(compact)
    log.command()(prune)
    app.add_typer(log, name="log")


def show(
    limit: int = typer.Option(20, "--limit", min=1, max=100_000, help="How many rows, the newest first."),
    model: str | None = MODEL,
    version: str | None = VERSION,
    since: str | None = SINCE,
    until: str | None = UNTIL,
    request: str | None = REQUEST,
    decision: str | None = DECISION,
    where: str | None = WHERE,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Show answers, the newest first."""
    from charter.flow.logs import Filter, latest
    from charter.flow.workspace import Workspace

    wanted = Filter(model, version, since, until, request, decision, where)
    found = latest(Workspace.at(spec), wanted, limit=limit)
    if as_json:
        emit([{k: _plain(v) for k, v in row.items()} for row in found.iter_rows(named=True)])
        return
    if found.is_empty():
        say("No answer in the log fits.")
        return
    rows = [[_cell(name, row[name]) for name in _SHOWN] for row in found.iter_rows(named=True)]
    table(rows, head=_SHOWN, right=(2, 4, 7))


def export(
    to: Path = typer.Option(..., "--to", callback=elsewhere, help="File to write: .parquet, .csv or .jsonl."),
    model: str | None = MODEL,
    version: str | None = VERSION,
    since: str | None = SINCE,
    until: str | None = UNTIL,
    request: str | None = REQUEST,
    decision: str | None = DECISION,
    where: str | None = WHERE,
    spec: Path = SPEC,
) -> None:
    """Write answers, with their inputs, to a file."""
    from charter.flow.logs import Filter
    from charter.flow.logs import export as write
    from charter.flow.workspace import Workspace

    wanted = Filter(model, version, since, until, request, decision, where)
    count = write(Workspace.at(spec), wanted, to)
    say(f"{to}: {count:,} rows")


def compact(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Turn what the server has finished writing into Parquet by day, model and version; safe to run at any time."""
    from dataclasses import asdict

    from charter.flow.logs import compact as carry_out
    from charter.flow.workspace import Workspace

    done = carry_out(Workspace.at(spec))
    if as_json:
        emit(asdict(done))
    else:
        _tell(done)


def prune(
    before: str | None = typer.Option(
        None, "--before", help="First day to keep (2026-03-01), instead of what serve.log.keep says."
    ),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Compact, then delete the days older than serve.log.keep; the audit trail tells what was deleted."""
    from dataclasses import asdict

    from charter.flow.logs import day
    from charter.flow.logs import prune as carry_out
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    compacted, done = carry_out(workspace, workspace.load(), before=day(before, "--before"))
    if as_json:
        deleted = [json.loads(deletion.to_bytes()) | {"rows": deletion.rows} for deletion in done]
        emit({"compacted": asdict(compacted), "deleted": deleted})
        return
    _tell(compacted)
    for deletion in done:
        first, last = deletion.days[0], deletion.days[-1]
        rows = f"{deletion.rows:,} rows in {len(deletion.files):,} files"
        say(f"{deletion.model}: deleted {rows}, {first} to {last}; see `charter audit list`.")
    if not done:
        say("Nothing is old enough to be deleted.")


def _tell(done: Compacted) -> None:
    if not done.segments and not done.still_open:
        say("Nothing is left to compact.")
    if done.segments:
        say(f"{done.segments:,} segments, {done.rows:,} rows into {done.parts:,} files of Parquet.")
    if done.still_open:
        say(f"  {done.still_open:,} left alone: a server writes to them.")
    if done.torn_bytes:
        say(f"  {done.torn_bytes:,} bytes were half-written when a server died, and are left out.")


def _plain(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else value


def _cell(name: str, value: Any) -> str:
    if value is None:
        return ""
    if name == "time":
        return str(value.isoformat(sep=" ", timespec="milliseconds"))
    if name == "score":
        return f"{value:.4f}"
    return "; ".join(value) if isinstance(value, list) else str(value)
