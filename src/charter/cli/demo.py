"""The demo: a reference system from raw data to answers over HTTP. Every number on the screen comes from this run."""

from __future__ import annotations

import json
import time
import urllib.request
from pathlib import Path
from typing import Any

from charter.cli import build
from charter.cli.output import say, show_decision, table
from charter.cli.progress import progress
from charter.core.settings import Settings
from charter.flow.approvals import create_identity, list_identities, sign
from charter.flow.init import create
from charter.flow.plan import Stage
from charter.flow.workspace import SPEC_NAME, Workspace
from charter.spec.loader import Loaded


def run(blueprint: str, folder: Path, *, port: int, stay: bool) -> None:
    """Take a blueprint through its whole life in ``folder``; what is up to date is not done again."""
    started = time.monotonic()
    if not (folder / SPEC_NAME).exists():
        create(folder, blueprint)
    workspace = Workspace.at(folder)
    _data(workspace)
    _title(f"The specification: {folder / SPEC_NAME}")
    loaded = workspace.load()
    say(f"  {loaded.spec.name} is sound. {loaded.spec.purpose.objective}")
    _title("The plan (`charter plan`)")
    build.plan(folder, as_json=False)
    _title("Applying it (`charter apply`)")
    _apply(workspace, loaded)
    _serve(workspace, loaded, port=port, stay=stay, started=started)


def _title(text: str) -> None:
    say(f"\n{text}")


def _data(workspace: Workspace) -> None:
    from charter.data.catalogue import DATASETS
    from charter.data.io.fetch import dataset_path

    _title("The data (`charter data fetch`)")
    for source in workspace.load().spec.data.sources.values():
        if source.dataset is not None:
            path = dataset_path(source.dataset, Settings.from_environment(), progress())
            info = DATASETS[source.dataset]
            say(f"  {info.title}: {info.licence}")
            say(f"  {path}")


def _apply(workspace: Workspace, loaded: Loaded) -> None:
    import typer

    from charter.flow.apply import apply

    def once() -> Any:
        return apply(
            workspace, loaded, progress=progress(), heard=lambda step, s: build.tell(step, s, loaded)
        )

    outcome = once()
    stopped = outcome.stopped
    if (
        stopped is not None
        and stopped.stage is Stage.APPROVE
        and outcome.plan.step(Stage.TRAIN).result is not None
    ):
        result = outcome.plan.step(Stage.TRAIN).result
        assert result is not None  # asked for one line above; for the type checker
        _sign(workspace, loaded, f"v{result.summary['version']}")
        stopped = once().stopped
    if stopped is not None:
        build.closing(outcome.plan, stopped)
        raise typer.Exit(1)


def _sign(workspace: Workspace, loaded: Loaded, version: str) -> None:
    """Sign every stage by identities made for the demo; in earnest these are persons with keys of their own."""
    _title(f"Approving {version} by demo identities (`charter approve {version} --stage ... --as ...`)")
    known = {i["name"]: i for i in list_identities(workspace)}
    admin = next((i["name"] for i in known.values() if "admin" in i["roles"]), None)
    decision = None
    for stage in loaded.spec.approve.stages:
        name = f"demo-{stage.role}"
        if name not in known:
            create_identity(workspace, name, roles=(stage.role,), by=admin)
            admin = admin or name
            known[name] = {}
        decision = sign(workspace, loaded, version, stage.stage, name, "approve", "demonstration")
    if decision is not None:
        show_decision(decision, indent=2)


def _serve(workspace: Workspace, loaded: Loaded, *, port: int, stay: bool, started: float) -> None:
    from charter.flow.card import write_card
    from charter.flow.serving import deployment_file, sample_requests
    from charter.serve.io.server import start

    deployment = deployment_file(workspace, loaded)
    card = write_card(workspace, loaded, None, form="html", to=None)
    requests = sample_requests(workspace, loaded, count=3)
    _title("Starting the server (`charter serve`)")
    running = start(deployment, port=port)
    try:
        _title(f"Real requests to {running.url}/api/v1/predict/{loaded.spec.name}?explain=true")
        for request in requests:
            body = json.dumps(request).encode()
            say(f"  > {_shorten(body.decode())}")
            _answer(_post(f"{running.url}/api/v1/predict/{loaded.spec.name}?explain=true", body))
        _title("Where to look")
        table(
            [
                ("model card", str(card)),
                ("server", running.url),
                ("documentation", f"{running.url}/docs"),
                ("yours", f"charter init my-model --from {loaded.spec.name}"),
            ]
        )
        say(f"\nDone in {time.monotonic() - started:.0f} s.")
        if stay:
            say("The server runs until Ctrl-C.")
            running.process.wait()
    finally:
        running.stop()


def _post(url: str, body: bytes) -> dict[str, Any]:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310  # our own server
    with urllib.request.urlopen(request, timeout=30) as response:  # noqa: S310
        found: dict[str, Any] = json.loads(response.read())
    return found


def _answer(found: dict[str, Any]) -> None:
    head = (
        f"{found['decision']}, score {found['score']:.3f}"
        if found.get("score") is not None
        else found["decision"]
    )
    say(f"    {head}{', band ' + found['band'] if found.get('band') else ''}, {found['version']}")
    for reason in found["reasons"]:
        say(f"      {reason['text']}")
    for warning in found["warnings"]:
        say(f"      ! {warning}")


def _shorten(text: str, width: int = 110) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
