"""Commands for who may ask a server: key create, list, revoke."""

from __future__ import annotations

from pathlib import Path

import typer

from charter.cli.output import JSON, emit, say, table

SPEC = typer.Option(Path(), "--in", help="The model's folder.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    key = typer.Typer(help="API keys of the server.", no_args_is_help=True, rich_markup_mode=None)
    key.command("create")(key_create)
    key.command("list")(key_list)
    key.command("revoke")(key_revoke)
    app.add_typer(key, name="key")


def key_create(
    name: str = typer.Argument(..., help="Who will use it, for example core-banking."),
    scope: list[str] = typer.Option(
        ["predict"], "--scope", help="predict, metrics or admin; may be repeated."
    ),
    rate: float | None = typer.Option(None, "--rate", help="Requests a second."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Make an API key; it is shown once and kept only as a digest."""
    from charter.flow.access import create_key
    from charter.flow.workspace import Workspace

    key, token = create_key(Workspace.at(spec), name, tuple(scope), rate=rate)
    if as_json:
        emit({"id": key.key_id, "name": key.name, "scopes": list(key.scopes), "rate": key.rate, "key": token})
        return
    say(token)
    say(
        f"  Give it to {name}: it cannot be shown again. It is sent as `X-Api-Key` or `Authorization: Bearer`."
    )


def key_list(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """List the keys in force, without their secrets."""
    from charter.flow.access import list_keys
    from charter.flow.workspace import Workspace

    keys = list_keys(Workspace.at(spec))
    if as_json:
        names = ("id", "name", "scopes", "rate", "created_at")
        emit([{n: k.to_json()[n] for n in names} for k in keys])
        return
    if not keys:
        say("No key yet. Make one: `charter key create NAME --scope predict`.")
        return
    rows = [
        (k.key_id, k.name, ", ".join(k.scopes), f"{k.rate:g}/s" if k.rate else "", k.created_at[:19])
        for k in keys
    ]
    table(rows, head=("id", "name", "scopes", "rate", "made"))


def key_revoke(name: str = typer.Argument(..., help="Name or id of a key."), spec: Path = SPEC) -> None:
    """Revoke a key; running servers refuse it within a second."""
    from charter.flow.access import revoke_key
    from charter.flow.workspace import Workspace

    key = revoke_key(Workspace.at(spec), name)
    say(f"{key.name} ({key.key_id}) is revoked.")
