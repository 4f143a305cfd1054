"""What happened to a model in a span of time, in words, from the audit trail. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from charter.core.clock import iso
from charter.govern.attest import RECORDED
from charter.registry.types import AuditEvent

_SAID: Mapping[str, str] = {
    "apply.started": "began to apply the specification",
    "version.released": "released {subject}",
    "version.rolled_back": "went back to {subject}",
    "version.verified": "verified {subject}, profile {profile}: {verdict}",
    "version.approve": "approved {subject} at stage {stage}",
    "version.reject": "rejected {subject} at stage {stage}",
    "version.followed": "took the package of {subject} that the specification asks for",
    "redeployment.judged": "judged {subject} in place of {champion}: {outcome}",
    "version.staged": "put {subject} to staging, to wait for its rollout",
    "rollout.started": "began to roll {subject} out: {stage}",
    "rollout.moved": "moved {subject} on: {stage}",
    "rollout.held": "held {subject} where it is",
    "rollout.finished": "let {subject} answer everything",
    "rollout.went_back": "took {subject} back",
    "rollout.killed": "ended what was tried with {subject} at once",
    "rollout.challenged": "let {subject} run unseen as a challenger",
    "rollout.refused": "was refused to {to}: {message}",
    "approval.refused": "was refused to {to}: {message}",
    "rollback.refused": "was refused to {to}: {message}",
    "incident.refused": "was refused to {to}: {message}",
    "alert.refused": "was refused to {to}: {message}",
    "review.refused": "was refused to {to}: {message}",
    "model.stopped": "stopped the model: its fallback answers",
    "model.resumed": "let the model answer again",
    "experiment.started": "began an experiment with {subject}",
    "experiment.stopped": "ended the experiment with {subject}",
    "experiment.results": "brought in results of the experiment",
    "retrain.started": "began to train anew",
    "retrain.finished": "finished training anew",
    "retrain.review_requested": "asked a person to look at what was trained anew",
    "outcomes.imported": "imported {rows} outcomes",
    "outcomes.withdrawn": "withdrew the outcomes of {file}: {reason}",
    "kpis.imported": "imported {values} key figures",
    "kpis.withdrawn": "withdrew the key figures of {file}: {reason}",
    "log.deleted": "deleted old days of the prediction log",
    "key.created": "made the API key {subject}",
    "key.revoked": "revoked the API key {subject}",
    "identity.created": "enrolled {subject}",
    "role.grant": "gave {subject} the role {role}",
    "role.revoke": "took the role {role} from {subject}",
    "incident.opened": "opened {subject}: {title}",
    "incident.noted": "noted on {subject}: {text}",
    "incident.acted": "acted on {subject}: {text}",
    "incident.closed": "closed {subject}: {cause}",
    "alert.acknowledged": "acknowledged the alert {subject}",
    "alert.silenced": "silenced {subject} until {until}",
    "alert.resolved": "called the alert {subject} resolved",
    "review.confirmed": "confirmed {decision} of answer {subject}",
    "review.overridden": "overrode {decision} of answer {subject} to {to}",
}
_CHANGES = frozenset(
    {
        *("version.released", "version.rolled_back", "model.stopped", "model.resumed"),
        *(f"rollout.{did}" for did in ("started", "moved", "finished", "went_back", "killed", "challenged")),
        *("experiment.started", "experiment.stopped"),
    }
)
_OF_MODEL = ("apply.", "outcomes.", "kpis.", "log.", "retrain.")
"""Beginnings of the actions whose subject is the model."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One line of a timeline."""

    sequence: int
    at: datetime
    actor: str
    action: str
    words: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "sequence": self.sequence,
            "at": iso(self.at),
            "actor": self.actor,
            "action": self.action,
            "words": self.words,
        }


def timeline(
    events: Sequence[AuditEvent], model: str, *, start: datetime, end: datetime
) -> tuple[Moment, ...]:
    """What happened to a model from `start` to `end`, and before that the last change of what serves.

    Parameters
    ----------
    events
        The audit trail by sequence, of any models.
    start, end
        Aware; both moments belong to the span.
    """
    own = [e for e in events if concerns(e, model)]
    before = [e for e in own if e.at < start and changes_what_serves(e)][-1:]
    within = [e for e in own if start <= e.at <= end]
    return tuple(Moment(e.sequence, e.at, e.actor, e.action, words(e)) for e in (*before, *within))


def changes_what_serves(event: AuditEvent) -> bool:
    """Whether something else may serve after an entry."""
    return event.action in _CHANGES


def concerns(event: AuditEvent, model: str) -> bool:
    """Whether an entry is about a model, or about the records as a whole; not whether it is about another model.

    Entries name their model in the detail, in the rows that they record, or as their subject; those that name none
    (an identity, the anchor) concern every model.
    """
    named = {event.detail["model"]} if isinstance(event.detail.get("model"), str) else set()
    recorded = event.detail.get(RECORDED)
    for rows in recorded.values() if isinstance(recorded, Mapping) else ():
        named |= {row["model"] for row in rows if isinstance(row, Mapping) and "model" in row}
    if named:
        return model in named
    if event.action.endswith(".done") or event.action.startswith(_OF_MODEL):
        return event.subject.partition(" ")[0] == model
    return True


def words(event: AuditEvent) -> str:
    """Say what an entry tells, without who and when.

    Examples
    --------
    >>> from datetime import UTC
    >>> from charter.govern.audit import append
    >>> at = datetime(2026, 1, 2, tzinfo=UTC)
    >>> words(append(None, at=at, actor="eva", action="version.rolled_back", subject="v1", detail={"reason": "errors"}))
    'went back to v1 (errors)'
    >>> words(append(None, at=at, actor="eva", action="train.done", subject="loans 91c2aa01"))
    'train done, loans 91c2aa01'
    """
    known = {name: value for name, value in event.detail.items() if isinstance(value, str | int | float)}
    if isinstance(traffic := event.detail.get("traffic"), Mapping):
        known["stage"] = str(traffic.get("stage", ""))
    form = _SAID.get(event.action)
    try:
        said = form.format(**(known | {"subject": event.subject})) if form is not None else None
    except KeyError:  # an entry of an older Charter may lack what ours tells
        said = None
    if said is None:
        said = f"{event.action.replace('.', ' ').replace('_', ' ')}, {event.subject}"
    reason = known.get("reason")
    return f"{said} ({reason})" if reason else said
