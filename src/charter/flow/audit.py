"""Reading the audit trail: verify, list, export."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.decision import Verdict
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.flow import brought
from charter.flow.lock import hold
from charter.flow.workspace import Workspace
from charter.govern.audit import Fault, to_json
from charter.govern.io.trail import Trail


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a check of the trail found."""

    entries: int
    faults: tuple[Fault, ...]

    @property
    def sound(self) -> bool:
        """Whether nothing was altered, removed, inserted or moved, in the trail and in the records that it tells of."""
        return not any(f.verdict is Verdict.FAIL for f in self.faults)

    def lines(self) -> list[str]:
        """Report for people."""
        broken = [f for f in self.faults if f.verdict is Verdict.FAIL]
        if not broken:
            state = "the records match the chain, and the chain is whole."
        elif all(f.row for f in broken):
            state = "the chain is whole, but the records do NOT match it."
        else:
            state = "the chain is NOT whole."
        head = f"{self.entries} entries: {state}"
        return [head, *(f"  {'NO' if f.verdict is Verdict.FAIL else ' !'} {f.message}" for f in self.faults)]

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {
            "entries": self.entries,
            "sound": self.sound,
            "faults": [
                {
                    "sequence": f.sequence,
                    "row": f.row,
                    "harm": f.harm.value,
                    "verdict": f.verdict.value,
                    "message": f.message,
                }
                for f in self.faults
            ],
        }


def verify(workspace: Workspace) -> AuditReport:
    """Check the chain against itself and its anchor outside the database, and against it the records and imports."""
    with workspace.records("", readonly=True) as records:
        events, faults = Trail(records, workspace.anchor_file).examine()
    return AuditReport(len(events), (*faults, *brought.faults(workspace, events)))


def entries(workspace: Workspace) -> list[dict[str, Any]]:
    """Return every entry as plain data, oldest first."""
    with workspace.records("", readonly=True) as records:
        return [to_json(e) for e in records.events()]


def export(workspace: Workspace, target: Path) -> int:
    """Write the trail as JSON lines and return the number of entries.

    Raises
    ------
    UsageError
        When the target is a folder.
    """
    if target.is_dir():
        raise UsageError(f"{target} is a folder", remedy="Name a file, for example audit.jsonl.")
    found = entries(workspace)
    write_atomic(
        target, "".join(json.dumps(e, ensure_ascii=False, sort_keys=True) + "\n" for e in found).encode()
    )
    return len(found)


def adopt(workspace: Workspace) -> int:
    """Anchor the trail as it is and return the number of the entry that is anchored.

    Raises
    ------
    Refusal
        When there is an anchor already, or the chain is not whole in itself.
    """
    actor, clock = workspace.settings.actor, workspace.clock
    with (
        hold(workspace.lock_file, doing="charter audit adopt", actor=actor, clock=clock, wait_seconds=30),
        workspace.records("") as records,
    ):
        return Trail(records, workspace.anchor_file).adopt(at=clock.now(), actor=actor).sequence
