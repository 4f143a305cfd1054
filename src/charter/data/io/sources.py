"""Reading sources, and telling cheaply whether one has changed.

This module imports Polars only where rows are read: `fingerprint` of a file stays quick.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core import plugins
from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.core.settings import Settings
from charter.data.io.addresses import content_digest, expand, local_path, opened, scheme
from charter.data.io.csvfault import csv_fault
from charter.data.io.fetch import dataset_fingerprint, read_dataset
from charter.spec.types import SourceSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.core.progress import Progress

_FORMATS = {
    "csv": "csv",
    "parquet": "parquet",
    "pq": "parquet",
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "arrow": "arrow",
    "feather": "arrow",
    "ipc": "arrow",
}
PART_ROWS = 65_536
"""So many rows of a file are read at a time."""
UNPACK = {"gz": gzip.decompress, "xz": lzma.decompress, "bz2": bz2.decompress}


def fingerprint(source: SourceSpec, base: Path, settings: Settings) -> str:
    """Text that changes whenever the rows of a source do.

    Parameters
    ----------
    base
        Folder of the specification; relative paths start there.

    Returns
    -------
    Digest of the file's bytes; of the rows for a catalogue set, so that the place it came from does not count; of
    the rows of a query, which are fetched for that.

    Raises
    ------
    DataError
        When the source cannot be reached.
    """
    if source.dataset is not None:
        return dataset_fingerprint(source.dataset, settings)
    if source.sql is not None:
        from charter.data.rows import rows_digest

        return rows_digest(_query(source))
    uri = str(source.uri)
    if scheme(uri) in plugins.names("sources"):
        return str(plugins.load("sources", scheme(uri))().fingerprint(source))
    return content_digest(uri, base, settings.home)


def read(
    source: SourceSpec, base: Path, settings: Settings, progress: Progress | None = None
) -> pl.DataFrame:
    """Read a source as it is, under its own column names; see `read_parts`."""
    import polars as pl

    return pl.concat(read_parts(source, base, settings, progress), rechunk=False)


def read_parts(
    source: SourceSpec, base: Path, settings: Settings, progress: Progress | None = None
) -> Iterator[pl.DataFrame]:
    """Read a source as it is, under its own column names, a part of its rows at a time.

    Only the columns that the contract names are read, unless duplicates are looked for: rows are duplicates only
    when they are alike in every column. Text formats give text throughout; the contract's types are given by
    `charter.data.preparation.Preparation`, so that a value that is no number is a violation with a row and not a crash.

    Yields
    ------
    Rows in the order of the file: of CSV and Parquet files on this machine, as they are, at most `PART_ROWS` at a time;
    of everything else all at once. The rows of a query, which have no order, are sorted by all columns.

    Raises
    ------
    DataError
        When the source is not there, empty, damaged, not UTF-8, of an unknown format, or lacks a declared column.
    """
    import polars as pl

    wanted: tuple[str, ...] = needed_columns(source)
    number = source.row_number
    before = 0
    for frame in _parts(source, base, settings, progress):
        if number is not None:
            if number in frame.columns:
                raise DataError(
                    f"{_shown(source)}: row_number {number!r} is a column of the source already",
                    remedy="Choose another name.",
                )
            numbers = pl.int_range(before + 1, before + 1 + frame.height, dtype=pl.Int64)
            frame = frame.with_columns(numbers.alias(number))
        before += frame.height
        for column in wanted:
            if column not in frame.columns:
                raise DataError(
                    f"{_shown(source)}: column {column!r} is not there",
                    remedy=_map(column, frame.columns),
                )
        keys = (number, *wanted) if number is not None else wanted
        yield frame if source.duplicates != "keep" else frame.select(keys)


def needed_columns(source: SourceSpec) -> tuple[str, ...]:
    """Columns that the contract names, under the names that the source has for them; the row's number is none of them.

    Examples
    --------
    >>> from charter.spec.types import ColumnSpec
    >>> text = ColumnSpec(type="text")
    >>> needed_columns(SourceSpec(uri="a.csv", rename={"Customer ID": "customer"}, columns={"customer": text}))
    ('Customer ID',)
    """
    original = {new: old for old, new in source.rename.items()}
    made = {*source.derive, source.row_number}
    declared = [original.get(c, c) for c in source.columns if c not in made]
    return tuple(dict.fromkeys([*declared, *source.rename]))


def _shown(source: SourceSpec) -> str:
    return source.uri or source.dataset or "query"


def _parts(
    source: SourceSpec, base: Path, settings: Settings, progress: Progress | None
) -> Iterator[pl.DataFrame]:
    if source.dataset is not None:
        yield read_dataset(source.dataset, settings, progress)
    elif source.sql is not None:
        yield _query(source)
    elif scheme(str(source.uri)) in plugins.names("sources"):
        columns = needed_columns(source) if source.duplicates == "keep" else None
        yield plugins.load("sources", scheme(str(source.uri)))().read(source, columns)
    else:
        yield from _file(source, base)


def _file(source: SourceSpec, base: Path) -> Iterator[pl.DataFrame]:
    import polars as pl

    shown = str(source.uri)
    form, packing = table_form(shown, source.format)
    real = expand(shown)
    path = local_path(real, base)
    file: Path | io.BytesIO = path if path is not None and packing is None else io.BytesIO()
    try:
        if isinstance(file, io.BytesIO):
            file = io.BytesIO(_content(path, real, shown, packing))
        yield from _parse(file, form, _wanted(source))
    except pl.exceptions.NoDataError as error:
        raise DataError(f"{shown} is empty", remedy="Check how the file was written.") from error
    except (EOFError, lzma.LZMAError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(
            f"{shown} cannot be unpacked: {_reason(error)}",
            remedy="The file is damaged or was cut off; copy it again.",
        ) from error
    except (pl.exceptions.PolarsError, OSError) as error:
        with file.open("rb") if isinstance(file, Path) else io.BytesIO(file.getvalue()) as again:
            begins = again.read(4)
            again.seek(0)
            where = csv_fault(again) if form == "csv" else None
        raise DataError(
            f"{shown} cannot be read as {form}: {where or _reason(error)}",
            remedy=_remedy(begins, form, where or ""),
        ) from error


def _content(path: Path | None, real: str, shown: str, packing: str | None) -> bytes:
    """Bytes of a file that is elsewhere or packed."""
    if path is not None:
        content = path.read_bytes()
    else:
        with opened(real, shown) as file:
            content = file.read()
    return UNPACK[packing](content) if packing is not None else content


def table_form(uri: str, stated: str | None) -> tuple[str, str | None]:
    """Format and packing, from what is stated and from the name's endings."""
    name = uri.partition("?")[0].rpartition("/")[2]
    endings = name.lower().split(".")[1:]
    packing = endings.pop() if endings and endings[-1] in UNPACK else None
    form = stated or (_FORMATS.get(endings[-1]) if endings else None)
    if form is None:
        raise DataError(
            f"{uri}: the name does not tell the format",
            remedy="State it: format: csv (or parquet, jsonl, arrow).",
        )
    return form, packing


