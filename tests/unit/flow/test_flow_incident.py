"""Incidents live in the audit trail: opened once per source, noted, closed by whom the specification names."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.clock import ManualClock
from charter.core.errors import Refusal, UsageError
from charter.core.settings import Settings
from charter.flow.approvals import create_identity
from charter.flow.audit import entries, verify
from charter.flow.incident import close, list_incidents, open_incident, remark, write_report
from charter.flow.workspace import Workspace
from charter.govern.io.trail import Trail

START = datetime(2026, 3, 2, 9, tzinfo=UTC)
PLAYBOOK = """
monitor:
  alerts: {misses: {when: "recall < 0.5", group: quality}}
  playbook: {quality: [Look at the data], any: [Tell the owner]}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    text = (files("charter.blueprints") / "credit_risk" / "model.yaml").read_text()
    (tmp_path / "model.yaml").write_text(text)
    home = Settings.from_environment({"CHARTER_HOME": str(tmp_path / "home"), "CHARTER_ACTOR": "tester"})
    return Workspace.at(tmp_path, home, ManualClock(START))


def edit(workspace: Workspace, more: str) -> None:
    """Replace what the specification says of monitoring."""
    document = yaml.safe_load(workspace.spec_file.read_text()) | yaml.safe_load(more)
    workspace.spec_file.write_text(yaml.safe_dump(document, sort_keys=False))


def later(workspace: Workspace, **by: float) -> None:
    workspace.clock.advance(timedelta(**by))


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


def test_an_incident_is_noted_acted_on_and_closed_with_its_cause(workspace):
    edit(workspace, PLAYBOOK)
    loaded = workspace.load()
    assert opened(workspace).playbook == ("Look at the data", "Tell the owner")
    assert opened(workspace, source="rollout/v2").playbook == ("Tell the owner",)
    later(workspace, minutes=5)
    remark(workspace, loaded, "i1", "The bureau sent nothing", done=False, owner="data team")
    later(workspace, minutes=5)
    remark(workspace, loaded, "I1", "", done=True, step=1)
    later(workspace, minutes=5)
    found = close(
        workspace, loaded, "I1", cause="An empty file", impact="Nobody", actions=["Check for empty files"]
    )
    assert [(r.text, r.done, r.step) for r in found.remarks] == [
        ("The bureau sent nothing", False, None),
        ("Look at the data", True, 1),
    ]
    assert (found.owner, found.closed.cause, found.closed.actions) == (
        "data team",
        "An empty file",
        ("Check for empty files",),
    )
    with pytest.raises(Refusal, match="was closed by tester at 2026-03-02 09:15"):
        remark(workspace, loaded, "I1", "late", done=False)
    assert opened(workspace).name == "I3"
    assert verify(workspace).sound


def test_what_is_said_again_is_kept_once(workspace):
    loaded = workspace.load()
    opened(workspace)
    for text, done in (
        ("It is slow", False),
        ("It is slow", False),
        ("It is slow", True),
        ("It is slow", False),
    ):
        later(workspace, minutes=1)
        found = remark(workspace, loaded, "I1", text, done=done)
    assert [r.done for r in found.remarks] == [False, True, False]
    for owner in ("ann", "ann", "bob"):
        found = remark(workspace, loaded, "I1", "", done=False, owner=owner)
    assert (found.owner, len(found.remarks)) == ("bob", 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, m: remark(w, m, "I9", "x", done=False), "there is no incident I9"),
        (lambda w, m: remark(w, m, "I1", " ", done=True), "nothing is said"),
        (lambda w, m: remark(w, m, "I1", "", done=True, step=1), "has no step 1"),
        (lambda w, m: close(w, m, "I1", cause=" "), "closed with its cause"),
    ],
)
def test_what_cannot_be_said_of_an_incident(workspace, change, message):
    opened(workspace)
    with pytest.raises(UsageError, match=message):
        change(workspace, workspace.load())
    assert len(entries(workspace)) == 1


def test_closing_takes_the_role_that_the_specification_names(workspace):
    edit(workspace, "monitor: {roles: {incidents: risk-officer}}")
    loaded = workspace.load()
    create_identity(workspace, "ann", roles=("tech-lead",), by=None)
    create_identity(workspace, "rita", roles=("risk-officer",), by="ann")
    opened(workspace)
    with pytest.raises(Refusal, match="it takes a risk-officer to close an incident"):
        close(workspace, loaded, "I1", cause="x")
    with pytest.raises(Refusal, match="ann may not close an incident: it takes a risk-officer"):
        close(workspace, loaded, "I1", cause="x", by="ann")
    assert list_incidents(workspace, loaded)[0].is_open
    assert close(workspace, loaded, "I1", cause="x", by="rita").closed.actor == "rita"
    refused = [e["detail"]["message"] for e in entries(workspace) if e["action"] == "incident.refused"]
    assert len(refused) == 2


def test_the_post_mortem_tells_what_the_trail_tells(workspace, tmp_path):
    loaded = workspace.load()
    create_identity(workspace, "bob", roles=(), by=None)
    later(workspace, hours=1)
    opened(workspace, title="Recall | <b>fell</b>")
    later(workspace, minutes=30)
    remark(workspace, loaded, "I1", "Went back to v1", done=True)
    with workspace.records("other") as records:
        Trail(records, workspace.anchor_file).append(
            at=workspace.clock.now(),
            actor="x",
            action="incident.opened",
            subject="I1",
            detail={"model": "other"},
        )
    half = write_report(workspace, loaded, "I1", form="markdown", to=tmp_path / "half.md").read_text()
    assert "missing: it is not closed yet" in half
    assert "0 answers were given" in half
    later(workspace, minutes=30)
    close(workspace, loaded, "I1", cause="Bad file", actions=["Check files"])
    said = json.loads(write_report(workspace, loaded, "I1", form="json", to=tmp_path / "r.json").read_text())
    assert said["lasted"] == "1 h"
    assert [m["words"] for m in said["timeline"]] == [
        "opened I1: Recall | <b>fell</b>",
        "acted on I1: Went back to v1",
        "closed I1: Bad file",
    ]
    page = write_report(workspace, loaded, "I1", form="html", to=tmp_path / "r.html").read_text()
    assert "Recall | &lt;b&gt;fell&lt;/b&gt;" in page
    assert "<script" not in page
    text = write_report(workspace, loaded, "I1", form="markdown", to=None).read_text()
    assert r"# I1: Recall \| \<b\>fell\</b\>" in text
    with pytest.raises(UsageError, match="cannot be written as 'pdf'"):
        write_report(workspace, loaded, "I1", form="pdf", to=None)


def test_the_command_line_opens_lists_and_closes(workspace):
    def charter(*words: str):
        return CliRunner().invoke(app, ["incident", *words, "--in", str(workspace.root)])

    assert (
        "I1  Scores are late"
        in charter("open", "Scores are late", "--severity", "critical", "--evidence", "p95=2 s").output
    )
    listed = charter("list")
    assert (listed.exit_code, "I1  critical  open" in listed.output) == (1, True)
    assert "p95     2 s" in charter("show", "I1").output
    assert "saw" in charter("note", "I1", "The network").output
    assert "did" in charter("act", "I1", "Restarted").output
    assert "closed  Cable" in charter("close", "I1", "--cause", "Cable", "--action", "Two cables").output
    assert charter("list").output == "No incident is open.\n"
    assert json.loads(charter("list", "--all", "--json").output)[0]["closed"]["actions"] == ["Two cables"]
