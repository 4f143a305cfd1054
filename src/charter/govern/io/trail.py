"""Keeping the audit trail: appended in the transaction of the change that it tells of, then anchored in a file.

A crash between the commit and the anchor leaves the anchor behind the chain. That is recognised, and healed by the next
entry, but only where the chain extends the anchor; anything else is tampering and is left for `verify` to name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import Refusal
from charter.core.io.files import write_atomic
from charter.govern.attest import RECORDED, added, attest
from charter.govern.attest_rows import STANDS, attest_rows, changed, tells_rows
from charter.govern.audit import BEGINNING, GENESIS, Anchor, Fault, Harm, append, extends, head, verify
from charter.registry.io.records import Records
from charter.registry.ports import Row
from charter.registry.types import AuditEvent

MOMENTS = 10
"""How often entries and rows are read again when somebody writes meanwhile."""


class Trail:
    """The audit trail of some records.

    Parameters
    ----------
    records
        Open for writing, unless the trail is only verified.
    anchor_file
        Outside the database: ``<workspace>/.charter/audit.head``.
    """

    def __init__(self, records: Records, anchor_file: Path) -> None:
        self._records = records
        self._anchor_file = anchor_file

    def append(
        self, *, at: datetime, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> AuditEvent:
        """Add an entry that tells of no change in the records.

        Raises
        ------
        Refusal
            When the trail was tampered with; nothing more is recorded on top of that.
        """
        with self._records.transaction() as tx:
            self._refuse_tampered(tx)
            event = tx.append_event(
                lambda last: append(last, at=at, actor=actor, action=action, subject=subject, detail=detail)
            )
        self.heal()
        return event

    def append_if(
        self,
        *,
        at: datetime,
        actor: str,
        action: str,
        judge: Callable[[Sequence[AuditEvent]], tuple[str, Mapping[str, Any]] | None],
        actions: Iterable[str] | None = None,
        about: str | None = None,
    ) -> AuditEvent | None:
        """Add an entry that depends on the entries before it; nobody writes between the look and the entry.

        For what lives in the trail alone: two who do the same at once are told apart, whatever locks they hold.

        Parameters
        ----------
        judge
            Gives subject and detail of the new entry from the entries so far; None adds nothing, an error neither.
        actions, about
            Only entries of these actions, and about this subject, are judged by.

        Raises
        ------
        Refusal
            When the trail was tampered with.
        """
        with self._records.transaction() as tx:
            self._refuse_tampered(tx)
            found = judge(tx.events(actions=actions, subject=about))
            if found is None:
                return None
            subject, detail = found
            event = tx.append_event(
                lambda last: append(last, at=at, actor=actor, action=action, subject=subject, detail=detail)
            )
        self.heal()
        return event

    @contextmanager
    def recording(
        self, *, at: datetime, actor: str, action: str, subject: str, detail: Mapping[str, Any] | None = None
    ) -> Iterator[Records]:
        """Change the records and tell of it in one transaction; an error inside undoes both.

        The entry tells in full every identity, grant, approval and deployment that is added (`attest`), and how every
        version and result stands that is changed (`attest_rows`).

        Examples
        --------
        ``with trail.recording(at=now, actor="eva", action="approve", subject="v3") as tx: tx.add_approval(approval)``
        """
        with self._records.transaction() as tx:
            known = self._refuse_tampered(tx, whole=True)
            before = tx.governed()
            yield tx
            after = tx.governed()
            # What an older Charter left untold is told in full once, by the first change of this one.
            new, stands = added(before, after), changed(before if tells_rows(known) else {}, after)
            told = (
                dict(detail or {}) | ({RECORDED: new} if new else {}) | ({STANDS: stands} if stands else {})
            )
            tx.append_event(
                lambda last: append(last, at=at, actor=actor, action=action, subject=subject, detail=told)
            )
        self.heal()

    def anchor(self) -> Anchor | None:
        """Read the anchor; None when there is no such file.

        Raises
        ------
        DataError
            When the file is damaged.
        """
        try:
            return Anchor.from_bytes(self._anchor_file.read_bytes())
        except FileNotFoundError:
            return None

    def heal(self) -> Anchor | None:
        """Move the anchor to the end of the chain if the chain extends it; return where it stands."""
        with self._records.transaction() as tx:  # one at a time: the anchor must never move backwards
            anchor, last = self.anchor(), tx.last_event()
            if anchor is None or last is None or last.sequence <= anchor.sequence:
                return anchor
            if not extends(anchor, _after(tx, anchor)):
                return anchor
            anchor = Anchor(last.sequence, last.digest)
            write_atomic(self._anchor_file, anchor.to_bytes())
            return anchor

    def verify(self) -> list[Fault]:
        """Check the whole trail against its anchor, and the records against the trail. Changes nothing.

        See `charter.govern.audit.verify` and `charter.govern.attest.attest`.
        """
        return self.examine()[1]

    def examine(self) -> tuple[list[AuditEvent], list[Fault]]:
        """Return the entries and what `verify` says of them."""
        anchor = self.anchor()  # first: an entry that is appended meanwhile is then merely not yet anchored
        events, rows = self._read()
        return events, _faults(events, anchor, rows)

    def _read(self) -> tuple[list[AuditEvent], dict[str, list[Row]]]:
        """Entries and rows of one moment: rows are added only with an entry, so no new entry means no new row."""
        for _ in range(MOMENTS):
            events, rows = self._records.events(), self._records.governed()
            last = self._records.last_event()
            if (last.sequence if last else 0) == (events[-1].sequence if events else 0):
                break
        return events, rows

    def adopt(self, *, at: datetime, actor: str) -> Anchor:
        """Trust the records as they are: write an anchor where there is none, and say so in the trail.

        For a second workspace that joins shared records, and for one whose anchor file was lost.

        Raises
        ------
        Refusal
            When there is an anchor already, or the chain is not whole in itself.
        """
        with self._records.transaction() as tx:
            events = tx.events()
            if self.anchor() is not None:
                raise Refusal(
                    "the audit trail has an anchor already", remedy="Check it: `charter audit verify`."
                )
            faults = _faults(events, None, tx.governed())
            if any(f.verdict is Verdict.FAIL and f.harm is not Harm.UNANCHORED for f in faults):
                raise _refusal([f for f in faults if f.harm is not Harm.UNANCHORED])
            last = Anchor(events[-1].sequence, events[-1].digest) if events else BEGINNING
            write_atomic(self._anchor_file, last.to_bytes())
        self.append(at=at, actor=actor, action="audit.adopted", subject=head(last))
        return self.anchor() or last

    def _refuse_tampered(self, tx: Records, *, whole: bool = False) -> list[AuditEvent]:
        """Look at the entries since the anchor; where records change, at the whole trail, and return it."""
        anchor = self.anchor()
        if anchor is None:
            if tx.last_event() is not None:
                raise Refusal(
                    f"the audit anchor {self._anchor_file} is missing, though the records hold entries",
                    remedy="Restore it from a backup. If the workspace is new to these records: `charter audit adopt`.",
                )
            write_atomic(self._anchor_file, BEGINNING.to_bytes())
            return []
        anchored = tx.event(anchor.sequence) if anchor.sequence else None
        there = anchored.digest if anchored else GENESIS
        fits = there == anchor.digest and extends(anchor, _after(tx, anchor))
        if not fits:
            raise _refusal(verify(tx.events(), anchor))
        events = tx.events() if whole else []
        if whole:
            faults = _faults(events, anchor, tx.governed())
            if any(f.verdict is Verdict.FAIL for f in faults):
                raise _refusal(faults)
        return events


def _after(records: Records, anchor: Anchor) -> list[AuditEvent]:
    last = records.last_event()
    found = [
        records.event(number) for number in range(anchor.sequence + 1, (last.sequence if last else 0) + 1)
    ]
    return [event for event in found if event is not None]


def _faults(events: list[AuditEvent], anchor: Anchor | None, rows: dict[str, list[Row]]) -> list[Fault]:
    """Faults of the chain; of the records only where it is whole, since a broken chain proves nothing of them."""
    faults = verify(events, anchor)
    if any(f.verdict is Verdict.FAIL and f.harm is not Harm.UNANCHORED for f in faults):
        return faults
    return [*faults, *attest(events, rows), *attest_rows(events, rows)]


def checks(faults: Iterable[Fault]) -> list[Check]:
    """Tell faults as the checks of a decision."""
    return [Check(f.place, f.harm.value, "whole", f.verdict, note=f.message) for f in faults]


def _refusal(faults: list[Fault]) -> Refusal:
    decision = Decision.of("audit", checks(faults) or [Check("audit", "not whole", "whole", Verdict.FAIL)])
    first = next((f for f in faults if f.verdict is Verdict.FAIL), None)
    kind = "records were" if first and first.row else "audit trail was"
    return Refusal(
        f"the {kind} tampered with: {first.message if first else 'the chain is not whole'}",
        decision=decision,
        remedy="Nothing was recorded. See all of it: `charter audit verify`; then restore the records from a backup.",
    )
