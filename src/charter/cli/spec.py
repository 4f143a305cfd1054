"""Commands that need the specification alone: init, check, assess, diff, schema."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, emit, say, table
from charter.core import plugins
from charter.core.errors import UsageError
from charter.core.nearest import advice

if TYPE_CHECKING:
    from charter.spec.loader import Loaded

SPEC = typer.Argument(Path("model.yaml"), help="The specification.", show_default=True)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(check)
    app.command()(assess)
    app.command()(diff)
    app.command()(schema)


def init(
    folder: Path = typer.Argument(..., help="The new folder."),
    blueprint: str | None = typer.Option(
        None, "--from", help="A reference system to start from, for example customer-churn."
    ),
    data: Path | None = typer.Option(
        None, "--data", help="A table of your own to draft from: CSV, Parquet, JSON Lines or Arrow."
    ),
    target: str | None = typer.Option(None, "--target", help="With --data: the column to be predicted."),
    key: list[str] = typer.Option(
        [], "--key", help="With --data: a column that identifies a row; repeatable."
    ),
    time: str | None = typer.Option(None, "--time", help="With --data: the column that says when a row was."),
    name: str | None = typer.Option(
        None, "--name", help="The model's name; by default the reference system's, or the folder's."
    ),
) -> None:
    """Start a model of your own from a reference system or from a table: model.yaml, README, a workflow for CI."""
    from charter.flow.init import begin, create

    if (blueprint is None) == (data is None):
        known = ", ".join(plugins.names("blueprints"))
        raise UsageError(
            "a model starts either from a reference system or from a table",
            remedy=f"Name one: `--data FILE`, or `--from` with one of {known}.",
        )
    if blueprint is not None:
        if target is not None or key or time is not None:
            raise UsageError("--target, --key and --time are for a table", remedy="Give it: --data FILE.")
        written = create(folder, blueprint, name=name)
        say(f"{folder}: {', '.join(written)}")
        say(f"Next: `cd {folder}` and `charter check`, `charter assess`, `charter plan`.")
    elif data is not None:
        written, taken = begin(folder, data, name=name, target=target, key=key, time=time)
        say(f"{folder}: {', '.join(written)}")
        for line in taken:
            say(f"  {line}")
        say(
            f"Next: `cd {folder}` and `charter check`, which lists what only you can say; then `charter apply`."
        )


def check(
    spec: Path = SPEC,
    expand: bool = typer.Option(False, "--expand", help="Print the specification with every default."),
    as_json: bool = JSON,
) -> None:
    """Check the specification: every fault at once, each with its place and what to write instead."""
    from charter.spec.loader import load

    loaded = load(_file(spec))
    if expand:
        from charter.spec.expand import expand as expanded

        typer.echo(expanded(loaded.spec), nl=False)
    elif as_json:
        from charter.spec.notices import notices, shown

        emit({"valid": True, "name": loaded.spec.name, "notices": [shown(n) for n in notices(loaded.spec)]})
    else:
        say(f"{spec}: the specification of {loaded.spec.name} is sound.")
        tell_notices(loaded)


def tell_notices(loaded: Loaded, *, whole: bool = True) -> None:
    """Print what the specification leaves open or passes over, in the order of the file.

    What is to be written is counted rather than listed where ``whole`` is false: before the work, not before a person.
    """
    from charter.spec.notices import notices, open_text, shown

    found = sorted(notices(loaded.spec), key=lambda n: loaded.source.place(n.path).line)
    texts = [] if whole else [n for n in found if open_text(n)]
    table([(" !", loaded.source.where(n.path), shown(n)) for n in found if n not in texts])
    if texts:
        say(f"   !  {len(texts)} texts are to be written: `charter check` lists them")


def assess(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Judge from the specification alone whether machine learning fits, is feasible, and is worth it."""
    from charter.framing.assess import assess as judge
    from charter.framing.report import lines
    from charter.spec.loader import load

    loaded = load(_file(spec))
    assessment = judge(loaded.spec)
    if as_json:
        emit(assessment.to_json())
    else:
        for line in lines(assessment, loaded.source.where):
            say(line)


def diff(
    before: Path = typer.Argument(..., help="A specification."),
    after: Path = typer.Argument(..., help="Another one."),
    as_json: bool = JSON,
) -> None:
    """Say what changed between two specifications, and which stages that invalidates."""
    from charter.spec.diff import diff as compare
    from charter.spec.diff import invalidates
    from charter.spec.loader import load

    changes = compare(load(_file(before)).spec, load(_file(after)).spec)
    stages = invalidates(changes)
    if as_json:
        emit({"changes": [c.to_json() for c in changes], "invalidates": list(stages)})
        return
    if not changes:
        say("No difference.")
        return
    table([(c.words, c.part) for c in changes])
    say(f"Invalidates {', '.join(stages)}." if stages else "Only words changed: nothing is invalidated.")


def schema() -> None:
    """Print the JSON Schema of the specification, for editors."""
    from charter.spec.schema import json_schema

    typer.echo(json.dumps(json_schema(), ensure_ascii=False, indent=2))


def _file(path: Path) -> Path:
    found = path / "model.yaml" if path.is_dir() else path
    if not found.is_file():
        beside = [p.name for p in found.parent.glob("*.yaml")] if found.parent.is_dir() else []
        near = f"{advice(found.name, beside)} " if beside else ""
        raise UsageError(
            f"{found}: there is no such file",
            remedy=f"{near}Name a specification, or make one: `charter init my-model --from "
            f"{next(iter(plugins.names('blueprints')), 'customer-churn')}`.",
        )
    return found
