"""Moves of what serves: nobody waits for a training, and nothing that is damaged keeps a model answering."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import pytest
import yaml

from charter.core.clock import ManualClock, SystemClock, iso
from charter.core.digest import digest_json, ordered_json
from charter.core.errors import PackageError, Refusal
from charter.core.progress import NoProgress
from charter.core.settings import Settings
from charter.flow import retrain
from charter.flow.approvals import create_identity
from charter.flow.audit import entries, verify
from charter.flow.kill import kill, resume
from charter.flow.lock import hold
from charter.flow.moves import refuse_late_clock, refusing
from charter.flow.rollback import rollback
from charter.flow.rollout import _refuse_unfit
from charter.flow.views import _beside, _serves_since
from charter.flow.workspace import Workspace
from charter.govern.io.trail import Trail
from charter.iterate.retrain_runs import Run
from charter.registry.traffic import Traffic
from charter.registry.types import Deployment, StageResult
from charter.serve.deployment import DeployedModel
from charter.serve.deployment import Deployment as Served
from charter.serve.io.loading import read_deployment, write_deployment
from charter.spec.parts import part_digest, spec_digest

ROLES = "{start: head, step: head, stop: duty}"
RELEASE = f"""
release:
  rollout: {{shadow: {{at_least: 1h}}, guards: {{errors: "error_share > 0.01"}}, roles: {ROLES}}}
"""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A model that is released on paper: its package is nowhere."""
    text = (files("charter.blueprints") / "credit_risk" / "model.yaml").read_text()
    (tmp_path / "model.yaml").write_text(text)
    home = Settings.from_environment({"CHARTER_HOME": str(tmp_path / "home"), "CHARTER_ACTOR": "tester"})
    found = Workspace.at(tmp_path, home, SystemClock())
    released(found, 1)
    return found


def edit(workspace: Workspace, more: str | None) -> None:
    """Replace what the specification says of releases."""
    document = yaml.safe_load(workspace.spec_file.read_text())
    document.pop("release", None)
    document |= yaml.safe_load(more or "{}")
    workspace.spec_file.write_text(yaml.safe_dump(document, sort_keys=False))


def released(workspace: Workspace, number: int) -> None:
    """Record that a version serves, by the specification as it is, and tell servers."""
    spec, now, package = workspace.load().spec, workspace.clock.now(), digest_json(f"package {number}")
    with workspace.records(spec.name) as records:
        key, blob = spec_digest(spec), workspace.blobs().put_bytes(ordered_json(spec.model_dump(mode="json")))
        proof = {"package": package, "policy": part_digest(spec, "approve")}
        with Trail(records, workspace.anchor_file).recording(
            at=now, actor="tester", action="version.released", subject=f"v{number}", detail=proof
        ) as change:
            change.save_result(StageResult("spec", key, blob, {"name": spec.name}, 0.0, "tester", now))
            change.version_for(digest_json(f"bundle {number}"), spec=key, now=now)
            change.update_version(number, package=package, status="released")
            change.add_deployment(Deployment(number, package, "tester", now, proof))
    served = DeployedModel(spec.name, f"v{number}", workspace.state / f"package-{number}")
    write_deployment(workspace.state / "deployment.json", Served((served,)))


def told(workspace: Workspace) -> list[str]:
    return [e["action"] for e in entries(workspace)]


def stage(workspace: Workspace) -> str:
    """What servers are told."""
    (traffic,) = read_deployment(workspace.state / "deployment.json").traffic.values() or (None,)
    return traffic.stage if traffic is not None else "full"


def named(workspace: Workspace, *roles: str) -> None:
    create_identity(workspace, "ann", roles=(), by=None)
    for role in roles:
        create_identity(workspace, role + "-holder", roles=(role,), by="ann")


def test_a_stop_waits_for_no_training(workspace):
    with hold(workspace.lock_file, doing="charter apply", actor="ann", clock=workspace.clock):
        stopped = kill(workspace, workspace.load(), everything=True, reason="complaints")
    assert (stopped.did, stopped.traffic.stage) == ("model.stopped", "stopped")
    assert (stage(workspace), told(workspace)[-1]) == ("stopped", "model.stopped")
    assert verify(workspace).sound


def test_a_stop_asks_the_package_for_no_proof_and_a_start_does(workspace):
    kill(workspace, workspace.load(), everything=True)
    with pytest.raises(Refusal, match="never approved"):
        resume(workspace, workspace.load())
    assert stage(workspace) == "stopped"
    assert "model.resumed" not in told(workspace)
    assert kill(workspace, workspace.load(), everything=True).did == ""


def test_what_was_killed_between_the_record_and_the_file_is_told_to_servers(workspace):
    before = (workspace.state / "deployment.json").read_bytes()
    kill(workspace, workspace.load(), everything=True)
    (workspace.state / "deployment.json").write_bytes(before)
    kill(workspace, workspace.load(), everything=True)
    assert stage(workspace) == "stopped"


