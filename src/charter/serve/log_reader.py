"""Reading the prediction log: compacted parts and the segments that servers write, as one lazy frame."""

from __future__ import annotations

import os
import weakref
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from pathlib import Path

import polars as pl
from polars.io.plugins import register_io_source

from charter.core.errors import DataError
from charter.registry.traffic import SHADOW
from charter.serve.arrow import decode, schema_of, walk
from charter.serve.io.compaction import Part, commits
from charter.serve.io.segments import COMMITS, segments
from charter.serve.prediction_log import OWN

_HEAD_BYTES = 1 << 20
_MAX_OPEN = 200
"""Segments held open by one frame; a process may have a thousand open files."""
_ATTEMPTS = 20


def scan(
    log: Path,
    *,
    model: str | None = None,
    version: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    shadow: bool = False,
) -> pl.LazyFrame:
    """Read a log lazily: each answered row once, whether it is compacted yet or not.

    Batches that were being written when their process died are left out. Servers may write and a compaction may run
    meanwhile: rows that come later may be absent, but nothing that was written before is absent or there twice.

    Parameters
    ----------
    model, version
        Only these. Inputs of one name that differ in type between versions are read as text.
    since, until
        Only rows with ``since <= time < until`` (naive UTC).
    shadow
        Also what nobody was given: the answers of a candidate that is only tried (their ``arm`` is ``shadow``). They
        are no decisions, so who counts those must leave them out.

    Returns
    -------
    Columns of `charter.serve.prediction_log.LogTable`; what a version does not have is null.

    Examples
    --------
    >>> import tempfile
    >>> scan(Path(tempfile.mkdtemp())).collect().height
    0
    """
    parts, opened = _listing(log)
    frames = [s.lazy() for s in opened if _wanted(s.model, s.version, model, version)]
    by_schema: dict[tuple[str, str, str], list[Path]] = {}
    for part in parts:
        if _wanted(part.model, part.version, model, version) and _overlaps(part.day, since, until):
            by_schema.setdefault((part.model, part.version, part.schema), []).append(log / part.path)
    frames += [pl.scan_parquet(paths, hive_partitioning=False) for paths in by_schema.values()]
    rows = _together(frames)
    if not shadow:
        rows = rows.filter(pl.col("arm").ne_missing(SHADOW))
    if since is not None:
        rows = rows.filter(pl.col("time") >= since)
    return rows if until is None else rows.filter(pl.col("time") < until)


class _Segment:
    """A segment as it was when it was opened: it can be read even when a compaction has removed it since."""

    def __init__(self, model: str, version: str, path: Path, *, hold: bool) -> None:
        self.model, self.version, self._path = model, version, path
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.schema = schema_of(os.pread(descriptor, _HEAD_BYTES, 0))
        self._descriptor: int | None = None
        if hold:
            self._descriptor = descriptor
            weakref.finalize(self, os.close, descriptor)
        else:
            os.close(descriptor)

    def lazy(self) -> pl.LazyFrame:
        """Its whole batches."""
        return register_io_source(self._read, schema=self.schema or pl.Schema(OWN))

    def _read(
        self, columns: list[str] | None, predicate: pl.Expr | None, rows: int | None, _size: int | None
    ) -> Iterator[pl.DataFrame]:
        data = self._bytes()
        found = walk(data)
        frame = decode(data, found) if found.batches else pl.DataFrame(schema=self.schema or pl.Schema(OWN))
        if rows is not None:
            frame = frame.head(rows)
        if predicate is not None:
            frame = frame.filter(predicate)
        yield frame if columns is None else frame.select(columns)

    def _bytes(self) -> bytes:
        if self._descriptor is None:
            try:
                return self._path.read_bytes()
            except FileNotFoundError as error:
                raise DataError(
                    f"segment {self._path.name} was compacted while it was to be read", remedy="Read again."
                ) from error
        blocks, at = [], 0
        while block := os.pread(self._descriptor, 1 << 24, at):
            blocks.append(block)
            at += len(block)
        return b"".join(blocks)


def _listing(log: Path) -> tuple[list[Part], list[_Segment]]:
    """Parts and segments that together hold each row once."""
    for _ in range(_ATTEMPTS):
        before = _names(log)
        opened: list[_Segment] = []
        try:
            known = commits(log)
            gone = {name for commit in known for name in commit.segments}
            for model, version, path in segments(log):
                if path.relative_to(log).as_posix() not in gone:
                    opened.append(_Segment(model, version, path, hold=len(opened) < _MAX_OPEN))
        except FileNotFoundError:
            continue  # compacted, or deleted, this very moment
        if _names(log) == before:
            return [part for commit in known for part in commit.parts], opened
    raise DataError(
        f"{log} changes faster than it can be listed", remedy="Read again when no compaction runs."
    )


def _names(log: Path) -> set[str]:
    return {path.name for path in (log / COMMITS).glob("*.json")}


def _wanted(own_model: str, own_version: str, model: str | None, version: str | None) -> bool:
    return model in (None, own_model) and version in (None, own_version)


def _overlaps(day: date, since: datetime | None, until: datetime | None) -> bool:
    return (since is None or day >= since.date()) and (until is None or day <= until.date())


def _together(frames: Sequence[pl.LazyFrame]) -> pl.LazyFrame:
    """One frame with the columns of all; columns that are numbers here and something else there become text."""
    schemas = [frame.collect_schema() for frame in frames]
    types: dict[str, set[pl.DataType]] = {name: {dtype} for name, dtype in OWN.items()}
    for schema in schemas:
        for name, dtype in schema.items():
            types.setdefault(name, set()).add(dtype)
    mixed = {n for n, t in types.items() if len(t) > 1 and not all(d.is_numeric() for d in t)}
    alike = [
        frame.with_columns(pl.col([n for n in schema if n in mixed]).cast(pl.String))
        for frame, schema in zip(frames, schemas, strict=True)
    ]
    return pl.concat([pl.LazyFrame(schema=OWN), *alike], how="diagonal_relaxed")
