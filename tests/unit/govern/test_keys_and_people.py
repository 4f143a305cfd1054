from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from govern_support import NOW, signer

from charter.core.digest import digest_json
from charter.core.errors import Refusal, UsageError
from charter.govern.approval import judge_approvals
from charter.govern.identity import ADMIN
from charter.govern.io import keys
from charter.govern.io.people import approve, enrol, grant, people
from charter.govern.io.trail import Trail
from charter.registry.io.records import Records
from charter.registry.signing import verifies
from charter.spec.types import ApprovalPolicy, ApprovalStage

POLICY = ApprovalPolicy(stages=(ApprovalStage(stage="governance", role="risk-officer"),))
EVIDENCE = {"package": digest_json("package")}


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    made = keys.create("eva", tmp_path, {})
    path = keys.key_file("eva", tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    assert keys.load("eva", tmp_path, {}).public_key == made.public_key
    assert verifies(made.public_key, "p", {"a": 1}, made.sign("p", {"a": 1}))
    assert not verifies(made.public_key, "q", {"a": 1}, made.sign("p", {"a": 1}))
    assert "private" not in repr(made).lower()
    with pytest.raises(UsageError, match="has a key already"):
        keys.create("eva", tmp_path, {})
    assert keys.load("eva", tmp_path, {}).public_key == made.public_key


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_key_that_others_can_use_is_refused(tmp_path: Path, mode: int) -> None:
    keys.create("eva", tmp_path, {})
    keys.key_file("eva", tmp_path).chmod(mode)
    with pytest.raises(UsageError, match="can be used by others") as error:
        keys.load("eva", tmp_path, {})
    assert "chmod 600" in str(error.value)


@pytest.mark.parametrize("name", ["", "Eva", "../eva", "eva/max", "-eva", "eva\n", "e" * 65])
def test_a_name_is_lower_case_words(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not a name for an identity"):
        keys.create(name, tmp_path, {})


def test_a_missing_key_says_which_there_are(tmp_path: Path) -> None:
    keys.create("risk-officer", tmp_path, {})
    with pytest.raises(UsageError, match="there is no key") as error:
        keys.load("risk-oficer", tmp_path, {})
    assert "Did you mean risk-officer?" in str(error.value)


def test_a_passphrase_encrypts(tmp_path: Path) -> None:
    secret = {keys.PASSPHRASE: "korrekt pferd"}
    made = keys.create("eva", tmp_path, secret)
    assert b"ENCRYPTED" in keys.key_file("eva", tmp_path).read_bytes()
    assert keys.load("eva", tmp_path, secret).public_key == made.public_key
    with pytest.raises(UsageError, match="is encrypted"):
        keys.load("eva", tmp_path, {})
    with pytest.raises(UsageError, match="passphrase is wrong"):
        keys.load("eva", tmp_path, {keys.PASSPHRASE: "other"})


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_key_is_an_error(tmp_path: Path, content: bytes) -> None:
    keys.create("eva", tmp_path, {})
    keys.key_file("eva", tmp_path).write_bytes(content)
    with pytest.raises(UsageError, match="it is damaged"):
        keys.load("eva", tmp_path, {})


def test_a_link_is_not_a_key(tmp_path: Path) -> None:
    keys.create("eva", tmp_path, {})
    keys.key_file("max", tmp_path).symlink_to(keys.key_file("eva", tmp_path))
    with pytest.raises(UsageError, match="cannot be read"):
        keys.load("max", tmp_path, {})


def test_another_kind_of_key_is_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    keys.create("eva", tmp_path, {})
    pem = X25519PrivateKey.generate().private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    keys.key_file("eva", tmp_path).write_bytes(pem)
    with pytest.raises(UsageError, match="does not hold an Ed25519 key"):
        keys.load("eva", tmp_path, {})


# --------------------------------------------------------------------------------------------------- people
@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    with Records.open(f"sqlite:///{tmp_path / 'records.sqlite'}", model="m") as records:
        yield records


@pytest.fixture
def trail(records: Records, tmp_path: Path) -> Trail:
    return Trail(records, tmp_path / "audit.head")


def enrolled(records: Records, trail: Trail, *names: str) -> None:
    for name in names:
        enrol(records, trail, signer(name), now=NOW, actor=name)


def signing(trail: Trail, name: str, **changes: Any) -> None:
    asked: dict[str, Any] = {"verdict": "approve", "reason": "", "evidence": EVIDENCE, "now": NOW}
    stage = changes.pop("stage", "governance")
    approve(trail, POLICY, 1, stage, signer(name), **{**asked, **changes})


def test_the_first_one_is_administrator(records: Records, trail: Trail) -> None:
    enrolled(records, trail, "root", "eva")
    assert {n: i.roles for n, i in people(records).items()} == {"root": (ADMIN,), "eva": ()}
    with pytest.raises(UsageError, match="recorded already"):
        enrolled(records, trail, "eva")


def test_only_an_administrator_grants(records: Records, trail: Trail) -> None:
    enrolled(records, trail, "root", "eva")
    with pytest.raises(Refusal, match="eva may not grant roles") as error:
        grant(records, trail, "eva", "risk-officer", by=signer("eva"), now=NOW)
    assert "Administrators: root." in str(error.value)
    assert grant(records, trail, "eva", "risk-officer", by=signer("root"), now=NOW).roles == ("risk-officer",)
    assert (
        grant(records, trail, "eva", "risk-officer", by=signer("root"), now=NOW, verdict="revoke").roles == ()
    )
    with pytest.raises(UsageError, match="no identity 'evi' is recorded"):
        grant(records, trail, "evi", "risk-officer", by=signer("root"), now=NOW)


def test_the_last_administrator_stays(records: Records, trail: Trail) -> None:
    enrolled(records, trail, "root")
    with pytest.raises(Refusal, match="last administrator"):
        grant(records, trail, "root", ADMIN, by=signer("root"), now=NOW, verdict="revoke")


def test_a_granted_role_signs_and_the_trail_tells_of_everything(records: Records, trail: Trail) -> None:
    enrolled(records, trail, "root", "eva")
    grant(records, trail, "eva", "risk-officer", by=signer("root"), now=NOW)
    records.version_for(digest_json("bundle"), spec=digest_json("spec"), now=NOW)
    signing(trail, "eva", reason="fair")
    decision = judge_approvals(
        POLICY,
        records.approvals(1),
        identities=records.identities(),
        grants=records.grants(),
        evidence=EVIDENCE,
        now=NOW + timedelta(days=1),
    )
    assert decision.allows
    assert [(e.action, e.subject, e.actor) for e in records.events()] == [
        ("identity.created", "root", "root"),
        ("identity.created", "eva", "eva"),
        ("role.grant", "eva", "root"),
        ("version.approve", "v1", "eva"),
    ]
    assert records.events()[-1].detail["evidence"] == EVIDENCE
    assert trail.verify() == []


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("eva", {}, "eva may not sign governance: it takes a risk-officer"),
        ("nobody", {}, "no identity 'nobody' is recorded"),
        ("root", {"stage": "governence"}, "did you mean governance"),
        ("root", {"verdict": "reject", "reason": " "}, "a rejection needs a reason"),
    ],
)
def test_who_may_not_sign_leaves_no_trace(
    records: Records, trail: Trail, name: str, changes: dict[str, Any], message: str
) -> None:
    enrolled(records, trail, "root", "eva")
    records.version_for(digest_json("bundle"), spec=digest_json("spec"), now=NOW)
    with pytest.raises((Refusal, UsageError), match=message):
        signing(trail, name, **changes)
    assert records.approvals(1) == []
    assert len(records.events()) == 2


def test_another_key_under_a_recorded_name_is_refused(records: Records, trail: Trail, tmp_path: Path) -> None:
    enrolled(records, trail, "root", "eva")
    grant(records, trail, "eva", "risk-officer", by=signer("root"), now=NOW)
    records.version_for(digest_json("bundle"), spec=digest_json("spec"), now=NOW)
    stranger = keys.create("eva", tmp_path / os.urandom(4).hex(), {})
    with pytest.raises(Refusal, match="is not the key that is recorded"):
        approve(
            trail, POLICY, 1, "governance", stranger, verdict="approve", reason="", evidence=EVIDENCE, now=NOW
        )
