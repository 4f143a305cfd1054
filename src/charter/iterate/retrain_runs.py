"""Runs of retraining as the audit trail tells them: begun, ended, waiting for a person. Pure.

A run has no table of its own: cool-down, budget, and what a killed run has to go on with are read from the chain.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from charter.registry.types import AuditEvent

STARTED, FINISHED, REVIEW = "retrain.started", "retrain.finished", "retrain.review_requested"

Ending = Literal["unchanged", "automatic", "manual", "rejected", "failed"]
"""``unchanged``: training gave the champion again. ``failed``: the data did not allow a model. The others are the
verdict of the redeployment rules."""


@dataclass(frozen=True, slots=True)
class Run:
    """A run of retraining.

    Attributes
    ----------
    number
        1, 2, 3, ... of the model.
    triggers
        Names of what asked for it.
    ended_at, ending, candidate
        None while it is under way, or where it was killed; ``candidate`` also where training made none.
    review
        Whether a person was asked.
    """

    number: int
    started_at: datetime
    actor: str
    champion: str
    triggers: tuple[str, ...]
    reason: str = ""
    ended_at: datetime | None = None
    ending: Ending | None = None
    candidate: str | None = None
    review: bool = False


def runs(events: Iterable[AuditEvent], model: str) -> tuple[Run, ...]:
    """All runs of a model, oldest first.

    Parameters
    ----------
    events
        The audit trail by sequence, of any models.

    Examples
    --------
    >>> from datetime import UTC
    >>> from charter.govern.audit import append
    >>> at, told = datetime(2026, 1, 2, tzinfo=UTC), {"run": 1, "champion": "v1", "triggers": ["age"]}
    >>> one = append(None, at=at, actor="eva", action=STARTED, subject="loans", detail=told)
    >>> ended = {"run": 1, "ending": "manual", "candidate": "v2"}
    >>> two = append(one, at=at, actor="eva", action=FINISHED, subject="loans", detail=ended)
    >>> [(r.number, r.triggers, r.ending, r.candidate) for r in runs([one, two], "loans")]
    [(1, ('age',), 'manual', 'v2')]
    """
    found: dict[int, Run] = {}
    for event in events:
        if event.subject != model or event.action not in (STARTED, FINISHED, REVIEW):
            continue
        told, number = event.detail, int(event.detail["run"])
        if event.action == STARTED:
            triggers = tuple(told["triggers"])
            found.setdefault(
                number, Run(number, event.at, event.actor, told["champion"], triggers, told.get("reason", ""))
            )
        elif event.action == REVIEW:
            found[number] = replace(found[number], candidate=told["candidate"], review=True)
        else:
            found[number] = replace(
                found[number], ended_at=event.at, ending=told["ending"], candidate=told["candidate"]
            )
    return tuple(found[number] for number in sorted(found))
