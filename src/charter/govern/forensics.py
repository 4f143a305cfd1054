"""What was done to a trail that is not sound. Pure.

The anchor names the last true entry, that one names the one before, and so on: walking backwards tells which entries
are authentic, which are asked for but gone or changed, and which nobody asks for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from charter.core.digest import short
from charter.govern.audit import GENESIS, Anchor, Fault, Harm, content_digest, describe
from charter.registry.types import AuditEvent

MAX_GUESSES = 100_000
"""Digests tried in the search for entries whose number was changed."""


def diagnose(events: Sequence[AuditEvent], anchor: Anchor) -> list[Fault]:
    """Name the faults of a trail that is not `charter.govern.audit.sound`; never empty."""
    walk = _Walk(events)
    walk.back(anchor.sequence, anchor.digest)
    walk.forward(anchor)
    faults = walk.faults + _reordered(events, walk.authentic)
    for position, event in enumerate(events):
        if position not in walk.explained:
            faults.append(
                Fault(
                    event.sequence, Harm.INSERTED, f"{describe(event)} does not belong to the chain: inserted"
                )
            )
    if not faults:  # all entries are authentic and in order, yet not numbered as they were
        first = next((e for i, e in enumerate(events, 1) if e.sequence != i), events[0] if events else None)
        faults.append(
            Fault(
                first.sequence if first else 0,
                Harm.ALTERED,
                "entries are numbered otherwise than they were written",
            )
        )
    return faults


class _Walk:
    """Positions of authentic entries, of all explained ones, and the faults met on the way."""

    def __init__(self, events: Sequence[AuditEvent]) -> None:
        self.events = events
        self.authentic: list[tuple[int, int]] = []  # true sequence, position
        self.explained: set[int] = set()
        self.faults: list[Fault] = []
        self._whole: dict[str, int] = {}
        self._broken: list[int] = []
        self._at: defaultdict[int, list[int]] = defaultdict(list)
        self._guesses = MAX_GUESSES
        for position, event in enumerate(events):
            self._at[event.sequence].append(position)
            if content_digest(event) == event.digest:
                self._whole.setdefault(event.digest, position)
            else:
                self._broken.append(position)

    def back(self, sequence: int, wanted: str | None) -> None:
        """Follow the chain from a trusted digest to its beginning."""
        while sequence > 0:
            position = self._find(sequence, wanted)
            if position is not None:
                self._accept(sequence, position)
                if self.events[position].digest != wanted:
                    named = describe(self.events[position])
                    self.faults.append(
                        Fault(sequence, Harm.ALTERED, f"{named}: its recorded digest was altered")
                    )
                wanted = self.events[position].previous
            else:
                wanted = self._gap(sequence, wanted)
            sequence -= 1

    def forward(self, anchor: Anchor) -> None:
        """Follow the chain from the anchor to entries that were written since: a crash may have left some."""
        sequence, wanted = anchor.sequence + 1, anchor.digest
        while True:
            here = [
                p
                for p in self._at[sequence]
                if self.events[p].previous == wanted and self._whole.get(self.events[p].digest) == p
            ]
            if not here:
                return
            self._accept(sequence, here[0])
            sequence, wanted = sequence + 1, self.events[here[0]].digest

    def _accept(self, sequence: int, position: int) -> None:
        self.authentic.append((sequence, position))
        self.explained.add(position)

    def _find(self, sequence: int, wanted: str | None) -> int | None:
        """Return the entry with the wanted digest, even where its number was changed."""
        if wanted is None:
            return None
        position = self._whole.get(wanted)
        if position is not None:
            return position
        for candidate in self._broken:
            if self._guesses <= 0:
                return None
            self._guesses -= 1
            if content_digest(replace(self.events[candidate], sequence=sequence)) == wanted:
                return candidate
        return None

    def _gap(self, sequence: int, wanted: str | None) -> str | None:
        """Explain why entry `sequence` is not found, and return the digest to look for next."""
        suspects = [p for p in self._at[sequence] if p not in self.explained]
        stored = next((p for p in suspects if self.events[p].digest == wanted), None)
        suspect = stored if stored is not None else (suspects[0] if suspects else None)
        if suspect is None:
            self.faults.append(Fault(sequence, Harm.REMOVED, f"entry {sequence} is missing: removed"))
            return self._guess_below(sequence)
        event = self.events[suspect]
        self.explained.add(suspect)
        if wanted is None and suspect in self._whole.values():
            self.authentic.append((sequence, suspect))  # whole, and nothing above it can tell more
            return event.previous
        asked = f"; the chain asks for {short(wanted)}" if wanted else ""
        self.faults.append(
            Fault(sequence, Harm.ALTERED, f"{describe(event)} is not what was written{asked}: altered")
        )
        below = event.previous
        return below if below in self._whole or below == GENESIS else self._guess_below(sequence)

    def _guess_below(self, sequence: int) -> str | None:
        whole = [p for p in self._at[sequence - 1] if self._whole.get(self.events[p].digest) == p]
        return self.events[whole[0]].digest if whole else None


def _reordered(events: Sequence[AuditEvent], authentic: Sequence[tuple[int, int]]) -> list[Fault]:
    """Authentic entries that stand behind a later one."""
    faults, highest = [], 0
    for sequence, position in sorted(authentic, key=lambda pair: pair[1]):
        if sequence < highest:
            named = describe(replace(events[position], sequence=sequence))
            faults.append(
                Fault(sequence, Harm.REORDERED, f"{named} stands behind entry {highest}: reordered")
            )
        highest = max(highest, sequence)
    return faults
