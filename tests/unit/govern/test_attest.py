"""What somebody can do who may write to the database and nothing else: nothing that is not named and refused."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from govern_support import NOW, signer

from charter.core.decision import Verdict
from charter.core.digest import digest_json
from charter.core.errors import Refusal
from charter.govern.attest import RECORDED, added, attest
from charter.govern.attest_rows import STANDS
from charter.govern.audit import append
from charter.govern.identity import ADMIN, sign_grant
from charter.govern.io.people import approve, enrol, grant
from charter.govern.io.trail import Trail, checks
from charter.registry.io.records import Records
from charter.registry.types import AuditEvent, Deployment, StageResult
from charter.spec.types import ApprovalPolicy, ApprovalStage

POLICY = ApprovalPolicy(stages=(ApprovalStage(stage="governance", role="risk-officer"),))
EVIDENCE = {"package": digest_json("package")}


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path / 'records.sqlite'}", model="loans") as records:
        yield records


@pytest.fixture
def trail(records: Records, tmp_path: Path) -> Trail:
    """root grants eva a role and takes max's away; eva approves and rejects; one release."""
    trail = Trail(records, tmp_path / "audit.head")
    for name in ("root", "eva", "max"):
        enrol(records, trail, signer(name), now=NOW, actor=name)
    for name in ("eva", "max"):
        grant(records, trail, name, "risk-officer", by=signer("root"), now=NOW)
    grant(records, trail, "max", "risk-officer", by=signer("root"), now=NOW, verdict="revoke")
    records.version_for(digest_json("bundle"), spec=digest_json("spec"), now=NOW)
    for verdict in ("approve", "reject"):
        approve(
            trail, POLICY, 1, "governance", signer("eva"), verdict=verdict, reason="so", evidence=EVIDENCE, now=NOW
        )  # fmt: skip
    with trail.recording(at=NOW, actor="eva", action="version.released", subject="v1", detail=EVIDENCE) as tx:
        tx.add_deployment(Deployment(1, digest_json("package"), "eva", NOW, EVIDENCE))
    return trail


def tamper(tmp_path: Path, *statements: str) -> None:
    with sqlite3.connect(tmp_path / "records.sqlite") as connection:
        for statement in statements:
            connection.execute(statement)
    connection.close()


def forged_grants(tmp_path: Path) -> None:
    """Put one's own key under the administrator's name, and sign all grants anew with it."""
    attacker = signer("attacker")
    statements = [f"UPDATE identities SET public_key = '{attacker.public_key}' WHERE name = 'root'"]
    attacker = type(attacker)("root", attacker.private)
    for number, (name, role) in enumerate((("root", ADMIN), ("eva", "risk-officer")), start=1):
        signature = sign_grant(name, role, attacker, NOW).signature
        statements.append(f"UPDATE grants SET signature = '{signature}' WHERE sequence = {number}")
    tamper(tmp_path, *statements)


ATTACKS = {
    "identities 1": ("UPDATE identities SET public_key = '" + "ab" * 32 + "' WHERE name = 'root'", "altered"),
    "identities 3": ("DELETE FROM identities WHERE name = 'max'", "removed"),
    "identities 4": ("INSERT INTO identities SELECT 4, 'eve', 'ff', created_at FROM identities LIMIT 1", "inserted"),
    "grants 2": ("UPDATE grants SET role = 'admin' WHERE sequence = 2", "altered"),
    "grants 4": ("DELETE FROM grants WHERE verdict = 'revoke'", "removed"),
    "grants 0": (
        "INSERT INTO grants SELECT 0, identity, 'x', verdict, granted_by, granted_at, 'ff' FROM grants LIMIT 1",
        "inserted",
    ),
    "approvals 1": ("UPDATE approvals SET model = 'cards' WHERE sequence = 1", "altered"),
    "approvals 2": ("DELETE FROM approvals WHERE verdict = 'reject'", "removed"),
    "approvals 3": (
        "INSERT INTO approvals SELECT 3, model, version, stage, identity, role, 'approve', reason, evidence, "
        "signed_at, signature FROM approvals LIMIT 1",
        "inserted",
    ),
    "deployments 1": ("UPDATE deployments SET package = '" + "cd" * 32 + "'", "altered"),
    "deployments 2": (
        "INSERT INTO deployments SELECT 2, model, version, package, actor, at, evidence, traffic FROM deployments",
        "inserted",
    ),
    "deployments 1 again": ("UPDATE deployments SET traffic = '{\"stage\": \"canary\"}'", "altered"),
    "deployments 9": ("UPDATE deployments SET sequence = 9", "inserted"),
}  # fmt: skip


