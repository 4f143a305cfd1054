"""What was released, proven before it decides about anybody: by the records, by signatures, and by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.digest import Digest
from charter.core.errors import PackageError, Refusal
from charter.core.quantity import parse_duration
from charter.flow.features import packaged_spec, store_policy
from charter.flow.plan import Stage
from charter.flow.proven import refuse_unapproved
from charter.flow.release import lay_out, package_folder, trusted_keys
from charter.flow.rolling import traffic_of, tried
from charter.flow.views import features_result, trained_result
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded, kept

if TYPE_CHECKING:
    from charter.registry.io.records import Records
    from charter.registry.types import Deployment
    from charter.serve.deployment import DeployedModel
    from charter.serve.policy import LogPolicy
    from charter.spec.types import LogSpec, ModelSpec


def released_model(workspace: Workspace, loaded: Loaded, version: int | None = None) -> DeployedModel:
    """Name a released package, proved, and the events that it looks back on.

    How it answers and what is logged is what the specification said that was released, not the one being edited.

    Parameters
    ----------
    version
        None is what is released now.

    Raises
    ------
    Refusal
        When nothing is released, or the version never was: what nobody approved decides about nobody.
    PackageError
        When the package was altered since it was signed.
    """
    from charter.serve.deployment import DeployedModel

    blobs, name = workspace.blobs(), loaded.spec.name
    with workspace.records(name, readonly=True) as records:
        if version is not None:
            records.version(version)  # says which versions there are
        found = _let_out(records.deployments(), version)
        if found is None:
            what = f"v{version} of {name} was never released" if version else f"nothing of {name} is released"
            raise Refusal(what, remedy="`charter status` says what is missing.")
        number, package = found
        folder, trusted = prove(workspace, records, name, package)
        trained = trained_result(records, records.version(number))
        features = features_result(records, trained)
        snapshot = blobs.tree(features.inputs["snapshot"])
    spec = packaged_spec(folder)
    history = {}
    if spec.data.observations.entity is not None or spec.data.observations.series:
        history = {source: blobs.path(snapshot[f"{source}.parquet"]) for source in spec.data.sources}
    deadline = spec.serve.deadline
    return DeployedModel(
        name,
        f"v{number}",
        folder,
        history,
        trusted,
        log_policy(spec.serve.log),
        store_policy(workspace, folder),
        parse_duration(deadline).total_seconds() if deadline is not None else None,
    )


def _let_out(deployments: Sequence[Deployment], version: int | None) -> tuple[int, Digest] | None:
    """Number and package of what serves, or of a version that did or was tried; the latest counts."""
    for deployment in reversed(deployments):
        if version in (None, deployment.version):
            return deployment.version, deployment.package
        traffic = traffic_of(deployment)
        if traffic is not None and traffic.candidate == f"v{version}":
            return version, Digest(tried(deployment.evidence)["package"])
    return None


def prove(
    workspace: Workspace, records: Records, name: str, package: Digest
) -> tuple[Path, Mapping[str, str]]:
    """Lay a released package out for servers, once it has proved itself.

    Returns
    -------
    Its folder, and the keys that its signature was held against.

    Raises
    ------
    Refusal
        When the records do not prove themselves, or no signatures carry the release.
    PackageError
        When the package is not recorded, or was altered since it was signed.
    """
    from charter.registry.io.packages import verify

    trusted = trusted_keys(workspace, records)
    refuse_unapproved(workspace, records, name, package)
    built = next((r for r in records.results(Stage.PACKAGE) if r.output == package), None)
    if built is None:
        raise PackageError(f"package {package[:8]} of {name} is no longer recorded")
    folder = package_folder(workspace, name, package)
    lay_out(workspace.blobs(), package, Digest(built.summary["signature"]), folder)
    try:
        verify(folder, trusted)
    except PackageError as error:
        raise PackageError(
            error.message,
            remedy=f"Find out who changed it, then remove {folder}: it is laid out anew from the blobs.",
        ) from error
    return folder, trusted


@dataclass(frozen=True, slots=True)
class InForce:
    """Specifications that versions are judged by: what was released, with what the file says now of watching.

    Nobody judges a model by a draft, nor an earlier version by what its successor promises.

    Attributes
    ----------
    serving
        Version that serves; None where nothing is released, and the file counts.
    """

    serving: str | None
    loaded: Loaded
    """Of what serves, with the places of the file."""
    specs: Mapping[str, ModelSpec]

    def of(self, version: str) -> ModelSpec:
        """Of a version that answers or did; of one that was never let out, that of what serves."""
        return self.specs.get(version, self.loaded.spec)

    @property
    def dealt_by(self) -> frozenset[str]:
        """Fields of requests by which versions are dealt out while one is tried."""
        found: set[str | None] = set()
        for spec in self.specs.values():
            rollout, experiment = spec.release.rollout, spec.release.experiment
            found |= {rollout.unit} if rollout is not None else set()
            found |= {experiment.unit, experiment.stratum} if experiment is not None else set()
        return frozenset(name for name in found if name is not None)


def in_force(workspace: Workspace, loaded: Loaded) -> InForce:
    """Read which specifications are in force; read once, they are the same for all that is judged together."""
    watching = {part: getattr(loaded.spec, part) for part in ("monitor", "kpis", "review", "retrain")}
    blobs, specs = workspace.blobs(), {}
    with workspace.records(loaded.spec.name, readonly=True) as records:
        deployments = records.deployments()
    let_out: dict[str, Digest] = {}
    for deployment in deployments:  # the latest counts
        let_out[f"v{deployment.version}"] = deployment.package
        traffic, package = traffic_of(deployment), tried(deployment.evidence).get("package")
        if traffic is not None and traffic.candidate is not None and package is not None:
            let_out[traffic.candidate] = Digest(package)
    for version, package in let_out.items():
        released = kept(blobs.get(blobs.tree(package)["spec.json"]))
        specs[version] = released.model_copy(update=watching)
    if not deployments:
        return InForce(None, loaded, specs)
    serving = f"v{deployments[-1].version}"
    return InForce(serving, replace(loaded, spec=specs[serving]), specs)


def log_policy(declared: LogSpec) -> LogPolicy:
    """What of a specification's log a server needs to know."""
    from charter.serve.policy import LogPolicy

    return LogPolicy(declared.mode, declared.personal, declared.inputs)