def _wanted(source: SourceSpec) -> Sequence[str] | None:
    return needed_columns(source) if source.duplicates == "keep" else None


def _parse(file: Path | io.BytesIO, form: str, columns: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    import polars as pl

    size = file.stat().st_size if isinstance(file, Path) else file.getbuffer().nbytes
    if size == 0:
        raise pl.exceptions.NoDataError("empty")
    match form:
        case "csv":
            yield from _batches(pl.scan_csv(file, infer_schema=False), columns)
        case "parquet":
            lazy = pl.scan_parquet(file)
            there = columns is not None and set(columns) <= set(lazy.collect_schema())
            yield from _batches(lazy.select(columns or ()) if there else lazy, None)
        case "jsonl":
            yield pl.read_ndjson(file, infer_schema_length=None)
        case _:
            with file.open("rb") if isinstance(file, Path) else io.BytesIO(file.getbuffer()[:6]) as start:
                head = start.read(6)
            yield pl.read_ipc(file) if head == b"ARROW1" else pl.read_ipc_stream(file)


def _batches(lazy: pl.LazyFrame, columns: Sequence[str] | None) -> Iterator[pl.DataFrame]:
    """Read some rows at a time, at least one frame of none, and keep ``columns`` of them where they are all there.

    Every field is looked at all the same: left to itself, Polars passes over a row with too many where it reads some.
    """
    empty = lazy.collect_schema().to_frame()
    kept = columns if columns and set(columns) <= set(empty.columns) else empty.columns
    found = False
    for part in lazy.collect_batches(
        chunk_size=PART_ROWS, maintain_order=True, lazy=True, engine="streaming"
    ):
        found = True
        yield part.select(kept)
    if not found:
        yield empty.select(kept)


def _reason(error: Exception) -> str:
    lines = str(error).splitlines()
    return lines[0][:300] if lines else type(error).__name__


def _remedy(begins: bytes, form: str, where: str) -> str:
    if "UTF-8" in where:
        return "Write it as UTF-8, for example: iconv -f latin1 -t utf-8 OLD > NEW"
    if form == "parquet":
        if not begins.startswith(b"PAR1"):
            return "It does not begin as a Parquet file does: state what it is, for example `format: csv`."
        return "The file is damaged or was cut off; copy it again."
    if form == "csv":
        return "Mend that line; a value with a comma or a quote stands in quotes."
    return "Write one JSON object a line." if form == "jsonl" else "Check how the file was written."


def _map(column: str, there: Sequence[str]) -> str:
    hint = did_you_mean(column, there)
    if hint.startswith("did"):
        close = hint.removeprefix("did you mean ").removesuffix("?")
        return f"Did you mean {close}? Correct `columns`, or map the name: `rename: {{{close}: {column}}}`."
    return f"The source has {', '.join(list(there)[:12])}{', ...' if len(there) > 12 else ''}."


def _query(source: SourceSpec) -> pl.DataFrame:
    import polars as pl

    try:
        import sqlalchemy as sa
    except ImportError as error:
        raise DataError(
            "a source with 'sql' needs SQLAlchemy", remedy="pip install 'charter-ml[train]'"
        ) from error
    url = expand(str(source.url))
    try:
        engine = sa.create_engine(url)
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        # The address itself may hold a password, so it is not shown.
        raise DataError(
            f"{source.url} is not an address that SQLAlchemy understands",
            remedy="Write dialect+driver://user:password@host/database, with a driver that is installed; "
            "`${NAME}` takes a part from the environment.",
        ) from error
    try:
        with engine.connect() as connection:
            frame = pl.read_database(sa.text(str(source.sql)), connection, infer_schema_length=None)
    except sa.exc.SQLAlchemyError as error:
        # What stands after "?" may be a password too, which SQLAlchemy shows.
        safe = engine.url.set(query={}).render_as_string(hide_password=True)
        cause = getattr(error, "orig", None) or error
        raise DataError(
            f"query on {safe} failed: {_reason(cause)}",
            remedy="Check the query, the address and your rights there.",
        ) from error
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"the query's result cannot be read: {_reason(error)}", remedy="Cast its columns to plain types."
        ) from error
    finally:
        engine.dispose()
    sortable = [name for name, dtype in frame.schema.items() if not dtype.is_nested() and dtype != pl.Object]
    return frame.sort(sortable, nulls_last=True, maintain_order=True) if sortable else frame


def fingerprints(sources: Mapping[str, SourceSpec], base: Path, settings: Settings) -> dict[str, str]:
    """`fingerprint` of several sources by name."""
    return {name: fingerprint(source, base, settings) for name, source in sources.items()}
