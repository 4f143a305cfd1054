"""Window features out of a store: the same bits, and an answer whatever becomes of the store."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from serve_models import NOW, Example, acall, call

from charter.core.clock import ManualClock
from charter.features.featureset import FeatureSet, histories
from charter.features.materialise import entity_windows
from charter.serve.app import Application
from charter.serve.bundle import read_bundle
from charter.serve.io.stores import entity_type, open_store
from charter.serve.online import OUTCOMES, Lookup, entity_texts
from charter.serve.policy import StorePolicy
from charter.serve.ports import Chunk, Found, Freshness, OnlineStore, StoreDown
from charter.serve.scorer import Scorer
from charter.serve.served import Served
from charter.testing.redis import RedisServer

AS_OF = datetime.fromisoformat("2025-09-01")
PATH = "/api/v1/predict/churn-test"


def fill(example: Example, store: OnlineStore, as_of: datetime = AS_OF) -> Freshness:
    bundle = read_bundle(example.folder)
    features, dtype = FeatureSet.from_json(bundle.featureset), entity_type(bundle)
    found = entity_windows(histories(example.history, features), features, as_of, chunk=17)
    return store.put_many(as_of, ((entity_texts(keys, dtype), v) for keys, v in found))


def at(example: Example, url: str) -> OnlineStore:
    features = FeatureSet.from_json(read_bundle(example.folder).featureset)
    return open_store(StorePolicy(url, "a" * 64, 86_400), features)


def scorer(example: Example, store: OnlineStore, monotonic: Any = time.monotonic) -> Scorer:
    bundle = read_bundle(example.folder)
    features = FeatureSet.from_json(bundle.featureset)
    lookup = Lookup(store, features, timedelta(days=1), entity_type(bundle), monotonic=monotonic)
    return Scorer(bundle, lookup=lookup, clock=ManualClock(NOW))


@pytest.fixture
def store(churn: Example, tmp_path: Path) -> Iterator[OnlineStore]:
    store = at(churn, f"sqlite:///{tmp_path}/features.sqlite")
    yield store
    store.close()


def asked(who: Sequence[int], as_of: datetime = AS_OF) -> pl.DataFrame:
    return pl.DataFrame({"who": who, "as_of": [as_of] * len(who)})


class Broken:
    """A store that somebody plugged in, and that fails as nobody foresaw."""

    def __init__(self, error: Exception) -> None:
        self.error: Exception | None = error
        self.calls = 0
        self.width = 3

    def put_many(self, as_of: datetime, chunks: Iterable[Chunk]) -> Freshness:
        raise AssertionError

    def get_many(self, entities: Sequence[str]) -> Found:
        self.calls += 1
        if self.error is not None:
            raise self.error
        n = len(entities)
        moment = int((AS_OF - datetime.fromisoformat("1970-01-01")).total_seconds() * 1e6)
        return Found(np.full((n, self.width), 7.0), np.full(n, moment), np.ones(n, bool))

    def freshness(self) -> Freshness | None:
        self.calls += 1
        if self.error is not None:
            raise self.error
        return Freshness(AS_OF, 1)

    def close(self) -> None:
        pass


def test_stored_features_are_those_of_the_history_to_the_bit(churn: Example, store: OnlineStore) -> None:
    everybody = sorted(set(churn.history["orders"]["who"]))
    assert fill(churn, store) == Freshness(AS_OF, len(everybody))
    frame = asked([*everybody, 999_999])
    looked, computed = scorer(churn, store), churn.scorer()
    expected = computed.features(frame)
    found = looked.features(frame).select(expected.columns)
    assert_frame_equal(found, expected, check_exact=True)
    for name in found.columns[2:]:
        bits = (f[name].fill_null(-1).to_numpy().tobytes() for f in (found, expected))
        assert len(set(bits)) == 1, name
    assert looked.score(frame)["score"].to_list() == computed.score(frame)["score"].to_list()
    assert looked.score(frame)["warnings"].list.len().to_list()[:-1] == [0] * len(everybody)


def test_who_is_unknown_has_the_defaults_and_a_warning(churn: Example, store: OnlineStore) -> None:
    fill(churn, store)
    frame = asked([999_999, 1])
    (warning,), nothing = scorer(churn, store).score(frame)["warnings"].to_list()
    assert warning == "who is not in the feature store; its window features are defaults or missing"
    assert nothing == []
    features = scorer(churn, store).features(frame)[0]
    assert features.select("recency_all", "total_30d", "total_90d").row(0) == (None, 0.0, 0.0)


@pytest.mark.parametrize(
    ("later", "outcome", "warning"),
    [
        (timedelta(days=1), "found", None),
        (timedelta(days=1, microseconds=1), "stale", "2025-09-01 00:00, longer before as_of than 1 d"),
        (timedelta(0), "found", None),
        (timedelta(microseconds=-1), "ahead", "2025-09-01 00:00, after as_of"),
    ],
)
def test_only_fresh_features_of_the_past_are_used(
    churn: Example, store: OnlineStore, later: timedelta, outcome: str, warning: str | None
) -> None:
    """What happened after the moment asked for must not be known."""
    fill(churn, store)
    scored = scorer(churn, store).run(asked([1, 2], AS_OF + later))
    assert scored.lookups == {outcome: 2}
    assert [bool(w) for w in scored.warnings] == [warning is not None] * 2
    if warning is not None:
        assert warning in scored.warnings[0][0]
        nobody = scorer(churn, store).score(asked([999_999], AS_OF + later))
        assert scored.score.tolist() == nobody["score"].to_list() * 2


@pytest.mark.parametrize("error", [StoreDown("gone"), RuntimeError("?"), ValueError("?"), KeyError("?")])
def test_a_store_that_fails_is_left_alone_for_a_second_and_asked_again(
    churn: Example, error: Exception
) -> None:
    broken, now = Broken(error), [100.0]
    served = scorer(churn, broken, monotonic=lambda: now[0])
    for _ in range(3):
        scored = served.run(asked([1, 2]), soft=True)
        assert scored.lookups == {"down": 2}
        assert scored.fallback == [False, False]
        assert "the feature store does not answer" in scored.warnings[0][0]
    assert broken.calls == 1
    assert served.lookup is not None
    assert served.lookup.state(NOW)["state"] == "down"
    broken.error = None
    now[0] += 0.99
    assert served.run(asked([1])).lookups == {"down": 1}
    now[0] += 0.02
    scored = served.run(asked([1]))
    assert scored.lookups == {"found": 1}
    assert scored.warnings == [[]]
    assert served.lookup.state(NOW)["state"] == "stale"
    assert broken.calls == 3


def test_numbers_of_another_shape_are_no_features(churn: Example) -> None:
    odd = Broken(RuntimeError())
    odd.error = None
    odd.width = 2
    scored = scorer(churn, odd).run(asked([1, 2]))
    assert scored.lookups == {"down": 2}


def test_nobody_in_particular_is_unknown(churn: Example) -> None:
    broken = Broken(RuntimeError())
    broken.error = None
    nobody = pl.DataFrame({"who": [None, 1], "as_of": [AS_OF] * 2}, schema_overrides={"who": pl.Int64})
    assert scorer(churn, broken).run(nobody).lookups == {"found": 1, "unknown": 1}


def test_a_server_comes_up_without_its_store(churn: Example) -> None:
    served = Served("churn-test", "v1", scorer(churn, Broken(StoreDown("gone"))))
    served.warm_up()
    (answer,) = json.loads(served.answer(b'[{"who": 1}]'))
    assert "does not answer" in answer["warnings"][0]


def test_a_batch_is_one_query(churn: Example) -> None:
    broken = Broken(RuntimeError())
    broken.error = None
    served = scorer(churn, broken)
    assert served.run(asked(list(range(50))), explain=True, soft=True).lookups == {"found": 50}
    assert broken.calls == 1
    assert served.run(asked([])).lookups == {}


def test_the_log_sees_what_was_asked_and_nothing_else(churn: Example, store: OnlineStore) -> None:
    fill(churn, store)
    scored = scorer(churn, store).run(asked([1]))
    assert scored.inputs is not None
    assert scored.inputs.columns == ["who", "as_of"]


def test_a_probe_and_prometheus_tell_how_fresh_the_store_is(churn: Example, store: OnlineStore) -> None:
    application = Application([Served("churn-test", "v4", scorer(churn, store))])
    application.ready = True
    status, _, body = call(application, "/readyz", method="GET")
    assert status == 200
    assert json.loads(body)["features"]["churn-test"]["v4"]["state"] == "empty"
    count = fill(churn, store, AS_OF).entities
    application = Application([Served("churn-test", "v4", scorer(churn, store))])
    _, _, body = call(application, "/readyz", method="GET")
    assert json.loads(body)["features"]["churn-test"]["v4"] == {
        "state": "stale",
        "as_of": "2025-09-01T00:00:00Z",
        "entities": count,
    }
    for who in (1, 2, 999_999):
        call(application, PATH, json.dumps({"who": who, "as_of": "2025-09-01"}).encode())
    lines = call(application, "/metrics", method="GET")[2].decode().splitlines()
    labels = 'model="churn-test",'
    assert f'charter_feature_lookups_total{{{labels}outcome="found",version="v4"}} 2.0' in lines
    assert f'charter_feature_lookups_total{{{labels}outcome="unknown",version="v4"}} 1.0' in lines
    assert f'charter_features_as_of_seconds{{{labels}version="v4"}} 1.7566848e+09' in lines


def test_a_model_without_a_store_says_nothing_of_one(application: Application) -> None:
    assert "features" not in json.loads(call(application, "/readyz", method="GET")[2])


def test_every_outcome_has_its_word() -> None:
    assert len(set(OUTCOMES)) == 5


def test_redis_stopped_and_started_under_load(churn: Example, tmp_path: Path) -> None:
    """Answers go on with warnings, none of them wrong, and are full answers again within two seconds."""
    server = RedisServer(tmp_path)
    server.start()
    store = at(churn, server.url)
    fill(churn, store)
    application = Application([Served("churn-test", "v1", scorer(churn, store))])
    frame = asked(list(range(40)))
    full = churn.scorer().score(frame)["score"].to_list()
    bare = scorer(churn, Broken(StoreDown(""))).score(frame)["score"].to_list()
    told: list[tuple[float, str]] = []

    async def client(number: int, until: list[float]) -> None:
        while time.monotonic() < until[0]:
            who = number % 40
            status, _, body = await acall(
                application, PATH, json.dumps({"who": who, "as_of": "2025-09-01"}).encode()
            )
            assert status == 200, body
            answer = json.loads(body)
            down = any("does not answer" in w for w in answer["warnings"])
            if not answer["warnings"]:
                assert answer["score"] == full[who]
            elif down:
                assert answer["score"] == bare[who]
            told.append((time.monotonic(), "down" if down else "up"))
            number += 8
            await asyncio.sleep(0)

    moments: dict[str, float] = {}

    async def story() -> None:
        until = [time.monotonic() + 60]
        clients = [asyncio.create_task(client(i, until)) for i in range(8)]
        await asyncio.sleep(0.7)
        for _ in range(2):
            moments["stopped"] = time.monotonic()
            await asyncio.to_thread(server.stop)
            await asyncio.sleep(1.5)
            await asyncio.to_thread(server.start)
            moments["started"] = time.monotonic()
            await asyncio.sleep(2)
        until[0] = 0
        await asyncio.gather(*clients)

    try:
        asyncio.run(story())
    finally:
        server.stop()
        store.close()
    assert {how for when, how in told if moments["stopped"] + 0.5 < when < moments["started"]} == {"down"}
    assert {how for when, how in told if when > moments["started"] + 1.5} == {"up"}
    assert len(told) > 200
