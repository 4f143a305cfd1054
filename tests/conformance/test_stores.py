"""SQLite and a real Redis server run the same suite."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from charter.core.clock import ManualClock
from charter.core.errors import UsageError
from charter.serve.io.store_redis import RedisStore
from charter.serve.io.store_sqlite import SqliteStore
from charter.serve.ports import OnlineStore, StoreDown
from charter.testing.redis import RedisServer
from charter.testing.stores import FIRST, WIDTH, Open, StoreConformance, _chunk


class TestSqlite(StoreConformance):
    @pytest.fixture
    def open_store(self, tmp_path: Path) -> Open:
        self.path = tmp_path / "some where" / "features.sqlite"
        return lambda feature_set: SqliteStore(self.path, feature_set, WIDTH)

    def break_store(self) -> None:
        self.path.rename(self.path.with_suffix(".aside"))
        for rest in ("-wal", "-shm"):
            self.path.with_name(self.path.name + rest).unlink(missing_ok=True)
        self.path.write_bytes(b"this is no database" * 1000)

    def mend_store(self) -> None:
        self.path.with_suffix(".aside").replace(self.path)

    def test_a_file_without_tables_is_an_empty_store(self, store: OnlineStore) -> None:
        self.path.parent.mkdir()
        self.path.touch()
        assert store.freshness() is None
        store.put_many(FIRST, [_chunk(3)])
        assert store.get_many(["1"]).known.all()

    def test_what_nobody_materialises_any_more_goes_away(self, tmp_path: Path) -> None:
        clock = ManualClock(datetime(2026, 1, 1, tzinfo=UTC))
        old, new = (SqliteStore(tmp_path / "f", name, WIDTH, clock=clock) for name in ("old", "new"))
        old.put_many(FIRST, [_chunk(3)])
        clock.advance(timedelta(days=29))
        new.put_many(FIRST, [_chunk(3)])
        assert old.freshness() is not None
        clock.advance(timedelta(days=2))
        new.put_many(FIRST, [_chunk(3)])
        assert old.freshness() is None
        with sqlite3.connect(tmp_path / "f") as connection:
            assert connection.execute("SELECT DISTINCT feature_set FROM vectors").fetchall() == [("new",)]
        connection.close()
        old.close()
        new.close()

    def test_a_writer_in_the_way_does_not_hold_readers_up(self, store: OnlineStore) -> None:
        store.put_many(FIRST, [_chunk(3)])
        writer = sqlite3.connect(self.path, isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("DELETE FROM vectors")
        assert store.get_many(["1"]).known.all()
        writer.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


class TestRedis(StoreConformance):
    @pytest.fixture
    def open_store(self, server: RedisServer) -> Open:
        import redis

        self.server = server
        with redis.Redis.from_url(server.url) as client:
            client.flushall()
        return lambda feature_set: RedisStore(server.url, feature_set, WIDTH)

    def break_store(self) -> None:
        self.server.stop()

    def mend_store(self) -> None:
        self.server.start()

    def test_a_server_that_hangs_costs_a_fraction_of_a_second(
        self, store: OnlineStore, server: RedisServer
    ) -> None:
        store.put_many(FIRST, [_chunk(3)])
        store.get_many(["1"])
        server.freeze()
        try:
            began = time.monotonic()
            with pytest.raises(StoreDown, match="Timeout"):
                store.get_many(["1"])
            assert time.monotonic() - began < 0.5
        finally:
            server.thaw()
        assert store.get_many(["1"]).known.all()

    def test_sets_go_away_in_the_end_and_leave_nothing(self, store: OnlineStore, server: RedisServer) -> None:
        import redis

        for _ in range(3):
            store.put_many(FIRST, [_chunk(2500)])
        with redis.Redis.from_url(server.url) as client:
            (key,) = client.keys()
            assert 29 * 86_400 < client.ttl(key) <= 30 * 86_400
            client.delete(key)
            client.set(key, "something else")
        with pytest.raises(StoreDown, match="ResponseError"):
            store.get_many(["1"])


def test_secrets_of_an_address_are_not_told() -> None:
    pytest.importorskip("redis")
    store = RedisStore("redis://me:hush@127.0.0.1:1/0?password=hush", "a", WIDTH)
    with pytest.raises(StoreDown) as caught:
        store.freshness()
    assert "hush" not in str(caught.value)
    assert "redis://127.0.0.1:1/0" in str(caught.value)
    store.close()
    with pytest.raises(UsageError) as wrong:
        RedisStore("redis://me:hush@127.0.0.1:port/0", "a", WIDTH)
    assert "hush" not in str(wrong.value)
