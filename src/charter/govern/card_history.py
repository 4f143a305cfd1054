"""What a model card tells of what was done with a version: releases, rollouts, experiments, verification. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from charter.core.clock import iso
from charter.core.decision import Decision
from charter.govern.timeline import concerns, words
from charter.govern.verification import CHECKS, last_of
from charter.registry.types import AuditEvent

KINDS = ("version.", "rollout.", "experiment.", "model.")
"""Beginnings of the actions that a card tells; approvals and incidents stand in tables of their own."""
_TOLD_ELSEWHERE = ("version.approve", "version.reject")


def history(events: Sequence[AuditEvent], model: str, version: str) -> list[dict[str, Any]]:
    """Return every entry about a version, oldest first, with the verdict and the reasons where something was judged.

    Parameters
    ----------
    events
        The audit trail by sequence, of any models.
    version
        For example ``v3``; entries that say that it was left for another one count, too.
    """
    return [
        {"at": iso(event.at), "actor": event.actor, "action": event.action, "words": words(event), **_judged(event)}
        for event in events
        if event.action.startswith(KINDS)
        and event.action not in _TOLD_ELSEWHERE
        and concerns(event, model)
        and version in (event.subject, event.detail.get("left"), event.detail.get("candidate"))
    ]  # fmt: skip


def _judged(event: AuditEvent) -> dict[str, Any]:
    """Verdict of an entry, and each check that did not pass."""
    found = event.detail.get("decision")
    if not isinstance(found, Mapping):
        return {"verdict": str(event.detail.get("verdict", "")), "reasons": []}
    decision = Decision.from_json(found)
    reasons = [f"{c.name}: {c.observed}, required {c.required}" for c in decision.checks]
    return {"verdict": decision.verdict.value, "reasons": reasons}


def verification(events: Sequence[AuditEvent], package: str | None) -> dict[str, Any]:
    """Say what the last verification of a package found; ``missing`` where there was none."""
    found = last_of(events, package) if package is not None else None
    if found is None:
        return {"missing": "charter verify: this package was not verified", "checks": {}}
    checks = found.detail.get("checks") or {}
    return {
        "at": iso(found.at),
        "actor": found.actor,
        "profile": found.detail.get("profile"),
        "verdict": found.detail.get("verdict"),
        "report": found.detail.get("report"),
        "checks": {name: checks[name] for name in CHECKS if name in checks},
    }
