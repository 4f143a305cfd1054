"""Alerts of a workspace: told, silenced, acknowledged, resolved, and turned into incidents, each on record."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from charter.cli.main import app
from charter.core.clock import ManualClock, iso
from charter.core.errors import Refusal, UsageError
from charter.core.settings import Settings
from charter.flow.alerts import acknowledge, list_alerts, resolve, silence, tell
from charter.flow.approvals import create_identity
from charter.flow.audit import entries, verify
from charter.flow.incident import close, list_incidents
from charter.flow.kept import monitor_folder
from charter.flow.monitor import look, status
from charter.flow.released import in_force
from charter.flow.workspace import Workspace

START = datetime(2026, 1, 5)  # noqa: DTZ001 - windows hold naive UTC
MONITOR = """
monitor:
  alerts:
    misses: {when: "recall < 0.5", action: incident, group: quality, severity: critical, description: Recall fell}
    drifts: {when: "psi(any) > 0.2", action: retrain, group: inputs}
  playbook: {quality: [Look at the data]}
  notify: ["file:SPOOL"]
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    document = yaml.safe_load((files("charter.blueprints") / "credit_risk" / "model.yaml").read_text())
    document |= yaml.safe_load(MONITOR.replace("SPOOL", str(tmp_path / "spool")))
    (tmp_path / "model.yaml").write_text(yaml.safe_dump(document, sort_keys=False))
    home = Settings.from_environment({"CHARTER_HOME": str(tmp_path / "home"), "CHARTER_ACTOR": "tester"})
    return Workspace.at(tmp_path, home, ManualClock(datetime(2026, 3, 1, tzinfo=UTC)))


def measured(workspace: Workspace, *windows: dict[str, float]) -> None:
    """Keep windows as a pass would, and say that it has finished."""
    folder = monitor_folder(workspace, "credit-risk")
    (folder / "windows" / "v1").mkdir(parents=True, exist_ok=True)
    for i, measures in enumerate(windows):
        start = START + i * timedelta(weeks=1)
        kept = {"version": "v1", "start": start.isoformat(), "measures": measures}
        kept |= {"end": (start + timedelta(weeks=1)).isoformat(), "answered_from": start.isoformat()}
        (folder / "windows" / "v1" / f"{start:%Y-%m-%d}.json").write_text(json.dumps(kept))
    (folder / "last_pass").write_text(iso(workspace.clock.now()))


def told(workspace: Workspace) -> list[str]:
    """Carry out what a pass does after measuring, and give the titles of what is new in the spool."""
    loaded = workspace.load()
    spool = workspace.root / "spool"
    before = {p.name for p in spool.glob("*.json")}
    looked = look(workspace, in_force(workspace, loaded))
    tell(
        workspace,
        loaded,
        monitor_folder(workspace, "credit-risk"),
        looked.alerts,
        looked.events,
        serving="v1",
    )
    return sorted(json.loads(p.read_text())["title"] for p in spool.glob("*.json") if p.name not in before)


def test_a_rule_that_asks_for_an_incident_opens_one_for_each_run(workspace):
    loaded = workspace.load()
    measured(workspace, {"recall": 0.4})
    assert told(workspace) == ["credit-risk v1: misses fired"]
    assert told(workspace) == []
    (incident,) = list_incidents(workspace, loaded)
    assert (incident.title, incident.severity, incident.playbook) == (
        "Recall fell",
        "critical",
        ("Look at the data",),
    )
    assert incident.evidence["observed"] == "recall = 0.4"
    close(workspace, loaded, "I1", cause="A bad file")
    told(workspace)
    assert len(list_incidents(workspace, loaded)) == 1, "what a person has closed stays closed"
    measured(workspace, {"recall": 0.4}, {"recall": 0.9}, {"recall": 0.9}, {"recall": 0.3})
    told(workspace)
    assert [i.name for i in list_incidents(workspace, loaded) if i.is_open] == ["I2"]
    assert verify(workspace).sound


def test_what_follows_is_proposed_with_its_command(workspace):
    measured(workspace, {"psi(AGE)": 0.3})
    told(workspace)
    (notice,) = (json.loads(p.read_text()) for p in (workspace.root / "spool").iterdir())
    assert "`charter retrain --reason 'alert drifts'`" in notice["body"]


