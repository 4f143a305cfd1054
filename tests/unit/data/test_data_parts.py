"""Large sources are read and judged a part at a time; how they are cut changes nothing."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from charter.core.errors import DataError
from charter.core.settings import Settings
from charter.data.io import sources as io_sources
from charter.data.io.disk import writing
from charter.data.io.prepared import prepare_sources
from charter.data.io.sources import read, read_parts
from charter.data.prepare import prepare
from charter.data.types import Judged
from charter.flow.context import write_rows
from charter.spec.types import SourceSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 97


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=None, home=tmp_path / "home", records_url=None, blobs_url=None, actor="tester")


def table() -> pl.DataFrame:
    """Rows that break every kind of rule, near and far from each other."""
    texts = {
        "id": [str(i if i % 30 else i // 60) for i in range(ROWS)],
        "parent": [str(i // 2) if i % 11 else "999" for i in range(ROWS)],
        "shop": ["a" if i % 13 else "nowhere" for i in range(ROWS)],
        "amount": ["x" if i % 17 == 3 else "inf" if i == 5 else str(i * 1.5 - 20) for i in range(ROWS)],
        "day": [f"2025-{1 + i % 12:02}-07" if i % 19 else "" for i in range(ROWS)],
        "undeclared": [str(i % 2) for i in range(ROWS)],
    }
    frame = pl.DataFrame(texts)
    return pl.concat([frame, frame.gather([0, 50, 96]), frame.head(3)])


def source(**more: Any) -> SourceSpec:
    declared: dict[str, Any] = {
        "uri": "t.csv",
        "key": ["id"],
        "time": "day",
        "fresh_within": "20d",
        "where": "amount IS NULL OR amount < 110",
        "derive": {"double": "2 * amount"},
        "rules": {"sane": "amount > -15 OR shop = 'a'"},
        "foreign_keys": [
            {"column": "parent", "references": "rows.id"},
            {"column": "shop", "references": "shops.shop"},
        ],
        "on_violation": "quarantine",
        "columns": {
            "id": {"type": "integer", "unique": True},
            "parent": {"type": "integer"},
            "shop": {"type": "category"},
            "amount": {"type": "float", "min": -18, "on_violation": "warn"},
            "day": {"type": "date"},
        },
    }
    return SourceSpec.model_validate(declared | more)


SHOPS = SourceSpec.model_validate({"uri": "shops.csv", "columns": {"shop": {"type": "category"}}})


def judged(folder: Path, settings: Settings, spec: SourceSpec, name: str) -> Judged:
    found = prepare_sources(
        {"rows": spec, "shops": SHOPS}, folder, settings, now=NOW, folder=folder / "work" / name
    )
    assert list(found) == ["rows", "shops"]
    return found["rows"]


@pytest.mark.parametrize("duplicates", ["keep", "drop", "fail"])
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_parts_of_any_size_give_what_the_whole_gives(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, duplicates: str, form: str
) -> None:
    spec = source(duplicates=duplicates, uri=f"t.{form}")
    pl.DataFrame({"shop": ["a", "b"]}).write_csv(tmp_path / "shops.csv")
    frame = table()
    frame.write_csv(tmp_path / "t.csv")
    frame.write_parquet(tmp_path / "t.parquet")
    shops = {"shops": pl.DataFrame({"shop": ["a", "b"]})}
    raw = frame if duplicates != "keep" else frame.drop("undeclared")
    whole = prepare(
        raw.with_columns(pl.when(pl.all() != "").then(pl.all())), "rows", spec, now=NOW, references=shops
    )
    kinds = {v.rule for v in whole.report.violations}
    assert {"unique", "id unique, as the key", "stands in rows.id", "stands in shops.shop", "float"} <= kinds
    assert any("newest row" in rule for rule in kinds)
    assert whole.quarantine.height > 5
    digests = set()
    for size in (1000, 50, 7, 1):
        monkeypatch.setattr(io_sources, "PART_ROWS", size)
        found = judged(tmp_path, settings, spec, f"of {size}")
        assert found.report == whole.report
        assert found.collect().frame.equals(whole.frame)
        assert found.collect().quarantine.equals(whole.quarantine)
        write_rows(found.frame, tmp_path / f"{size}.parquet")
        digests.add(hashlib.sha256((tmp_path / f"{size}.parquet").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_a_file_comes_in_parts_in_its_order(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_sources, "PART_ROWS", 10)
    table().write_csv(tmp_path / "t.csv")
    spec = SourceSpec.model_validate(
        {"uri": "t.csv", "row_number": "n", "columns": {"n": {"type": "integer"}, "id": {"type": "integer"}}}
    )
    parts = list(read_parts(spec, tmp_path, settings))
    assert max(part.height for part in parts) <= 10
    together = pl.concat(parts)
    assert together["n"].to_list() == list(range(1, table().height + 1))
    assert together["id"].to_list() == table()["id"].to_list()
    assert read(spec, tmp_path, settings).equals(together)


def test_a_header_alone_is_a_table_without_rows(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "t.csv").write_text("id,parent,shop,amount,day\n")
    spec = source(foreign_keys=[])
    assert read(spec, tmp_path, settings).shape == (0, 5)
    (tmp_path / "shops.csv").write_text("shop\n")
    assert judged(tmp_path, settings, spec, "none").report.rows_read == 0


def test_a_fault_far_down_names_its_line(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(io_sources, "PART_ROWS", 10)
    (tmp_path / "t.csv").write_text("shop\n" + "a\n" * 500 + "a,b\n" + "a\n" * 500)
    spec = SHOPS.model_copy(update={"uri": "t.csv"})
    with pytest.raises(DataError, match="line 502 has 2 fields, and the header has 1"):
        list(read_parts(spec, tmp_path, settings))


def test_a_file_that_grows_while_it_is_read_is_refused(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def growing(*_: object) -> Iterator[pl.DataFrame]:
        reads.append(1)
        yield from [pl.DataFrame({"shop": ["a", "b"]})] * (len(reads) + 1)

    reads: list[int] = []
    monkeypatch.setattr("charter.data.io.prepared.read_parts", growing)
    spec = {"shops": SHOPS.model_copy(update={"duplicates": "drop"})}
    with pytest.raises(DataError, match="source shops changed while it was read"):
        prepare_sources(spec, tmp_path, settings, now=NOW, folder=tmp_path / "work")


def test_what_comes_in_one_piece_is_asked_for_once(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def query(*_: object) -> Iterator[pl.DataFrame]:
        reads.append(1)
        yield pl.DataFrame({"shop": ["a", "b", "a"]})

    reads: list[int] = []
    monkeypatch.setattr("charter.data.io.prepared.read_parts", query)
    spec = {"shops": SHOPS.model_copy(update={"duplicates": "drop"})}
    found = prepare_sources(spec, tmp_path, settings, now=NOW, folder=tmp_path / "work")
    assert found["shops"].collect().frame["shop"].to_list() == ["a", "b"]
    assert len(reads) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no device that is always full")
@pytest.mark.parametrize("write", [pl.DataFrame.write_ipc, pl.DataFrame.write_parquet])
def test_a_full_disk_is_called_one(write: Any) -> None:
    full = Path("/dev/full")
    with pytest.raises(OSError, match="No space left") as caught, writing(full):
        write(table(), full)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "/dev/full")
    with pytest.raises(OSError, match="No space left") as caught:
        write_rows(table().lazy(), full)
    assert caught.value.errno == errno.ENOSPC


def test_what_else_goes_wrong_while_writing_stays_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Input/output") as caught, writing(tmp_path / "x"):
        raise pl.exceptions.ComputeError(
            "parquet: File out of specification: Invalid thrift: transport error"
        )
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(tmp_path / "x"))
    with pytest.raises(pl.exceptions.ColumnNotFoundError), writing(tmp_path / "x"):
        table().lazy().select("nowhere").sink_parquet(tmp_path / "x")
    with pytest.raises(FileNotFoundError), writing(tmp_path / "x"):
        table().write_ipc(tmp_path / "none" / "x")