def test_records_that_nobody_touched_are_what_the_trail_tells(trail: Trail, records: Records) -> None:
    assert trail.verify() == []
    told = [e.detail[RECORDED] for e in records.events()]
    assert set(told[0]) == {"identities", "grants"}
    assert told[0]["identities"][0]["public_key"] == signer("root").public_key
    assert told[-1]["deployments"][0]["model"] == "loans"
    assert told[-1]["deployments"][0]["evidence"] == EVIDENCE
    assert told[-2]["approvals"][0]["signature"] == records.approvals(1)[-1].signature


@pytest.mark.parametrize("row", ATTACKS)
def test_a_row_that_the_trail_does_not_tell_is_named(
    trail: Trail, records: Records, tmp_path: Path, row: str
) -> None:
    statement, harm = ATTACKS[row]
    row = row.removesuffix(" again")
    tamper(tmp_path, statement)
    faults = trail.verify()
    assert (row, harm) in [(f.place, f.harm.value) for f in faults]
    assert all(f.verdict is Verdict.FAIL for f in faults)
    assert any(c.name == row and f"row {row.split()[1]} of" in c.note for c in checks(faults))
    before = len(records.events())
    with pytest.raises(Refusal, match="records were tampered with") as error:
        enrol(records, trail, signer("zoe"), now=NOW, actor="zoe")
    assert "charter audit verify" in str(error.value)
    assert len(records.events()) == before


def test_a_key_replaced_and_all_grants_signed_anew_is_noticed(trail: Trail, tmp_path: Path) -> None:
    forged_grants(tmp_path)
    assert [(f.place, f.harm.value) for f in trail.verify()] == [
        ("identities 1", "altered"),
        ("grants 1", "altered"),
        ("grants 2", "altered"),
    ]


@pytest.mark.parametrize("value", ["'no json'", "NULL", "1", "'{}'"])
def test_evidence_that_is_no_longer_what_it_was(trail: Trail, tmp_path: Path, value: str) -> None:
    tamper(
        tmp_path,
        "PRAGMA ignore_check_constraints = ON",
        "CREATE TABLE kept AS SELECT * FROM approvals",
        "DROP TABLE approvals",
        "ALTER TABLE kept RENAME TO approvals",
        f"UPDATE approvals SET evidence = {value} WHERE sequence = 2",
    )
    assert [(f.place, f.harm.value) for f in trail.verify()] == [("approvals 2", "altered")]


def test_every_model_of_shared_records_is_looked_at(trail: Trail, records: Records, tmp_path: Path) -> None:
    other = Trail(records.for_model("cards"), tmp_path / "audit.head")
    tamper(tmp_path, "DELETE FROM deployments")
    assert [(f.place, f.harm.value) for f in other.verify()] == [("deployments 1", "removed")]


def test_a_lost_anchor_is_not_adopted_over_changed_records(trail: Trail, tmp_path: Path) -> None:
    (tmp_path / "audit.head").unlink()
    tamper(tmp_path, "DELETE FROM grants WHERE verdict = 'revoke'")
    with pytest.raises(Refusal, match=r"row 4 of grants .* is gone"):
        trail.adopt(at=NOW, actor="eva")
    assert not (tmp_path / "audit.head").exists()


def test_an_entry_cannot_choose_the_place_of_its_row() -> None:
    """Else an entry forged at the end could put its identity before the first administrator."""
    row = {"sequence": 0, "name": "eve"}
    first = append(
        None, at=NOW, actor="root", action="a", subject="s", detail=_one({"sequence": 1, "name": "root"})
    )
    forged = append(first, at=NOW, actor="eve", action="a", subject="s", detail=_one(row))
    found = attest([first, forged], {"identities": [row, {"sequence": 1, "name": "root"}]})
    assert (2, "reordered") in [(f.sequence, f.harm.value) for f in found]


@pytest.mark.parametrize(
    "told", [None, 3, [], {"grants": 3}, {"grants": [3]}, {"nothing": [{"sequence": 1}]}]
)
def test_an_entry_that_tells_nonsense_is_no_proof(told: object) -> None:
    event = append(None, at=NOW, actor="eve", action="a", subject="s", detail={RECORDED: told})
    assert attest([event], {"grants": [{"sequence": 1}]})


