from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from govern_support import NOW

from charter.core.decision import Verdict
from charter.core.errors import DataError, Refusal
from charter.govern.audit import Anchor, Harm
from charter.govern.io.trail import Trail
from charter.registry.io.records import Records


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'records.sqlite'}"


@pytest.fixture
def trail(url: str, tmp_path: Path) -> Iterator[Trail]:
    with Records.open(url) as records:
        yield Trail(records, tmp_path / "audit.head")


def write(trail: Trail, count: int) -> None:
    for number in range(count):
        trail.append(at=NOW, actor="eva", action="act", subject=f"s{number}", detail={"n": number})


def tamper(tmp_path: Path, *statements: str) -> None:
    """Change the database as someone would who has its file."""
    with sqlite3.connect(tmp_path / "records.sqlite") as connection:
        for verb in ("update", "delete"):
            connection.execute(f"DROP TRIGGER IF EXISTS audit_keeps_on_{verb}")
        for statement in statements:
            connection.execute(statement)
    connection.close()


def named(trail: Trail) -> list[tuple[int, str]]:
    return [(f.sequence, f.harm.value) for f in trail.verify()]


def test_a_whole_trail_has_no_fault_and_its_head_is_anchored(trail: Trail, tmp_path: Path) -> None:
    assert trail.verify() == []
    write(trail, 5)
    assert trail.verify() == []
    anchor = trail.anchor()
    assert anchor is not None
    assert anchor.sequence == 5
    assert anchor == Anchor.from_bytes((tmp_path / "audit.head").read_bytes())


@pytest.mark.parametrize(
    ("statement", "fault"),
    [
        ("UPDATE audit SET actor = 'max' WHERE sequence = 3", (3, "altered")),
        ("UPDATE audit SET detail = '{\"n\":7}' WHERE sequence = 1", (1, "altered")),
        ("UPDATE audit SET at = '2020-01-01T00:00:00.000000Z' WHERE sequence = 5", (5, "altered")),
        ("UPDATE audit SET digest = previous WHERE sequence = 2", (2, "altered")),
        ("UPDATE audit SET previous = digest WHERE sequence = 4", (4, "altered")),
        ("DELETE FROM audit WHERE sequence = 1", (1, "removed")),
        ("DELETE FROM audit WHERE sequence = 3", (3, "removed")),
        ("DELETE FROM audit WHERE sequence = 5", (5, "removed")),
    ],
)
def test_one_change_is_named(trail: Trail, tmp_path: Path, statement: str, fault: tuple[int, str]) -> None:
    write(trail, 5)
    tamper(tmp_path, statement)
    assert fault in named(trail)
    assert [harm for _, harm in named(trail) if harm != "clock"] == [fault[1]]


def test_removing_everything_is_noticed(trail: Trail, tmp_path: Path) -> None:
    write(trail, 3)
    tamper(tmp_path, "DELETE FROM audit")
    assert named(trail) == [(1, "removed"), (2, "removed"), (3, "removed")]


def test_removing_and_closing_the_gap_is_noticed(trail: Trail, tmp_path: Path) -> None:
    write(trail, 5)
    tamper(
        tmp_path,
        "DELETE FROM audit WHERE sequence = 2",
        "UPDATE audit SET sequence = sequence - 1 WHERE sequence = 3",
        "UPDATE audit SET sequence = sequence - 1 WHERE sequence = 4",
        "UPDATE audit SET sequence = sequence - 1 WHERE sequence = 5",
    )
    assert named(trail) == [(2, "removed")]


def test_inserting_and_making_room_is_noticed(trail: Trail, tmp_path: Path) -> None:
    write(trail, 4)
    tamper(
        tmp_path,
        "UPDATE audit SET sequence = 5 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 3",
        "INSERT INTO audit SELECT 3, at, 'eve', action, subject, detail, previous, digest FROM audit WHERE sequence=4",
    )
    assert named(trail) == [(3, "inserted")]


def test_swapping_two_is_noticed(trail: Trail, tmp_path: Path) -> None:
    write(trail, 5)
    tamper(
        tmp_path,
        "UPDATE audit SET sequence = 99 WHERE sequence = 2",
        "UPDATE audit SET sequence = 2 WHERE sequence = 4",
        "UPDATE audit SET sequence = 4 WHERE sequence = 99",
    )
    assert {harm for _, harm in named(trail)} == {"reordered"}


def test_a_forged_entry_at_the_end_is_noticed(trail: Trail, tmp_path: Path) -> None:
    write(trail, 2)
    tamper(
        tmp_path,
        "INSERT INTO audit SELECT 3, at, 'max', action, subject, detail, digest, digest FROM audit WHERE sequence = 2",
    )
    assert named(trail) == [(3, "inserted")]