def test_an_alert_is_acknowledged_once_and_on_record(workspace):
    measured(workspace, {"recall": 0.4})
    loaded = workspace.load()
    (standing,) = acknowledge(workspace, loaded, "misses", reason="looking")
    assert standing.words == "on, seen by tester"
    acknowledge(workspace, loaded, "misses")
    assert [e["action"] for e in entries(workspace)] == ["alert.acknowledged"]
    with pytest.raises(UsageError, match="the alert drifts is not on"):
        acknowledge(workspace, loaded, "drifts")
    with pytest.raises(UsageError, match="there is no alert mises\n  did you mean misses"):
        acknowledge(workspace, loaded, "mises")


def test_a_silent_group_is_told_when_its_time_is_over(workspace):
    measured(workspace, {"recall": 0.4})
    loaded = workspace.load()
    silence(workspace, loaded, "quality", until="2h", reason="a known outage")
    assert told(workspace) == []
    assert list_alerts(workspace, loaded).standings[0].words == "silent until 2026-03-01 02:00"
    workspace.clock.advance(timedelta(hours=3))
    assert told(workspace) == ["credit-risk v1: misses fired"]
    silence(workspace, loaded, "quality", until="2h", reason="again")
    silence(workspace, loaded, "quality", until=None)
    assert list_alerts(workspace, loaded).silences == ()


@pytest.mark.parametrize(
    ("name", "until", "reason", "message"),
    [
        ("qualty", "2h", "x", "neither an alert nor a group"),
        ("quality", "2h", " ", "a reason is needed"),
        ("quality", "2026-01-01", "x", "has passed"),
        ("quality", "soon", "x", "must be a duration, a day or a moment"),
    ],
)
def test_what_is_no_silence_is_refused(workspace, name, until, reason, message):
    with pytest.raises(UsageError, match=message):
        silence(workspace, workspace.load(), name, until=until, reason=reason)
    assert not (workspace.state / "records.sqlite").exists()


def test_resolving_takes_the_role_and_holds_until_it_fires_anew(workspace):
    document = yaml.safe_load(workspace.spec_file.read_text())
    document["monitor"]["roles"] = {"alerts": "ml-engineer"}
    workspace.spec_file.write_text(yaml.safe_dump(document, sort_keys=False))
    loaded = workspace.load()
    measured(workspace, {"recall": 0.4})
    create_identity(workspace, "ann", roles=("ml-engineer",), by=None)
    with pytest.raises(Refusal, match="it takes a ml-engineer to resolve an alert"):
        resolve(workspace, loaded, "misses", reason="a test")
    assert [a.rule.name for a in status(workspace, loaded).firing] == ["misses"]
    (standing,) = resolve(workspace, loaded, "misses", reason="a test", by="ann")
    assert standing.words == "resolved by ann"
    assert not list_alerts(workspace, loaded).is_critical
    assert status(workspace, loaded).firing == ()
    measured(workspace, {"recall": 0.4}, {"recall": 0.9}, {"recall": 0.9}, {"recall": 0.3})
    assert list_alerts(workspace, loaded).is_critical


def test_the_command_line_lists_what_is_on_and_that_the_monitor_has_stopped(workspace):
    def charter(*words: str):
        return CliRunner().invoke(app, ["alerts", *words, "--in", str(workspace.root)])

    measured(workspace, {"recall": 0.4})
    listed = charter("list")
    assert (listed.exit_code, "critical  misses  v1" in listed.output) == (1, True)
    assert "The monitor has stopped: no pass for" in listed.output
    document = json.loads(charter("list", "--json").output)
    assert [a["name"] for a in document["alerts"]] == ["misses"]
    assert "seen by tester" in charter("acknowledge", "misses").output
    assert "is silent until" in charter("silence", "inputs", "--until", "1d", "--reason", "known").output
    assert "inputs is silent until" in charter("list").output
    assert "no longer silent" in charter("silence", "inputs", "--end").output
    assert "resolved by tester" in charter("resolve", "misses", "--reason", "x").output
