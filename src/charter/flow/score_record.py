"""The record of a scoring job: what went in, what came out, by whom and by which package."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charter.core.clock import parse_iso
from charter.core.digest import canonical_json, digest_json
from charter.flow.lock import hold
from charter.flow.score_request import ScoreRequest
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.serve.batch import Counts
    from charter.serve.io.batch_job import Job

SCHEMA_VERSION = 1
STAGE = "score"


def describe(
    job: Job, request: ScoreRequest, counts: Sequence[Counts], digests: Mapping[str, str]
) -> dict[str, Any]:
    """Put into plain data what was done; without secrets and without values of any row."""
    from charter.serve.batch import total

    identity = job.identity
    return {
        "schema_version": SCHEMA_VERSION,
        "run": digest_json(dict(identity))[:16],
        "model": job.model.name,
        "version": job.model.version,
        "package": identity["package"],
        "source": {
            "place": identity["source"],
            "query": identity["query"],
            "fingerprint": identity["source fingerprint"],
        },
        "target": {"place": identity["target"], "digest": digests.get("target")},
        "rejects": digests.get("rejects"),
        "options": {name: value for name, value in identity.items() if name.startswith("--")},
        "as_of": job.options.as_of,
        "engine": request.engine,
        "chunks": len(counts),
        "rows": total(counts).to_json(),
        "notes": list(job.notes),
        "started_at": job.started_at,
    }


def remember(workspace: Workspace, loaded: Loaded, job: Job, record: Mapping[str, Any]) -> None:
    """Keep the record as a blob and in the records, and tell of it in the audit trail."""
    from charter.govern.io.trail import Trail
    from charter.registry.types import StageResult

    actor = workspace.settings.actor
    lock = hold(
        workspace.lock_file, doing="charter score", actor=actor, clock=workspace.clock, wait_seconds=600
    )
    with lock, workspace.records(loaded.spec.name) as records:
        blob = workspace.blobs().put_bytes(canonical_json(record))
        rows = record["rows"]
        inputs = {"source": record["source"]["fingerprint"], "package": record["package"]}
        result = StageResult(
            STAGE,
            digest_json(dict(job.identity)),
            blob,
            {"version": record["version"], "run": record["run"], "rows": rows},
            record["seconds"],
            actor,
            parse_iso(record["finished_at"]),
            inputs,
        )
        with Trail(records, workspace.anchor_file).recording(
            at=workspace.clock.now(),
            actor=actor,
            action="score.done",
            subject=f"{job.model.name} {job.model.version}",
            detail={"run": record["run"], "record": blob, **inputs}
            | {name: rows[name] for name in ("read", "scored", "rejected")},
        ) as change:
            change.save_result(result)
