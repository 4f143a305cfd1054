"""Enrolling identities, granting roles, signing: each a change of the records and an entry of the trail at once."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import Refusal, UsageError
from charter.core.nearest import advice, did_you_mean
from charter.core.text import one_line
from charter.govern.approval import sign
from charter.govern.identity import ADMIN, Identity, sign_grant, standing
from charter.govern.io.trail import Trail
from charter.registry.io.records import Records
from charter.registry.signing import Signer
from charter.registry.types import Approval, IdentityRecord

if TYPE_CHECKING:
    from charter.spec.types import ApprovalPolicy

_ROLE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def people(records: Records) -> dict[str, Identity]:
    """Return every identity with the roles that it has now."""
    return standing(records.identities(), records.grants())


def enrol(records: Records, trail: Trail, signer: Signer, *, now: datetime, actor: str) -> Identity:
    """Record the public key of an identity. The first one becomes the administrator.

    Raises
    ------
    UsageError
        When the name or the key is recorded already.
    """
    record = IdentityRecord(signer.name, signer.public_key, now)
    detail = {"public_key": record.public_key}
    with trail.recording(
        at=now, actor=actor, action="identity.created", subject=signer.name, detail=detail
    ) as tx:
        first = not tx.identities()
        tx.add_identity(record)
        if first:
            tx.add_grant(sign_grant(signer.name, ADMIN, signer, now))
    return people(records)[signer.name]


def grant(
    records: Records,
    trail: Trail,
    name: str,
    role: str,
    *,
    by: Signer,
    now: datetime,
    verdict: Literal["grant", "revoke"] = "grant",
) -> Identity:
    """Give a role to an identity, or take it away, in the name of an administrator.

    Raises
    ------
    UsageError
        When no such identity is recorded.
    Refusal
        When `by` is not an administrator, or would take away the last administrator's role.
    """
    if len(role) > 64 or not _ROLE.fullmatch(role):
        raise UsageError(
            f"{role!r} is not a role", remedy="Use lower-case words joined by hyphens, such as risk-officer."
        )
    detail = {"role": role, "verdict": verdict}
    with trail.recording(at=now, actor=by.name, action=f"role.{verdict}", subject=name, detail=detail) as tx:
        known = people(tx)
        _named(known, name)
        _check_admin(known, by)
        if verdict == "revoke" and role not in known[name].roles:
            raise UsageError(
                f"{name} does not have the role {role}",
                remedy=f"Roles of {name}: {', '.join(known[name].roles) or 'none'}.",
            )
        if verdict == "revoke" and role == ADMIN and [i.name for i in known.values() if i.is_admin] == [name]:
            raise Refusal(f"{name} is the last administrator", remedy="Make someone else one first.")
        tx.add_grant(sign_grant(name, role, by, now, verdict=verdict))
    return people(records)[name]


def approve(
    trail: Trail,
    policy: ApprovalPolicy,
    version: int,
    stage: str,
    signer: Signer,
    *,
    verdict: Literal["approve", "reject"],
    reason: str,
    evidence: Mapping[str, str],
    now: datetime,
) -> Approval:
    """Sign a verdict on a stage of a version, and record it.

    Raises
    ------
    UsageError
        When the policy has no such stage, the signer is not recorded, or a rejection gives no reason.
    Refusal
        When the signer does not have the stage's role, or the key is not the recorded one.
    """
    stages = {s.stage: s for s in policy.stages}
    if stage not in stages:
        raise UsageError(
            f"{stage!r} is not a stage of this specification's approval",
            remedy=did_you_mean(stage, stages) if stages else "It asks for none (approve: none).",
        )
    reason = one_line(reason, "the reason")
    if verdict == "reject" and not reason:
        raise UsageError("a rejection needs a reason", remedy="Say why: --reason '...'")
    wanted = stages[stage]
    signed = sign(version, wanted, signer, verdict=verdict, reason=reason, evidence=evidence, now=now)
    detail = {"stage": stage, "role": wanted.role, "reason": reason, "evidence": dict(evidence)}
    with trail.recording(
        at=now, actor=signer.name, action=f"version.{verdict}", subject=f"v{version}", detail=detail
    ) as tx:
        known = people(tx)
        person = _named(known, signer.name)
        _check_key(person, signer)
        if wanted.role not in person.roles:
            roles = ", ".join(person.roles) or "no role"
            raise Refusal(
                f"{signer.name} may not sign {stage}: it takes a {wanted.role}, and {signer.name} has {roles}",
                decision=Decision.of("approve", [Check(stage, roles, wanted.role, Verdict.FAIL)]),
                remedy="An administrator can grant it: "
                f"`charter identity grant {signer.name} {wanted.role} --by NAME`.",
            )
        tx.add_approval(signed)
    return signed


def entitled(records: Records, signer: Signer, role: str | None, *, to: str) -> Identity:
    """Return the identity of whoever acts, if its key is the recorded one and it holds the role.

    Parameters
    ----------
    role
        None asks for the key alone.
    to
        What it takes the role for, for the refusal: ``close an incident``.

    Raises
    ------
    UsageError
        When no such identity is recorded.
    Refusal
        When the key is another one, or the role is not held.
    """
    known = people(records)
    person = _named(known, signer.name)
    _check_key(person, signer)
    if role is not None and role not in person.roles:
        roles = ", ".join(person.roles) or "no role"
        raise Refusal(
            f"{signer.name} may not {to}: it takes a {role}, and {signer.name} has {roles}",
            decision=Decision.of(to, [Check("role", roles, role, Verdict.FAIL)]),
            remedy=f"An administrator can grant it: `charter identity grant {signer.name} {role} --by NAME`.",
        )
    return person


def _named(known: Mapping[str, Identity], name: str) -> Identity:
    if name not in known:
        raise UsageError(
            f"no identity {name!r} is recorded",
            remedy=f"Make it: `charter identity create {name}`. {advice(name, known)}",
        )
    return known[name]


def _check_key(person: Identity, signer: Signer) -> None:
    if person.public_key != signer.public_key:
        raise Refusal(
            f"the key file of {signer.name} is not the key that is recorded for {signer.name}",
            remedy="Use the machine or folder (CHARTER_HOME) where the recorded key lies.",
        )


def _check_admin(known: Mapping[str, Identity], by: Signer) -> None:
    person = _named(known, by.name)
    _check_key(person, by)
    if not person.is_admin:
        admins = ", ".join(i.name for i in known.values() if i.is_admin) or "nobody"
        raise Refusal(f"{by.name} may not grant roles", remedy=f"Administrators: {admins}.")
