"""Batch scoring from the command line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from charter.cli.output import JSON, emit, say, table
from charter.cli.progress import progress

_SPEC = typer.Option(Path(), "--in", help="The model's folder.")


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(score)


def score(
    source: str = typer.Argument(
        ..., help="A .parquet or .csv file, a folder of them, or a database: sqlite:///a.db#table."
    ),
    to: str = typer.Option(..., "--to", help="A .parquet or .csv file, a folder, or a database with #table."),
    model: str | None = typer.Option(None, "--model", help="NAME@champion (what is released) or NAME@v3."),
    engine: str = typer.Option(
        "local",
        "--engine",
        help="local: processes on this machine; ray: a Ray cluster.",
    ),
    rank: bool = typer.Option(False, "--rank", help="Order by falling score, with the rank."),
    bands: bool = typer.Option(False, "--bands", help="Add the band of the score."),
    explain: bool = typer.Option(False, "--explain", help="Add reasons, as the specification declares them."),
    warnings: bool = typer.Option(False, "--warnings", help="Add what is unusual about a row."),
    keep: list[str] = typer.Option([], "--keep", help="A column of the source to keep beside the key."),
    as_of: str | None = typer.Option(
        None, "--as-of", help="Moment to look at entities from; now when left out."
    ),
    query: str | None = typer.Option(None, "--query", help="SELECT statement for a database."),
    max_rejected: str | None = typer.Option(
        None, "--max-rejected", help="Stop when more rows, or a share such as 1%, break the contract."
    ),
    workers: int | None = typer.Option(
        None, "--workers", min=1, max=1024, help="Processes; default all cores."
    ),
    replace: bool = typer.Option(False, "--replace", help="Replace a target that is there."),
    restart: bool = typer.Option(False, "--restart", help="Throw away what a stopped attempt has done."),
    spec: Path = _SPEC,
    as_json: bool = JSON,
) -> None:
    """Score a file or table with a released version; a stopped job goes on where it stopped."""
    from charter.flow.score import score as run
    from charter.flow.score_request import ScoreRequest
    from charter.flow.workspace import Workspace

    request = ScoreRequest(
        source,
        to,
        query=query,
        model=model,
        engine=engine,
        workers=workers,
        rank=rank,
        bands=bands,
        explain=explain,
        warnings=warnings,
        keep=tuple(keep),
        as_of=as_of,
        max_rejected=max_rejected,
        replace=replace,
        restart=restart,
    )
    workspace = Workspace.at(spec)
    done = run(workspace, workspace.load(), request, progress(quiet=as_json))
    for difference in done.differences:
        typer.echo(f"warning: {difference}", err=True)
    if as_json:
        emit(dict(done.record) | {"record": str(done.record_file), "resumed_chunks": done.resumed})
    else:
        _tell(done.record, str(done.record_file), done.resumed)


def _tell(record: Any, file: str, resumed: int) -> None:
    rows, seconds = record["rows"], record["seconds"]
    rate = f", {rows['read'] / seconds:,.0f} rows/s" if seconds and not resumed else ""
    done = f"{rows['scored']:,} of {rows['read']:,} rows scored in {seconds:.1f} s{rate}"
    say(f"{record['model']} {record['version']}: {done}")
    if resumed:
        say(f"  went on after {resumed} of {record['chunks']} chunks")
    body = [(name, f"{n:,}", "") for part in ("decisions", "bands") for name, n in rows[part].items()]
    if rows["warned"]:
        body.append(("with a warning", f"{rows['warned']:,}", ""))
    if rows["rejected"]:
        body.append(("rejected", f"{rows['rejected']:,}", ""))
        body += [
            ("", f"{n:,}", rule) for rule, n in sorted(rows["rejections"].items(), key=lambda p: -p[1])[:8]
        ]
    table(body, right=(1,))
    if rows["warned"] and not record["options"]["--warnings"]:
        say("  --warnings adds a column that says what is unusual about a row")
    for note in record["notes"]:
        say(f"  ! {note}")
    say(f"  {record['target']['place']}")
    say(f"  {file}")
