"""Training anew: triggers, one run at a time, redeployment rules, and a champion that nothing touches by accident."""

from __future__ import annotations

import shutil
from datetime import datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from e2e_models import accounts, apply, charter, done, edit, orders

from charter.core.clock import ManualClock, SystemClock
from charter.flow import retrain as flow
from charter.flow.lock import hold
from charter.flow.retrain import RetrainReport, judge, retrain
from charter.flow.workspace import Workspace

EASY = "release: {redeploy: {max_shift: 1, max_latency_rise: 1000, max_memory_rise: 100, suspicious_gain: 1}}"


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def moved(rows: int = 1200) -> pl.DataFrame:
    """Accounts of another time, in which those of the south miss payments, late or not."""
    south = pl.when(pl.col("region") == "south").then(4).otherwise(0)
    return accounts(rows, seed=31).with_columns(outcome=(pl.col("late") + south > 6).cast(pl.Int64))


def events(folder: Path, action: str) -> list[dict]:
    found = done("audit", "list", "--in", folder, "--json").json
    return [e for e in found if e["action"] == action]


def needed(folder: Path, *, later: timedelta = timedelta(0)) -> RetrainReport:
    workspace = Workspace.at(folder, clock=ManualClock(SystemClock().now() + later))
    return retrain(workspace, workspace.load(), if_needed=True)


def serving(folder: Path) -> str:
    return done("status", folder, "--json").json["serving"]


@pytest.fixture
def watched(loans: Path) -> Path:
    edit(loans, "approve: none", f"approve: none\nretrain: {{max_age: 30d, new_rows: 100}}\n{EASY}")
    return loans


def test_a_better_model_replaces_the_champion_wherever_the_run_is_killed(watched, monkeypatch):
    quiet = done("retrain", watched, "--if-needed")
    assert quiet.out.startswith("retrain: no trigger holds\n")
    assert events(watched, "retrain.started") == []
    moved().write_csv(watched / "accounts.csv")
    assert done("retrain", watched, "--dry-run").out.startswith("retrain: yes (new rows)\n")

    def dies(*_: object, **__: object) -> None:
        raise Died

    for point in ("compare_versions", "_candidate", "_digests"):
        with monkeypatch.context() as patch:
            patch.setattr(flow, point, dies)
            with pytest.raises(Died):
                needed(watched)
        assert serving(watched) == ("v2" if point == "_digests" else "v1")
    found = done("retrain", watched, "--if-needed", "--json").json
    assert found["resumed"]
    assert (found["ending"], found["champion"], found["candidate"]) == ("automatic", "v1", "v2")
    assert (found["serving"], found["next"]) == ("v2", "")
    (begun,), (ended,) = events(watched, "retrain.started"), events(watched, "retrain.finished")
    assert begun["detail"]["triggers"] == ["new rows"]
    assert ended["detail"]["ending"] == "automatic"
    assert ended["detail"]["redeployment"]["evidence"]["outcome"] == "automatic"
    assert len(events(watched, "version.released")) == 2
    # Asked again at once, and again when the next trigger holds: nothing has changed, so nothing is trained.
    assert needed(watched).run is None
    later = needed(watched, later=timedelta(days=40))
    assert later.run is None
    assert [c.name for c in later.decision.reasons] == ["new rows", "something new"]
    asked = done("retrain", watched, "--reason", "to see", "--json").json
    assert (asked["ending"], asked["serving"]) == ("unchanged", "v2")
    assert done("audit", "verify", "--in", watched, "--json").json["sound"] is True


def test_a_new_feature_asks_a_person_and_a_worse_model_is_rejected(watched):
    edit(watched, 'use: "bill / credit"', 'use: "bill / credit"\n    load: "late * bill"')
    refused = charter("retrain", watched, "--if-needed", "--json")
    assert (refused.code, refused.json["run"]) == (0, None)
    said = charter("retrain", watched, "--reason", "a new feature", "--json")
    assert (said.code, said.json["ending"], said.json["serving"]) == (1, "manual", "v1")
    (asked,) = events(watched, "retrain.review_requested")
    assert any(r.startswith("new features: load") for r in asked["detail"]["reasons"])
    assert any("v2 waits for a person" in r for r in done("status", watched, "--json").json["remarks"])

    edit(watched, '\n    load: "late * bill"', "")
    edit(watched, "bill / credit", "credit / 2")
    edit(watched, "exclude: [group]", "exclude: [group, bill]")
    edit(watched, 'rule: "late >= 3", score: late}', 'rule: "late > 6"}')
    said = charter("retrain", watched)
    assert said.code == 1
    assert "rejected: v3 in place of v1" in said.out
    assert serving(watched) == "v1"
    assert not [r for r in done("status", watched, "--json").json["remarks"] if "person" in r]
    # With `approve: none` no signature stands in the way, and still nobody releases it by accident.
    said = charter("apply", watched)
    assert said.code == 1
    assert "Stopped at release: v3 was rejected as a successor of v1 by run 2" in said.out
    assert serving(watched) == "v1"


