"""Incidents of a model: opened by hand, by an alert or by a guard; noted, acted on, closed; each step on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charter.flow.workspace import Workspace
from charter.govern.incident import OPENED, Incident, Severity, find, incidents, opening
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.types import AuditEvent


def open_incident(
    workspace: Workspace,
    loaded: Loaded,
    *,
    title: str,
    severity: Severity,
    source: str,
    evidence: Mapping[str, str],
    playbook: Sequence[str] = (),
) -> Incident:
    """Open an incident, unless one of the same source is open: then return that one.

    Takes no lock: the look for an open one and the new entry are one transaction. So it may be called under the
    workspace's lock, but not inside an open transaction of the records.

    Parameters
    ----------
    source
        What opens it: ``alert/NAME``, ``rollout/v4``, ``by hand``.
    evidence
        Name to what was observed, in words.
    playbook
        Steps to take.

    Raises
    ------
    UsageError
        Without a title or a source, or for another severity.
    Refusal
        When the audit trail was tampered with.
    """
    from charter.govern.io.trail import Trail

    model, actor = loaded.spec.name, workspace.settings.actor
    detail = opening(
        model,
        title=title,
        severity=severity,
        source=source,
        evidence=evidence,
        owner=actor,
        playbook=playbook,
    )

    def judge(events: Sequence[AuditEvent]) -> tuple[str, Mapping[str, Any]] | None:
        known = incidents(events, model)
        return None if _open_of(known, source) else (f"I{len(known) + 1}", detail)

    with workspace.records(model) as records:
        added = Trail(records, workspace.anchor_file).append_if(
            at=workspace.clock.now(), actor=actor, action=OPENED, judge=judge
        )
        known = incidents(records.events(), model)
    found = find(known, added.subject) if added is not None else _open_of(known, source)
    # Closed by somebody else in this very moment: the newest of the source is what was found open.
    return found if found is not None else next(i for i in reversed(known) if i.source == source)


def list_incidents(workspace: Workspace, loaded: Loaded) -> tuple[Incident, ...]:
    """All incidents of the model, oldest first."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        return incidents(records.events(), loaded.spec.name)


def _open_of(known: Sequence[Incident], source: str) -> Incident | None:
    return next((i for i in known if i.is_open and i.source == source), None)
