"""Commands of the feature store that a released model looks its window features up in."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import typer

from charter.cli.output import JSON, emit, say
from charter.core.digest import short


def register(app: typer.Typer) -> None:
    """Add the commands."""
    features = typer.Typer(
        help="The feature store of a released model.", no_args_is_help=True, rich_markup_mode=None
    )
    features.callback()(_features)
    features.command()(materialise)
    app.add_typer(features, name="features")


def _features() -> None:
    """The feature store of a released model."""


def materialise(
    as_of: datetime | None = typer.Option(
        None, "--as-of", formats=["%Y-%m-%d"], help="What happened before this day is known; default now."
    ),
    to: str | None = typer.Option(
        None,
        "--to",
        help="sqlite, sqlite:///FILE or redis://HOST:PORT/0; default what the specification says.",
    ),
    spec: Path = typer.Option(Path(), "--in", help="The model's folder."),
    as_json: bool = JSON,
) -> None:
    """Compute the released version's window features for every entity, and put them into its store."""
    from charter.cli.progress import progress
    from charter.flow.features import materialise as fill
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    day = as_of.date() if as_of is not None else None
    done = fill(workspace, workspace.load(), as_of=day, to=to, progress=progress(quiet=as_json))
    if as_json:
        emit(done.to_json())
        return
    say(
        f"{done.entities:,} entities, {done.features} window features as of {done.as_of:%Y-%m-%d %H:%M} UTC, "
        f"in {done.seconds:.1f} s"
    )
    say(f"  {done.version}, feature set {short(done.feature_set)}, in {done.store}")
