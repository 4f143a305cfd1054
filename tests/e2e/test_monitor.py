"""What happens after release: answers are logged, outcomes come late, the monitor measures and tells."""

from __future__ import annotations

import json
import shutil
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from e2e_models import LOANS, accounts, charter, done, edit, only_words

from charter.core.clock import ManualClock
from charter.flow.monitor import status
from charter.flow.released import released_model
from charter.flow.workspace import Workspace
from charter.serve.io.loading import load_model
from charter.serve.io.recorder import Recorder
from charter.serve.log_reader import scan
from charter.serve.observe import Ticket


class Silent:
    """Hears what the log counts and forgets it."""

    def __getattr__(self, name: str):
        return lambda *_, **__: None


def answer(folder: Path, rows: pl.DataFrame, *, err: float = 1.0) -> pl.DataFrame:
    """Answer rows as the server does (or wrongly, by a factor), logged; gives what the log holds of them."""
    workspace = Workspace.at(folder)
    served = load_model(released_model(workspace, workspace.load()))
    recorder = Recorder(workspace.state / "log", Silent())
    asked = rows.select(f.name for f in served.scorer.signature.inputs if f.name in rows.columns)
    scored = served.scorer.run(asked)
    scored.score = scored.score * err
    recorder.observe(served, [Ticket.now(f"r{i}", 1) for i in range(rows.height)], scored)
    recorder.close()
    return pl.DataFrame({"id": [f"r{i}" for i in range(rows.height)], "score": scored.score})


def outcomes(folder: Path, rows: pl.DataFrame, **columns: object) -> dict:
    rows.with_columns(**columns).write_csv(folder / "outcomes.csv")
    said = done("outcomes", "import", folder / "outcomes.csv", "--in", folder, "--json").json
    return {name: said[name] for name in ("read", "new", "total", "unknown")}


def report(folder: Path) -> dict:
    found = charter("monitor", "run", "--in", folder, "--json").json
    only_words(folder, found["windows"])
    return found


def test_quality_is_estimated_at_once_and_realised_when_the_outcomes_come(loans):
    said = answer(loans, accounts(600, seed=21))
    (window,) = report(loans)["windows"]
    assert window["quality"]["rows"] == 600
    assert window["quality"]["maturity"] == 0
    assert window["quality"]["realised"] == {}
    estimated = window["quality"]["estimated"]["roc_auc"]
    assert 0.6 < estimated["low"] < estimated["value"] < estimated["high"] <= 1
    assert window["operations"]["p95_latency_ms"] > 0
    assert window["worth"] is None
    skew, importance = window["checks"]
    assert skew["observed"] == "0 of 600 answers differ when computed again"
    assert (skew["verdict"], importance["verdict"]) == ("pass", "pass")
    assert "use" in {f["column"] for f in window["drift"]}  # made from inputs, so no log holds it

    happened = (np.random.default_rng(3).random(600) < said["score"].to_numpy()).astype(int)
    rows = said.select("id").with_columns(missed=pl.Series(happened))
    assert outcomes(loans, rows.head(300)) == {"read": 300, "new": 300, "total": 300, "unknown": 0}
    (window,) = report(loans)["windows"]
    assert window["quality"]["maturity"] == 0.5
    assert outcomes(loans, rows)["new"] == 300
    assert outcomes(loans, rows)["new"] == 0
    found = report(loans)
    (window,) = found["windows"]
    realised = window["quality"]["realised"]["roc_auc"]
    assert window["quality"]["maturity"] == 1
    assert realised["low"] < realised["value"] < realised["high"]
    assert not window["quality"]["surprise"]
    assert found["measured"] == 1
    assert report(loans)["measured"] == 0
    shown = done("monitor", "report", "--in", loans).out
    assert "roc_auc" in shown
    assert "No outcome is known yet" not in shown
    assert done("audit", "verify", "--in", loans, "--json").json["sound"] is True


