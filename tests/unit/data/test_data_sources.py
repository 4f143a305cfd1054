from __future__ import annotations

import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import fsspec
import polars as pl
import pytest
import sqlalchemy as sa

from charter.core import plugins
from charter.core.errors import DataError
from charter.core.settings import Settings
from charter.data.io import filedigest
from charter.data.io.addresses import expand
from charter.data.io.filedigest import file_digest
from charter.data.io.sources import fingerprint, fingerprints, needed_columns, read
from charter.data.ports import Source
from charter.spec.types import ColumnSpec, SourceSpec

FRAME = pl.DataFrame({"id": [1, 2, 3], "name": ["a", "b", None], "more": [0.5, 1.5, 2.5]})


def source(**more: Any) -> SourceSpec:
    columns = {"id": {"type": "integer"}, "name": {"type": "text", "nullable": True}}
    return SourceSpec.model_validate({"columns": columns, **more})


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=None, home=tmp_path / "home", records_url=None, blobs_url=None, actor="tester")


def write(folder: Path, name: str) -> Path:
    path = folder / name
    match name.split(".")[1]:
        case "csv":
            text = FRAME.write_csv().encode()
            packing = name.split(".")[2:]
            if packing:
                import bz2
                import gzip
                import lzma

                text = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[packing[0]](text)
            path.write_bytes(text)
        case "parquet":
            FRAME.write_parquet(path)
        case "jsonl":
            FRAME.write_ndjson(path)
        case "arrow":
            FRAME.write_ipc(path)
        case _:
            FRAME.write_ipc_stream(path)
    return path


@pytest.mark.parametrize(
    ("name", "stated"),
    [
        ("t.csv", None),
        ("t.csv.gz", None),
        ("t.csv.xz", None),
        ("t.csv.bz2", None),
        ("t.parquet", None),
        ("t.jsonl", None),
        ("t.arrow", None),
        ("t.stream", "arrow"),
    ],
)
def test_every_format_gives_the_declared_columns(
    tmp_path: Path, settings: Settings, name: str, stated: str | None
) -> None:
    write(tmp_path, name)
    frame = read(source(uri=name, format=stated), tmp_path, settings)
    assert frame.columns == ["id", "name"]
    assert frame["id"].cast(pl.Int64).to_list() == [1, 2, 3]
    assert frame["name"].to_list() == ["a", "b", None]


