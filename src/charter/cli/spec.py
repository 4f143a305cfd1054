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
    blueprint: str = typer.Option(
        ..., "--from", help="A reference system to start from, for example customer-churn."
    ),
    name: str | None = typer.Option(
        None, "--name", help="The model's name; by default the reference system's."
    ),
) -> None:
    """Start a model of your own from a reference system: model.yaml, README, data note, a workflow for CI."""
    from charter.flow.init import create

    written = create(folder, blueprint, name=name)
    say(f"{folder}: {', '.join(written)}")
    say(f"Next: `cd {folder}` and `charter check`, `charter assess`, `charter plan`.")


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


def tell_notices(loaded: Loaded) -> None:
    """Print what the specification leaves open or passes over, in the order of the file."""
    from charter.spec.notices import notices, shown

    found = sorted(notices(loaded.spec), key=lambda n: loaded.source.place(n.path).line)
    table([(" !", loaded.source.where(n.path), shown(n)) for n in found])


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
