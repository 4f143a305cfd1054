"""Whether what is released was approved: judged anew from signatures, as of the entry that released it.

An entry that continues the chain may have been written by whoever can write to the database. Signatures may not: they
take private keys. So a release is believed when the signatures recorded before it carry it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from charter.core.errors import Refusal
from charter.flow.rolling import tried
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.spec.parts import part_digest
from charter.spec.types import ApprovalPolicy, ModelSpec

if TYPE_CHECKING:
    from charter.core.digest import Digest
    from charter.registry.io.records import Records
    from charter.registry.types import AuditEvent

RELEASES = frozenset({"version.released", "rollout.finished"})
TRIALS = frozenset({"rollout.started", "rollout.challenged", "experiment.started"})
REMEDY = "See `charter history` and `charter audit list`; approve the version and `charter apply`."


def refuse_unapproved(workspace: Workspace, records: Records, model: str, package: Digest) -> None:
    """Refuse a package that no entry released, or one whose release the signatures before it do not carry.

    What happens later (a role taken away, a signature that expires) does not undo a release.

    Parameters
    ----------
    package
        Of a deployment. Going back to an earlier release rests on the entry that released it then.

    Raises
    ------
    Refusal
        Naming the stages that are not signed.
    """
    from charter.govern.approval import judge_approvals
    from charter.govern.attest import told

    events = records.events()
    releases = (
        (position, event, version, evidence)
        for position, event in enumerate(events)
        for version, evidence in _let_out(event, model)
        if evidence.get("package") == package
    )
    last = None
    for position, event, version, evidence in releases:
        before = events[:position]
        policy = _policy(workspace, records, model, evidence.get("policy", ""))
        if policy is None:
            continue
        signed = {approval.get("signature") for approval in told(before, "approvals")}
        last = judge_approvals(
            policy,
            [a for a in records.approvals(version) if a.signature in signed],
            identities=records.identities()[: len(told(before, "identities"))],
            grants=records.grants()[: len(told(before, "grants"))],
            evidence=evidence,
            now=event.at,
        )
        if last.allows:
            return
    missing = ", ".join(c.name for c in last.reasons) if last else "no entry under known rules released it"
    raise Refusal(
        f"package {package[:8]} of {model} was never approved, though it stands as released: {missing}",
        decision=last,
        remedy=REMEDY,
    )


def _let_out(event: AuditEvent, model: str) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """Versions that an entry lets answer requests, to all or for a trial, each with its evidence."""
    from charter.govern.attest import told

    for row in told([event], "deployments") if event.action in RELEASES | TRIALS else ():
        if row.get("model") != model:
            continue
        if event.action in RELEASES and row["evidence"].get("package") == row.get("package"):
            yield row["version"], row["evidence"]
        elif event.action in TRIALS:
            yield version_number(row["traffic"]["candidate"]), tried(row["evidence"])


def _policy(workspace: Workspace, records: Records, model: str, digest: str) -> ApprovalPolicy | None:
    """Find the rules that have this digest among the specifications that were applied; these are blobs, not rows."""
    blobs = workspace.blobs()
    for result in records.results("spec"):
        if blobs.has(result.output):
            spec = ModelSpec.model_validate(json.loads(blobs.get(result.output)))
            if spec.name == model and part_digest(spec, "approve") == digest:
                return spec.approve
    return None
