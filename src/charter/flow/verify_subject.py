"""What is verified: a packaged version, its held-out rows, and a copy of everything that the checks may touch."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from charter.core.decision import Decision
from charter.core.digest import Digest
from charter.core.errors import Refusal
from charter.core.quantity import parse_duration
from charter.flow.build import training_rows
from charter.flow.context import read_frame
from charter.flow.features import packaged_spec
from charter.flow.observe import package_result
from charter.flow.release import lay_out, package_folder, trusted_keys
from charter.flow.views import features_result, trained_result, version_view
from charter.flow.workspace import Workspace, copy_records
from charter.spec.loader import Loaded
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.registry.types import ModelVersion
    from charter.serve.deployment import DeployedModel

KEPT = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "SYSTEMROOT", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH",
        "PYTHONPATH", "PYTHONPYCACHEPREFIX", "VIRTUAL_ENV")  # fmt: skip
"""Of our environment the server under test gets these and nothing else: it must not need what a workshop has set."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A version to verify.

    Attributes
    ----------
    workspace
        A copy: its records, deployment file and log are the copy's own, blobs are only read.
    loaded
        The specification as it is now.
    spec
        The specification that the package was made from.
    model
        The package, laid out anew, as a server is told of it.
    rows
        Held-out rows whose label is known.
    evaluation, measurement, gate
        As recorded.
    contract
        Source to what the data contract found when the snapshot was taken.
    """

    workspace: Workspace
    loaded: Loaded
    spec: ModelSpec
    version: ModelVersion
    package: Digest
    model: DeployedModel
    rows: pl.DataFrame
    evaluation: Mapping[str, Any]
    measurement: Mapping[str, Any]
    gate: Decision
    contract: Mapping[str, Any]

    @property
    def deployment(self) -> Path:
        """The deployment file of the copy."""
        return self.workspace.state / "deployment.json"

    @property
    def server_log(self) -> Path:
        """What the server writes."""
        return self.workspace.state / "server.log"

    def requests(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Columns of the rows that a request holds."""
        from charter.serve.bundle import read_bundle

        fields = read_bundle(self.model.package).signature.inputs
        return rows.select([f.name for f in fields if f.name in rows.columns])


@contextmanager
def subject(workspace: Workspace, loaded: Loaded, version: str) -> Iterator[Subject]:
    """Lay a packaged version out in a copy of the workspace, which is gone when the block ends.

    Raises
    ------
    Refusal
        When the version is not packaged, or the records are not what the audit trail tells.
    """
    from charter.serve.deployment import DeployedModel

    view = version_view(workspace, loaded, version)
    found = view.version
    if found.package is None or view.evaluation is None or view.gate is None:
        raise Refusal(
            f"{found.name} is not packaged: there is nothing to verify",
            remedy=f"It is packaged when it meets its requirements: `charter apply`, `charter show {found.name}`.",
        )
    with TemporaryDirectory(prefix="charter-verify-") as folder:
        copy = copied(workspace, Path(folder) / "state", loaded.spec.name)
        blobs = copy.blobs()
        with copy.records(loaded.spec.name, readonly=True) as records:
            trained = trained_result(records, found)
            features = features_result(records, trained)
            built = package_result(records, found.package)
            assert built is not None
            trusted = trusted_keys(copy, records)
        place = package_folder(copy, loaded.spec.name, found.package)
        lay_out(blobs, found.package, Digest(built.summary["signature"]), place)
        spec = packaged_spec(place)
        snapshot = blobs.tree(features.inputs["snapshot"])
        history = {}
        if spec.data.observations.entity is not None or spec.data.observations.series:
            history = {name: blobs.path(snapshot[f"{name}.parquet"]) for name in spec.data.sources}
        deadline = spec.serve.deadline
        yield Subject(
            copy,
            loaded,
            spec,
            found,
            found.package,
            DeployedModel(
                loaded.spec.name,
                found.name,
                place,
                history,
                trusted,
                log=_log(spec),
                deadline_s=parse_duration(deadline).total_seconds() if deadline is not None else None,
            ),
            training_rows(
                read_frame(blobs, Digest(trained.inputs["features"]), "dataset.parquet"),
                spec.data.label.name,
                "test",
            ),
            view.evaluation,
            view.measurement or {},
            view.gate,
            json.loads(blobs.get(snapshot["report.json"])),
        )


def _log(spec: ModelSpec) -> Any:
    from charter.flow.released import log_policy

    return log_policy(spec.serve.log)


def copied(workspace: Workspace, state: Path, model: str) -> Workspace:
    """Copy what a workspace remembers into a new folder; its blobs are shared: they are only read or added to."""
    settings = replace(workspace.settings, records_url=None, blobs_url=workspace.blobs_url)
    copy = replace(workspace, settings=settings, state=state)
    copy_records(workspace, copy, model)
    return copy


def environment(subject: Subject) -> dict[str, str]:
    """Environment of the server under test."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {
        **kept,
        "HOME": str(subject.workspace.state),
        "CHARTER_HOME": str(subject.workspace.state / "home"),
    }


def machine() -> dict[str, str]:
    """Describe what times and sizes are measured on, naming neither host nor user."""
    import platform

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "processor": _processor() or platform.machine(),
        "cores": str(cores),
        "system": sys.platform,
        "python": platform.python_version(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