def test_a_correction_changes_what_was_measured_and_strangers_are_kept(loans):
    said = answer(loans, accounts(300, seed=22))
    rows = said.select("id").with_columns(missed=pl.lit(0))
    outcomes(loans, rows)
    assert report(loans)["windows"][0]["quality"]["positives"] == 0
    corrected = rows.with_columns(missed=pl.when(pl.col("id") == "r7").then(1).otherwise("missed"))
    stranger = pl.DataFrame({"id": ["nobody"], "missed": [1]}, schema_overrides={"missed": pl.Int32})
    found = outcomes(loans, pl.concat([corrected, stranger]))
    assert found == {"read": 301, "new": 2, "total": 301, "unknown": 1}
    assert report(loans)["windows"][0]["quality"]["positives"] == 1


def test_outcomes_against_the_promise_fire_the_requirement_as_an_alert_once(loans, tmp_path):
    edit(loans, "approve: none", f"approve: none\nmonitor: {{notify: ['file:{tmp_path / 'told'}']}}")
    said = answer(loans, accounts(600, seed=23))
    upside_down = (np.random.default_rng(4).random(600) < 1 - said["score"].to_numpy()).astype(int)
    outcomes(loans, said.select("id"), missed=pl.Series(upside_down))
    first = charter("monitor", "run", "--in", loans, "--json")
    assert first.code == 1
    assert {e["name"] for e in first.json["told"]} == {"requires_roc_auc"}
    assert "roc_auc" in first.json["windows"][0]["quality"]["surprise"]
    slope = first.json["windows"][0]["quality"]["realised"]["calibration_slope"]
    assert slope["high"] < 0  # upside down
    assert [c["detector"] for c in first.json["windows"][0]["concept"]] == ["adwin", "page_hinkley"]
    assert any("charter retrain" in one["then"] for one in first.json["advice"])
    edit(loans, 'require: {roc_auc: ">= 0.7"}', 'require: {roc_auc: ">= 0.01"}')  # a draft judges nobody
    again = charter("monitor", "run", "--in", loans, "--json")
    assert again.json["told"] == []
    (alert,) = [a for a in again.json["alerts"] if a["name"] == "requires_roc_auc"]
    assert (alert["firing"], alert["rule"]) == (True, "high(roc_auc) < 0.7 when maturity >= 0.8")
    (told,) = (tmp_path / "told").iterdir()
    assert json.loads(told.read_text())["model"] == "small-loans"
    assert "requires_roc_auc" in charter("monitor", "status", "--in", loans).out


def test_inputs_that_moved_are_named(loans):
    rows = accounts(2000, seed=24).with_columns(pl.col("credit") * 3)
    answer(loans, rows)
    found = report(loans)
    moved = {f["column"] for f in found["windows"][0]["drift"] if f["level"]}
    assert "credit" in moved
    assert "bill" not in moved
    assert any("credit" in one["what"] for one in found["advice"])


def test_a_server_that_errs_is_found_by_answering_again(loans):
    answer(loans, accounts(200, seed=26), err=0.9)
    found = report(loans)
    assert found["windows"][0]["checks"][0]["verdict"] == "fail"
    assert any("200 of 200 answers differ" in one["what"] for one in found["advice"])


def test_windows_of_entities_go_by_the_moment_that_was_asked_about(clients):
    asked = pl.DataFrame(
        {"client": list(range(100)) * 2, "as_of": [datetime(2025, 7, 1)] * 100 + [datetime(2025, 9, 1)] * 100}  # noqa: DTZ001
    )
    edit(clients, "approve: none", "approve: none\nmonitor: {every: month}")
    answer(clients, asked)
    rows = asked.with_columns(gone=pl.Series([0, 1] * 100))
    assert outcomes(clients, rows)["unknown"] == 0
    july, september = report(clients)["windows"]
    assert (july["start"], september["start"]) == ("2025-07-01T00:00:00", "2025-09-01T00:00:00")
    assert july["quality"]["maturity"] == 1
    assert july["quality"]["positives"] == 50
    skew, _ = july["checks"]
    assert skew["observed"] == "0 of 100 answers differ when computed again"
    assert "recency_all" in {f["column"] for f in july["drift"]}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("id,missed\nr1,perhaps\n", "hold no outcome"),
        ("who,missed\nr1,1\n", "cannot be joined"),
        ("id,result\nr1,1\n", "--outcome"),
    ],
)
def test_a_file_that_holds_no_outcomes_is_refused_whole(loans, tmp_path, text, said):
    (tmp_path / "bad.csv").write_text(text)
    refused = charter("outcomes", "import", tmp_path / "bad.csv", "--in", loans)
    assert refused.code == 2
    assert said in refused.err
    assert not (loans / ".charter" / "outcomes").exists()


