from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from govern_support import NOW, signer

from charter.core.decision import Decision, Verdict
from charter.govern.approval import judge_approvals, sign, signatures
from charter.govern.identity import ADMIN, sign_grant, standing
from charter.registry.types import Approval, Grant, IdentityRecord
from charter.spec.types import SIX_STAGES, ApprovalPolicy, ApprovalStage

EVIDENCE = {"bundle": "b" * 64, "evaluation": "e" * 64, "gate": "a" * 64, "package": "c" * 64}
SIX = ApprovalPolicy(stages=SIX_STAGES)
ONE = ApprovalPolicy(stages=(ApprovalStage(stage="governance", role="risk-officer"),), valid_for="30d")
ROOT = signer("root")


def people(**roles: str) -> tuple[list[IdentityRecord], list[Grant]]:
    names = ["root", *roles]
    records = [IdentityRecord(n, signer(n).public_key, NOW) for n in names]
    grants = [sign_grant("root", ADMIN, ROOT, NOW)]
    grants += [sign_grant(name, role, ROOT, NOW) for name, role in roles.items()]
    return records, grants


def signed(name: str = "eva", **changes: Any) -> Approval:
    asked = {
        "verdict": "approve",
        "reason": "",
        "evidence": EVIDENCE,
        "now": NOW,
        "stage": ONE.stages[0],
        **changes,
    }
    stage = asked.pop("stage")
    return sign(3, stage, signer(name), **asked)


def judged(*approvals: Approval, policy: ApprovalPolicy = ONE, **changes: Any) -> Decision:
    records, grants = people(eva="risk-officer", max="tech-lead")
    asked = {
        "identities": records,
        "grants": grants,
        "evidence": EVIDENCE,
        "now": NOW + timedelta(days=1),
        **changes,
    }
    return judge_approvals(policy, approvals, **asked)


def test_a_signature_over_the_evidence_by_the_role_passes() -> None:
    decision = judged(signed(reason="fair enough"))
    assert decision.verdict is Verdict.PASS
    assert decision.checks[0].observed == "approved by eva"
    assert decision.checks[0].note == "2026-03-04, good until 2026-04-03: fair enough"
    assert dict(decision.evidence) == EVIDENCE


def test_no_stage_asked_for_passes_and_says_so() -> None:
    decision = judged(policy=ApprovalPolicy(stages=()))
    assert decision.verdict is Verdict.PASS
    assert "asks for no approval" in decision.checks[0].note


def test_five_of_six_refuse_and_name_the_missing() -> None:
    roles = {s.stage: s.role for s in SIX_STAGES}
    records, grants = people(**roles)
    approvals = [signed(s.stage, stage=s) for s in SIX_STAGES[:-1]]
    decision = judged(*approvals, policy=SIX, identities=records, grants=grants)
    assert not decision.allows
    assert [(c.name, c.observed) for c in decision.reasons] == [("final", "missing")]
    assert judged(
        *approvals, signed("final", stage=SIX_STAGES[-1]), policy=SIX, identities=records, grants=grants
    ).allows


def test_one_person_may_hold_several_roles() -> None:
    records, grants = people(eva="risk-officer")
    grants += [sign_grant("eva", s.role, ROOT, NOW) for s in SIX_STAGES]
    approvals = [signed("eva", stage=s) for s in SIX_STAGES]
    decision = judged(*approvals, policy=SIX, identities=records, grants=grants)
    assert decision.allows
    assert decision.verdict is Verdict.WARN
    assert [(c.observed, c.verdict) for c in decision.checks[6:]] == [
        ("one person signed 6 stages", Verdict.WARN)
    ]
    assert "also signed development, technical, business" in decision.checks[3].note
    assert signatures(decision) == "6 of 6 signatures"


def test_distinct_people_lets_each_person_sign_one_stage() -> None:
    records, grants = people(eva="risk-officer", max="tech-lead")
    grants += [sign_grant("eva", "tech-lead", ROOT, NOW)]
    first, second = SIX_STAGES[0], SIX_STAGES[3]
    policy = ApprovalPolicy(stages=(first, second), distinct_people=True)
    both = [signed("eva", stage=second), signed("eva", stage=first)]
    refused = judged(*both, policy=policy, identities=records, grants=grants)
    assert not refused.allows
    assert [(c.name, c.observed) for c in refused.reasons] == [
        ("development", "signed by eva, as was governance")
    ]
    assert "somebody other than eva must sign development" in refused.reasons[0].note
    assert signatures(refused) == "1 of 2 signatures"
    mended = judged(*both, signed("max", stage=first), policy=policy, identities=records, grants=grants)
    assert mended.verdict is Verdict.PASS


def test_a_policy_without_stages_asks_for_all_six() -> None:
    assert ApprovalPolicy(distinct_people=True).stages == SIX_STAGES


def test_what_is_said_where_no_signature_is_asked_for() -> None:
    assert signatures(judged(policy=ApprovalPolicy(stages=()))) == "no signature is asked for"


@pytest.mark.parametrize("name", list(EVIDENCE))
def test_it_lapses_when_a_digest_changes_and_says_which(name: str) -> None:
    check = judged(signed(), evidence={**EVIDENCE, name: "9" * 64}).checks[0]
    assert (check.verdict, check.observed) == (Verdict.FAIL, "lapsed (signed by eva)")
    assert f"{name} changed from {EVIDENCE[name][:8]} to 99999999" in check.note


