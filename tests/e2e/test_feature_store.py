"""A released model looks its window features up: declare a store, materialise, ask."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import polars as pl
import pytest
from e2e_models import charter, done, edit, orders

from charter.flow.serving import deployment_file
from charter.flow.workspace import Workspace
from charter.serve.io.server import start
from charter.testing.redis import RedisServer

DAY = "2025-09-01"
SERVE = "serve: {reasons: 2, reasons_for: asked"


def predict(folder: Path, day: str = DAY) -> list[dict]:
    rows = [{"client": client, "as_of": day} for client in (3, 40, 77, 9999)]
    return done("predict", "--json", json.dumps(rows), "--in", folder).json


def scores(answers: list[dict]) -> list[float]:
    return [answer["score"] for answer in answers]


@pytest.fixture
def looked_up(clients: Path) -> Path:
    edit(clients, SERVE, SERVE + ", features: {store: sqlite}")
    done("apply", clients)
    return clients


def test_from_an_empty_store_to_the_scores_of_the_history(clients: Path) -> None:
    exact = predict(clients)
    edit(clients, SERVE, SERVE + ", features: {store: sqlite}")
    done("apply", clients)
    before = predict(clients)
    assert all("client is not in the feature store" in a["warnings"][0] for a in before)
    assert len(set(scores(before))) == 1
    said = done("features", "materialise", "--as-of", DAY, "--in", clients)
    assert "150 entities, 5 window features as of 2025-09-01 00:00 UTC" in said.out
    after = predict(clients)
    assert scores(after) == scores(exact)
    assert [bool(a["warnings"]) for a in after] == [False, False, False, True]
    assert "longer before as_of than 1 d" in predict(clients, "2025-09-03")[0]["warnings"][0]
    assert "after as_of" in predict(clients, "2025-08-31")[0]["warnings"][0]


def test_events_that_came_after_the_release_are_read(looked_up: Path) -> None:
    """The history of a release stands still; a materialisation reads the sources as they are now."""
    done("features", "materialise", "--as-of", DAY, "--in", looked_up)
    was = scores(predict(looked_up))
    more = orders().filter(pl.col("client") == 40).tail(1)
    new = pl.concat(
        [more.with_columns(pl.lit(pl.Series(["2025-08-30"]).str.to_datetime()[0]).alias("at"))] * 5
    )
    pl.concat([orders(), new.select(orders().columns)], how="vertical_relaxed").write_parquet(
        looked_up / "orders.parquet"
    )
    assert scores(predict(looked_up)) == was
    found = done("features", "materialise", "--as-of", DAY, "--in", looked_up, "--json").json
    assert found["entities"] == 150
    assert found["as_of"] == "2025-09-01T00:00:00Z"
    now = scores(predict(looked_up))
    assert [a != b for a, b in zip(now, was, strict=True)] == [False, True, False, False]


def test_features_of_another_definition_are_not_used(looked_up: Path) -> None:
    done("features", "materialise", "--as-of", DAY, "--in", looked_up)
    was = scores(predict(looked_up))
    edit(
        looked_up,
        'spent: {source: orders, aggregate: "SUM(amount)"',
        'spent: {source: orders, aggregate: "MAX(amount)"',
    )
    edit(looked_up, "orders: {source: orders,", "orders: {source: orders, description: How often,")
    # The new definition is not released yet: what is materialised is what serves.
    assert (
        done("features", "materialise", "--as-of", DAY, "--in", looked_up, "--json").json["version"] == "v1"
    )
    assert scores(predict(looked_up)) == was
    done("apply", looked_up)
    answers = predict(looked_up)
    assert answers[0]["version"] == "v2"
    assert all("is not in the feature store" in a["warnings"][0] for a in answers)
    done("features", "materialise", "--as-of", DAY, "--in", looked_up)
    assert [bool(a["warnings"]) for a in predict(looked_up)] == [False, False, False, True]


def test_what_cannot_be_materialised_is_told_and_leaves_the_store_as_it_was(
    looked_up: Path, loans: Path
) -> None:
    done("features", "materialise", "--as-of", DAY, "--in", looked_up)
    was = predict(looked_up)
    (looked_up / "orders.parquet").rename(looked_up / "aside")
    gone = charter("features", "materialise", "--in", looked_up)
    assert (gone.code, "orders.parquet is not there" in gone.err) == (2, True)
    orders().with_columns(pl.lit(None, pl.Int64).alias("client")).write_parquet(looked_up / "orders.parquet")
    broken = charter("features", "materialise", "--in", looked_up)
    assert (broken.code, "the data breaks its contract" in broken.err) == (1, True)
    assert scores(predict(looked_up)) == scores(was)
    ahead = charter("features", "materialise", "--as-of", "2999-01-01", "--in", looked_up)
    assert (ahead.code, "still to come" in ahead.err) == (2, True)
    rows = charter("features", "materialise", "--in", loans)
    assert (rows.code, "has no window features" in rows.err) == (2, True)


def test_a_store_can_be_named_for_once(clients: Path) -> None:
    nowhere = charter("features", "materialise", "--in", clients)
    assert (nowhere.code, "serve.features.store" in nowhere.err) == (2, True)
    odd = charter("features", "materialise", "--to", "ftp://x", "--in", clients)
    assert (odd.code, "ftp://x is the address of no feature store" in odd.err) == (2, True)
    done("features", "materialise", "--as-of", DAY, "--to", "sqlite", "--in", clients)
    file = clients / ".charter" / "features.sqlite"
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM vectors").fetchone() == (150,)
    connection.close()
    other = clients / "elsewhere.sqlite"
    done("features", "materialise", "--as-of", DAY, "--to", f"sqlite:///{other}", "--in", clients)
    assert other.is_file()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


def test_redis_by_an_address_from_the_environment(
    clients: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = predict(clients)
    edit(clients, SERVE, SERVE + ', features: {store: redis, url: "${REDIS_URL}", fresh_within: 2w}')
    done("apply", clients)
    monkeypatch.delenv("REDIS_URL", raising=False)
    unset = charter("features", "materialise", "--in", clients)
    assert (unset.code, "REDIS_URL is not set" in unset.err) == (2, True)
    monkeypatch.setenv("REDIS_URL", redis.url.replace("://", "://nobody:hush@"))
    refused = charter("features", "materialise", "--in", clients)
    assert (refused.code, "hush" in refused.err) == (2, False)
    monkeypatch.setenv("REDIS_URL", redis.url)
    said = done("features", "materialise", "--as-of", DAY, "--in", clients)
    assert "in ${REDIS_URL}" in said.out
    assert scores(predict(clients)) == scores(exact)
    assert predict(clients, "2025-09-15")[0]["warnings"] == []
    redis.stop()
    assert "the feature store does not answer" in predict(clients)[0]["warnings"][0]
    assert charter("features", "materialise", "--in", clients).code == 2


def test_a_server_starts_without_its_store_and_finds_it_later(
    clients: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    exact = predict(clients)[0]["score"]
    monkeypatch.setenv("REDIS_URL", redis.url)
    edit(clients, SERVE, SERVE + ', features: {store: redis, url: "${REDIS_URL}"}')
    done("apply", clients)
    done("features", "materialise", "--as-of", DAY, "--in", clients)
    redis.stop()
    workspace = Workspace.at(clients)
    running = start(deployment_file(workspace, workspace.load()), workers=2)
    try:
        answer = _post(f"{running.url}/api/v1/predict/small-clients", {"client": 3, "as_of": DAY})
        assert "the feature store does not answer" in answer["warnings"][0]
        assert _stored(running.url)["state"] == "down"
        redis.start()
        deadline = time.monotonic() + 10
        while answer["warnings"] and time.monotonic() < deadline:
            time.sleep(0.1)
            answer = _post(f"{running.url}/api/v1/predict/small-clients", {"client": 3, "as_of": DAY})
        assert (answer["warnings"], answer["score"]) == ([], exact)
        # Either worker may answer: the other one may still leave the store alone for its second.
        while (state := _stored(running.url))["state"] == "down" and time.monotonic() < deadline:
            time.sleep(0.1)
        assert state == {"state": "stale", "as_of": "2025-09-01T00:00:00Z", "entities": 150}
        wanted = ('charter_features_as_of_seconds{model="small-clients"', 'outcome="down"', 'outcome="found"')
        # What the other worker has counted is seen a moment later.
        while (missing := _missing(running.url, wanted)) and time.monotonic() < deadline:
            time.sleep(0.1)
        assert missing == []
    finally:
        running.stop()


def _missing(url: str, wanted: Sequence[str]) -> list[str]:
    with urlopen(f"{url}/metrics", timeout=10) as told:
        metrics = told.read().decode()
    return [each for each in wanted if each not in metrics]


def _stored(url: str) -> dict[str, Any]:
    state: dict[str, Any] = _get(f"{url}/readyz")["features"]["small-clients"].popitem()[1]
    return state


def test_redis_stops_and_starts_under_load(
    clients: Path, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every request is answered; an answer without the features says so; afterwards all are exact by themselves."""
    exact = predict(clients)[0]["score"]
    monkeypatch.setenv("REDIS_URL", redis.url)
    edit(clients, SERVE, SERVE + ', features: {store: redis, url: "${REDIS_URL}"}')
    done("apply", clients)
    done("features", "materialise", "--as-of", DAY, "--in", clients)
    workspace = Workspace.at(clients)
    running = start(deployment_file(workspace, workspace.load()), workers=2)
    url = f"{running.url}/api/v1/predict/small-clients"
    over, phase = threading.Event(), ["up"]
    met: list[tuple[str, float, list[str]]] = []
    failed: list[str] = []

    def ask() -> None:
        while not over.is_set():
            now = phase[0]
            try:
                answer = _post(url, {"client": 3, "as_of": DAY})
            except OSError as error:  # a status that is not 200, or no answer
                failed.append(str(error))
            else:
                met.append((now, answer["score"], answer["warnings"]))

    clerks = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for clerk in clerks:
            clerk.start()
        for turn in ("first", "second"):
            assert _within(20, lambda: met and met[-1][2] == [])
            phase[0] = f"stopped {turn}"
            redis.stop()
            assert _within(20, lambda turn=turn: any(p == f"stopped {turn}" and w for p, _, w in met))
            phase[0] = f"started {turn}"
            redis.start()
            assert _within(20, lambda turn=turn: any(p == f"started {turn}" and not w for p, _, w in met))
        phase[0] = "last"
        # Each worker finds the store again within a second of its own: 40 answers in a row of both are without warning.
        assert _within(20, lambda: all(p == "last" and not w for p, _, w in met[-40:]))
    finally:
        over.set()
        for clerk in clerks:
            clerk.join()
        running.stop()
    assert not failed
    assert {score for _, score, warnings in met if not warnings} == {exact}
    told = {warnings[0] for _, _, warnings in met if warnings}
    assert all("the feature store does not answer" in text for text in told), told


def _within(seconds: float, condition: Callable[[], object]) -> bool:
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.05)
    return bool(condition())


def _post(url: str, body: dict) -> dict:
    request = Request(url, json.dumps(body).encode(), {"content-type": "application/json"})
    with urlopen(request, timeout=10) as answer:
        return json.loads(answer.read())


def _get(url: str) -> dict:
    with urlopen(url, timeout=10) as answer:
        return json.loads(answer.read())
