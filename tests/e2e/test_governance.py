"""Somebody who may write to the database alone approves and releases nothing, and every workspace signs as itself."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest
from e2e_models import apply, charter, done, edit

from charter.govern.io.trail import Trail
from charter.registry.io.records import Records
from charter.registry.types import Deployment
from charter.spec.loader import load
from charter.spec.parts import part_digest

REQUEST = json.dumps({"credit": 9000, "bill": 4000, "late": 4, "region": "north"})


def tamper(folder, *statements):
    with sqlite3.connect(folder / ".charter" / "records.sqlite") as database:
        for statement in statements:
            database.execute(statement)
    database.close()


@pytest.fixture
def unsigned(loans, monkeypatch, tmp_path):
    """The row model, released under `approve: none`, and a newer package that two people must sign."""
    monkeypatch.setenv("CHARTER_HOME", str(tmp_path / "home"))
    stages = "stages: [{stage: technical, role: engineer}, {stage: final, role: director}]"
    edit(loans, "approve: none", f"approve: {{{stages}}}")
    edit(loans, "reasons: 2", "reasons: 3")
    apply(loans, code=1)
    done("identity", "create", "ann", "--role", "engineer", "--in", loans)
    done("identity", "grant", "ann", "director", "--by", "ann", "--in", loans)
    return loans


def sign(folder, stage, name="ann"):
    return charter("approve", "v1", "--stage", stage, "--as", name, "--in", folder)


def test_a_release_written_into_the_database_serves_nothing(unsigned):
    tamper(
        unsigned,
        "INSERT INTO deployments SELECT 2, d.model, d.version, v.package, 'eve', d.at, d.evidence, d.traffic "
        "FROM deployments d JOIN versions v ON v.number = d.version",
    )
    said = charter("predict", "--json", REQUEST, "--in", unsigned)
    assert said.code == 1
    assert "row 2 of deployments" in said.err + said.out
    assert "no entry of the audit trail tells of it" in said.err + said.out
    verified = charter("audit", "verify", "--in", unsigned, "--json")
    assert verified.code == 1
    assert [f["row"] for f in verified.json["faults"]] == ["deployments 2"]
    assert "records do NOT match it" in charter("audit", "verify", "--in", unsigned).out


@pytest.mark.parametrize("rules", ["those that hold", "invented"])
def test_a_release_forged_with_an_entry_that_continues_the_chain_serves_nothing(unsigned, rules):
    """Digests need no key: whoever writes to the database can make the chain longer, but cannot sign."""
    state = unsigned / ".charter"
    policy = part_digest(load(unsigned / "model.yaml").spec, "approve") if rules != "invented" else "ab" * 32
    with Records.open(f"sqlite:///{state / 'records.sqlite'}", model="small-loans") as records:
        forged = Path(shutil.copy(state / "audit.head", unsigned / "forged.head"))
        package, now = records.version(1).package, records.last_event().at
        proof = {**records.deployment().evidence, "package": package, "policy": policy}
        with Trail(records, forged).recording(
            at=now, actor="eve", action="version.released", subject="v1", detail=proof
        ) as change:
            change.add_deployment(Deployment(1, package, "eve", now, proof))
    assert done("audit", "verify", "--in", unsigned, "--json").json["sound"] is True
    said = charter("predict", "--json", REQUEST, "--in", unsigned)
    assert said.code == 1
    assert "was never approved" in said.err + said.out


def test_a_rejection_taken_out_of_the_database_still_stops_the_release(unsigned):
    for stage in ("technical", "final"):
        assert sign(unsigned, stage).code == 0
    done("reject", "v1", "--stage", "final", "--as", "ann", "--reason", "no", "--in", unsigned)
    tamper(unsigned, "DELETE FROM approvals WHERE verdict = 'reject'")
    approve = next(s for s in done("plan", unsigned, "--json").json["stages"] if s["stage"] == "approve")
    assert approve["action"] == "refused"
    assert "approvals 3" in approve["remark"]
    said = charter("apply", unsigned)
    assert said.code == 1
    assert "is gone, though entry" in said.out + said.err
    assert done("history", unsigned, "--json").json["releases"][1:] == []


def test_one_person_for_all_stages_is_told_or_refused(unsigned, tmp_path):
    for stage in ("technical", "final"):
        assert sign(unsigned, stage).code == 0
    assert apply(unsigned) == ["release"]
    target = tmp_path / "card.md"
    done("card", "v1", "--format", "markdown", "--to", target, "--in", unsigned)
    assert "one person signed 2 stages" in target.read_text()
    (released,) = [
        e for e in done("audit", "list", "--in", unsigned, "--json").json if e["action"] == "version.released"
    ][1:]
    assert [(s["stage"], s["identity"]) for s in released["detail"]["signed"]] == [
        ("technical", "ann"),
        ("final", "ann"),
    ]
    edit(unsigned, "role: director}]", "role: director}], distinct_people: true")
    said = charter("apply", unsigned)
    assert said.code == 1  # the rules are part of what was signed
    assert "policy changed" in said.out
    assert sign(unsigned, "technical").code == 0
    assert "signed by ann, as was technical" in sign(unsigned, "final").out
    assert charter("apply", unsigned).code == 1


def test_two_workspaces_on_shared_records_sign_as_themselves(loans, tmp_path, monkeypatch):
    state = loans / ".charter"
    monkeypatch.setenv("CHARTER_RECORDS_URL", f"sqlite:///{state / 'records.sqlite'}")
    monkeypatch.setenv("CHARTER_BLOBS_URL", str(state / "blobs"))
    second = tmp_path / "second"
    shutil.copytree(loans, second, ignore=shutil.ignore_patterns(".charter"))
    done("audit", "adopt", "--in", second)
    edit(second, "reasons: 2", "reasons: 3")
    assert apply(second) == ["evaluate", "gate", "package", "release"]
    built = [
        e for e in done("audit", "list", "--in", loans, "--json").json if e["action"] == "builder.created"
    ]
    names = [e["subject"] for e in built]
    assert len(set(names)) == 2
    assert all(e["subject"] == f"builder-{e['detail']['public_key'][:8]}" for e in built)
    assert apply(loans) == ["release"]  # the first one's package is still trusted
    for folder in (loans, second):
        assert done("predict", "--json", REQUEST, "--in", folder).code == 0


def test_no_signature_is_asked_for_is_said(loans):
    assert "no signature is asked for" in charter("apply", loans).out
    assert "no signature is asked for" in done("plan", loans).out
