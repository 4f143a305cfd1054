"""Whatever is done to a trail, it is noticed; and what is reported is never empty."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from charter.core.decision import Verdict
from charter.govern.audit import (
    BEGINNING,
    Anchor,
    Fault,
    append,
    content_digest,
    extends,
    from_json,
    sound,
    to_json,
    verify,
)
from charter.registry.types import AuditEvent

START = datetime(2026, 1, 1, tzinfo=UTC)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False)
    | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def trails(draw: st.DrawFn, least: int = 1) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for _ in range(draw(st.integers(least, 8))):
        events.append(
            append(
                events[-1] if events else None,
                at=START + timedelta(seconds=len(events)),
                actor=draw(st.sampled_from(["eva", "max"])),
                action=draw(st.sampled_from(["approve", "reject"])),
                subject="v1",
                detail=draw(st.dictionaries(st.text(max_size=4), VALUES, max_size=3)),
            )
        )
    return events


def anchored(events: list[AuditEvent]) -> Anchor:
    return Anchor(events[-1].sequence, events[-1].digest)


def failing(events: list[AuditEvent], anchor: Anchor | None) -> list[Fault]:
    return [f for f in verify(events, anchor) if f.verdict is Verdict.FAIL]


CHANGES: dict[str, Any] = {
    "at": lambda e: e.at + timedelta(microseconds=1),
    "actor": lambda e: e.actor + "x",
    "action": lambda e: e.action + "x",
    "subject": lambda e: "v2",
    "detail": lambda e: {**e.detail, "added": 1},
    "previous": lambda e: e.digest,
    "digest": lambda e: e.previous,
    "sequence": lambda e: e.sequence + 100,
}


@given(trails(), st.data())
def test_any_single_change_is_noticed_at_its_entry(events: list[AuditEvent], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(events) - 1))
    field = data.draw(st.sampled_from(sorted(CHANGES)))
    rehash = data.draw(st.booleans())
    changed = replace(events[position], **{field: CHANGES[field](events[position])})
    if rehash and field != "digest":
        changed = replace(changed, digest=content_digest(changed))
    found = failing([*events[:position], changed, *events[position + 1 :]], anchored(events))
    assert found
    if field != "sequence":
        assert [(f.sequence, f.harm.value) for f in found] == [(position + 1, "altered")]


@given(trails(), st.data())
def test_any_removal_is_named(events: list[AuditEvent], data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.integers(1, len(events)), min_size=1))
    left = [e for e in events if e.sequence not in gone]
    assert [(f.sequence, f.harm.value) for f in failing(left, anchored(events))] == [
        (s, "removed") for s in sorted(gone)
    ]


@given(trails(), st.data())
def test_an_insertion_is_named(events: list[AuditEvent], data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(events)))
    before = events[position - 1] if position else None
    forged = append(before, at=START, actor="eve", action="approve", subject="v9")
    found = failing([*events[:position], forged, *events[position:]], anchored(events))
    if position == len(events):  # an entry that properly extends the anchor is what a crash leaves
        assert found == []
    else:
        assert [(f.sequence, f.harm.value) for f in found] == [(position + 1, "inserted")]


@given(trails(least=2), st.data())
def test_any_reordering_is_named(events: list[AuditEvent], data: st.DataObject) -> None:
    order = data.draw(st.permutations(events))
    found = failing(order, anchored(events))
    assert {f.harm.value for f in found} == (set() if order == events else {"reordered"})


@given(trails(), st.data())
def test_rewriting_everything_from_an_entry_on_is_noticed(
    events: list[AuditEvent], data: st.DataObject
) -> None:
    position = data.draw(st.integers(0, len(events) - 1))
    forged = events[:position]
    for event in events[position:]:
        forged.append(
            append(
                forged[-1] if forged else None,
                at=event.at,
                actor="eve",
                action=event.action,
                subject=event.subject,
                detail=event.detail,
            )
        )
    assert failing(forged, anchored(events))


@given(trails(), st.data())
def test_a_whole_trail_is_sound_from_any_anchor_on_it(events: list[AuditEvent], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(events)))
    anchor = Anchor(at, events[at - 1].digest) if at else BEGINNING
    assert verify(events, anchor) == []
    assert extends(anchor, events[at:])


@given(trails(), st.lists(st.integers(0, 7), max_size=8), st.booleans())
def test_faults_are_reported_exactly_when_it_is_not_sound(
    events: list[AuditEvent], picks: list[int], renumber: bool
) -> None:
    """Any multiset of entries in any order, numbers kept or made to fit."""
    anchor = anchored(events)
    mixed = [events[p % len(events)] for p in picks]
    if renumber:
        mixed = [replace(e, sequence=i) for i, e in enumerate(mixed, 1)]
    assert (failing(mixed, anchor) == []) == sound(mixed, anchor) == (mixed == events)


@given(trails())
def test_an_export_comes_back(events: list[AuditEvent]) -> None:
    assert [from_json(to_json(e)) for e in events] == events
