"""From a release to something that answers: the deployment file of the server, and answers in this process."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.digest import Digest
from charter.core.errors import PackageError, Refusal
from charter.flow.features import store_policy
from charter.flow.logs import log_folder
from charter.flow.plan import Stage
from charter.flow.proven import refuse_unapproved
from charter.flow.release import lay_out, package_folder, trusted_keys
from charter.flow.views import trained_result
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.serve.deployment import Deployment
    from charter.serve.policy import LogPolicy


def released(workspace: Workspace, loaded: Loaded) -> Deployment:
    """Name what is to be served: the released package, proved, and the events that it looks back on.

    Raises
    ------
    Refusal
        When nothing is released.
    PackageError
        When the package was altered since it was signed.
    """
    from charter.serve.deployment import DeployedModel, Deployment

    blobs, name = workspace.blobs(), loaded.spec.name
    with workspace.records(name, readonly=True) as records:
        deployment = records.deployment()
        if deployment is None:
            raise Refusal(f"nothing of {name} is released", remedy="`charter status` says what is missing.")
        trained = trained_result(records, records.version(deployment.version))
        features = next(r for r in records.results(Stage.FEATURES) if r.output == trained.inputs["features"])
        snapshot = blobs.tree(features.inputs["snapshot"])
        trusted = trusted_keys(workspace, records)
        refuse_unapproved(workspace, records, name, deployment.package)
        built = next(r for r in records.results(Stage.PACKAGE) if r.output == deployment.package)
    folder = package_folder(workspace, name, deployment.package)
    lay_out(blobs, deployment.package, Digest(built.summary["signature"]), folder)
    _prove(folder, trusted)
    # The data of the released specification, not of the one that is being edited.
    data = json.loads((folder / "spec.json").read_bytes())["data"]
    history = {}
    if data["observations"].get("entity") is not None:
        history = {n: blobs.path(snapshot[f"{n}.parquet"]) for n in data["sources"]}
    log, store = _log_policy(folder), store_policy(workspace, folder)
    served = DeployedModel(name, f"v{deployment.version}", folder, history, trusted, log, store)
    return Deployment((served,), log_folder(workspace))


def _log_policy(folder: Path) -> LogPolicy:
    """What the released specification (not the one that is being edited) says of the log."""
    from charter.serve.policy import LogPolicy

    spec = json.loads((folder / "spec.json").read_bytes())
    return LogPolicy.from_json(spec["serve"].get("log", {}))


def _prove(folder: Path, trusted: Mapping[str, str]) -> None:
    from charter.registry.io.packages import verify

    try:
        verify(folder, trusted)
    except PackageError as error:
        raise PackageError(
            error.message,
            remedy=f"Find out who changed it, then remove {folder}: it is laid out anew from the blobs.",
        ) from error


def deployment_file(workspace: Workspace, loaded: Loaded) -> Path:
    """Write down for the server what is released, and return that file; raises as `released`."""
    from charter.serve.io.loading import write_deployment

    path = workspace.state / "deployment.json"
    write_deployment(path, released(workspace, loaded))
    return path


def answer(workspace: Workspace, body: bytes, *, explain: bool) -> Any:
    """Answer a request in this process, exactly as the server would.

    Raises
    ------
    RequestError
        When the request is at fault.
    """
    from charter.serve.io.loading import load_models

    (served,) = load_models(released(workspace, workspace.load()))
    return json.loads(served.answer(body, explain=explain, request_id="cli"))


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
