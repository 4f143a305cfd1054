"""From a release to something that answers: the deployment file of the server, and answers in this process."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.errors import CharterError, Refusal
from charter.flow.logs import log_folder
from charter.flow.release import package_folder
from charter.flow.released import released_model
from charter.flow.rolling import traffic_of
from charter.flow.views import trained_result, version_number
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.traffic import Traffic
    from charter.serve.deployment import Deployment


def released(workspace: Workspace, loaded: Loaded) -> Deployment:
    """Name what is to be served, and what is tried beside it; raises as `charter.flow.released.released_model`."""
    from charter.serve.deployment import Deployment

    name = loaded.spec.name
    with workspace.records(name, readonly=True) as records:
        traffic = traffic_of(records.deployment())
    models = [released_model(workspace, loaded)]
    if traffic is not None and traffic.candidate is not None:
        models.append(released_model(workspace, loaded, version_number(traffic.candidate)))
    return Deployment(tuple(models), log_folder(workspace), {name: traffic} if traffic is not None else {})


def deployment_file(workspace: Workspace, loaded: Loaded) -> Path:
    """Write down for the server what is released, and return that file; raises as `released`."""
    from charter.serve.io.loading import write_deployment

    path = workspace.state / "deployment.json"
    write_deployment(path, released(workspace, loaded))
    return path


def narrow_file(workspace: Workspace, loaded: Loaded, traffic: Traffic) -> None:
    """Tell servers that the champion alone answers, or nobody, by what their file says already.

    Nothing new answers, so nothing has to prove itself, and servers keep what they have loaded. Only where the file is
    gone or garbled, while a server may still answer by what it said, it is written anew from what is released.

    Raises
    ------
    Refusal
        When neither can be read.
    """
    from dataclasses import replace

    from charter.core.digest import canonical_json
    from charter.serve.deployment import Deployment
    from charter.serve.io.loading import read_deployment, write_deployment

    path = workspace.state / "deployment.json"
    try:
        now = read_deployment(path)
    except (CharterError, OSError):
        try:
            now = released(workspace, loaded)
        except CharterError as damage:
            raise Refusal(
                f"servers cannot be told: {path} cannot be read, and what is released does not prove itself: "
                f"{damage.message}",
                remedy="End the server's process: it goes on with what it has loaded.",
            ) from damage
    champion = next((m for m in now.models if m.version == traffic.champion), now.models[0])
    alone = {champion.name: replace(traffic, champion=champion.version)} if traffic.stage == "stopped" else {}
    told = Deployment((champion,), now.log, alone)
    try:
        write_deployment(path, told)
    except OSError:  # on a full disk there is room for no second file, but in the place of the first
        with path.open("r+b") as file:
            file.write(canonical_json(told.to_json()))
            file.truncate()


def answer(workspace: Workspace, body: bytes, *, explain: bool) -> Any:
    """Answer a request in this process, exactly as the server would: of a stopped model by its fallback.

    Raises
    ------
    RequestError
        When the request is at fault, or the model is stopped and declares no fallback.
    """
    from charter.serve.io.loading import load_models

    deployment = released(workspace, workspace.load())
    served, *_ = load_models(deployment)
    traffic = deployment.traffic.get(served.name)
    stopped = traffic is not None and traffic.stage == "stopped"
    return json.loads(served.answer(body, explain=explain, request_id="cli", stopped=stopped))


def sample_requests(workspace: Workspace, loaded: Loaded, *, count: int) -> list[dict[str, Any]]:
    """Take requests from the held-out rows of the released version: real inputs that the model has not seen."""
    import io

    import polars as pl

    from charter.serve.bundle import read_bundle

    blobs, name = workspace.blobs(), loaded.spec.name
    with workspace.records(name, readonly=True) as records:
        deployment = records.deployment()
        if deployment is None:
            raise Refusal(f"nothing of {name} is released", remedy="`charter status` says what is missing.")
        trained = trained_result(records, records.version(deployment.version))
    rows = pl.read_parquet(io.BytesIO(blobs.get(blobs.tree(trained.inputs["features"])["dataset.parquet"])))
    rows = rows.filter(pl.col("__split") == "test").sort("__row")
    fields = read_bundle(package_folder(workspace, name, deployment.package)).signature.inputs
    chosen = rows.select([f.name for f in fields if f.name in rows.columns])
    step = max(chosen.height // count, 1)
    text = chosen.gather_every(step).head(count).write_json()
    found: list[dict[str, Any]] = json.loads(text)
    return found
