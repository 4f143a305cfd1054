"""Incidents live in the audit trail: opened once per source, noted, closed by whom the specification names."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest

from charter.core.clock import ManualClock
from charter.core.errors import UsageError
from charter.flow.audit import verify
from charter.flow.incident import list_incidents, open_incident
from charter.flow.workspace import Workspace

START = datetime(2026, 3, 2, 9, tzinfo=UTC)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    text = (files("charter.blueprints") / "credit_risk" / "model.yaml").read_text()
    (tmp_path / "model.yaml").write_text(text)
    return Workspace.at(tmp_path, clock=ManualClock(START))


def opened(workspace: Workspace, source: str = "alert/misses", **more):
    given = {"title": "Recall fell", "severity": "high", "evidence": {"recall": "0.41"}} | more
    return open_incident(workspace, workspace.load(), source=source, **given)


def test_of_one_source_one_incident_is_open(workspace):
    first = opened(workspace)
    workspace.clock.advance(timedelta(hours=1))
    assert opened(workspace, title="Again") == first
    other = opened(workspace, source="rollout/v2")
    assert (
        [i.name for i in list_incidents(workspace, workspace.load())]
        == ["I1", "I2"]
        == [first.name, other.name]
    )
    assert (first.opened_at, first.opened_by, first.evidence) == (START, "tester", {"recall": "0.41"})
    assert verify(workspace).sound


def test_two_who_open_the_same_at_once_open_one(workspace):
    loaded = workspace.load()
    workspace.records("").close()
    found = []

    def one() -> None:
        found.append(
            open_incident(workspace, loaded, title="x", severity="low", source="rollout/v2", evidence={}).name
        )

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["I1"] * 4
    assert len(list_incidents(workspace, loaded)) == 1


@pytest.mark.parametrize("wrong", [{"title": " "}, {"severity": "bad"}, {"source": ""}])
def test_what_is_no_incident_is_refused(workspace, wrong):
    with pytest.raises(UsageError):
        opened(workspace, **wrong)
    assert list_incidents(workspace, workspace.load()) == ()