def test_text_stays_text_until_the_contract_reads_it(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text("id,name\n007,x\nseven,y\n")
    assert read(source(uri="t.csv"), tmp_path, settings)["id"].to_list() == ["007", "seven"]


def test_all_columns_are_read_where_duplicates_count(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path, "t.parquet")
    assert read(source(uri="t.parquet", duplicates="drop"), tmp_path, settings).columns == [
        "id",
        "name",
        "more",
    ]


def test_renamed_columns_are_read_under_their_own_name(tmp_path: Path, settings: Settings) -> None:
    pl.DataFrame({"Customer ID": [1.0], "name": ["x"], "z": [1]}).write_parquet(tmp_path / "t.parquet")
    spec = source(uri="t.parquet", rename={"Customer ID": "id"})
    assert needed_columns(spec) == ("Customer ID", "name")
    assert read(spec, tmp_path, settings).columns == ["Customer ID", "name"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("none.csv", None, r"none\.csv is not there"),
        ("t.csv", b"", r"t\.csv is empty"),
        ("t.parquet", b"", r"t\.parquet is empty"),
        ("t.parquet", "cut", r"(?s)t\.parquet cannot be read as parquet.*cut off"),
        ("t.csv", "id,name\n1,Müller\n".encode("latin1"), r"(?s)t\.csv cannot be read as csv.*iconv"),
        ("t.csv", b"id,nme\n1,x\n", r"(?s)column 'name' is not there.*Did you mean nme\?"),
        ("t.csv", b"id,name\n1,x,3,4\n", r"t\.csv cannot be read as csv"),
        ("t.jsonl", b'{"id": 1, \n', r"t\.jsonl cannot be read as jsonl"),
        ("t.csv.gz", b"id,name\n", r"t\.csv\.gz cannot be unpacked"),
        ("t.arrow", b"id,name\n", r"t\.arrow cannot be read"),
        ("t.xlsx", b"PK", r"(?s)name does not tell the format.*format: csv"),
    ],
)
def test_files_that_cannot_be_read(
    tmp_path: Path, settings: Settings, name: str, content: bytes | str | None, message: str
) -> None:
    if content == "cut":
        whole = write(tmp_path, "t.parquet").read_bytes()
        content = whole[: len(whole) // 2]
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read(source(uri=name), tmp_path, settings)
    assert caught.value.exit_code == 2


def test_the_nearest_file_is_named(tmp_path: Path, settings: Settings) -> None:
    write(tmp_path, "lines.csv")
    with pytest.raises(DataError, match=r"Did you mean lines\.csv\?"):
        fingerprint(source(uri="lnes.csv"), tmp_path, settings)
    with pytest.raises(DataError, match="There is no folder"):
        fingerprint(source(uri="no/where.csv"), tmp_path, settings)
    with pytest.raises(DataError, match="is a folder"):
        fingerprint(source(uri=str(tmp_path)), tmp_path, settings)


def test_a_fingerprint_follows_the_content_and_not_the_name(tmp_path: Path, settings: Settings) -> None:
    first = fingerprint(source(uri=str(write(tmp_path, "t.csv"))), tmp_path, settings)
    (tmp_path / "u.csv").write_bytes((tmp_path / "t.csv").read_bytes())
    assert fingerprints({"x": source(uri="u.csv")}, tmp_path, settings) == {"x": first}
    (tmp_path / "u.csv").write_bytes((tmp_path / "t.csv").read_bytes() + b"4,d,1\n")
    assert fingerprint(source(uri="u.csv"), tmp_path, settings) != first


def test_a_fingerprint_of_a_file_imports_no_numerical_library(tmp_path: Path) -> None:
    write(tmp_path, "t.csv")
    code = (
        "import sys; from pathlib import Path; from charter.core.settings import Settings\n"
        "from charter.data.io.sources import fingerprint; from charter.spec.types import SourceSpec\n"
        f"base = Path({str(tmp_path)!r}); settings = Settings(None, base / 'home', None, None, 'x')\n"
        "fingerprint(SourceSpec(uri='t.csv', columns={}), base, settings)\n"
        "fingerprint(SourceSpec(dataset='taiwan-default', columns={}), base, settings)\n"
        "print(sorted({'polars', 'numpy', 'sqlalchemy', 'fsspec'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_digests_are_remembered_only_for_settled_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, home, reads = tmp_path / "f", tmp_path / "home", []
    real = filedigest.digest_file
    monkeypatch.setattr(filedigest, "digest_file", lambda p: (reads.append(p), real(p))[1])
    path.write_bytes(b"one")
    file_digest(path, home)
    file_digest(path, home)
    assert len(reads) == 2  # just written: it may change again within the clock's tick
    monkeypatch.setattr(filedigest, "_SETTLED_NS", -1)
    known = file_digest(path, home)
    assert file_digest(path, home) == known
    assert len(reads) == 3
    status = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert file_digest(path, home) != known  # same size, same time: the change time tells


@pytest.mark.parametrize("content", [b"not json", b"[]", b'{"x": 1}'])
def test_a_damaged_memory_costs_only_time(tmp_path: Path, content: bytes) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "file-digests.json").write_bytes(content)
    (tmp_path / "f").write_bytes(b"x")
    assert file_digest(tmp_path / "f", home) == file_digest(tmp_path / "f", tmp_path / "other")


def test_a_home_that_cannot_be_written_costs_only_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filedigest, "_SETTLED_NS", -1)
    (tmp_path / "f").write_bytes(b"x")
    (tmp_path / "file").write_bytes(b"")
    assert len(file_digest(tmp_path / "f", tmp_path / "file" / "home")) == 64


def test_variables_come_from_the_environment() -> None:
    assert expand("s3://${B}/x", {"B": "bucket"}) == "s3://bucket/x"
    with pytest.raises(DataError, match=r"variable B is not set.*\$\{B\}"):
        expand("s3://${B}/x", {})


def test_other_file_systems(settings: Settings, tmp_path: Path) -> None:
    with fsspec.open("memory://box/t.csv", "wb") as file:
        file.write(FRAME.write_csv().encode())
    spec = source(uri="memory://box/t.csv")
    assert read(spec, tmp_path, settings)["id"].to_list() == ["1", "2", "3"]
    local = fingerprint(source(uri=str(write(tmp_path, "t.csv"))), tmp_path, settings)
    assert fingerprint(spec, tmp_path, settings) == local
    with pytest.raises(DataError, match=r"memory://box/u\.csv is not there"):
        fingerprint(source(uri="memory://box/u.csv"), tmp_path, settings)
    with pytest.raises(DataError, match=r"nonsense://x/u\.csv cannot be opened"):
        fingerprint(source(uri="nonsense://x/u.csv"), tmp_path, settings)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            return

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_web(tmp_path: Path, settings: Settings, site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "t.parquet")
    monkeypatch.setenv("SITE", site)
    spec = source(uri="${SITE}/t.parquet?token=1")
    assert read(spec, tmp_path, settings)["id"].to_list() == [1, 2, 3]
    assert fingerprint(spec, tmp_path, settings) == fingerprint(source(uri="t.parquet"), tmp_path, settings)
    with pytest.raises(DataError, match=r"\$\{SITE\}/none\.csv cannot be read"):
        read(source(uri="${SITE}/none.csv"), tmp_path, settings)