def test_nothing_is_recorded_on_top_of_tampering(trail: Trail, tmp_path: Path) -> None:
    write(trail, 3)
    tamper(tmp_path, "DELETE FROM audit WHERE sequence = 3")
    with pytest.raises(Refusal, match="tampered with: entry 3 is missing") as error:
        write(trail, 1)
    assert error.value.decision is not None
    assert error.value.decision.verdict is Verdict.FAIL
    assert named(trail) == [(3, "removed")]


def test_a_crash_between_commit_and_anchor_is_healed(trail: Trail, tmp_path: Path) -> None:
    write(trail, 2)
    behind = (tmp_path / "audit.head").read_bytes()
    write(trail, 2)
    (tmp_path / "audit.head").write_bytes(behind)
    assert trail.verify() == []
    write(trail, 1)
    anchor = trail.anchor()
    assert anchor is not None
    assert anchor.sequence == 5
    assert trail.verify() == []


def test_an_anchor_behind_is_not_healed_over_tampering(trail: Trail, tmp_path: Path) -> None:
    write(trail, 2)
    behind = (tmp_path / "audit.head").read_bytes()
    write(trail, 2)
    (tmp_path / "audit.head").write_bytes(behind)
    tamper(tmp_path, "UPDATE audit SET actor = 'max' WHERE sequence = 3")
    before = trail.anchor()
    assert trail.heal() == before
    assert trail.verify() != []
    with pytest.raises(Refusal, match="tampered"):
        write(trail, 1)


def test_a_missing_anchor_is_a_fault_until_adopted(trail: Trail, tmp_path: Path) -> None:
    write(trail, 3)
    (tmp_path / "audit.head").unlink()
    assert named(trail) == [(0, "unanchored")]
    with pytest.raises(Refusal, match="is missing"):
        write(trail, 1)
    assert trail.adopt(at=NOW, actor="eva").sequence == 4
    assert trail.verify() == []
    with pytest.raises(Refusal, match="has an anchor already"):
        trail.adopt(at=NOW, actor="eva")


def test_a_broken_chain_is_not_adopted(trail: Trail, tmp_path: Path) -> None:
    write(trail, 3)
    (tmp_path / "audit.head").unlink()
    tamper(tmp_path, "DELETE FROM audit WHERE sequence = 2")
    with pytest.raises(Refusal, match="tampered"):
        trail.adopt(at=NOW, actor="eva")
    assert not (tmp_path / "audit.head").exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]", b'{"sequence":-1,"digest":"a"}', b'{"sequence":true,"digest":"a"}', b"[" * 99_999],
)
def test_a_damaged_anchor_is_an_error(trail: Trail, tmp_path: Path, data: bytes) -> None:
    write(trail, 1)
    (tmp_path / "audit.head").write_bytes(data)
    with pytest.raises(DataError, match="anchor is damaged"):
        trail.verify()


def test_a_clock_that_goes_backwards_is_recorded_and_only_warned_of(trail: Trail) -> None:
    write(trail, 1)
    trail.append(at=NOW - timedelta(days=1), actor="eva", action="act", subject="early")
    write(trail, 1)
    (fault,) = trail.verify()
    assert (fault.sequence, fault.harm, fault.verdict) == (2, Harm.CLOCK, Verdict.WARN)


def test_a_change_that_fails_is_neither_made_nor_told_of(trail: Trail, url: str) -> None:
    with pytest.raises(RuntimeError), trail.recording(at=NOW, actor="eva", action="act", subject="s"):
        raise RuntimeError
    with Records.open(url, readonly=True) as records:
        assert records.events() == []


def test_two_workspaces_share_records_each_with_its_anchor(trail: Trail, url: str, tmp_path: Path) -> None:
    write(trail, 2)
    with Records.open(url) as records:
        other = Trail(records, tmp_path / "other" / "audit.head")
        other.adopt(at=NOW, actor="max")
        write(other, 2)
        write(trail, 1)
        assert trail.verify() == other.verify() == []


def test_an_entry_may_depend_on_those_before_it_and_on_some_of_them_alone(trail: Trail) -> None:
    write(trail, 3)
    trail.append(at=NOW, actor="eva", action="other", subject="s1")
    seen: list[list[int]] = []

    def judge(events):
        seen.append([e.sequence for e in events])
        return ("s1", {"count": len(events)}) if len(events) < 3 else None

    def ask(**only):
        return trail.append_if(at=NOW, actor="bob", action="judged", judge=judge, **only)

    assert ask() is None
    added = ask(about="s1")
    assert added is not None
    assert (added.sequence, added.detail) == (5, {"count": 2})
    assert ask(actions=("act", "judged"), about="s1") is not None
    assert ask(actions=("judged", "other", "act")) is None
    assert seen == [[1, 2, 3, 4], [2, 4], [2, 5], [1, 2, 3, 4, 5, 6]]
    assert trail.verify() == []
