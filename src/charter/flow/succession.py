"""Whether a version may follow the one that serves, asked where `charter apply` would release it.

The rules are judged once for a pair of packages and a set of limits, and the judgement is kept: a plan, which computes
nothing, shows it, and the release names it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest, canonical_json, digest_json
from charter.core.errors import Refusal, UsageError
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    from charter.flow.context import Context
    from charter.registry.io.records import Records

STAGE = "redeployment"
"""Among the recorded results."""
ALGORITHM = 1
"""Revision of the rules: a judgement by older ones is made again."""


def judgement(spec: ModelSpec, records: Records, champion: Digest, candidate: Digest) -> Decision | None:
    """Return what was judged of one package in place of another under these limits; None where nothing was yet."""
    found = records.result(STAGE, _key(spec, champion, candidate))
    return Decision.from_json(found.summary["decision"]) if found is not None else None


def judge(ctx: Context, champion: str, candidate: str, package: Digest) -> Decision:
    """Compare a version with the one that serves, and keep the judgement.

    Where the two cannot be compared, a person decides.
    """
    from charter.flow.compare import compare_versions
    from charter.govern.io.trail import Trail
    from charter.iterate.redeploy import Redeployment
    from charter.registry.types import StageResult

    serving = ctx.records.deployment()
    assert serving is not None
    try:
        found = compare_versions(
            ctx.workspace, ctx.loaded, champion, candidate, progress=ctx.progress
        ).decision
    except (Refusal, UsageError) as error:
        note = error.remedy or ""
        check = Check("comparison", error.message, "both on the same rows", Verdict.UNKNOWN, note=note)
        evidence = {"outcome": Redeployment.MANUAL.value, "champion": champion, "candidate": candidate}
        found = Decision("redeployment", Verdict.UNKNOWN, (check,), evidence)
    now = ctx.workspace.clock.now()
    kept = ctx.blobs.put_bytes(canonical_json(found.to_json()))
    with Trail(ctx.records, ctx.workspace.anchor_file).recording(
        at=now,
        actor=ctx.actor,
        action="redeployment.judged",
        subject=candidate,
        detail={
            "model": ctx.spec.name,
            "champion": champion,
            "outcome": found.evidence["outcome"],
            "decision": kept,
        },
    ) as change:
        key = _key(ctx.spec, serving.package, package)
        summary = {"decision": found.to_json()}
        inputs = {"champion": serving.package, "candidate": package}
        change.save_result(StageResult(STAGE, key, kept, summary, 0.0, ctx.actor, now, inputs))
    return found


def _key(spec: ModelSpec, champion: Digest, candidate: Digest) -> Digest:
    return digest_json(
        {
            "format": ALGORITHM,
            "champion": champion,
            "candidate": candidate,
            "rules": spec.release.redeploy.model_dump(mode="json"),
            "required": sorted(spec.evaluate.require),
        }
    )
