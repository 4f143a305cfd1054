"""Databases as source and target of batch scoring.

A query is read once, as a stream, into Parquet files of the work folder, and scored from there: the same rows whenever
the job goes on, though the table may have changed by then. Results go into a table in transactions of some ten thousand
rows that bear the job's name: written again, they replace themselves.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import sqlalchemy as sa

from charter.core.digest import digest_file, digest_json
from charter.core.errors import DataError, UsageError
from charter.core.io.files import write_atomic
from charter.data.io.addresses import expand
from charter.flow.score_request import Place
from charter.serve.io.batch_source import Source
from charter.serve.io.batch_target import Piece, flat

RUN, PART = "run_id", "run_part"
_FETCHED_ROWS = 65_536
_TYPES: dict[type[pl.DataType], Any] = {
    pl.Boolean: sa.Boolean,
    pl.Float64: sa.Float(53),
    pl.Float32: sa.Float(24),
    pl.Date: sa.Date,
    pl.Datetime: sa.DateTime,
}


def stage(source: Place, query: str | None, work: Path) -> tuple[Source, str]:
    """Read the rows of a query into the work folder; what an earlier attempt read is taken as it is.

    Returns
    -------
    The rows as files, and a digest of them.

    Raises
    ------
    UsageError
        When neither a table nor a query is named, or both.
    DataError
        When the database cannot be reached or refuses the query.
    """
    if (query is None) == (source.table is None):
        raise UsageError(
            f"{source.shown}: name either a table or a query",
            remedy='Write the address as sqlite:///a.db#table, or add --query "SELECT ...".',
        )
    folder, mark = work / "source", work / "source.json"
    asked = {"source": source.shown, "query": query}
    # Without a job the rows may be those of one that is done, whose removal was interrupted.
    taken = mark.exists() and (work / "job.json").exists()
    known = json.loads(mark.read_bytes()) if taken else None
    if known is not None and known["asked"] == asked:
        return Source("parquet", tuple(sorted(folder.glob("*.parquet")))), known["fingerprint"]
    if known is not None:  # the job of the folder is another one; say so by a fingerprint that cannot fit
        return Source("parquet", tuple(sorted(folder.glob("*.parquet")))), digest_json(asked)
    mark.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with _connected(source) as connection:
        statement: Any = (
            sa.text(query) if query is not None else sa.select(sa.text("*")).select_from(_table(source))
        )
        result = connection.execution_options(stream_results=True, max_row_buffer=_FETCHED_ROWS).execute(
            statement
        )
        names = list(result.keys())
        repeated = sorted({n for n in names if names.count(n) > 1})
        if repeated:
            raise DataError(
                f"the query gives two columns the name {repeated[0]!r}", remedy="Rename one: AS other."
            )
        files = _spool(result, names, folder)
    fingerprint = digest_json([digest_file(f) for f in files])
    write_atomic(mark, json.dumps({"asked": asked, "fingerprint": fingerprint}).encode())
    return Source("parquet", tuple(files)), fingerprint


def _spool(result: Any, names: Sequence[str], folder: Path) -> list[Path]:
    """Write the rows as they come, then make the types of all files agree."""
    files: list[Path] = []
    for rows in result.partitions(_FETCHED_ROWS):
        frame = pl.DataFrame(
            [tuple(r) for r in rows], schema=list(names), orient="row", infer_schema_length=None
        )
        frame = frame.with_columns(pl.col(pl.Decimal).cast(pl.Float64))
        files.append(folder / f"{len(files):06d}.parquet")
        frame.write_parquet(files[-1])
    if not files:
        files.append(folder / "000000.parquet")
        pl.DataFrame(schema=dict.fromkeys(names, pl.Null)).write_parquet(files[0])
    schemas = [pl.read_parquet_schema(f) for f in files]
    common = {name: _common([s[name] for s in schemas]) for name in names}
    for file, schema in zip(files, schemas, strict=True):
        if dict(schema) != common:
            pl.read_parquet(file).cast(common).write_parquet(file)  # type: ignore[arg-type]
    return files


def _common(found: Sequence[pl.DataType]) -> pl.DataType:
    """A type for all batches of a column: SQLite, for one, may hold any type in any row."""
    types = {t for t in found if t != pl.Null}
    if len(types) == 1:
        return types.pop()
    if types and all(t.is_numeric() for t in types):
        return pl.Float64()
    return pl.String() if types else pl.Null()


def write_table(target: Place, pieces: Sequence[Piece], run: str) -> None:
    """Write scored rows into a table, made where it is not there; columns ``run_id`` and ``run_part`` name the job.

    Raises
    ------
    DataError
        When the database cannot be reached, or its table has other columns.
    """
    schema = flat(pieces[0].scan()).collect_schema()
    with _connected(target) as connection:
        table = _made(connection, target, schema)
        part = 0
        for piece in pieces:
            rows = piece.scan().select(pl.len()).collect().item()
            for start in range(0, rows, _FETCHED_ROWS):
                frame = flat(piece.scan().slice(start, _FETCHED_ROWS)).collect()
                values = frame.with_columns(pl.lit(run).alias(RUN), pl.lit(part).alias(PART)).to_dicts()
                with connection.begin():
                    connection.execute(sa.delete(table).where(table.c[RUN] == run, table.c[PART] == part))
                    connection.execute(sa.insert(table), values)
                part += 1
        with connection.begin():
            connection.execute(sa.delete(table).where(table.c[RUN] == run, table.c[PART] >= part))


def _made(connection: sa.Connection, target: Place, schema: pl.Schema) -> sa.Table:
    schema_name, _, name = (target.table or "").rpartition(".")
    columns: list[sa.Column[Any]] = [sa.Column(n, _type(t)) for n, t in schema.items()]
    columns += [sa.Column(RUN, sa.String(16), index=True), sa.Column(PART, sa.Integer)]
    table = sa.Table(name, sa.MetaData(schema=schema_name or None), *columns)
    with connection.begin():
        if sa.inspect(connection).has_table(name, schema=schema_name or None):
            there = {c["name"] for c in sa.inspect(connection).get_columns(name, schema=schema_name or None)}
            lacking = [c.name for c in table.columns if c.name not in there]
            if lacking:
                raise DataError(
                    f"table {target.table} has no column {lacking[0]!r}",
                    remedy="Name a new table, or add the column.",
                )
        else:
            table.create(connection)
    return table


def _type(dtype: pl.DataType) -> Any:
    found = _TYPES.get(dtype.base_type())
    return found or (sa.BigInteger if dtype.is_integer() else sa.Text)


def _table(source: Place) -> Any:
    schema, _, name = (source.table or "").rpartition(".")
    return sa.table(name, schema=schema or None)


@contextmanager
def _connected(place: Place) -> Iterator[sa.Connection]:
    """Connect; what the database says against it becomes a `DataError` without its address's password."""
    try:
        engine = sa.create_engine(expand(str(place.url)))
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError, ImportError) as error:
        raise UsageError(
            f"{place.shown} is not an address that SQLAlchemy understands",
            remedy="Write dialect+driver://user:password@host/database#table.",
        ) from error
    try:
        with engine.connect() as connection:
            yield connection
    except sa.exc.SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).splitlines()[0][:300]
        raise DataError(
            f"{place.shown}: {cause}", remedy="Check the address, the table and your rights."
        ) from error
    finally:
        engine.dispose()
