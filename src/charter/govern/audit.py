"""The audit trail as a chain of digests. Pure: `charter.govern.io.trail` keeps it.

Every entry carries the digest of the one before, and the head is anchored in a file outside the database. To detect is
easy (`sound`); `verify` also names what was done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from itertools import pairwise
from typing import Any

from charter.core.clock import iso, parse_iso
from charter.core.decision import Verdict
from charter.core.digest import Digest, canonical_json, digest_json, plain, short
from charter.core.errors import DataError
from charter.registry.types import AuditEvent

GENESIS = "0" * 64
"""What the first entry names as the one before."""


@dataclass(frozen=True, slots=True)
class Anchor:
    """The head of the chain as it was last seen, kept outside the database."""

    sequence: int
    digest: str

    def to_bytes(self) -> bytes:
        """One line of JSON."""
        return canonical_json({"digest": self.digest, "sequence": self.sequence}) + b"\n"

    @classmethod
    def from_bytes(cls, data: bytes) -> Anchor:
        """Inverse of `to_bytes`.

        Raises
        ------
        DataError
            When this is no anchor.
        """
        try:
            found = json.loads(data)
            anchor = cls(found["sequence"], found["digest"])
        except (ValueError, KeyError, TypeError, RecursionError):
            anchor = None
        if (
            anchor is None
            or type(anchor.sequence) is not int
            or anchor.sequence < 0
            or type(anchor.digest) is not str
        ):
            raise DataError(
                "the audit anchor is damaged", remedy="Restore the file audit.head from a backup."
            )
        return anchor


BEGINNING = Anchor(0, GENESIS)


class Harm(StrEnum):
    """What was done to the trail."""

    ALTERED = "altered"
    REMOVED = "removed"
    INSERTED = "inserted"
    REORDERED = "reordered"
    UNANCHORED = "unanchored"
    CLOCK = "clock"
    UNFINISHED = "unfinished"
    ELSEWHERE = "elsewhere"


_WARNINGS = frozenset({Harm.CLOCK, Harm.UNFINISHED, Harm.ELSEWHERE})


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with the trail. ``clock``, ``unfinished`` and ``elsewhere`` are only warnings."""

    sequence: int
    harm: Harm
    message: str
    row: str = ""
    """Table and number of the row that is not what the trail tells; empty for a fault of the trail itself."""

    @property
    def place(self) -> str:
        """What is at fault: a row, or an entry of the trail."""
        return self.row or f"entry {self.sequence}"

    @property
    def verdict(self) -> Verdict:
        """``warn`` for a clock that went backwards and for files that do not count, ``fail`` for everything else."""
        return Verdict.WARN if self.harm in _WARNINGS else Verdict.FAIL


def content_digest(event: AuditEvent) -> Digest:
    """Digest of everything in an entry but its own digest."""
    return digest_json(
        {
            "action": event.action,
            "actor": event.actor,
            "at": iso(event.at),
            "detail": plain(dict(event.detail)),
            "previous": event.previous,
            "sequence": event.sequence,
            "subject": event.subject,
        }
    )


def append(
    previous: AuditEvent | None,
    *,
    at: datetime,
    actor: str,
    action: str,
    subject: str,
    detail: Mapping[str, Any] | None = None,
) -> AuditEvent:
    """Make the entry that follows `previous` (None for the first).

    Examples
    --------
    >>> from datetime import UTC
    >>> first = append(None, at=datetime(2026, 1, 2, tzinfo=UTC), actor="eva", action="approve", subject="v1")
    >>> first.sequence, first.digest == content_digest(first), sound([first], Anchor(1, first.digest))
    (1, True, True)
    """
    draft = AuditEvent(
        sequence=previous.sequence + 1 if previous else 1,
        at=at,
        actor=actor,
        action=action,
        subject=subject,
        detail=plain(dict(detail or {})),
        previous=previous.digest if previous else GENESIS,
        digest="",
    )
    return replace(draft, digest=content_digest(draft))


def extends(anchor: Anchor, later: Sequence[AuditEvent]) -> bool:
    """Whether `later` are whole entries that follow the anchor without a gap."""
    at, wanted = anchor.sequence, anchor.digest
    for event in later:
        at += 1
        if event.sequence != at or event.previous != wanted or content_digest(event) != event.digest:
            return False
        wanted = event.digest
    return True


def sound(events: Sequence[AuditEvent], anchor: Anchor) -> bool:
    """Whether this is the very trail that led to the anchor, and possibly on from it."""
    if not extends(BEGINNING, events) or len(events) < anchor.sequence:
        return False
    return anchor.digest == (events[anchor.sequence - 1].digest if anchor.sequence else GENESIS)


def verify(events: Sequence[AuditEvent], anchor: Anchor | None) -> list[Fault]:
    """Say everything that is wrong with a trail; an empty list means that it is whole.

    Parameters
    ----------
    events
        As stored: by the database's order, or line by line of an export.
    anchor
        The head as kept outside the database. None is a fault of its own once there are entries.
    """
    faults: list[Fault] = []
    if anchor is None:
        if not events:
            return []
        faults.append(
            Fault(
                0, Harm.UNANCHORED, "the anchor is missing: entries removed at the end could not be noticed"
            )
        )
        anchor = Anchor(events[-1].sequence, events[-1].digest)
    if not sound(events, anchor):
        from charter.govern.forensics import diagnose

        faults += diagnose(events, anchor)
    return sorted([*faults, *_clock(events)], key=lambda f: (f.sequence, f.harm))


def _clock(events: Sequence[AuditEvent]) -> list[Fault]:
    return [
        Fault(
            later.sequence,
            Harm.CLOCK,
            f"entry {later.sequence} says {iso(later.at)}, earlier than entry {earlier.sequence} before it: "
            "the clock went backwards",
        )
        for earlier, later in pairwise(events)
        if later.at < earlier.at
    ]


def to_json(event: AuditEvent) -> dict[str, Any]:
    """Plain data, for an export of one entry a line."""
    return {
        "sequence": event.sequence,
        "at": iso(event.at),
        "actor": event.actor,
        "action": event.action,
        "subject": event.subject,
        "detail": dict(event.detail),
        "previous": event.previous,
        "digest": event.digest,
    }


def from_json(data: Mapping[str, Any]) -> AuditEvent:
    """Inverse of `to_json`."""
    return AuditEvent(**{**data, "at": parse_iso(data["at"])})


def describe(event: AuditEvent) -> str:
    """Name an entry in a message.

    Examples
    --------
    >>> from datetime import UTC
    >>> describe(append(None, at=datetime(2026, 1, 2, tzinfo=UTC), actor="eva", action="approve", subject="v1"))
    'entry 1 (approve v1 by eva, 2026-01-02T00:00:00.000000Z)'
    """
    return f"entry {event.sequence} ({event.action} {event.subject} by {event.actor}, {iso(event.at)})"


def head(anchor: Anchor) -> str:
    """Name an anchor in a message."""
    return f"entry {anchor.sequence}, {short(anchor.digest)}"