@pytest.mark.parametrize("content", [None, b"{", b'{"schema_version": 99, "models": []}'])
def test_a_server_whose_file_is_gone_or_garbled_is_told_all_the_same(workspace, content, monkeypatch):
    path = workspace.state / "deployment.json"
    whole = read_deployment(path)
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(Refusal, match="servers cannot be told"):
        kill(workspace, workspace.load(), everything=True)
    monkeypatch.setattr("charter.flow.serving.released", lambda *_: whole)
    kill(workspace, workspace.load(), everything=True)
    assert stage(workspace) == "stopped"


def damaged_anchor(workspace: Workspace) -> None:
    workspace.anchor_file.write_text("not JSON")


def edited_row(workspace: Workspace) -> None:
    with closing(sqlite3.connect(workspace.state / "records.sqlite")) as connection, connection:
        connection.execute('UPDATE deployments SET traffic = \'{"stage": "canary", "champion": "v1"}\'')


@pytest.mark.parametrize("damage", [damaged_anchor, edited_row])
def test_damaged_records_keep_no_model_answering(workspace, damage):
    damage(workspace)
    with pytest.raises(
        Refusal, match=r"nobody but the fallback answers now, but that is on no record"
    ) as said:
        kill(workspace, workspace.load(), everything=True)
    assert "stop it once more" in said.value.remedy
    assert stage(workspace) == "stopped"


def other_content(workspace: Workspace) -> None:
    (workspace.state / "records.sqlite").write_bytes(b"something else" * 1000)


def row(column: str, value: str):
    def edit_row(workspace: Workspace) -> None:
        with closing(sqlite3.connect(workspace.state / "records.sqlite")) as connection, connection:
            connection.execute(f"UPDATE deployments SET {column} = ?", (value,))

    return edit_row


