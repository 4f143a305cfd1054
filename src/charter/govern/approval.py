"""Approvals: signed verdicts over exact digests. Pure; fails closed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Literal

from charter.core.clock import iso
from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import short
from charter.core.quantity import parse_duration
from charter.govern.identity import Identity, standing
from charter.registry.signing import Signer, verifies
from charter.registry.types import Approval, Grant, IdentityRecord

if TYPE_CHECKING:
    from charter.spec.types import ApprovalPolicy, ApprovalStage

PURPOSE = "charter/approval/1"
SIGNED_AS = "signed as "
"""How the requirement of every stage's check begins."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""How far ahead a signer's clock may be."""


def sign(
    version: int,
    stage: ApprovalStage,
    signer: Signer,
    *,
    verdict: Literal["approve", "reject"],
    reason: str,
    evidence: Mapping[str, str],
    now: datetime,
) -> Approval:
    """Make a signed verdict. Whether it counts is judged by `judge_approvals`, each time anew."""
    draft = Approval(
        version, stage.stage, signer.name, stage.role, verdict, reason, dict(evidence), now, signature=""
    )
    return replace(draft, signature=signer.sign(PURPOSE, payload(draft)))


def payload(approval: Approval) -> dict[str, object]:
    """Everything that the signature covers: all fields but the signature itself."""
    return {
        "evidence": dict(approval.evidence),
        "identity": approval.identity,
        "reason": approval.reason,
        "role": approval.role,
        "signed_at": iso(approval.signed_at),
        "stage": approval.stage,
        "verdict": approval.verdict,
        "version": approval.version,
    }


def judge_approvals(
    policy: ApprovalPolicy,
    approvals: Iterable[Approval],
    *,
    identities: Iterable[IdentityRecord],
    grants: Iterable[Grant],
    evidence: Mapping[str, str],
    now: datetime,
) -> Decision:
    """Judge whether everyone who must sign has signed exactly this evidence.

    For each stage the latest verdict on the present evidence counts; it must be an approval whose signature fits its
    signer's recorded key, whose signer has the role now, and which has not expired. Verdicts on other evidence have
    lapsed. A rejection stands until the same stage approves.

    Parameters
    ----------
    policy
        Stages, roles and how long a signature is good for.
    approvals, identities, grants
        In the order in which they were recorded.
    evidence
        Name to digest of what is to be released.
    now
        Aware.

    Returns
    -------
    Decision
        One check per stage, named by the stage, and a warning for each person who signed several, where the policy
        allows that. No stage at all is ``pass``: the specification says ``approve: none``.
    """
    if not policy.stages:
        none = Check(
            "approve", "no signature", "none", Verdict.PASS, note="the specification asks for no approval"
        )
        return Decision.of("approve", [none], evidence)
    people = standing(identities, grants)
    once = _once(approvals)
    valid_for = parse_duration(policy.valid_for)
    checks = {
        stage.stage: _judge(
            stage, [a for a in once if a.stage == stage.stage], people, evidence, now, valid_for
        )
        for stage in policy.stages
    }
    good = [a for a in counted(policy, once, evidence) if checks[a.stage].verdict is Verdict.PASS]
    return Decision.of("approve", _separate(checks, good, distinct=policy.distinct_people), evidence)


def counted(
    policy: ApprovalPolicy, approvals: Iterable[Approval], evidence: Mapping[str, str]
) -> list[Approval]:
    """Return the verdict that counts for each stage that has one on this evidence, in the order of signing."""
    stages = {stage.stage for stage in policy.stages}
    latest: dict[str, Approval] = {}
    for approval in _once(approvals):
        if approval.stage in stages and dict(approval.evidence) == dict(evidence):
            latest.pop(approval.stage, None)
            latest[approval.stage] = approval
    return list(latest.values())


def signatures(decision: Decision) -> str:
    """Say in a few words how many of the signatures that are asked for count.

    Examples
    --------
    >>> signatures(Decision.of("approve", [Check("final", "missing", "signed as cdo", Verdict.FAIL)]))
    '0 of 1 signatures'
    >>> signatures(Decision.of("approve", [Check("approve", "no signature", "none", Verdict.PASS)]))
    'no signature is asked for'
    """
    stages = asked(decision)
    if stages:
        return f"{sum(c.verdict.allows for c in stages)} of {len(stages)} signatures"
    return "no signature is asked for" if decision.allows else "no signature counts: the records were changed"


def asked(decision: Decision) -> list[Check]:
    """Return the checks of the stages; none where no signature is asked for, or where the records prove nothing."""
    return [check for check in decision.checks if check.required.startswith(SIGNED_AS)]


def _separate(checks: Mapping[str, Check], good: Sequence[Approval], *, distinct: bool) -> list[Check]:
    """Say who signed several stages; where that is not allowed, only the first of them counts."""
    by_person: dict[str, list[str]] = {}
    for approval in good:
        by_person.setdefault(approval.identity, []).append(approval.stage)
    found, warnings = dict(checks), []
    for name, stages in by_person.items():
        if len(stages) == 1:
            continue
        for position, stage in enumerate(stages):
            others = [other for other in stages if other != stage]
            if not distinct:
                note = f"{found[stage].note}; also signed {', '.join(others)}"
                found[stage] = replace(found[stage], note=note)
            elif position:
                found[stage] = replace(
                    found[stage],
                    observed=f"signed by {name}, as was {stages[0]}",
                    verdict=Verdict.FAIL,
                    note="approve.distinct_people: each stage must be signed by another person; "
                    f"somebody other than {name} must sign {stage}",
                )
        if not distinct:
            warnings.append(
                Check(
                    "separation of duties",
                    f"one person signed {len(stages)} stages",
                    "another person for each stage",
                    Verdict.WARN,
                    note=f"{name}: {', '.join(stages)}; approve.distinct_people would refuse this",
                )
            )
    return [*found.values(), *warnings]


def _once(approvals: Iterable[Approval]) -> list[Approval]:
    """Leave out repeated signatures: copying an old row to the end must not revive an old verdict."""
    seen: dict[str, Approval] = {}
    for approval in approvals:
        seen.setdefault(approval.signature, approval)
    return list(seen.values())


def _judge(
    stage: ApprovalStage,
    signed: Sequence[Approval],
    people: Mapping[str, Identity],
    evidence: Mapping[str, str],
    now: datetime,
    valid_for: timedelta,
) -> Check:
    required = f"{SIGNED_AS}{stage.role}"
    current = [a for a in signed if dict(a.evidence) == dict(evidence)]
    if not current:
        if not signed:
            return Check(
                stage.stage, "missing", required, Verdict.FAIL, note=f"nobody has signed as {stage.role}"
            )
        last = signed[-1]
        return Check(
            stage.stage,
            f"lapsed (signed by {last.identity})",
            required,
            Verdict.FAIL,
            note="what was signed is not what is to be released: " + _changed(last.evidence, evidence),
        )
    last = current[-1]
    fault = _fault(last, stage, people, now, valid_for)
    if fault is not None:
        observed, note = fault
        return Check(stage.stage, observed, required, Verdict.FAIL, note=note)
    return Check(
        stage.stage,
        f"approved by {last.identity}",
        required,
        Verdict.PASS,
        note=f"{iso(last.signed_at)[:10]}, good until {iso(last.signed_at + valid_for)[:10]}"
        + (f": {last.reason}" if last.reason else ""),
    )


def _fault(
    last: Approval, stage: ApprovalStage, people: Mapping[str, Identity], now: datetime, valid_for: timedelta
) -> tuple[str, str] | None:
    signer = people.get(last.identity)
    if signer is None:
        return f"signed by {last.identity}, unknown", "no such identity is recorded"
    if not verifies(signer.public_key, PURPOSE, payload(last), last.signature):
        return (
            "bad signature",
            f"the signature does not fit {last.identity}'s key: the entry was altered or forged",
        )
    if last.role != stage.role or stage.role not in signer.roles:
        roles = ", ".join(signer.roles) or "no role"
        return f"wrong role ({last.identity})", f"{last.identity} has {roles}, not {stage.role}"
    if last.verdict == "reject":
        return f"rejected by {last.identity}", last.reason or "no reason given"
    if last.signed_at > now + CLOCK_TOLERANCE:
        return (
            f"signed in the future ({last.identity})",
            f"signed at {iso(last.signed_at)}, now it is {iso(now)}",
        )
    if last.signed_at + valid_for < now:
        return (
            f"expired (signed by {last.identity})",
            f"was good until {iso(last.signed_at + valid_for)[:10]}",
        )
    return None


def _changed(signed: Mapping[str, str], now: Mapping[str, str]) -> str:
    changes = []
    for name in sorted({*signed, *now}):
        if name not in now:
            changes.append(f"{name} {short(signed[name])} is no longer part of it")
        elif name not in signed:
            changes.append(f"{name} {short(now[name])} was not part of it")
        elif signed[name] != now[name]:
            changes.append(f"{name} changed from {short(signed[name])} to {short(now[name])}")
    return ", ".join(changes)
