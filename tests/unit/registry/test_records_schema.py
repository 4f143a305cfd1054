from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from charter.core.errors import Busy, CharterError, UsageError
from charter.registry.io import database, schema
from charter.registry.io.records import Records
from charter.registry.io.tables import METADATA
from charter.registry.types import Deployment
from charter.testing.records import NOW, some_digest, some_result


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "records.sqlite"


@pytest.fixture
def url(file: Path) -> str:
    return f"sqlite:///{file}"


def run(code: str, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_head_is_the_last_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "charter.registry.io:migrations")
    config.set_main_option("path_separator", "os")
    found = ScriptDirectory.from_config(config)
    assert found.get_current_head() == schema.HEAD
    assert tuple(r.revision for r in reversed(list(found.walk_revisions()))) == schema.KNOWN


def test_migrations_build_the_tables_that_the_code_knows(url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    Records.open(url).close()
    engine = create_engine(url)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), METADATA) == []
    engine.dispose()


def test_a_deployment_of_the_first_records_sends_everything_to_its_version(file: Path, url: str) -> None:
    with Records.open(url, model="m") as records:
        records.version_for(some_digest("a"), spec=some_digest("s"), now=NOW)
        records.add_deployment(Deployment(1, some_digest("p"), "eva", NOW, {"gate": "g"}))
    with sqlite3.connect(file) as connection:
        connection.execute("ALTER TABLE deployments DROP COLUMN traffic")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    with pytest.raises(UsageError, match=f"older than {schema.HEAD}"):
        Records.open(url, model="m", readonly=True)
    with Records.open(url, model="m") as records:
        assert records.deployments() == [Deployment(1, some_digest("p"), "eva", NOW, {"gate": "g"}, {})]


def test_opening_and_reading_what_is_there_imports_nothing_heavy(url: str) -> None:
    with Records.open(url, model="m") as records:
        records.save_result(some_result("train", "a"))
    code = """
        import sys
        from charter.registry.io.records import Records
        with Records.open(sys.argv[1], model="m", readonly=True) as records:
            assert records.latest("train") is not None
        heavy = {"sqlalchemy", "alembic", "polars", "numpy", "pydantic", "asyncio", "fsspec", "cryptography"}
        assert not heavy & set(sys.modules), heavy & set(sys.modules)
    """
    done = run(code, url)
    assert done.returncode == 0, done.stderr


def test_writing_to_records_at_head_does_not_import_alembic(url: str) -> None:
    Records.open(url).close()
    code = """
        import sys
        from charter.registry.io.records import Records
        Records.open(sys.argv[1]).close()
        assert "alembic" not in sys.modules and "polars" not in sys.modules
    """
    done = run(code, url)
    assert done.returncode == 0, done.stderr


def test_migrating_warns_and_prints_nothing(url: str) -> None:
    done = run(
        "import sys; from charter.registry.io.records import Records; Records.open(sys.argv[1]).close()", url
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_records_are_durable_and_shared(file: Path, url: str) -> None:
    Records.open(url).close()
    with sqlite3.connect(file) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()


@pytest.mark.parametrize("readonly", [True, False])
def test_a_newer_schema_is_refused_and_left_alone(file: Path, url: str, readonly: bool) -> None:
    Records.open(url).close()
    with sqlite3.connect(file) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(UsageError, match="version 9999, which this Charter"):
        Records.open(url, readonly=readonly)


def test_an_empty_database_is_empty_records(file: Path, url: str) -> None:
    file.touch()
    with Records.open(url, readonly=True) as records:
        assert records.versions() == []
    with sqlite3.connect(
        file
    ) as connection:  # as a kill between the first byte and the first table leaves it
        connection.execute("PRAGMA journal_mode = WAL")
    connection.close()
    assert file.stat().st_size > 0
    with Records.open(url, readonly=True) as records:
        assert records.versions() == []
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE other (x)")
    connection.close()
    with pytest.raises(UsageError, match="older than"):
        Records.open(url, readonly=True)


@pytest.mark.parametrize("readonly", [True, False])
@pytest.mark.parametrize(
    "content", [b"hello, I am no database at all" * 50, b"SQLite format 3\0" + b"\xff" * 5000]
)
def test_a_file_that_is_no_database_is_refused_and_left_alone(
    file: Path, url: str, content: bytes, readonly: bool
) -> None:
    file.write_bytes(content)
    with pytest.raises(UsageError, match=r"records"):
        Records.open(url, readonly=readonly)
    assert file.read_bytes() == content


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("sqlite://", "keeps nothing"),
        ("sqlite:///:memory:", "keeps nothing"),
        ("mysql://u:geheim@h/d", "cannot be kept in 'mysql'"),
        ("nonsense", "cannot be read"),
        ("postgresql://u:geheim@127.0.0.1:1/d", "cannot be used"),
    ],
)
def test_a_wrong_address_is_refused_without_its_password(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        Records.open(url)
    assert "geheim" not in str(error.value)


def test_who_waits_too_long_is_told(file: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_SECONDS", 0.1)
    with Records.open(url) as records:
        holder = sqlite3.connect(file, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(Busy, match="held by another process"):
            records.save_result(some_result("train", "a"))
        with Records.open(url, readonly=True) as reader:
            assert reader.latest("train") is None
        holder.execute("ROLLBACK")
        holder.close()


def test_an_inconsistent_entry_is_our_error(url: str) -> None:
    with Records.open(url) as records, pytest.raises(CharterError, match="inconsistent"):
        records._store.insert("versions", {"model": "m", "number": 1})


def test_many_open_empty_records_at_once(url: str) -> None:
    code = "import sys; from charter.registry.io.records import Records; Records.open(sys.argv[1]).close()"
    started = [
        subprocess.Popen([sys.executable, "-c", code, url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in started:
        _, complaint = process.communicate(timeout=60)
        assert process.returncode == 0, complaint


def test_a_killed_writer_leaves_whole_transactions(file: Path, url: str, tmp_path: Path) -> None:
    """Results come in pairs within one transaction; whenever the writer dies, there is never half a pair."""
    Records.open(url).close()
    code = """
        import sys
        from charter.registry.io.records import Records
        from charter.testing.records import some_result
        with Records.open(sys.argv[1], model="m") as records:
            print("ready", flush=True)
            for number in range(100_000):
                with records.transaction() as tx:
                    tx.save_result(some_result("a", str(number)))
                    tx.save_result(some_result("b", str(number)))
    """
    for wait in (0.03, 0.19):
        command = [sys.executable, "-c", textwrap.dedent(code), url]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(wait)
            os.kill(process.pid, signal.SIGKILL)
        with Records.open(url, model="m", readonly=True) as reader:
            assert {r.key for r in reader.results("a")} == {r.key for r in reader.results("b")}
    with Records.open(url, model="m") as records:
        assert len(records.results("a")) > 0
        assert records.version_for(some_digest("x"), spec=some_digest("s"), now=NOW).number == 1


def test_a_killed_writer_leaves_whole_blobs(tmp_path: Path) -> None:
    code = """
        import os, sys
        from charter.registry.io.blobs import Blobs
        blobs = Blobs(sys.argv[1])
        print("ready", flush=True)
        while True:
            blobs.put_bytes(os.urandom(3_000_000))
    """
    from charter.registry.io.blobs import Blobs

    for wait in (0.03, 0.17):
        command = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "blobs")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(wait)
            os.kill(process.pid, signal.SIGKILL)
    blobs = Blobs(tmp_path / "blobs")
    for path in (tmp_path / "blobs").glob("??/*"):
        assert len(blobs.get(path.name)) == 3_000_000
