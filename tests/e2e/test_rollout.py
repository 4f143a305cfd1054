"""A version on its way to full traffic: by evidence, one stage at a time, and back when a guard breaks."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from e2e_models import apply, charter, done, edit
from e2e_traffic import ask


def step(folder: Path, *, code: int = 0) -> dict:
    said = charter("rollout", "step", "--in", folder, "--json")
    assert said.code == code, said.out + said.err
    return said.json


def actions(folder: Path, prefix: str = "rollout.") -> list[str]:
    found = done("audit", "list", "--in", folder, "--json", "--last", "100").json
    return [e["action"] for e in found if e["action"].startswith(prefix)]


def serving(folder: Path) -> dict:
    return json.loads((folder / ".charter" / "deployment.json").read_text())


def test_a_version_goes_to_full_traffic_stage_by_stage(staged):
    assert done("history", staged, "--json").json["versions"][-1]["status"] == "staging"
    assert apply(staged) == []
    started = done("rollout", "start", "v2", "--in", staged, "--json").json
    assert (started["stage"], started["champion"], started["candidate"]) == ("shadow", "v1", "v2")
    assert [m["version"] for m in serving(staged)["models"]] == ["v1", "v2"]
    held = step(staged)
    assert (held["did"], held["stage"]) == ("rollout.held", "shadow")
    missing = next(c for c in held["decision"]["checks"] if c["name"] == "requests")
    assert missing["note"] == "60 more are needed"
    assert step(staged)["did"] == ""
    for stage, leg in (("canary", "canary 20%"), ("canary", "canary 50%"), ("full", "")):
        ask(staged, 1200)
        went = step(staged)
        assert (went["stage"], went["leg"]) == (stage, leg), went["decision"]
    assert went["did"] == "rollout.finished"
    assert went["champion"] == "v2"
    assert step(staged)["did"] == ""
    assert [m["version"] for m in serving(staged)["models"]] == ["v2"]
    assert serving(staged)["traffic"] == {}
    assert actions(staged) == [
        "rollout.started", "rollout.held", "rollout.moved", "rollout.moved", "rollout.finished"
    ]  # fmt: skip
    assert apply(staged) == []
    assert done("audit", "verify", "--in", staged).out.endswith("whole.\n")
    assert done("rollback", "--in", staged, "--json").json["version"] == "v1"


def test_units_that_were_given_the_candidate_keep_it(staged):
    from charter.flow.serving import released
    from charter.flow.workspace import Workspace

    done("rollout", "start", "v2", "--in", staged)
    workspace, seen = Workspace.at(staged), []
    for _ in range(2):
        ask(staged, 1200)
        step(staged)
        traffic = released(workspace, workspace.load()).traffic["small-loans"]
        seen.append({u for u in range(2000) if traffic.version_for(str(u))[0] == "v2"})
    assert 300 < len(seen[0]) < 500 < len(seen[1])
    assert seen[0] < seen[1]


@pytest.mark.parametrize(("fault", "guard"), [("slow", "slow"), ("failing", "errors"), ("silent", "errors")])
def test_a_broken_guard_leads_back_and_opens_an_incident(staged, fault, guard):
    done("rollout", "start", "v2", "--in", staged)
    ask(staged)
    step(staged)
    ask(staged, begin=500, **{fault: "v2"})
    went = step(staged, code=1)
    assert (went["did"], went["stage"], went["champion"]) == ("rollout.went_back", "full", "v1")
    assert [c["name"] for c in went["decision"]["checks"] if c["verdict"] == "fail"] == [guard]
    (incident,) = done("incident", "list", "--in", staged, "--json").json
    assert went["incident"] == "I1"
    assert guard in incident["title"]
    assert step(staged)["did"] == ""
    assert len(done("incident", "list", "--in", staged, "--json").json) == 1
    assert [m["version"] for m in serving(staged)["models"]] == ["v1"]
    # Whoever has mended it applies again, and the way begins anew.
    assert apply(staged) == ["release"]
    assert done("rollout", "start", "v2", "--in", staged, "--json").json["stage"] == "shadow"


def test_everything_to_the_champion_and_everything_to_the_fallback(staged):
    done("rollout", "start", "v2", "--in", staged)
    killed = done("kill", "--in", staged, "--reason", "complaints", "--json").json
    assert (killed["did"], killed["stage"], killed["champion"]) == ("rollout.killed", "full", "v1")
    stopped = done("kill", "--all", "--in", staged, "--json").json
    assert (stopped["did"], stopped["stage"]) == ("model.stopped", "stopped")
    assert serving(staged)["traffic"]["small-loans"]["stage"] == "stopped"
    assert done("kill", "--all", "--in", staged, "--json").json["did"] == ""
    assert "stopped" in done("rollout", "status", "--in", staged).out
    assert done("rollout", "resume", "--in", staged, "--json").json["stage"] == "full"
    assert serving(staged)["traffic"] == {}


def test_any_past_moment_can_be_asked(staged):
    moments = []
    for command in (["rollout", "start", "v2"], ["kill", "--reason", "complaints"]):
        done(*command, "--in", staged)
        moments.append(done("rollout", "status", "--in", staged, "--json").json["since"])
    then, now = (done("history", staged, "--at", at, "--json").json for at in moments)
    assert (then["version"], then["candidate"], then["stage"]) == ("v1", "v2", "shadow")
    assert (now["stage"], now["action"], now["reason"]) == ("full", "rollout.killed", "complaints")
    assert "v2 is tried (shadow)" in done("history", staged, "--at", moments[0]).out
    assert charter("history", staged, "--at", "2001-01-01").code == 1
    assert charter("history", staged, "--at", "2999-01-01").code == 2


def test_what_is_edited_meanwhile_changes_nothing_of_a_rollout_under_way(staged):
    done("rollout", "start", "v2", "--in", staged)
    ask(staged, slow="v2")
    edit(staged, "p95_latency_ms > 200", "p95_latency_ms > 20000")
    assert step(staged, code=1)["did"] == "rollout.went_back"


def test_one_pass_of_the_schedule(staged):
    done("rollout", "start", "v2", "--in", staged)
    ask(staged)
    said = done("schedule", "--once", "--in", staged, "--json").json
    assert [t["task"] for t in said] == ["rollout", "monitor"]
    assert said[0]["said"] == "rollout.moved"
    assert "OnUnitInactiveSec=300" in done("schedule", "--print", "systemd", "--in", staged).out