def test_nothing_to_say_is_said(loans):
    assert "has not run yet" in charter("monitor", "status", "--in", loans).err
    assert [one["what"] for one in report(loans)["advice"]] == ["Nothing was answered yet"]
    assert "--for" in charter("monitor", "report", "--for", "nobody", "--in", loans).err


def test_rules_a_dashboard_and_gauges_are_written(loans, tmp_path):
    before = done("monitor", "export", "--to", tmp_path / "out", "--in", loans, "--json").json
    assert [Path(f).name for f in before] == ["small-loans.rules.yml", "small-loans.dashboard.json"]
    answer(loans, accounts(200, seed=25))
    report(loans)
    done("monitor", "export", "--to", tmp_path / "out", "--in", loans)
    gauges = (tmp_path / "out" / "small-loans.prom").read_text()
    assert 'measure="rows",of=""} 200.0' in gauges


def test_a_monitor_that_is_silent_is_told_of(loans):
    report(loans)
    workspace = Workspace.at(loans)
    later = Workspace.at(loans, clock=ManualClock(workspace.clock.now() + timedelta(days=30)))
    assert "no pass for 30 days" in status(later, later.load()).advice[0].what
    assert "no pass" not in status(workspace, workspace.load()).advice[0].what


class Died(BaseException):
    """The process is gone: nothing after this runs."""


def state(folder: Path) -> dict[str, bytes]:
    kept = folder / ".charter" / "monitor"
    return {
        p.relative_to(kept).as_posix(): p.read_bytes()
        for p in sorted(kept.rglob("*"))
        if p.is_file() and p.name not in ("lock", "last_pass") and not p.name.startswith(".")
    }


def test_a_pass_that_dies_anywhere_is_as_if_it_never_began(clients, tmp_path, monkeypatch):
    """Die before and after each write: the next pass ends where one clean pass ends, and tells nothing twice."""
    from charter.flow import measure, monitor
    from charter.monitor.io import alerts

    inbox = tmp_path / "inbox"
    notify = f"monitor: {{every: month, mature: 0.5, notify: ['file:{inbox}']}}"
    edit(clients, "approve: none", f"approve: none\n{notify}")
    months = [datetime(2025, m, 1) for m in (7, 8, 9)]  # noqa: DTZ001 - frames hold naive UTC
    asked = pl.DataFrame({"client": list(range(60)) * 3, "as_of": [m for m in months for _ in range(60)]})
    said = answer(clients, asked)
    upside_down = (said["score"] < 0.5).cast(pl.Int8)
    outcomes(clients, asked, gone=upside_down)
    workspace = Workspace.at(clients, clock=ManualClock(Workspace.at(clients).clock.now()))
    real, writes = alerts.write_atomic, 0

    def dying(at: int, *, after: bool):
        def write(path: Path, data: bytes) -> None:
            nonlocal writes
            writes += 1
            if writes == at and not after:
                raise Died
            real(path, data)
            if writes == at:
                raise Died

        return write

    def run(write) -> bool:
        nonlocal writes
        writes = 0
        monkeypatch.setattr(monitor, "write_atomic", write)
        monkeypatch.setattr(measure, "write_atomic", write)
        monkeypatch.setattr(alerts, "write_atomic", write)
        try:
            monitor.run(workspace, workspace.load())
        except Died:
            return False
        return True

    def fresh() -> None:
        for folder in (clients / ".charter" / "monitor", inbox):
            shutil.rmtree(folder, ignore_errors=True)

    assert run(dying(0, after=False))
    clean, told, last = state(clients), {p.name for p in inbox.iterdir()}, writes
    assert len(told) >= 1
    assert last > 5
    for at in range(1, last + 1):
        for after in (False, True):
            fresh()
            assert not run(dying(at, after=after))
            assert run(dying(0, after=False))
            assert state(clients) == clean, at
            assert {p.name for p in inbox.iterdir()} == told