def test_two_triggers_at_once_make_one_run(watched):
    workspace = Workspace.at(watched)
    with hold(workspace.state / "retrain.lock", doing="charter retrain", actor="ann", clock=SystemClock()):
        said = charter("retrain", watched, "--if-needed")
    assert said.code == 1
    assert "held by ann" in said.err
    assert events(watched, "retrain.started") == []


def test_what_the_data_does_not_allow_is_on_record_and_waits_for_the_cool_down(watched):
    accounts(1200).with_columns(late=pl.lit(99)).write_csv(watched / "accounts.csv")
    said = charter("retrain", watched, "--if-needed")
    assert said.code == 1
    assert "breaks its contract" in said.err
    (ended,) = events(watched, "retrain.finished")
    assert ended["detail"]["ending"] == "failed"
    again = needed(watched)
    assert again.run is None
    assert [c.name for c in again.decision.reasons if c.name != "age"] == ["cool-down"]
    assert serving(watched) == "v1"


def test_without_a_release_or_a_trigger_there_is_nothing_to_judge(loans, tmp_path):
    said = charter("retrain", loans, "--if-needed")
    assert (said.code, "names no trigger" in said.err) == (2, True)
    bare = Path(shutil.copytree(loans, tmp_path / "bare", ignore=shutil.ignore_patterns(".charter")))
    said = charter("retrain", bare)
    assert (said.code, "nothing is released" in said.err) == (2, True)


def test_cut_offs_and_split_follow_the_newest_row(clients):
    edit(clients, "last: 2025-09-01", "last: latest - 30d")
    edit(
        clients,
        "train_until: 2025-06-01, test_from: 2025-08-01",
        "train_until: latest - 120d, test_from: latest - 80d",
    )
    before = orders().filter(pl.col("at") < datetime(2025, 9, 28))  # noqa: DTZ001 - frames hold naive UTC
    strange = before.head(1).with_columns(at=pl.lit(datetime(2099, 1, 1)))  # noqa: DTZ001
    pl.concat([before, strange.cast(dict(before.schema))]).write_parquet(clients / "orders.parquet")
    said = charter("apply", clients)
    assert (said.code, "not in the future when the data was read" in said.out) == (1, True)
    before.write_parquet(clients / "orders.parquet")
    edit(clients, "approve: none", "approve: none\nretrain: {new_rows: 1, cooldown: 0d}")
    apply(clients)
    orders().filter(pl.col("at") < datetime(2025, 9, 29)).write_parquet(clients / "orders.parquet")  # noqa: DTZ001
    # A day brings rows but no cut-off: the same data set, the same model.
    assert needed(clients).ending == "unchanged"
    orders().write_parquet(clients / "orders.parquet")
    found = needed(clients)
    assert found.candidate == "v3"
    assert found.ending != "failed"
    (checks,) = [c for c in found.redeployment.checks if c.name == "changes"]
    assert checks.verdict.allows, "dates that follow the data are no change of what is predicted"
    workspace = Workspace.at(clients)
    assert not judge(workspace, workspace.load()).allows
    window = events(clients, "retrain.finished")[-1]["detail"]["window"]
    assert window["latest"].startswith("2025-10-3")
    assert window["dates"] == {
        "data.observations.cutoffs.last": "2025-10-01",
        "train.split.train_until": "2025-07-01",
        "train.split.test_from": "2025-09-01",
    }


def test_after_a_rollout_is_declared_it_is_the_only_way(watched):
    """Automatic: the rollout begins. Manual: the new version challenges in shadow until a person starts its rollout."""
    easy = EASY.replace("{redeploy", "{rollout: {shadow: {}, guards: {errors: error_share > 0.05}}, redeploy")
    edit(watched, EASY, easy.replace("suspicious_gain: 1", "suspicious_gain: 0.01"))
    edit(watched, "max_age: 30d,", "max_age: 30d, challenger: shadow,")
    moved().write_csv(watched / "accounts.csv")
    said = charter("retrain", watched, "--if-needed", "--json")
    assert said.code == 1
    assert (said.json["ending"], said.json["serving"], said.json["tried"]) == ("manual", "v1", "shadow")
    assert "`charter rollout start v2`" in said.json["next"]
    assert any("v2 waits for a person" in r for r in done("status", watched, "--json").json["remarks"])
    stand = done("rollout", "step", "--in", watched, "--json").json
    assert (stand["did"], stand["stage"], stand["leg"]) == ("", "shadow", "shadow")
    accounts(1300, seed=5).write_csv(watched / "accounts.csv")
    held = needed(watched, later=timedelta(days=40))
    assert "nothing tried" in [c.name for c in held.decision.reasons]
    moved().write_csv(watched / "accounts.csv")
    started = done("rollout", "start", "v2", "--in", watched, "--json").json
    assert (started["did"], started["champion"], started["candidate"]) == ("rollout.started", "v1", "v2")
    assert not [r for r in done("status", watched, "--json").json["remarks"] if "person" in r]

    done("kill", "--in", watched)
    edit(watched, "suspicious_gain: 0.01", "suspicious_gain: 1")
    said = charter("retrain", watched, "--reason", "the gain is understood", "--json")
    assert (said.json["ending"], said.json["tried"], said.json["next"]) == ("automatic", "shadow", "")
    assert said.code == 0
    assert serving(watched) == "v1"
    assert len(events(watched, "rollout.started")) == 2
