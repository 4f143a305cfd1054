"""What persons say of alerts: seen, silent until a moment, resolved. Pure; the audit trail keeps it.

Whether an alert is on follows from the windows alone (`charter.monitor.alerts`). What a person says of it holds for the
run in which it was said: an alert that is over and begins anew is neither acknowledged nor resolved.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from charter.core.clock import iso, parse_iso
from charter.monitor.alerts import Alert
from charter.registry.types import AuditEvent

ACKNOWLEDGED, SILENCED, RESOLVED = "alert.acknowledged", "alert.silenced", "alert.resolved"
ACTIONS = (ACKNOWLEDGED, SILENCED, RESOLVED)


@dataclass(frozen=True, slots=True)
class Said:
    """What somebody said of an alert, and why."""

    at: datetime
    actor: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"at": iso(self.at), "by": self.actor, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Silence:
    """An alert, or a group of alerts, of which nothing is told until a moment.

    Attributes
    ----------
    name
        Of the alert or of the group.
    """

    name: str
    until: datetime
    said: Said

    def covers(self, name: str, group: str | None) -> bool:
        """Whether an alert of that name and group is silent by it."""
        return self.name in (name, group)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"name": self.name, "until": iso(self.until), **self.said.to_json()}


@dataclass(frozen=True, slots=True)
class Standing:
    """An alert with what persons have said of its present run."""

    alert: Alert
    acknowledged: Said | None = None
    resolved: Said | None = None
    silence: Silence | None = None

    @property
    def is_on(self) -> bool:
        """Whether it is on and nobody has called it resolved."""
        return self.alert.firing and self.resolved is None

    @property
    def is_loud(self) -> bool:
        """Whether it is on, and nobody has acknowledged or silenced it."""
        return self.is_on and self.acknowledged is None and self.silence is None

    @property
    def words(self) -> str:
        """Where it stands, for people.

        One of ``off``, ``on``, ``on, seen by NAME``, ``silent until MOMENT``, ``resolved by NAME``.
        """
        if self.alert.firing and self.resolved is not None:
            return f"resolved by {self.resolved.actor}"
        if not self.alert.firing:
            return "off"
        if self.silence is not None:
            return f"silent until {self.silence.until:%Y-%m-%d %H:%M}"
        return "on" if self.acknowledged is None else f"on, seen by {self.acknowledged.actor}"

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        a = self.alert
        return {
            "name": a.rule.name,
            "rule": str(a.rule.rule),
            "version": a.version,
            "group": a.rule.spec.group,
            "severity": a.rule.spec.severity,
            "action": a.rule.spec.action,
            "standing": self.words,
            "on": self.is_on,
            "since": a.since.isoformat() if a.since is not None else None,
            "windows": a.windows,
            "observed": a.observed,
            "event": a.event,
            "acknowledged": self.acknowledged.to_json() if self.acknowledged is not None else None,
            "resolved": self.resolved.to_json() if self.resolved is not None else None,
            "silence": self.silence.to_json() if self.silence is not None else None,
        }


def stand(
    alerts: Iterable[Alert], events: Sequence[AuditEvent], model: str, *, now: datetime
) -> tuple[Standing, ...]:
    """Put alerts and what persons said of them together.

    Parameters
    ----------
    events
        The audit trail by sequence, of any models.
    now
        Aware; a silence that has ended says nothing.
    """
    seen, done = said_of(events, model, ACKNOWLEDGED), said_of(events, model, RESOLVED)
    quiet = silences(events, model, now=now)
    return tuple(
        Standing(
            alert,
            seen.get(alert.event) if alert.event else None,
            done.get(alert.event) if alert.event else None,
            next((s for s in quiet if s.covers(alert.rule.name, alert.rule.spec.group)), None),
        )
        for alert in alerts
    )


def silences(events: Iterable[AuditEvent], model: str, *, now: datetime) -> tuple[Silence, ...]:
    """What is silent now: of each name the last word counts, so a silence is ended by one that ends at once."""
    found: dict[str, Silence] = {}
    for event in events:
        if event.action == SILENCED and event.detail.get("model") == model:
            until = parse_iso(event.detail["until"])
            found[event.subject] = Silence(event.subject, until, _said(event))
    return tuple(s for s in found.values() if s.until > now)


def said_of(events: Iterable[AuditEvent], model: str, action: str) -> dict[str, Said]:
    """What was said first of each run of an alert, by the id of the turn by which it began."""
    found: dict[str, Said] = {}
    for event in events:
        if event.action == action and event.detail.get("model") == model:
            for began in event.detail["events"]:
                found.setdefault(began, _said(event))
    return found


def _said(event: AuditEvent) -> Said:
    return Said(event.at, event.actor, event.detail.get("reason", ""))
