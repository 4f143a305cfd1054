"""Commands that use a released model: serve, predict, card."""

from __future__ import annotations

from pathlib import Path

import typer

from charter.cli.output import emit, say
from charter.core.errors import UsageError

SPEC = typer.Option(Path(), "--in", help="The model's folder.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(predict)
    app.command()(card)


def serve(
    spec: Path = SPEC,
    host: str = typer.Option("127.0.0.1", "--host"),
    port: int = typer.Option(8000, "--port", min=0, max=65535, help="0 takes a free one."),
    workers: int = typer.Option(1, "--workers", min=1, max=64),
) -> None:
    """Serve the released version over HTTP until Ctrl-C."""
    from charter.flow.serving import deployment_file
    from charter.flow.workspace import Workspace
    from charter.serve.io.server import free_port
    from charter.serve.io.server import run as run_server

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    port = free_port(host, port)
    deployment = deployment_file(workspace, loaded)
    say(f"{loaded.spec.name}: POST /api/v1/predict/{loaded.spec.name}, documentation at /docs; Ctrl-C ends.")
    run_server(deployment, host=host, port=port, workers=workers)


def predict(
    body: str = typer.Option(..., "--json", help="A request, a list of requests, or @FILE."),
    explain: bool = typer.Option(False, "--explain", help="Give the reasons."),
    spec: Path = SPEC,
) -> None:
    """Answer a request with the released version, in this process; prints what the server would answer."""
    from charter.flow.serving import answer
    from charter.flow.workspace import Workspace

    from charter.serve.problem import Refused

    try:
        emit(answer(Workspace.at(spec), _body(body), explain=explain))
    except Refused as error:
        emit(error.to_json())
        raise typer.Exit(2) from error


def _body(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    path = Path(text[1:])
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file", remedy="Give the request itself or @FILE.")
    return path.read_bytes()


def card(
    version: str = typer.Argument(..., help="A version, for example v3."),
    form: str = typer.Option("html", "--format", help="html, markdown or json."),
    to: Path | None = typer.Option(
        None, "--to", help="File to write; default MODEL-VERSION-card in the folder."
    ),
    spec: Path = SPEC,
) -> None:
    """Write the model card; every number comes from the records."""
    from charter.flow.card import write_card
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    say(str(write_card(workspace, workspace.load(), version, form=form, to=to)))
