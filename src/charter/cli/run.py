"""Commands that use a released model: serve, predict, card."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, elsewhere, emit, say
from charter.core.errors import UsageError

if TYPE_CHECKING:
    from charter.flow.workspace import Workspace

SPEC = typer.Option(Path(), "--in", help="The model's folder.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(predict)
    app.command()(rollback)
    app.command()(card)


def serve(
    folders: list[Path] | None = typer.Argument(
        None, help="Folders of models, to serve several by one server; default: the one of --in."
    ),
    spec: Path = SPEC,
    host: str = typer.Option("127.0.0.1", "--host", help="An address open to other machines asks for keys."),
    port: int = typer.Option(8000, "--port", min=0, max=65535, help="0 takes a free one."),
    workers: int = typer.Option(1, "--workers", min=1, max=64),
    auth: bool = typer.Option(False, "--auth", help="Ask for a key on this machine's own address too."),
    jwks: Path | None = typer.Option(
        None, "--jwks", help="Public keys of an identity provider: accept its tokens."
    ),
    issuer: str | None = typer.Option(None, "--issuer", help="What tokens must claim as iss."),
    audience: str | None = typer.Option(None, "--audience", help="What tokens must claim as aud."),
    rate: float | None = typer.Option(None, "--rate", help="Requests a second for each caller."),
    tls_cert: Path | None = typer.Option(None, "--tls-cert", help="Certificate, PEM."),
    tls_key: Path | None = typer.Option(None, "--tls-key", help="Its private key, PEM."),
    deadline_ms: float | None = typer.Option(
        None,
        "--deadline-ms",
        help="After so long the fallback answers; default: serve.deadline of each model.",
    ),
    compact_every: str = typer.Option(
        "10m", "--compact-every", help="How often the log is compacted and old days deleted; 0s never."
    ),
    insecure: bool = typer.Option(False, "--insecure", help="Let in everybody, also from other machines."),
) -> None:
    """Serve released versions over HTTP until Ctrl-C; follows later releases and rollbacks."""
    from charter.core.quantity import parse_duration
    from charter.flow.access import keys_file
    from charter.flow.serving import deployment_file
    from charter.flow.workspace import Workspace
    from charter.serve.io.chores import Chores
    from charter.serve.io.server import access_policy, check_access, free_port, is_loopback, tls_files
    from charter.serve.io.server import run as run_server

    workspaces = [Workspace.at(folder) for folder in folders or [spec]]
    loaded = [workspace.load() for workspace in workspaces]
    try:
        every_s = parse_duration(compact_every).total_seconds()
    except ValueError as error:
        raise UsageError(f"--compact-every: {error}") from None
    guarded = auth or jwks is not None or not (insecure or is_loopback(host))
    access = access_policy(keys_file(workspaces[0]) if guarded else None, jwks, issuer, audience, rate)
    tls = tls_files(tls_cert, tls_key)
    check_access(host, access, insecure=insecure)
    port = free_port(host, port)
    deployments = [deployment_file(w, each) for w, each in zip(workspaces, loaded, strict=True)]
    for each in loaded:
        say(f"{each.spec.name}: POST /api/v1/predict/{each.spec.name}, documentation at /docs; Ctrl-C ends.")
    if access is not None and tls is None and not is_loopback(host):
        say("Keys travel in the clear: add --tls-cert and --tls-key, or put the server behind what ends TLS.")
    run_server(
        deployments,
        host=host,
        port=port,
        workers=workers,
        access=access,
        tls=tls,
        insecure=insecure,
        deadline_ms=deadline_ms,
        chores=Chores([_prune(w) for w in workspaces], every_s) if every_s else None,
    )


def _prune(workspace: Workspace) -> list[str]:
    """The command that keeps a workspace's log in order."""
    program = "from charter.cli.main import main; main()"
    return [sys.executable, "-c", program, "log", "prune", "--in", str(workspace.spec_file)]


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
        raise typer.Exit(1 if error.status == 503 else 2) from error  # stopped: the request is not at fault


def rollback(
    to: str | None = typer.Option(None, "--to", help="A version released before; default: the one before."),
    name: str | None = typer.Option(
        None, "--as", help="The identity that acts, where the specification asks for a role."
    ),
    reason: str = typer.Option("", "--reason", help="Why; kept in the audit trail."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Let the release before serve again, at once; a running server follows within a second."""
    from charter.flow.rollback import rollback as go_back
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    done = go_back(workspace, loaded, to=to, name=name, reason=reason)
    if as_json:
        emit(done.to_json())
        return
    say(f"{loaded.spec.name}: v{done.version} serves again instead of v{done.left}.")
    say("The specification is unchanged: `charter apply` releases what it says.")


def _body(text: str) -> bytes:
    if not text.startswith("@"):
        return text.encode()
    path = Path(text[1:])
    if not path.is_file():
        raise UsageError(f"{path}: there is no such file", remedy="Give the request itself or @FILE.")
    return path.read_bytes()


def card(
    version: str = typer.Argument(..., help="A version, for example v3."),
    form: str = typer.Option("html", "--format", help="html, markdown, json or cyclonedx."),
    to: Path | None = typer.Option(
        None, "--to", callback=elsewhere, help="File to write; default MODEL-VERSION-card in the folder."
    ),
    spec: Path = SPEC,
) -> None:
    """Write the model card; every number comes from the records."""
    from charter.flow.card import write_card
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    say(str(write_card(workspace, workspace.load(), version, form=form, to=to)))
