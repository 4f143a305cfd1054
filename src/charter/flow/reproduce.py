"""Building a version again from what is recorded of it, and comparing byte for byte."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.digest import Digest
from charter.core.errors import DataError, UsageError
from charter.core.progress import Progress
from charter.flow.context import Context, Done, Output
from charter.flow.observe import proven
from charter.flow.plan import RECORDED, Stage
from charter.flow.views import features_result, snapshot_result, trained_result, version_number
from charter.flow.workspace import Workspace
from charter.registry.package import MANIFEST
from charter.spec.loader import Loaded, loads
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    from charter.registry.types import StageResult


@dataclass(frozen=True, slots=True)
class Reproduction:
    """A version built twice.

    Attributes
    ----------
    what
        ``package``, or ``bundle`` when the version was never packaged.
    recorded, rebuilt
        Digests of the two.
    differences
        File to a word: changed, missing, new.
    rows
        Where the rows came from: read again from the sources, or kept in the snapshot.
    environment
        What is installed, the interpreter, the machine and Charter's code: name to (then, now), where they differ.
    """

    version: str
    what: str
    recorded: Digest
    rebuilt: Digest
    differences: Mapping[str, str]
    rows: str
    environment: Mapping[str, tuple[str, str]]

    @property
    def identical(self) -> bool:
        """Whether both have the same bytes."""
        return self.recorded == self.rebuilt

    def lines(self) -> list[str]:
        """Report for people."""
        head = f"{self.version}: {self.what} {self.recorded[:16]}"
        if self.identical:
            return [f"{head} built again from {self.rows}: identical, byte for byte."]
        found = [f"{head} built again from {self.rows}: {self.rebuilt[:16]}, not the same."]
        found += [f"  {name}: {word}" for name, word in self.differences.items()]
        found += [f"  {name} {then} then, {now} now" for name, (then, now) in self.environment.items()]
        if self.differences.keys() == {MANIFEST}:
            found.append("  Model and evaluation are identical; the manifest names another environment.")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "version": self.version,
            "what": self.what,
            "identical": self.identical,
            "recorded": self.recorded,
            "rebuilt": self.rebuilt,
            "rows": self.rows,
            "differences": dict(self.differences),
            "environment": {k: list(v) for k, v in self.environment.items()},
        }


def reproduce(workspace: Workspace, loaded: Loaded, version: str, *, progress: Progress) -> Reproduction:
    """Build a version again in a workspace of its own.

    The sources are read again where they are still what they were; otherwise the rows of the snapshot are used.
    """
    blobs = workspace.blobs()
    with workspace.records(loaded.spec.name, readonly=True) as records:
        proven(workspace, records)
        found = records.version(version_number(version))
        trained = trained_result(records, found)
        document = records.result("spec", found.spec)
        features = features_result(records, trained)
        snapshot = snapshot_result(records, features)
    if found.package is not None:
        text = blobs.get(blobs.tree(found.package)["spec.json"])
    elif document is not None:
        text = blobs.get(document.output)
    else:
        raise UsageError(
            f"the specification of {found.name} is not recorded", remedy="See `charter history`."
        )
    then = loads(text.decode(), file=f"{found.name}.json")
    same = _sources_unchanged(then.spec, snapshot, workspace)
    with tempfile.TemporaryDirectory(prefix="charter-reproduce-") as folder:
        settings = replace(workspace.settings, records_url=None, blobs_url=None)
        again = replace(workspace, settings=settings, state=Path(folder) / "state")
        with again.records(then.spec.name) as fresh:
            ctx = Context(again, then, fresh, again.blobs(), progress, settings.actor, tracked=False)
            outputs: dict[Stage, Output] = {}
            if not same:
                _copy_tree(blobs, ctx, snapshot.output, Path(folder))
                outputs[Stage.SNAPSHOT] = Output(snapshot.output, snapshot.summary)
            _build(ctx, outputs, packaged=found.package is not None)
            mine = (
                outputs[Stage.PACKAGE].digest
                if found.package
                else Digest(outputs[Stage.TRAIN].summary["bundle"])
            )
            theirs = found.package or found.bundle
            new, old = ctx.blobs.tree(mine), blobs.tree(theirs)
            differences = {
                name: "new" if name not in old else "missing" if name not in new else "changed"
                for name in sorted({*new, *old})
                if new.get(name) != old.get(name)
            }
            environment: dict[str, tuple[str, str]] = {}
            if MANIFEST in differences:
                environment = environment_changes(
                    json.loads(blobs.get(old[MANIFEST])),
                    json.loads(ctx.blobs.get(new[MANIFEST])),
                )
    return Reproduction(
        found.name,
        "package" if found.package else "bundle",
        theirs,
        mine,
        differences,
        "its sources" if same else "the rows kept in its snapshot",
        environment,
    )


def _build(ctx: Context, outputs: dict[Stage, Output], *, packaged: bool) -> None:
    from charter.flow.stages import STAGES

    last = Stage.PACKAGE if packaged else Stage.TRAIN
    for stage in RECORDED[: RECORDED.index(last) + 1]:
        if stage not in outputs:
            outputs[stage] = STAGES[stage](ctx, Done(outputs)).kept(ctx.records)


def _copy_tree(blobs: Any, ctx: Context, tree: Digest, folder: Path) -> None:
    blobs.checkout(tree, folder / "snapshot")
    ctx.blobs.put_tree(folder / "snapshot")


def environment_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Compare what two manifests say of the interpreter, the distributions and Charter's own code.

    Returns
    -------
    dict
        Name to (then, now), where they differ; ``absent`` for what is not there.

    Examples
    --------
    >>> then = {"code_version": "0.1.0+aa", "environment": {"python": "3.11.7", "distributions": {"numpy": "2.1.0"}}}
    >>> now = {"code_version": "0.1.0+aa", "environment": {"python": "3.11.7", "distributions": {"numpy": "2.2.0"}}}
    >>> environment_changes(then, now)
    {'numpy': ('2.1.0', '2.2.0')}
    """
    before, after = _flat(then), _flat(now)
    return {
        name: (before.get(name, "absent"), after.get(name, "absent"))
        for name in sorted({*before, *after})
        if before.get(name) != after.get(name)
    }


def _flat(manifest: Mapping[str, Any]) -> dict[str, str]:
    environment = manifest["environment"]
    machine = {name: str(value) for name, value in environment.items() if name != "distributions"}
    return {**environment["distributions"], **machine, "charter (code)": manifest["code_version"]}


def _sources_unchanged(spec: ModelSpec, snapshot: StageResult, workspace: Workspace) -> bool:
    """Whether the sources still are what the snapshot was taken of; one that is gone is not."""
    from charter.data.io.sources import fingerprints

    try:
        now = fingerprints(spec.data.sources, workspace.root, workspace.settings)
    except DataError:
        return False
    return all(snapshot.inputs.get(f"source {name}") == digest for name, digest in now.items())