def test_an_entry_from_before_a_column_was_there_tells_that_it_was_empty() -> None:
    row = {"sequence": 1, "model": "loans", "version": 1}
    event = append(
        None, at=NOW, actor="eva", action="a", subject="s", detail={RECORDED: {"deployments": [row]}}
    )
    assert attest([event], {"deployments": [{**row, "traffic": "{}"}]}) == []
    (fault,) = attest([event], {"deployments": [{**row, "traffic": '{"stage":"canary"}'}]})
    assert fault.harm.value == "altered"


def test_added_tells_only_what_is_new() -> None:
    old, new = {"sequence": 1, "evidence": "{}"}, {"sequence": 2, "evidence": json.dumps(EVIDENCE)}
    assert added({"approvals": [old]}, {"approvals": [old, new], "grants": []}) == {
        "approvals": [{"sequence": 2, "evidence": EVIDENCE}]
    }


def _one(row: dict[str, object]) -> dict[str, object]:
    return {RECORDED: {"identities": [row]}}


def test_an_entry_that_comes_meanwhile_is_no_tampering(
    trail: Trail, records: Records, tmp_path: Path
) -> None:
    with Records.open(f"sqlite:///{tmp_path / 'records.sqlite'}", model="loans") as other:
        busy = Meanwhile(records, other, tmp_path / "audit.head")
        assert Trail(busy, tmp_path / "audit.head").verify() == []  # type: ignore[arg-type]
        assert busy.added == 2


class Meanwhile:
    """Records to which somebody adds twice between the reading of entries and of rows."""

    def __init__(self, records: Records, other: Records, anchor_file: Path) -> None:
        self._records, self._other, self._anchor_file, self.added = records, other, anchor_file, 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._records, name)

    def events(self) -> list[AuditEvent]:
        found = self._records.events()
        if self.added < 2:
            self.added += 1
            late = signer(f"late{self.added}")
            enrol(self._other, Trail(self._other, self._anchor_file), late, now=NOW, actor="late")
        return found


ROWS = {
    "versions loans v1": ("UPDATE versions SET status = 'released' WHERE number = 1", "altered", "status is released"),
    "versions loans v2": ("INSERT INTO versions SELECT model, 2, 'cc', spec, created_at, status, package, evaluation, "
                          "gate FROM versions", "inserted", "no entry"),
    "results loans train": ("UPDATE results SET summary = '{}'", "altered", "summary is"),
    "results loans train again": ("DELETE FROM results", "removed", "is gone"),
    "results loans train once more": ("UPDATE results SET output = 'ee'", "altered", "output is ee, was"),
}  # fmt: skip


@pytest.mark.parametrize("row", ROWS)
def test_versions_and_results_stand_as_they_were_last_told(
    trail: Trail, records: Records, tmp_path: Path, row: str
) -> None:
    recorded(trail, "summary")
    with trail.recording(at=NOW, actor="eva", action="gate.done", subject="loans") as tx:
        tx.update_version(1, status="waiting")
    records.touch("train", digest_json("key"))  # when it was used last decides nothing
    assert trail.verify() == []
    statement, harm, says = ROWS[row]
    tamper(tmp_path, statement)
    (fault,) = trail.verify()
    assert (fault.place, fault.harm.value) == (row.removesuffix(" again").removesuffix(" once more"), harm)
    assert says in fault.message
    with pytest.raises(Refusal, match="records were tampered with"):
        recorded(trail, "another")


def test_a_result_that_is_made_again_is_told_again(trail: Trail) -> None:
    for summary in ("first", "second", "second"):
        recorded(trail, summary)
    assert trail.verify() == []


def test_records_of_an_older_charter_are_told_by_the_first_change(
    trail: Trail, records: Records, tmp_path: Path
) -> None:
    told = [e.detail.get(STANDS) for e in records.events()]
    first = next(t for t in told if t)
    assert [(v["number"], v["status"]) for v in first["versions"]] == [(1, "candidate")]
    tamper(tmp_path, "UPDATE versions SET status = 'refused'")
    assert [f.place for f in trail.verify()] == ["versions loans v1"]


def recorded(trail: Trail, summary: str) -> None:
    with trail.recording(at=NOW, actor="eva", action="train.done", subject="loans") as tx:
        tx.save_result(
            StageResult(
                "train", digest_json("key"), digest_json("output"), {"what": summary}, 1.5, "eva", NOW
            )
        )