BUSY = "alerts: {busy: {when: rows > 1}}"


def test_a_replay_finds_the_faults_that_are_put_in(clients, tmp_path):
    told = tmp_path / "told"
    edit(
        clients, "approve: none", f"approve: none\nmonitor: {{every: month, notify: ['file:{told}'], {BUSY}}}"
    )
    found = done(
        "simulate", "--to", tmp_path / "replay", "--from", "2025-07-01", "--in", clients, "--json"
    ).json
    assert found["answered"] > 0
    windows = found["final"]["windows"]
    assert all(w["quality"]["maturity"] == 1 for w in windows)
    assert {w["start"][:7] for w in windows} == {"2025-07", "2025-08", "2025-09"}
    assert not (clients / ".charter" / "log").exists()
    assert "busy" in found["first_told"]
    assert not told.exists()  # what is simulated wakes nobody up
    turned = done(
        "simulate", "--to", tmp_path / "turned", "--from", "2025-07-01", "--fault", "concept::1@2025-08-01",
        "--in", clients, "--json",
    ).json["final"]["windows"]  # fmt: skip
    assert not any(c["at"] for w in windows for c in w["concept"])
    auc = [w["quality"]["realised"]["roc_auc"]["value"] for w in windows]
    spoilt = [w["quality"]["realised"]["roc_auc"]["value"] for w in turned]
    assert spoilt == pytest.approx([auc[0], 1 - auc[1], 1 - auc[2]])
    refused = charter("simulate", "--to", tmp_path / "turned", "--in", clients)
    assert (refused.code, "is there already" in refused.err) == (2, True)


def test_a_replay_through_the_server_says_the_same_as_one_without_it(clients, tmp_path):
    edit(clients, "approve: none", "approve: none\nmonitor: {every: month}")
    faults = ("schema:client:0.2@2025-08-01", "outage::20@2025-09-01", "delay::40@2025-08-01")

    def replay(to: str, *more: str) -> dict:
        spoil = [word for f in faults for word in ("--fault", f)]
        asked = ("simulate", "--to", tmp_path / to, "--from", "2025-07-01", *spoil, *more, "--in", clients)
        return done(*asked, "--json").json

    here, there = replay("here"), replay("there", "--server")
    for key in ("answered", "refused", "lost", "first_told"):
        assert here[key] == there[key], key
    assert there["lost"] > 0
    assert 0.1 < there["refused"]["422"] / (there["answered"] + there["refused"]["422"]) < 0.3
    for mine, theirs in zip(here["final"]["windows"], there["final"]["windows"], strict=True):
        assert mine["start"] == theirs["start"]
        for key in ("rows", "labelled", "positives"):
            assert mine["quality"][key] == theirs["quality"][key]
        for kind in (
            "realised",
            "estimated",
        ):  # their intervals know the order in which connections were served
            a, b = ({name: e["value"] for name, e in w["quality"][kind].items()} for w in (mine, theirs))
            assert a == pytest.approx(b)
    times = scan(tmp_path / "there" / ".charter" / "log").select("time").collect()["time"]
    assert times.dt.year().unique().to_list() == [2025]


@pytest.mark.parametrize(
    "fault",
    [
        "shift:AGE",
        "melt:AGE:1@2025-01-01",
        "shift:x:1@2025-07-01",
        "missing:client:7@2025-07-01",
        "outage:client:3@2025-07-01",
        "delay::0@2025-07-01",
        "schema::1@2025-07-01",
    ],
)
def test_what_is_no_fault_is_refused(clients, tmp_path, fault):
    refused = charter("simulate", "--to", tmp_path / "replay", "--fault", fault, "--in", clients)
    assert (refused.code, "--fault" in refused.err) == (2, True)


