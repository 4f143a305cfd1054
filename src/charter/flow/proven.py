"""Whether what is released was approved: judged anew from signatures, as of the entry that released it.

An entry that continues the chain may have been written by whoever can write to the database. Signatures may not: they
take private keys. So a release is believed when the signatures recorded before it carry it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from charter.core.errors import Refusal
from charter.flow.rolling import rolling, tried
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded, kept
from charter.spec.parts import part_digest
from charter.spec.types import ModelSpec, RolloutSpec

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
        spec = signed_spec(workspace, records, model, evidence)
        if spec is None:
            continue
        signed = {approval.get("signature") for approval in told(before, "approvals")}
        last = judge_approvals(
            spec.approve,
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


def signed_spec(
    workspace: Workspace, records: Records, model: str, evidence: Mapping[str, str]
) -> ModelSpec | None:
    """Find the specification with the rules that some evidence was signed under; these are blobs, not rows.

    What approvers sign are its parts ``approve`` and ``release.rollout``; the rest may be another's.
    """
    blobs = workspace.blobs()
    for result in records.results("spec"):
        if blobs.has(result.output):
            spec = kept(blobs.get(result.output))
            if spec.name == model and part_digest(spec, "approve") == evidence.get("policy", ""):
                return spec
    return None


def rollout_rules(workspace: Workspace, loaded: Loaded, records: Records) -> RolloutSpec | None:
    """Rules that name who may stop, resume and go back: those of what is tried, or those signed with what serves.

    The file's own count only where neither declares any: a role is not lost by deleting it there.

    Raises
    ------
    Refusal
        When the specification under which a rollout began is lost.
    """
    now, serving = rolling(workspace, loaded, records), records.deployment()
    specs = [now.loaded.spec] if now is not None else []
    signed = None
    if serving is not None:
        signed = signed_spec(workspace, records, loaded.spec.name, serving.evidence)
    specs += [signed, loaded.spec] if signed is not None else [loaded.spec]
    return next((s.release.rollout for s in specs if s.release.rollout is not None), None)