def test_queries(tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB", f"sqlite:///{tmp_path}/d.db")
    engine = sa.create_engine(f"sqlite:///{tmp_path}/d.db")
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE t (id INTEGER, name TEXT, more REAL)"))
        connection.execute(sa.text("INSERT INTO t VALUES (2, 'b', 1), (1, NULL, 2)"))
    spec = source(sql="SELECT * FROM t", url="${DB}")
    assert read(spec, tmp_path, settings).rows() == [(1, None), (2, "b")]
    before = fingerprint(spec, tmp_path, settings)
    assert before == fingerprint(
        source(sql="SELECT * FROM t ORDER BY id DESC", url="${DB}"), tmp_path, settings
    )
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE t SET more = 9"))
    engine.dispose()
    assert fingerprint(spec, tmp_path, settings) != before
    with pytest.raises(DataError, match=r"query on sqlite.* failed: no such table: u"):
        read(source(sql="SELECT * FROM u", url="${DB}"), tmp_path, settings)


@pytest.mark.parametrize(
    "url", ["postgresql+psycopg://me:SECRET@127.0.0.1:1/db?connect_timeout=1", "nothing://me:SECRET@host/db"]
)
def test_a_password_is_never_shown(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DB", url)
    with pytest.raises(DataError) as caught:
        read(source(sql="SELECT 1", url="${DB}"), tmp_path, settings)
    assert "SECRET" not in str(caught.value)


def test_an_outsider_registers_a_scheme(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Queue:
        def fingerprint(self, source: SourceSpec) -> str:
            return f"offset of {source.uri}"

        def read(self, source: SourceSpec, columns: Sequence[str] | None) -> pl.DataFrame:
            return FRAME if columns is None else FRAME.select(columns)

    monkeypatch.setattr(plugins, "names", lambda group: ("queue",) if group == "sources" else ())
    monkeypatch.setattr(plugins, "load", lambda group, name: Queue)
    kept: Source = Queue()
    spec = source(uri="queue://lines")
    assert fingerprint(spec, tmp_path, settings) == kept.fingerprint(spec) == "offset of queue://lines"
    assert read(spec, tmp_path, settings).columns == ["id", "name"]
    assert read(source(uri="queue://lines", duplicates="drop"), tmp_path, settings).columns == FRAME.columns


def test_a_packed_file_may_be_remote(tmp_path: Path, settings: Settings, site: str) -> None:
    write(tmp_path, "t.csv.gz")
    assert read(source(uri=f"{site}/t.csv.gz"), tmp_path, settings)["id"].to_list() == ["1", "2", "3"]


def test_a_query_needs_sqlalchemy(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(DataError, match=r"charter-ml\[train\]"):
        read(source(sql="SELECT 1", url="sqlite://"), tmp_path, settings)


def test_a_header_without_rows_is_no_error_of_reading(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text("id,name\n")
    assert read(source(uri="t.csv"), tmp_path, settings).height == 0


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ("1,2,3\n1,2,3,4\n", "line 3 has 4 fields"),
        ('1,"x,2\n3,4,5\n', "a quote is not closed"),
        ("1,2,3\n", ""),
    ],
)
def test_a_fault_in_a_column_that_is_not_asked_for_is_a_fault(
    tmp_path: Path, written: str, fault: str
) -> None:
    (tmp_path / "t.csv").write_text(f"a,b,c\n{written}")
    text = ColumnSpec(type="text")
    source = SourceSpec(uri="t.csv", columns={"c": text, "a": text})
    if fault:
        with pytest.raises(DataError, match=fault):
            read(source, tmp_path, Settings.from_environment({}))
    else:
        assert read(source, tmp_path, Settings.from_environment({})).rows() == [("3", "1")]


def test_rows_read_in_parts_keep_their_order(tmp_path: Path) -> None:
    frame = pl.DataFrame({"n": range(200_000), "x": ["some words"] * 200_000})
    frame.write_csv(tmp_path / "t.csv")
    source = SourceSpec(uri="t.csv", columns={"n": ColumnSpec(type="integer")})
    found = read(source, tmp_path, Settings.from_environment({}))
    assert found["n"].cast(pl.Int64).equals(frame["n"])
