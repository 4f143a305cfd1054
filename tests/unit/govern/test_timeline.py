"""What happened to a model in a span of time: its own entries, in words, and what served before."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from govern_support import NOW

from charter.govern.audit import append
from charter.govern.timeline import concerns, timeline, words
from charter.registry.types import AuditEvent

HOUR = timedelta(hours=1)


def trail(*entries: tuple[str, str, dict[str, Any]]) -> list[AuditEvent]:
    found: list[AuditEvent] = []
    for i, (action, subject, detail) in enumerate(entries):
        last = found[-1] if found else None
        at = NOW + i * HOUR
        found.append(append(last, at=at, actor="eva", action=action, subject=subject, detail=detail))
    return found


def test_a_timeline_begins_with_the_last_change_of_what_serves() -> None:
    loans = {"recorded": {"deployments": [{"model": "loans", "version": 1}]}}
    events = trail(
        ("version.released", "v1", loans),
        ("version.released", "v2", loans),
        ("rollout.held", "v3", {"model": "loans"}),
        ("identity.created", "bob", {}),
        ("version.released", "v7", {"recorded": {"deployments": [{"model": "other"}]}}),
        ("retrain.started", "other", {"run": 1}),
        ("retrain.started", "loans", {"run": 1, "reason": "drift"}),
    )
    found = timeline(events, "loans", start=NOW + 3 * HOUR, end=NOW + 9 * HOUR)
    assert [m.words for m in found] == ["released v2", "enrolled bob", "began to train anew (drift)"]
    assert [m.sequence for m in found] == [2, 4, 7]


@pytest.mark.parametrize(
    ("action", "subject", "detail", "said"),
    [
        ("rollout.moved", "v4", {"traffic": {"stage": "canary"}}, "moved v4 on: canary"),
        ("version.rolled_back", "v1", {"reason": "errors"}, "went back to v1 (errors)"),
        ("rollout.refused", "v4", {"to": "start", "message": "no role"}, "was refused to start: no role"),
        ("incident.opened", "I1", {}, "incident opened, I1"),
        ("something.new", "x", {"rows": 3}, "something new, x"),
    ],
)
def test_entries_are_put_into_words(action: str, subject: str, detail: dict[str, Any], said: str) -> None:
    assert words(trail((action, subject, detail))[0]) == said


def test_every_action_of_the_source_that_changes_what_serves_has_words() -> None:
    """An action that is renamed where it is recorded would be told by its bare name."""
    from charter.flow import experiment_run, moves
    from charter.govern import timeline as module

    told = {moves.STARTED, moves.MOVED, moves.FINISHED, moves.WENT_BACK, moves.KILLED, moves.CHALLENGED}
    told |= {moves.STOPPED, moves.RESUMED, experiment_run.STARTED, experiment_run.STOPPED}
    assert told <= module._SAID.keys()
    assert all(module.changes_what_serves(trail((action, "v1", {}))[0]) for action in told)


def test_an_entry_that_names_another_model_does_not_concern_this_one() -> None:
    events = trail(
        ("train.done", "loans 91c2", {}),
        ("train.done", "loans-2 91c2", {}),
        ("log.deleted", "other", {}),
        ("key.created", "k", {}),
    )
    assert [concerns(e, "loans") for e in events] == [True, False, False, True]
