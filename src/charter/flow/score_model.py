"""Which package scores: the one that is released, or one that was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from charter.core.digest import Digest
from charter.core.errors import Refusal
from charter.flow.plan import Stage
from charter.flow.proven import refuse_unapproved
from charter.flow.release import lay_out, package_folder, trusted_keys
from charter.flow.views import trained_result
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.serve.deployment import DeployedModel


def scoring_model(workspace: Workspace, loaded: Loaded, version: int | None) -> DeployedModel:
    """Name the package of a version, and the events that it looks back on.

    Parameters
    ----------
    version
        None is what is released now.

    Raises
    ------
    Refusal
        When the version was never released: what nobody approved decides about nobody.
    PackageError
        When the package was altered since it was signed.
    """
    from charter.registry.io.packages import verify
    from charter.serve.deployment import DeployedModel

    blobs, name = workspace.blobs(), loaded.spec.name
    with workspace.records(name, readonly=True) as records:
        releases = records.deployments()
        if version is not None:
            records.version(version)  # says which versions there are
        found = next((d for d in reversed(releases) if version in (None, d.version)), None)
        if found is None:
            what = f"v{version} of {name} was never released" if version else f"nothing of {name} is released"
            raise Refusal(what, remedy="`charter status` says what is missing.")
        trained = trained_result(records, records.version(found.version))
        features = next(r for r in records.results(Stage.FEATURES) if r.output == trained.inputs["features"])
        snapshot = blobs.tree(features.inputs["snapshot"])
        trusted = trusted_keys(workspace, records)
        refuse_unapproved(workspace, records, name, found.package)
        built = next(r for r in records.results(Stage.PACKAGE) if r.output == found.package)
    folder = package_folder(workspace, name, found.package)
    lay_out(blobs, found.package, Digest(built.summary["signature"]), folder)
    verify(folder, trusted)
    # The data of the specification that was released, not of the one that is being edited.
    data = json.loads((folder / "spec.json").read_bytes())["data"]
    history = {}
    if data["observations"].get("entity") is not None:
        history = {source: blobs.path(snapshot[f"{source}.parquet"]) for source in data["sources"]}
    return DeployedModel(name, f"v{found.version}", folder, history, trusted)
