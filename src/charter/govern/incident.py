"""Incidents as the audit trail tells them: opened, noted, acted on, closed. Pure.

An incident has no table of its own. Its state is what the entries of the trail say of it, in their order, so it can be
neither altered nor lost without the chain showing it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from charter.core.clock import iso
from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.registry.types import AuditEvent

Severity = Literal["low", "high", "critical"]
SEVERITIES: tuple[Severity, ...] = ("low", "high", "critical")
OPENED, NOTED, ACTED, CLOSED = "incident.opened", "incident.noted", "incident.acted", "incident.closed"
ACTIONS = (OPENED, NOTED, ACTED, CLOSED)


@dataclass(frozen=True, slots=True)
class Remark:
    """What somebody saw or did.

    Attributes
    ----------
    done
        Whether it is an action rather than a note.
    step
        Number of the step of the playbook that it carried out, from 1; None for any other action, and for a note.
    """

    at: datetime
    actor: str
    text: str
    done: bool
    step: int | None = None


@dataclass(frozen=True, slots=True)
class Closing:
    """How an incident ended.

    Attributes
    ----------
    impact
        What it did to whom, in words; may be empty.
    actions
        What will be done so that it does not come again, each in words.
    """

    at: datetime
    actor: str
    cause: str
    impact: str
    actions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Incident:
    """Something went wrong with a model, and what was done about it.

    Attributes
    ----------
    source
        What opened it, such as ``alert/misses`` or ``rollout/v4/12`` (entry 12 of the audit trail); of one source only
        one incident is open at a time.
    evidence
        Name to what was observed, in words.
    playbook
        Steps that the specification named when it was opened.
    remarks
        Notes and actions, oldest first.
    """

    number: int
    model: str
    title: str
    severity: str
    source: str
    evidence: Mapping[str, str]
    opened_at: datetime
    opened_by: str
    owner: str
    playbook: tuple[str, ...] = ()
    remarks: tuple[Remark, ...] = ()
    closed: Closing | None = None

    @property
    def name(self) -> str:
        """How people call it: ``I3``."""
        return f"I{self.number}"

    @property
    def is_open(self) -> bool:
        """Whether nobody has closed it."""
        return self.closed is None

    @property
    def steps_done(self) -> frozenset[int]:
        """Numbers of the steps of the playbook that were carried out."""
        return frozenset(r.step for r in self.remarks if r.step is not None)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "model": self.model,
            "title": self.title,
            "severity": self.severity,
            "status": "open" if self.closed is None else "closed",
            "source": self.source,
            "evidence": dict(self.evidence),
            "opened_at": iso(self.opened_at),
            "opened_by": self.opened_by,
            "owner": self.owner,
            "playbook": [
                {"step": i, "text": text, "done": i in self.steps_done}
                for i, text in enumerate(self.playbook, 1)
            ],
            "remarks": [
                {"at": iso(r.at), "actor": r.actor, "text": r.text, "done": r.done, "step": r.step}
                for r in self.remarks
            ],
            "closed": None if self.closed is None else _closing(self.closed),
        }


def _closing(closed: Closing) -> dict[str, Any]:
    return {
        "at": iso(closed.at),
        "by": closed.actor,
        "cause": closed.cause,
        "impact": closed.impact,
        "actions": list(closed.actions),
    }


def incidents(events: Iterable[AuditEvent], model: str) -> tuple[Incident, ...]:
    """All incidents of a model, in the order in which they were opened.

    Parameters
    ----------
    events
        The audit trail by sequence, of any models.

    Examples
    --------
    >>> from datetime import UTC
    >>> from charter.govern.audit import append
    >>> detail = opening("loans", title="Slow", severity="high", source="by hand", evidence={}, owner="eva")
    >>> at = datetime(2026, 1, 2, tzinfo=UTC)
    >>> first = append(None, at=at, actor="eva", action=OPENED, subject="I1", detail=detail)
    >>> [(i.name, i.title, i.is_open) for i in incidents([first], "loans")]
    [('I1', 'Slow', True)]
    """
    found: dict[str, Incident] = {}
    for event in events:
        if event.detail.get("model") != model:
            continue
        if event.action == OPENED:
            found[event.subject] = _opened(event, len(found) + 1)
        elif event.action in (NOTED, ACTED) and event.subject in found:
            before = found[event.subject]
            step, owner = event.detail.get("step"), event.detail.get("owner") or before.owner
            remark = Remark(event.at, event.actor, event.detail["text"], event.action == ACTED, step)
            found[event.subject] = replace(before, remarks=(*before.remarks, remark), owner=owner)
        elif event.action == CLOSED and event.subject in found:
            told = event.detail
            closed = Closing(event.at, event.actor, told["cause"], told["impact"], tuple(told["actions"]))
            found[event.subject] = replace(found[event.subject], closed=closed)
    return tuple(found.values())


def _opened(event: AuditEvent, number: int) -> Incident:
    told = event.detail
    return Incident(
        number=number,
        model=told["model"],
        title=told["title"],
        severity=told["severity"],
        source=told["source"],
        evidence=told["evidence"],
        opened_at=event.at,
        opened_by=event.actor,
        owner=told["owner"],
        playbook=tuple(told["playbook"]),
    )


def opening(
    model: str,
    *,
    title: str,
    severity: str,
    source: str,
    evidence: Mapping[str, str],
    owner: str,
    playbook: Sequence[str] = (),
) -> dict[str, Any]:
    """Detail of the entry that opens an incident.

    Raises
    ------
    UsageError
        Without a title or a source, or for another severity.
    """
    for what, text in (("title", title), ("source", source)):
        if not text.strip():
            raise UsageError(f"an incident needs a {what}", remedy="Say in a few words what went wrong.")
    if severity not in SEVERITIES:
        raise UsageError(
            f"{severity!r} is not a severity of incidents", remedy=did_you_mean(severity, SEVERITIES)
        )
    return {
        "model": model,
        "title": title.strip(),
        "severity": severity,
        "source": source,
        "evidence": {name: str(value) for name, value in evidence.items()},
        "owner": owner,
        "playbook": list(playbook),
    }


def find(all_of: Sequence[Incident], name: str) -> Incident:
    """Return the incident that is called so.

    Raises
    ------
    UsageError
        When there is none.
    """
    wanted = name.upper()
    for one in all_of:
        if one.name == wanted:
            return one
    known = [one.name for one in all_of]
    raise UsageError(
        f"there is no incident {name}",
        remedy=did_you_mean(wanted, known) if known else "None was opened yet: `charter incident open`.",
    )


def steps(playbook: Mapping[str, Sequence[str]], occasions: Sequence[str]) -> tuple[str, ...]:
    """Steps of a playbook for an incident: those of its alert, of its group, then those of ``any``, each once.

    Examples
    --------
    >>> steps({"any": ("tell the owner",), "misses": ("look at the data", "tell the owner")}, ["misses"])
    ('look at the data', 'tell the owner')
    """
    found = [step for occasion in (*occasions, "any") for step in playbook.get(occasion, ())]
    return tuple(dict.fromkeys(found))