RENTS = (
    LOANS[: LOANS.index("  today:")].replace("small-loans", "small-rents")
    + """\
  today: {process: By feel}
data:
  sources:
    homes:
      uri: homes.csv
      key: [home]
      columns:
        home: {type: integer, unique: true}
        area: {type: float}
        age: {type: float}
        rent: {type: float}
  observations: {source: homes, key: [home]}
  label: {name: paid, column: rent}
train:
  task: regression
  split: {kind: random, test: 0.3, folds: 3}
  learners: [lightgbm]
  search: {trials: 1}
  seed: 3
evaluate: {resamples: 200}
approve: none
monitor: {drift: {persistence: 1}}
"""
)


def homes(rows: int, seed: int, *, old: float = 0.0) -> pl.DataFrame:
    """Rents of old homes are hard to tell."""
    rng = np.random.default_rng(seed)
    area, age = rng.uniform(20, 120, rows).round(), rng.uniform(old, 1, rows).round(2)
    rent = (10 * area + rng.normal(0, 20 + 200 * age)).round()
    return pl.DataFrame({"home": np.arange(rows), "area": area, "age": age, "rent": rent})


def test_losses_of_a_regression_are_expected_before_they_are_known(tmp_path):
    (tmp_path / "model.yaml").write_text(RENTS)
    homes(1500, 0).write_csv(tmp_path / "homes.csv")
    done("apply", tmp_path)
    rows = homes(600, 1, old=0.7)
    answer(tmp_path, rows)
    estimated = report(tmp_path)["windows"][0]["quality"]["estimated"]
    assert set(estimated) == {
        "mean_absolute_error", "root_mean_squared_error", "mean_absolute_percentage_error"
    }  # fmt: skip
    ids = pl.DataFrame({"id": [f"r{i}" for i in range(600)], "paid": rows["rent"]})
    outcomes(tmp_path, ids)
    found = report(tmp_path)["windows"][0]
    real = found["quality"]["realised"]["mean_absolute_error"]["value"]
    hoped = estimated["mean_absolute_error"]
    assert hoped["low"] < real < hoped["high"]
    trained = json.loads(next((tmp_path / ".charter/monitor/small-rents/losses").iterdir()).read_bytes())
    assert (
        hoped["value"] > 1.3 * trained["mean_absolute_error"]["mean"]
    )  # the rows are harder than those of training
    off = found["quality"]["estimation_error"]["mean_absolute_error"]
    assert found["measures"]["estimation_error(mean_absolute_error)"] == pytest.approx(off)
    assert off == pytest.approx(real - hoped["value"])
    outcomes(tmp_path, ids, paid=pl.col("paid") + 500)
    turned = report(tmp_path)
    assert "mean_absolute_error" in turned["windows"][0]["quality"]["surprise"]


def test_the_server_and_key_figures_from_outside_stand_in_the_reports(loans, tmp_path):
    rules = "{poor: {when: 'kpi(revenue) < 5'}, gone: {when: 'instances < 1'}}"
    figures = "{revenue: {source: external, require: '>= 5', per: month}}"
    edit(loans, "approve: none", f"approve: none\nkpis: {figures}\nmonitor: {{alerts: {rules}}}")
    answer(loans, accounts(200, seed=27))
    (tmp_path / "figures.csv").write_text("date,value\n2026-01-01,4\n")
    imported = ("kpi", "import", tmp_path / "figures.csv", "--kpi", "revenue", "--in", loans, "--json")
    assert done(*imported).json == {"read": 1, "new": 1, "total": 1}
    assert done(*imported).json["new"] == 0
    run = ("monitor", "run", "--metrics-url", "http://127.0.0.1:9/metrics", "--in", loans, "--json")
    found = charter(*run).json
    assert {e["name"] for e in found["told"]} == {"poor", "gone"}
    assert found["windows"][0]["kpis"] == {"revenue": {"date": "2026-01-01", "value": 4.0}}
    shown = done("monitor", "report", "--for", "business", "--in", loans).out
    assert "imported, of 2026-01-01" in shown
    assert "processes that answer" in done("monitor", "report", "--for", "operations", "--in", loans).out
    assert done("audit", "verify", "--in", loans, "--json").json["sound"] is True