def test_it_lapses_when_evidence_is_added_or_taken_away() -> None:
    more = judged(signed(), evidence={**EVIDENCE, "spec": "9" * 64}).checks[0]
    assert "spec 99999999 was not part of it" in more.note
    less = judged(signed(), evidence={"bundle": EVIDENCE["bundle"]}).checks[0]
    assert "gate aaaaaaaa is no longer part of it" in less.note
    assert not more.verdict.allows
    assert not less.verdict.allows


def test_going_back_to_what_was_signed_revives_the_signature() -> None:
    other = {**EVIDENCE, "package": "9" * 64}
    assert judged(signed(), signed(evidence=other, verdict="reject", reason="no")).allows


@pytest.mark.parametrize(
    "change",
    [
        {"version": 4},
        {"stage": "final"},
        {"identity": "max"},
        {"role": "tech-lead"},
        {"verdict": "reject"},
        {"reason": "other"},
        {"evidence": {**EVIDENCE, "package": "9" * 64}},
        {"signed_at": NOW + timedelta(seconds=1)},
        {"signature": "00" * 64},
        {"signature": "no hexadecimal"},
        {"signature": ""},
    ],
)
def test_a_changed_field_breaks_the_signature(change: dict[str, Any]) -> None:
    altered = replace(signed(), **change)
    policy = ApprovalPolicy(stages=(ApprovalStage(stage=altered.stage, role=altered.role),))
    decision = judged(altered, policy=policy, evidence=altered.evidence)
    assert not decision.allows
    assert decision.checks[0].observed == "bad signature"


def test_the_latest_verdict_counts() -> None:
    no = signed(verdict="reject", reason="recall is too low", now=NOW + timedelta(hours=1))
    rejected = judged(signed(), no).checks[0]
    assert (rejected.observed, rejected.note) == ("rejected by eva", "recall is too low")
    assert judged(no, signed(now=NOW + timedelta(hours=2))).allows


def test_an_old_row_copied_to_the_end_does_not_revive_it() -> None:
    no = signed(verdict="reject", reason="no", now=NOW + timedelta(hours=1))
    assert not judged(signed(), no, signed()).allows


def test_it_expires_on_the_day_that_the_policy_says() -> None:
    assert judged(signed(), now=NOW + timedelta(days=30)).allows
    late = judged(signed(), now=NOW + timedelta(days=30, seconds=1)).checks[0]
    assert late.observed == "expired (signed by eva)"
    assert not late.verdict.allows


def test_a_signature_from_the_future_does_not_count() -> None:
    assert judged(signed(now=NOW + timedelta(minutes=4)), now=NOW).allows
    assert not judged(signed(now=NOW + timedelta(minutes=6)), now=NOW).allows


def test_the_role_is_judged_now() -> None:
    records, grants = people(eva="risk-officer")
    gone = [*grants, sign_grant("eva", "risk-officer", ROOT, NOW, verdict="revoke")]
    check = judged(signed(), identities=records, grants=gone).checks[0]
    assert (check.observed, check.note) == ("wrong role (eva)", "eva has no role, not risk-officer")


def test_an_unknown_signer_and_a_foreign_key_do_not_count() -> None:
    assert judged(signed("nobody")).checks[0].observed == "signed by nobody, unknown"
    forged = replace(signed("max"), identity="eva")
    assert judged(forged).checks[0].observed == "bad signature"


# ----------------------------------------------------------------------------------------------- identities
def test_the_first_identity_makes_itself_administrator_and_grants() -> None:
    found = standing(*people(eva="risk-officer"))
    assert found["root"].roles == (ADMIN,)
    assert found["eva"].roles == ("risk-officer",)
    assert found["eva"].to_json()["roles"] == ["risk-officer"]


@pytest.mark.parametrize(
    "grant",
    [
        sign_grant("eva", "chief-data-officer", signer("eva"), NOW),
        replace(sign_grant("eva", "x", ROOT, NOW), role="chief-data-officer"),
        replace(sign_grant("max", "chief-data-officer", ROOT, NOW), identity="eva"),
        replace(sign_grant("eva", "chief-data-officer", signer("eva"), NOW), granted_by="root"),
        sign_grant("eva", ADMIN, signer("eva"), NOW),
        sign_grant("nobody", "chief-data-officer", ROOT, NOW),
        sign_grant("eva", "chief-data-officer", signer("nobody"), NOW),
    ],
)
def test_a_grant_that_does_not_prove_itself_is_ignored(grant: Grant) -> None:
    records, grants = people(eva="risk-officer", max="tech-lead")
    assert standing(records, [*grants, grant]) == standing(records, grants)


def test_nobody_but_the_first_founds() -> None:
    records, _ = people(eva="risk-officer")
    assert standing(records, [sign_grant("eva", ADMIN, signer("eva"), NOW)])["eva"].roles == ()
    assert standing([], [sign_grant("eva", ADMIN, signer("eva"), NOW)]) == {}


def test_a_revoked_administrator_grants_no_more_and_a_copied_grant_does_not_help() -> None:
    records, grants = people(eva=ADMIN)
    revoked = [*grants, sign_grant("eva", ADMIN, ROOT, NOW, verdict="revoke")]
    after = [*revoked, grants[1], sign_grant("eva", "risk-officer", signer("eva"), NOW)]
    assert standing(records, after)["eva"].roles == ()
