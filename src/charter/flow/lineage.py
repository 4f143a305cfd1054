"""Where a version comes from: source, snapshot, features, model, package, release; also as OpenLineage events."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.clock import iso
from charter.core.digest import short
from charter.core.io.files import write_atomic
from charter.data.lineage import DatasetNode, run_event, snapshot_node, source_node
from charter.flow.observe import proven
from charter.flow.plan import Stage
from charter.flow.views import features_result, result_of, snapshot_result, trained_result, version_number
from charter.flow.workspace import Workspace
from charter.registry.types import Deployment, StageResult
from charter.spec.loader import Loaded


@dataclass(frozen=True, slots=True)
class Lineage:
    """The results that led to a version, in order, and its releases."""

    name: str
    version: str
    results: tuple[StageResult, ...]
    releases: tuple[Deployment, ...]

    def rows(self) -> list[tuple[str, ...]]:
        """Lines for people: stage, output, what it was made from, when, by whom."""
        found: list[tuple[str, ...]] = []
        for r in self.results:
            made_from = ", ".join(
                f"{k} {short(v) if len(v) == 64 else v}" for k, v in r.inputs.items() if k != "format"
            )
            found.append((r.stage, short(r.output), iso(r.finished_at)[:19], r.actor, made_from))
        for d in self.releases:
            tried = f", {d.traffic.get('stage')} beside it" if d.traffic.get("stage") else ""
            found.append(
                ("release", short(d.package), iso(d.at)[:19], d.actor, f"package {short(d.package)}{tried}")
            )
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "name": self.name,
            "version": self.version,
            "stages": [
                {
                    "stage": r.stage,
                    "key": r.key,
                    "output": r.output,
                    "inputs": dict(r.inputs),
                    "finished_at": iso(r.finished_at),
                    "actor": r.actor,
                }
                for r in self.results
            ],
            "releases": [iso(d.at) for d in self.releases],
        }


def lineage(workspace: Workspace, loaded: Loaded, version: str) -> Lineage:
    """Follow a version back to its sources through the recorded results."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        proven(workspace, records)
        found = records.version(version_number(version))
        trained = trained_result(records, found)
        features = features_result(records, trained)
        snapshot = snapshot_result(records, features)
        chain = [snapshot, features, trained]
        for stage, needs in ((Stage.EVALUATE, "train"), (Stage.GATE, "evaluate"), (Stage.PACKAGE, "gate")):
            after = result_of(records, stage, needs, chain[-1].output)
            if after is None:
                break
            chain.append(after)
        releases = tuple(d for d in records.deployments() if d.version == found.number)
    return Lineage(loaded.spec.name, found.name, tuple(chain), releases)


def openlineage(found: Lineage, loaded: Loaded) -> list[dict[str, Any]]:
    """Turn a lineage into OpenLineage events, one COMPLETE per stage; datasets carry digests as versions."""
    spec, name = loaded.spec, loaded.spec.name
    snapshot = found.results[0]
    sources = [
        source_node(s, source, fingerprint=snapshot.inputs.get(f"source {s}", ""))
        for s, source in spec.data.sources.items()
    ]
    tables = [snapshot_node(spec, s, digest=snapshot.output) for s in spec.data.sources]
    events, before = [], sources
    for result in found.results:
        made = (
            tables
            if result is snapshot
            else [DatasetNode("charter", f"{name}.{result.stage}", version=result.output)]
        )
        events.append(
            run_event(
                event="COMPLETE",
                job=f"{name}.{result.stage}",
                key=result.key,
                at=result.finished_at,
                inputs=before,
                outputs=made,
            )
        )
        before = made
    return events


def export_openlineage(workspace: Workspace, loaded: Loaded, version: str, target: Path) -> int:
    """Write a version's OpenLineage events as JSON lines and return their number."""
    events = openlineage(lineage(workspace, loaded, version), loaded)
    write_atomic(
        target, "".join(json.dumps(e, ensure_ascii=False, sort_keys=True) + "\n" for e in events).encode()
    )
    return len(events)
