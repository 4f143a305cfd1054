"""Records on SQLite and PostgreSQL run the same suite."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from charter.core.errors import UsageError
from charter.registry.io.records import Records
from charter.testing.records import NOW, RecordsConformance, some_digest, some_result


class TestSqlite(RecordsConformance):
    @pytest.fixture
    def url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path / 'new folder' / 'records.sqlite'}"

    def test_reading_leaves_no_trace_and_refuses_to_write(self, url: str, tmp_path: Path) -> None:
        with Records.open(url, model="m") as records:
            records.save_result(some_result("train", "a"))
        before = {p.name: p.read_bytes() for p in (tmp_path / "new folder").iterdir()}
        with Records.open(url, model="m", readonly=True) as reader:
            assert reader.latest("train") is not None
            with pytest.raises(UsageError, match="for reading only"):
                reader.save_result(some_result("train", "b"))
        assert {p.name: p.read_bytes() for p in (tmp_path / "new folder").iterdir()} == before
        assert list(before) == ["records.sqlite"]

    def test_reading_what_is_not_there_makes_nothing(self, url: str, tmp_path: Path) -> None:
        with Records.open(url, readonly=True) as reader:
            assert reader.latest("train") is None
            assert reader.versions() == []
            with pytest.raises(UsageError, match="for reading only"):
                reader.version_for(some_digest("a"), spec=some_digest("s"), now=NOW)
        assert list(tmp_path.iterdir()) == []


@pytest.mark.postgres
class TestPostgresql(RecordsConformance):
    @pytest.fixture
    def url(self) -> Iterator[str]:
        address = os.environ.get("CHARTER_TEST_POSTGRES")
        if not address:
            pytest.skip("CHARTER_TEST_POSTGRES names no PostgreSQL server")
        import psycopg

        name = f"charter_test_{uuid.uuid4().hex[:12]}"
        base, _, _ = address.rpartition("/")
        # The driver in the address is SQLAlchemy's business; psycopg itself wants none.
        plain = address.replace("postgresql+psycopg://", "postgresql://", 1)
        with psycopg.connect(plain, autocommit=True) as server:
            server.execute(f"CREATE DATABASE {name}")  # type: ignore[call-overload]
            try:
                yield f"{base}/{name}"
            finally:
                server.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[call-overload]
