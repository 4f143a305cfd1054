"""A model's second year: it drifts, is trained anew, fails as a canary, is mended, wins its experiment, and serves."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import e2e_fault
import numpy as np
import polars as pl
from e2e_models import LOANS, accounts, charter, done, edit

from charter.serve.io.server import Running, start
from charter.serve.log_reader import scan

POLICY = """approve:
  distinct_people: true
  stages:
    - {stage: technical, role: ml-engineer}
    - {stage: final, role: chief-data-officer}
monitor: {every: day}
retrain: {when: {drifted: "psi(any) > 0.25"}}
release:
  rollout:
    shadow: {at_least: 0s, min_rows: 100}
    canary: {steps: [0.4], at_least: 0s, min_rows: 50, guards: {slow: "p50_latency_ms > 150"}}
    experiment: {at_least: 0s, min_rows: 50}
    guards: {errors: "error_share > 0.1"}
    roles: {start: release-manager, stop: release-manager}
  experiment:
    unit: customer
    arms: {champion: 0.5, candidate: 0.5}
    metric: repaid
    mde: +10%
"""
PEOPLE = {"ann": "admin", "bob": "ml-engineer", "cleo": "chief-data-officer", "rita": "release-manager"}


def customers(rows: int, seed: int) -> pl.DataFrame:
    return accounts(rows, seed=seed).with_columns(
        customer=pl.Series(np.random.default_rng(seed).integers(1, 100_000, rows))
    )


def next_season(rows: int, seed: int) -> pl.DataFrame:
    """Everybody has three times the credit."""
    return customers(rows, seed).with_columns(pl.col("credit") * 3, pl.col("bill") * 3)


class Client:
    """Asks a server, one request a row."""

    def __init__(self, running: Running, folder: Path) -> None:
        self._log, self._asked = folder / ".charter" / "log", 0
        place = urlsplit(running.url)
        self._connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)

    def ask(self, rows: pl.DataFrame) -> list[str]:
        """Ask for each row and return the versions that answered."""
        found = []
        for row in rows.drop("account", "group", "outcome").to_dicts():
            body = json.dumps(row)
            self._connection.request(
                "POST", "/api/v1/predict/small-loans", body, {"Content-Type": "application/json"}
            )
            answer = self._connection.getresponse()
            text = answer.read()
            assert answer.status == 200, text
            found.append(json.loads(text)["version"])
        self._asked += rows.height
        return found

    def logged(self, *, within_s: float = 20) -> None:
        """Wait until all answers stand in the log: it is written within a tenth of a second."""
        until = time.monotonic() + within_s
        while scan(self._log).select(pl.len()).collect().item() < self._asked:
            assert time.monotonic() < until, "the log lacks answers"
            time.sleep(0.02)

    def close(self) -> None:
        self._connection.close()


@contextmanager
def served(folder: Path, log: Path, environment: dict[str, str]) -> Iterator[Client]:
    running = start(folder / ".charter" / "deployment.json", log=log, environment=environment)
    client = Client(running, folder)
    try:
        yield client
    finally:
        client.close()
        running.stop()


def signed(folder: Path, version: str) -> None:
    for stage, name in (("technical", "bob"), ("final", "cleo")):
        done("approve", version, "--stage", stage, "--as", name, "--in", folder)
    done("apply", folder)


def stepped(folder: Path, leg: str, client: Client, *, requests: int = 80, within: int = 20) -> int:
    """Ask, and let the schedule pass, until the rollout has left a leg; how many passes it took."""
    for passes in range(1, within + 1):
        client.ask(next_season(requests, 100 + passes))
        client.logged()
        charter("schedule", "--once", "--in", folder)
        now = done("rollout", "status", "--in", folder, "--json").json
        if now["leg"] != leg:
            return passes
    raise AssertionError(done("rollout", "status", "--in", folder).out)


def follows(client: Client, rows: pl.DataFrame, wanted: set[str], *, within_s: float = 10) -> None:
    """Wait until these versions answer: a server follows a change within a second."""
    until = time.monotonic() + within_s
    while set(client.ask(rows)) != wanted:
        assert time.monotonic() < until, f"never came to {wanted}"


def test_a_second_year(tmp_path, monkeypatch):
    monkeypatch.setenv("CHARTER_HOME", str(tmp_path / "home"))
    folder = tmp_path / "loans"
    folder.mkdir()
    text = (
        LOANS.replace("approve: none\n", POLICY)
        .replace("trials: 2", "trials: 1")
        .replace("resamples: 200", "resamples: 100")
    )
    text = text.replace("        credit: {type", "        customer: {type: integer}\n        credit: {type")
    (folder / "model.yaml").write_text(text)
    customers(900, 3).write_csv(folder / "accounts.csv")
    for name, role in PEOPLE.items():
        by = ["--by", "ann"] if name != "ann" else []
        done("identity", "create", name, *(["--role", role] if by else []), *by, "--in", folder)
    assert charter("apply", folder).code == 1
    signed(folder, "v1")
    flag, environment = e2e_fault.install(tmp_path / "fault", feature="load")
    with served(folder, tmp_path / "server.log", environment) as client:
        # The champion serves; the next season is another one, and the monitor sees it.
        assert set(client.ask(next_season(250, 41))) == {"v1"}
        next_season(900, 4).write_csv(folder / "accounts.csv")
        edit(folder, 'use: "bill / credit"', 'use: "bill / credit"\n    load: "late * bill"')
        client.logged()
        charter("monitor", "run", "--in", folder)
        made = charter("retrain", folder, "--if-needed", "--json")
        # A feature was added, so a person decides.
        assert (made.code, made.json["ending"], made.json["candidate"]) == (1, "manual", "v2")
        signed(folder, "v2")
        assert set(client.ask(next_season(5, 42))) == {"v1"}

        done("rollout", "start", "v2", "--as", "rita", "--in", folder)
        stepped(folder, "shadow", client)
        follows(client, next_season(20, 45), {"v1", "v2"})

        # As a canary it is slow, and goes back by itself.
        flag.touch()
        assert stepped(folder, "canary 40%", client, requests=40) <= 2
        flag.unlink()
        follows(client, next_season(20, 45), {"v1"})
        (incident,) = done("incident", "list", "--in", folder, "--json").json
        assert "slow" in incident["title"]

        # Mended, it goes all the way, the experiment included.
        edit(folder, 'load: "late * bill"', 'load: "late * (bill / credit)"')
        assert charter("apply", folder).code == 1
        signed(folder, "v3")
        done("rollout", "start", "v3", "--as", "rita", "--in", folder)
        stepped(folder, "shadow", client)
        follows(client, next_season(20, 45), {"v1", "v3"})
        stepped(folder, "canary 40%", client, requests=160)
        tried = next_season(300, 50)
        answered = client.ask(tried)
        repaid = [
            int(np.random.default_rng(i).random() < (0.85 if v == "v3" else 0.4))
            for i, v in enumerate(answered)
        ]
        tried.select("customer").with_columns(repaid=pl.Series(repaid)).write_csv(tmp_path / "results.csv")
        done("experiment", "results", tmp_path / "results.csv", "--in", folder)
        stepped(folder, "experiment", client, requests=20)
        follows(client, next_season(20, 45), {"v3"})
    assert done("rollout", "status", "--in", folder, "--json").json["champion"] == "v3"
    told = [e["action"] for e in done("audit", "list", "--in", folder, "--json", "--last", "200").json]
    moves = [a for a in told if a.startswith("rollout.") and a != "rollout.held"]
    assert moves == [
        "rollout.started", "rollout.moved", "rollout.went_back",
        "rollout.started", "rollout.moved", "rollout.moved", "rollout.finished",
    ]  # fmt: skip
    assert "incident.opened" in told
    assert done("audit", "verify", "--in", folder, "--json").json["sound"] is True
    done("card", "v3", "--format", "markdown", "--to", tmp_path / "card.md", "--in", folder)
    card = (tmp_path / "card.md").read_text()
    for words in ("bob", "cleo", "I1"):
        assert words in card