def newer(workspace: Workspace) -> None:
    with closing(sqlite3.connect(workspace.state / "records.sqlite")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")


UNREADABLE = [other_content, newer, row("at", "yesterday"), row("traffic", "{{{"), row("traffic", '{"x": 1}')]


@pytest.mark.parametrize("damage", UNREADABLE)
def test_records_that_cannot_be_read_keep_no_model_answering(workspace, damage):
    damage(workspace)
    with pytest.raises(Refusal, match="answers now, but that is on no record") as said:
        kill(workspace, workspace.load(), everything=True)
    assert "stop it once more" in said.value.remedy
    assert stage(workspace) == "stopped"


def test_a_full_disk_keeps_no_model_answering(workspace, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("charter.flow.acting.hold", full)
    monkeypatch.setattr("charter.serve.io.loading.write_atomic", full)
    with pytest.raises(Refusal, match=r"on no record: OSError: .* No space left"):
        kill(workspace, workspace.load(), everything=True)
    assert stage(workspace) == "stopped"


def test_records_that_another_process_holds_keep_no_model_answering(workspace, monkeypatch):
    monkeypatch.setattr("charter.flow.moves._STOP_WAITS", 0.1)
    with closing(sqlite3.connect(workspace.state / "records.sqlite")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(
            Refusal, match=r"answers now, but that is on no record: .* held by another process"
        ):
            kill(workspace, workspace.load(), everything=True)
    assert stage(workspace) == "stopped"
    assert "model.stopped" not in told(workspace)
    kill(workspace, workspace.load(), everything=True, reason="once more")
    assert told(workspace)[-1] == "model.stopped"
    with pytest.raises(Refusal, match="is stopped already") as said:
        kill(workspace, workspace.load())
    assert "charter rollout resume" in said.value.remedy


def test_who_may_stop_is_asked_of_what_can_still_be_read(workspace):
    edit(workspace, RELEASE)
    released(workspace, 2)
    named(workspace, "duty", "head")
    row("at", "yesterday")(workspace)
    before = (workspace.state / "deployment.json").read_bytes()
    for name, why in ((None, "it takes a duty to stop"), ("head-holder", "and head-holder has head")):
        with pytest.raises(Refusal, match=why):
            kill(workspace, workspace.load(), everything=True, name=name)
        assert stage(workspace) == "full"
    with pytest.raises(Refusal, match="on no record"):
        kill(workspace, workspace.load(), everything=True, name="duty-holder")
    assert stage(workspace) == "stopped"
    (workspace.state / "deployment.json").write_bytes(before)
    other_content(workspace)
    with pytest.raises(Refusal, match="who is one cannot be read"):
        kill(workspace, workspace.load(), everything=True, name="duty-holder")
    assert stage(workspace) == "full"


MOVES = {
    "kill": lambda w, **who: kill(w, w.load(), everything=True, **who),
    "resume": lambda w, **who: resume(w, w.load(), **who),
    "rollback": lambda w, **who: rollback(w, w.load(), **who),
}


@pytest.mark.parametrize(
    ("move", "stopped", "role"),
    [
        ("kill", False, "duty"),
        ("rollback", False, "duty"),
        ("rollback", True, "head"),
        ("resume", True, "head"),
    ],
)
def test_a_role_that_was_signed_is_not_lost_with_the_text(workspace, move, stopped, role):
    edit(workspace, RELEASE)
    released(workspace, 2)
    named(workspace, "duty", "head")
    if stopped:
        kill(workspace, workspace.load(), everything=True, name="duty-holder")
    edit(workspace, None)
    other = {"duty": "head", "head": "duty"}[role]
    with pytest.raises(Refusal, match=f"it takes a {role} to"):
        MOVES[move](workspace)
    with pytest.raises(Refusal, match=f"it takes a {role}, and {other}-holder has {other}"):
        MOVES[move](workspace, name=f"{other}-holder")
    last = entries(workspace)[-1]
    assert (last["actor"], last["detail"]["claimed"]) == ("tester", f"{other}-holder")
    if move == "kill":
        assert kill(workspace, workspace.load(), everything=True, name="duty-holder").did == "model.stopped"
    else:  # whose package is nowhere
        with pytest.raises(Refusal, match="never approved"):
            MOVES[move](workspace, name=f"{role}-holder")


REJECTED = {"run": 1, "champion": "v1", "candidate": "v2", "ending": "rejected", "triggers": []}


@pytest.mark.parametrize(
    ("said", "rejected", "message"),
    [
        ("{}", False, "v2 is not approved"),
        ("{approve: none, release: {verify: light}}", False, "is not verified as release.verify: light"),
        ("{approve: none, release: {verify: none}}", True, "rejected as a successor of v1"),
    ],
)
def test_what_goes_on_is_asked_what_was_asked_when_it_began(workspace, said, rejected, message):
    edit(workspace, said)
    loaded = workspace.load()
    with workspace.records(loaded.spec.name) as records:
        if rejected:
            trail, now = Trail(records, workspace.anchor_file), workspace.clock.now()
            for action in ("retrain.started", "retrain.finished"):
                trail.append(at=now, actor="tester", action=action, subject=loaded.spec.name, detail=REJECTED)
        with pytest.raises(Refusal, match=message):
            _refuse_unfit(workspace, loaded, records, 2, digest_json("package 2"))


def test_the_same_refusal_twice_leaves_one_entry_of_each_act(workspace):
    loaded = workspace.load()
    for _ in range(2):
        with (
            pytest.raises(Refusal),
            refusing(workspace, loaded, "v2", "go on", None),
            refusing(workspace, loaded, "v2", "release it", None, action="release.refused"),
        ):
            raise Refusal("v2 is not verified")
    assert told(workspace)[-2:] == ["release.refused", "rollout.refused"]
    assert len(told(workspace)) == 3


def test_a_run_that_meets_a_damaged_package_is_ended(workspace, monkeypatch):
    def damaged(*_given: object, **_named: object) -> None:
        raise PackageError("damaged")

    monkeypatch.setattr(retrain, "apply", damaged)
    run = Run(1, workspace.clock.now(), "tester", "v1", ())
    work = retrain._Work(workspace, workspace.load(), run, None, NoProgress(), None, 0)
    with pytest.raises(PackageError):
        work.carry_out("v1", None, resumed=False)
    last = entries(workspace)[-1]
    assert (last["action"], last["detail"]["ending"]) == ("retrain.finished", "failed")


def test_nothing_begins_under_a_clock_that_is_behind(workspace):
    with workspace.records(workspace.load().spec.name, readonly=True) as records:
        serving = records.deployment()
    refuse_late_clock(replace(workspace, clock=ManualClock(serving.at)), serving)
    behind = replace(workspace, clock=ManualClock(serving.at - timedelta(days=400)))
    with pytest.raises(Refusal, match="before the last deployment"):
        refuse_late_clock(behind, serving)


def test_status_says_what_is_tried_beside_what_serves_and_since_when_that_does(workspace):
    edit(workspace, RELEASE)
    loaded = workspace.load()
    with workspace.records(loaded.spec.name) as records:
        first = records.deployment()
        tried = Traffic("shadow", "v1", "v2", name="rollout").to_json()
        at = first.at + timedelta(hours=1)
        with Trail(records, workspace.anchor_file).recording(
            at=at, actor="tester", action="rollout.started", subject="v2", detail={}
        ) as change:
            change.add_deployment(replace(first, at=at, traffic=tried))
        assert _serves_since(records.deployments()) == first.at
        assert _beside(loaded.spec, first) == []
        assert _beside(loaded.spec, records.deployment()) == [
            f"v2 is tried beside it (shadow) since {iso(at)[:19]}Z: `charter rollout status`"
        ]
