"""Reading a table to be explored or compared: with types, and a wide Parquet file a few columns at a time."""

from __future__ import annotations

import io
import json
import lzma
import tempfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import polars as pl

from charter.core.errors import DataError, UsageError
from charter.data.column import ColumnProfile
from charter.data.io.csvfault import csv_fault
from charter.data.io.disk import FULL, writing
from charter.data.io.sources import UNPACK, table_form
from charter.data.profile import Profile, describable, profile

T = TypeVar("T")
GROUP_BYTES = 192 * 2**20
"""Columns are read so many at a time that their values as floats need no more than this."""
LARGE_BYTES = 128 * 2**20
"""A CSV file of this size or more is explored a few columns at a time."""
_MISSING = ["", "NA", "NaN", "nan", "null", "NULL"]
_INFER_ROWS = 10_000


def is_parquet(path: Path) -> bool:
    """Whether a file can be read a few columns at a time."""
    return path.suffix in (".parquet", ".pq")


def read_table(path: Path) -> pl.DataFrame:
    """Read a whole file with the types that its values have.

    Raises
    ------
    UsageError
        When it is not there.
    DataError
        When it is damaged, empty, or of an unknown format.
    """
    if not path.is_file():
        raise UsageError(
            f"{path}: there is no such file", remedy="Name a CSV, Parquet, JSON Lines or Arrow file."
        )
    form, packing = table_form(path.name, None)
    with _readable(path, form):
        source = io.BytesIO(UNPACK[packing](path.read_bytes())) if packing else path
        match form:
            case "csv":
                return _csv(source)
            case "parquet":
                return pl.read_parquet(source)
            case "jsonl":
                return pl.read_ndjson(source, infer_schema_length=None)
            case _:
                return pl.read_ipc(source) if _is_arrow_file(source) else pl.read_ipc_stream(source)


@contextmanager
def _readable(path: Path, form: str) -> Iterator[None]:
    """Say of an error inside which file it is about."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        if isinstance(error, OSError) and error.errno in FULL:
            raise
        lines = str(error).splitlines()
        where = None
        if path.suffix == ".csv":
            with path.open("rb") as again:
                where = csv_fault(again)
        raise DataError(
            f"{path} cannot be read as {form}: {where or (lines[0][:300] if lines else type(error).__name__)}",
            remedy="Check how the file was written.",
        ) from error


def _is_arrow_file(source: Path | io.BytesIO) -> bool:
    """Tell an Arrow file from an Arrow stream."""
    with source.open("rb") if isinstance(source, Path) else io.BytesIO(source.getvalue()[:6]) as start:
        return start.read(6) == b"ARROW1"


def _csv(source: Path | io.BytesIO) -> pl.DataFrame:
    return _scanned(source, lambda rows: rows.collect(engine="streaming"))


def _scanned(source: Path | io.BytesIO, action: Callable[[pl.LazyFrame], T]) -> T:
    """Do something with the rows of a CSV file, in the types that its values have."""
    try:
        return action(
            pl.scan_csv(source, infer_schema_length=_INFER_ROWS, try_parse_dates=True, null_values=_MISSING)
        )
    except pl.exceptions.ComputeError:
        # A column whose first values are numbers and a later one is not: look at all of it.
        if isinstance(source, io.BytesIO):
            source.seek(0)
        return action(
            pl.scan_csv(source, infer_schema_length=None, try_parse_dates=True, null_values=_MISSING)
        )


@contextmanager
def by_columns(path: Path) -> Iterator[Path]:
    """Lend a large CSV file as Parquet, of which a few columns can be read at a time; other files as they are.

    Raises
    ------
    DataError
        When the file is damaged.
    OSError
        When the disk for temporary files is full.
    """
    if path.suffix != ".csv" or not path.is_file() or path.stat().st_size < LARGE_BYTES:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="charter-") as folder:
        copy = Path(folder) / f"{path.stem}.parquet"

        def write(rows: pl.LazyFrame) -> None:
            with writing(copy):
                rows.sink_parquet(copy, engine="streaming")

        with _readable(path, "csv"):
            _scanned(path, write)
        yield copy


def column_names(path: Path) -> list[str]:
    """Names of the columns of a Parquet file that a profile describes."""
    with _readable(path, "parquet"):
        return [n for n, dtype in pl.read_parquet_schema(path).items() if describable(dtype)]


def parquet_rows(path: Path) -> int:
    """Count the rows of a Parquet file, from what it says of itself."""
    with _readable(path, "parquet"):
        return int(pl.scan_parquet(path).select(pl.len()).collect().item())


def column_groups(path: Path) -> Iterator[pl.DataFrame]:
    """Read a Parquet file a few columns at a time, all rows of each."""
    names = column_names(path)
    width = max(1, GROUP_BYTES // (8 * max(parquet_rows(path), 1)))
    for start in range(0, len(names), width):
        with _readable(path, "parquet"):
            group = pl.read_parquet(path, columns=names[start : start + width])
        yield group


def profile_file(path: Path, reference: Profile | None = None) -> Profile:
    """Profile a file; of Parquet in little memory, whatever its width."""
    if not is_parquet(path) or not path.is_file():
        return profile(read_table(path), reference)
    rows = 0
    columns: dict[str, ColumnProfile] = {}
    for group in column_groups(path):
        rows = group.height
        columns.update(profile(group, reference).columns)
    return Profile(rows, columns)


def spaced_rows(path: Path, most: int) -> pl.DataFrame:
    """Read at most so many evenly spaced rows of a file."""
    if not is_parquet(path) or not path.is_file():
        table = read_table(path)
        return table.gather_every(max(1, -(-table.height // most)))
    parts = [g.gather_every(max(1, -(-g.height // most))) for g in column_groups(path)]
    return pl.concat(parts, how="horizontal") if parts else pl.DataFrame()


def read_profiles(path: Path) -> dict[str, Profile] | None:
    """Read profiles out of JSON: a profile, an exploration, a package's, or a snapshot's.

    Returns
    -------
    Profile by name: ``features`` and ``score`` of a package, the sources of a snapshot, else ``""``; None when the file
    is no JSON document.

    Raises
    ------
    DataError
        When the document holds no profile, or of a schema that this program does not read.
    """
    if path.is_dir():
        path = path / "profile.json"
    if path.suffix != ".json":
        return None
    try:
        document = json.loads(path.read_bytes())
        if not isinstance(document, dict):
            raise TypeError("it is a list or a value")
        if isinstance(document.get("profile"), dict):
            document = document["profile"]
        if isinstance(document.get("columns"), dict) and "rows" in document:
            return {"": Profile.from_json(document)}
        found = {name: Profile.from_json(one) for name, one in document.items() if isinstance(one, dict)}
    except FileNotFoundError as error:
        raise UsageError(f"{path}: there is no such file", remedy="Name a table or a profile.") from error
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{path} is no profile: {error}", remedy="`charter data profile FILE --json` writes one."
        ) from error
    if not found:
        raise DataError(f"{path} holds no profile", remedy="`charter data profile FILE --json` writes one.")
    return found
