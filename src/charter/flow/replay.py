"""What served at any moment of the past, told by the audit trail."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import Any

from charter.core.clock import iso, parse_iso
from charter.core.errors import Refusal, UsageError
from charter.flow.logs import moment
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded


@dataclass(frozen=True, slots=True)
class Past:
    """Who answered at a moment, and by which entry of the trail.

    Attributes
    ----------
    decision
        By which that came about: the guards with what was observed and required; None where nothing was judged.
    """

    model: str
    at: str
    traffic: Traffic
    package: str
    since: str
    sequence: int
    action: str
    actor: str
    reason: str
    decision: dict[str, Any] | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "model": self.model,
            "at": self.at,
            "version": self.traffic.champion,
            "package": self.package,
            "stage": self.traffic.stage,
            "candidate": self.traffic.candidate,
            "traffic": self.traffic.to_json(),
            "since": self.since,
            "entry": self.sequence,
            "action": self.action,
            "actor": self.actor,
            "reason": self.reason,
            "decision": self.decision,
        }


def at(workspace: Workspace, loaded: Loaded, text: str) -> Past:
    """Say what served at a moment.

    Parameters
    ----------
    text
        A day, a moment (ISO 8601; UTC where no offset is given), or a duration back from now such as ``2h``.

    Raises
    ------
    UsageError
        When it is none of them, or lies in the future.
    Refusal
        When nothing served then, or the trail was tampered with.
    """
    from charter.flow.release import trusted_keys
    from charter.govern.attest import told

    found = moment(text, "--at", workspace)
    assert found is not None
    then, name = found.replace(tzinfo=UTC), loaded.spec.name
    if then > workspace.clock.now():
        raise UsageError(f"--at is {iso(then)}, which is still to come")
    with workspace.records(name, readonly=True) as records:
        trusted_keys(workspace, records)  # proves that the trail is whole
        deployed = [
            (event, row)
            for event in records.events()
            for row in told([event], "deployments")
            if row["model"] == name and parse_iso(row["at"]) <= then
        ]
    if not deployed:
        raise Refusal(
            f"nothing of {name} served at {iso(then)}", remedy="`charter history` lists the releases."
        )
    event, row = deployed[-1]
    traffic = row.get("traffic") or {}
    return Past(
        name,
        iso(then),
        Traffic.from_json(traffic) if traffic else Traffic("full", f"v{row['version']}"),
        row["package"],
        row["at"],
        event.sequence,
        event.action,
        row["actor"],
        str(event.detail.get("reason", "")),
        event.detail.get("decision"),
    )
