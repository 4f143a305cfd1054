"""Signatures that must not count, and an audit trail that was tampered with: governance fails closed."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest
from golden_support import NOW, Bench, Ran

SIGN = ("approve", "v1", "--stage", "technical", "--as", "ann")

WRONG_USE: dict[str, tuple[str, ...]] = {
    "unknown-version": ("approve", "v9", "--stage", "technical", "--as", "ann"),
    "no-version": ("approve", "first", "--stage", "technical", "--as", "ann"),
    "unknown-stage": ("approve", "v1", "--stage", "technicle", "--as", "ann"),
    "unknown-identity": ("approve", "v1", "--stage", "technical", "--as", "anne"),
    "malformed-identity": ("approve", "v1", "--stage", "technical", "--as", "../ann"),
    "missing-stage": ("approve", "v1", "--as", "ann"),
    "reject-without-reason": ("reject", "v1", "--stage", "technical", "--as", "ann"),
    "reject-with-an-empty-reason": ("reject", "v1", "--stage", "technical", "--as", "ann", "--reason", " "),
    "identity-that-exists": ("identity", "create", "ann"),
    "malformed-new-identity": ("identity", "create", "Mary Jones"),
    "malformed-role": ("identity", "grant", "rob", "Risk Officer", "--by", "ann"),
    "role-that-is-not-held": ("identity", "grant", "rob", "ml-engineer", "--by", "ann", "--revoke"),
    "role-for-nobody": ("identity", "grant", "annie", "risk-officer", "--by", "ann"),
}


@pytest.mark.parametrize("name", WRONG_USE)
def test_a_signature_of_what_is_not_there(name: str, waiting: Bench) -> None:
    waiting.refused(f"approve-{name}", 2, *WRONG_USE[name])


REFUSED: dict[str, tuple[str, ...]] = {
    "wrong-role": ("approve", "v1", "--stage", "governance", "--as", "ann"),
    "role-by-no-administrator": ("identity", "grant", "rob", "ml-engineer", "--by", "rob"),
    "new-role-without-administrator": ("identity", "create", "zoe", "--role", "ml-engineer"),
    "new-role-by-no-administrator": ("identity", "create", "zoe", "--role", "ml-engineer", "--by", "rob"),
    "last-administrator": ("identity", "grant", "ann", "admin", "--by", "ann", "--revoke"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_who_may_not_is_refused_with_the_reason(name: str, waiting: Bench) -> None:
    waiting.refused(f"approve-{name}", 1, *REFUSED[name])


def test_a_key_that_others_can_read_signs_nothing(waiting: Bench) -> None:
    (waiting.home / "identities" / "ann.pem").chmod(0o644)
    waiting.refused("key-readable-by-others", 2, *SIGN)


def test_a_damaged_key_signs_nothing(waiting: Bench) -> None:
    (waiting.home / "identities" / "ann.pem").write_text("-----BEGIN PRIVATE KEY-----\nno\n")
    waiting.refused("key-damaged", 2, *SIGN)


def test_a_key_that_is_a_link_signs_nothing(waiting: Bench) -> None:
    key = waiting.home / "identities" / "ann.pem"
    key.rename(key.with_name("elsewhere.pem"))
    key.symlink_to("elsewhere.pem")
    waiting.refused("key-that-is-a-link", 2, *SIGN)


def test_a_key_of_another_with_a_known_name_signs_nothing(waiting: Bench) -> None:
    folder = waiting.home / "identities"
    (folder / "ann.pem").unlink()
    shutil.copy(folder / "rob.pem", folder / "ann.pem")
    waiting.refused("key-of-another", 1, *SIGN)


def test_apply_names_who_has_not_signed(waiting: Bench) -> None:
    assert waiting.run(*SIGN).code == 0
    waiting.refused("apply-one-signature-missing", 1, "apply")


def test_apply_tells_why_it_was_rejected(waiting: Bench) -> None:
    assert waiting.run(*SIGN).code == 0
    told = ("reject", "v1", "--stage", "governance", "--as", "rob", "--reason", "No fairness by region")
    assert waiting.run(*told).code == 0
    waiting.refused("apply-rejected", 1, "apply")


def test_a_signature_lapses_with_what_was_signed(bench: Bench) -> None:
    bench.edit("  reasons: 2", "  reasons: 3")
    bench.run("apply")
    bench.refused("apply-lapsed", 1, "apply")


def test_a_signature_expires(bench: Bench) -> None:
    bench.at(NOW + timedelta(days=91))
    bench.refused("apply-expired", 1, "apply")


def test_a_signature_from_the_future_does_not_count(bench: Bench) -> None:
    bench.at(datetime(2025, 6, 1, tzinfo=NOW.tzinfo))
    bench.refused("apply-clock-behind", 1, "apply")


def test_a_role_that_was_taken_away_takes_the_signature_along(bench: Bench) -> None:
    assert bench.run("identity", "grant", "rob", "risk-officer", "--by", "ann", "--revoke").code == 0
    bench.refused("apply-role-taken-away", 1, "apply")


def test_a_forged_signature_does_not_count(bench: Bench) -> None:
    change(bench, "UPDATE approvals SET reason = 'all is well' WHERE identity = 'rob'")
    bench.refused("apply-forged-signature", 1, "apply")


def test_a_stage_more_asks_for_a_signature_more(bench: Bench) -> None:
    bench.edit("  valid_for: 90d", "    - {stage: final, role: chief-data-officer}\n  valid_for: 90d")
    bench.refused("apply-one-more-stage", 1, "apply")


REQUIREMENTS = {
    "quality": ('require: {roc_auc: ">= 0.6"}', 'require: {roc_auc: ">= 0.99"}'),
    "fairness": ('demographic_parity_difference: "<= 0.5"', 'demographic_parity_difference: "<= 0.0001"'),
    "kpi": ('{metric: recall, require: ">= 0.2"}', '{metric: precision, require: ">= 0.95"}'),
    "budget": ("\napprove:", "\nbudget: {latency_p95_ms: 0.001}\n\napprove:"),
    "groups-too-small": ("min_rows: 20", "min_rows: 5000"),
    "baseline": ("  slices: [region]", "  beat_baseline: {by: 0.2}\n  slices: [region]"),
}


@pytest.mark.parametrize("name", REQUIREMENTS)
def test_a_model_that_misses_its_requirements_is_refused(name: str, bench: Bench) -> None:
    """Measured afresh, since requirements are part of what is judged; what serves stays."""
    bench.edit(*REQUIREMENTS[name])
    serving = bench.run("predict", "--json", GOOD).out
    ran = bench.run("apply")
    if name == "budget":  # the one number that no two runs share
        ran = Ran(
            ran.code, ran.out, ran.err, re.sub(r"[0-9.]+ +(?=required <= 0.001)", "<measured>  ", ran.seen)
        )
    bench.golden(f"gate-{name}", ran, ("apply",))
    assert ran.code == 1
    assert bench.run("predict", "--json", GOOD).out == serving


GOOD = '{"income": 2000, "debt": 100, "months_late": 1, "region": "north"}'


def change(bench: Bench, *statements: str) -> None:
    """Tamper with the database, as whoever may write the file can."""
    connection = sqlite3.connect(bench.state / "records.sqlite")
    for (guard,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {guard}")
    for statement in statements:
        connection.execute(statement)
    connection.commit()
    connection.close()


TAMPERED: dict[str, Callable[[Bench], object]] = {
    "altered": lambda b: change(b, "UPDATE audit SET actor = 'eve' WHERE sequence = 4"),
    "removed-in-the-middle": lambda b: change(b, "DELETE FROM audit WHERE sequence = 4"),
    "removed-at-the-end": lambda b: change(
        b, "DELETE FROM audit WHERE sequence = (SELECT MAX(sequence) FROM audit)"
    ),
    "removed-altogether": lambda b: change(b, "DELETE FROM audit"),
    "reordered": lambda b: change(
        b,
        "UPDATE audit SET sequence = -4 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 5",
        "UPDATE audit SET sequence = 5 WHERE sequence = -4",
    ),
    "anchor-deleted": lambda b: (b.state / "audit.head").unlink(),
    "anchor-damaged": lambda b: (b.state / "audit.head").write_text("{}"),
    "anchor-of-another": lambda b: (b.state / "audit.head").write_text(
        '{"digest": "' + "ab" * 32 + '", "sequence": 3}\n'
    ),
}
_DAMAGED_FILE = "anchor-damaged"


@pytest.mark.parametrize("name", TAMPERED)
def test_tampering_is_named_and_nothing_is_built_on_it(name: str, bench: Bench) -> None:
    TAMPERED[name](bench)
    code = 2 if name == _DAMAGED_FILE else 1
    bench.refused(f"audit-{name}", code, "audit", "verify")
    bench.refused(f"audit-{name}-approve", code, "approve", "v1", "--stage", "technical", "--as", "ann")
    bench.refused(f"audit-{name}-predict", code, "predict", "--json", GOOD)
