"""Reading reality: what is recorded, what the sources hold now, and which specification was applied last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from charter import __version__
from charter.core.decision import Decision, Verdict
from charter.core.digest import Digest, ordered_json
from charter.core.errors import Refusal
from charter.flow.plan import Plan, Stage, State, build_plan
from charter.flow.retrain_review import rejected
from charter.flow.succession import judgement
from charter.flow.workspace import Workspace
from charter.registry.rows import STANDING
from charter.spec.loader import Loaded, kept
from charter.spec.parts import part_digest, spec_digest
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    from charter.flow.context import Context
    from charter.govern.audit import Fault
    from charter.registry.io.blobs import Blobs
    from charter.registry.io.records import Records
    from charter.registry.types import AuditEvent, StageResult


def current_plan(
    workspace: Workspace,
    loaded: Loaded,
    records: Records,
    fingerprints: Mapping[str, str] | None = None,
    reason: str = "",
) -> Plan:
    """Build the plan from the specification and what is recorded.

    Parameters
    ----------
    fingerprints
        What the sources hold, where that was looked up already; looking may mean a query each.
    reason
        Why a person lets a version follow that the redeployment rules leave to one.
    """
    return build_plan(loaded.spec, observe(workspace, loaded, records, fingerprints, reason))


def fingerprint_sources(workspace: Workspace, loaded: Loaded) -> dict[str, str]:
    """Look up what every source holds now."""
    from charter.data.io.sources import fingerprint
    from charter.flow.context import of_source

    found = {}
    for name, source in loaded.spec.data.sources.items():
        with of_source(loaded, name):
            found[name] = fingerprint(source, workspace.root, workspace.settings)
    return found


def observe(
    workspace: Workspace,
    loaded: Loaded,
    records: Records,
    fingerprints: Mapping[str, str] | None = None,
    reason: str = "",
) -> State:
    """Read everything that a plan depends on; changes nothing.

    Raises
    ------
    Refusal
        When results or versions are not what the audit trail tells: nothing is planned on them.
    """
    faults = _faults(workspace, records)
    if any(f.row.partition(" ")[0] in STANDING for f in faults):
        raise _refusal(faults)
    deployment, blobs = records.deployment(), workspace.blobs()

    def find(stage: str, key: Digest) -> StageResult | None:
        result = records.result(stage, key)
        return result if result is not None and _kept(blobs, result) else None

    return State(
        fingerprints=fingerprint_sources(workspace, loaded) if fingerprints is None else fingerprints,
        find=find,
        latest=lambda stage: records.latest(stage),
        code=__version__,
        judge_approvals=lambda package: _judge_approvals(workspace, loaded, records, package, faults),
        serving=deployment.package if deployment is not None else None,
        serving_version=deployment.version if deployment is not None else None,
        staged=frozenset(v.package for v in records.versions() if v.status == "staging" and v.package),
        rejected=rejected(records, loaded.spec.name),
        tried=str(deployment.traffic.get("candidate") or "") if deployment is not None else "",
        stopped=deployment is not None and deployment.traffic.get("stage") == "stopped",
        judged=lambda package: (
            judgement(loaded.spec, records, deployment.package, package) if deployment is not None else None
        ),
        reason=reason,
    )


def _kept(blobs: Blobs, result: StageResult) -> bool:
    """Whether all that a recorded stage made is still there; what is lost is made again."""
    match result.stage:
        case Stage.GATE:  # one document, no tree
            return blobs.has(result.output)
        case Stage.TRAIN:
            further = blobs.complete(result.summary["bundle"])
        case Stage.PACKAGE:
            further = blobs.has(result.summary["signature"])
        case _:
            further = True
    return further and blobs.complete(result.output)


def judge_approvals(workspace: Workspace, loaded: Loaded, records: Records, package: Digest) -> Decision:
    """Judge whether the signatures that the specification asks for cover exactly this package.

    Records that are not what the audit trail tells fail before any signature is looked at.
    """
    return _judge_approvals(workspace, loaded, records, package, _faults(workspace, records))


def _judge_approvals(
    workspace: Workspace, loaded: Loaded, records: Records, package: Digest, faults: Sequence[Fault]
) -> Decision:
    from charter.govern.approval import judge_approvals as judge
    from charter.govern.io.trail import checks

    covered = evidence(loaded.spec, records, package)
    if faults:
        return Decision.of("approve", checks(faults), covered)
    built = package_result(records, package)
    return judge(
        loaded.spec.approve,
        records.approvals(built.summary["version"]) if built else (),
        identities=records.identities(),
        grants=records.grants(),
        evidence=covered,
        now=workspace.clock.now(),
    )


def proven(workspace: Workspace, records: Records) -> list[AuditEvent]:
    """Return the audit trail, once it is whole and the records are what it tells: only then is built on them.

    Raises
    ------
    Refusal
        Naming the first row or entry at fault.
    """
    from charter.govern.io.trail import Trail

    events, found = Trail(records, workspace.anchor_file).examine()
    faults = [f for f in found if f.verdict is Verdict.FAIL]
    if faults:
        raise _refusal(faults)
    return events


def _faults(workspace: Workspace, records: Records) -> list[Fault]:
    from charter.govern.io.trail import Trail

    return [f for f in Trail(records, workspace.anchor_file).verify() if f.verdict is Verdict.FAIL]


def _refusal(faults: Sequence[Fault]) -> Refusal:
    from charter.govern.io.trail import checks

    first = next((f for f in faults if f.row), faults[0])
    what = "the records are not what the audit trail tells" if first.row else "the audit trail is not whole"
    return Refusal(
        f"{what}: {first.message}",
        decision=Decision.of("audit", checks(faults)),
        remedy="See all of it: `charter audit verify`; then restore the records from a backup.",
    )


def evidence(spec: ModelSpec, records: Records, package: Digest) -> dict[str, str]:
    """Name the digests that an approval of a package covers, the rules of approval among them."""
    built, policy = package_result(records, package), part_digest(spec, "approve")
    if built is None:
        return {"package": package, "policy": policy}
    return {
        "policy": policy,
        "bundle": built.summary["bundle"],
        "evaluation": built.summary["evaluation"],
        "gate": built.inputs["gate"],
        "package": package,
    }


def package_result(records: Records, package: Digest) -> StageResult | None:
    """Return what is recorded of the making of a package.

    A version can have had several packages, and each keeps its signatures: the version's own record names only the one
    that was applied last.
    """
    return next((r for r in records.results("package") if r.output == package), None)


def remember_spec(ctx: Context) -> None:
    """Keep the specification that is applied as a blob, so that a later plan can say in words what changed since."""
    from charter.govern.io.trail import Trail
    from charter.registry.types import StageResult

    document = ctx.spec.model_dump(mode="json")
    key, now = spec_digest(ctx.spec), ctx.workspace.clock.now()
    blob = ctx.blobs.put_bytes(ordered_json(document))
    with Trail(ctx.records, ctx.workspace.anchor_file).recording(
        at=now, actor=ctx.actor, action="apply.started", subject=ctx.spec.name, detail={"spec": key}
    ) as change:
        change.save_result(StageResult("spec", key, blob, {"name": ctx.spec.name}, 0.0, ctx.actor, now))


def applied_spec(workspace: Workspace, records: Records) -> ModelSpec | None:
    """Return the specification that was applied last."""
    result = records.latest("spec")
    if result is None:
        return None
    return kept(workspace.blobs().get(result.output))
