"""Compaction of the prediction log: closed segments become Parquet parts by day, model and version.

Every row is in exactly one place at any moment, for any reader and after any crash. A compaction writes parts, syncs
them, and then writes one *commit* that names the parts and the segments they were made from, in one atomic step; only
then do the segments vanish. A part that no commit names is invisible and removed by the next run; a segment that a
commit names is invisible and removed as well.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from charter.core.digest import canonical_json, digest_json
from charter.core.errors import Busy, DataError
from charter.core.io.files import sync_folder, write_atomic
from charter.serve.arrow import decode, walk
from charter.serve.io.segments import COMMITS, PARTS, SEGMENTS, SUFFIX, is_open, segments

CHUNK_BYTES = 128 * 1024 * 1024
"""Segments of this size together are compacted in one step; several times as much memory is used."""
SCHEMA_VERSION = 1
_ABANDONED_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Part:
    """One Parquet file.

    Attributes
    ----------
    path
        Relative to the log.
    schema
        Parts (and only those) with equal text have equal columns.
    """

    path: str
    day: date
    model: str
    version: str
    rows: int
    schema: str


@dataclass(frozen=True, slots=True)
class Commit:
    """Parts, and the segments they stand for (paths relative to the log)."""

    segments: tuple[str, ...]
    parts: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Compacted:
    """What a compaction did.

    Attributes
    ----------
    still_open
        Segments left alone because a server writes to them.
    torn_bytes
        Ends of segments that were cut when their process or machine died.
    """

    segments: int
    rows: int
    parts: int
    still_open: int
    torn_bytes: int


def commits(log: Path) -> list[Commit]:
    """Read every commit, oldest first.

    Raises
    ------
    DataError
        When one cannot be understood; its rows would be missing or twice there.
    """
    return [commit for _, commit in commit_files(log)]


def commit_files(log: Path) -> list[tuple[Path, Commit]]:
    """Read every commit with its file, oldest first; raises as `commits`."""
    found = []
    for path in sorted((log / COMMITS).glob("*.json")):
        try:
            found.append((path, _parse(json.loads(path.read_bytes()))))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is no commit of a prediction log: {error}", remedy="Restore it from a copy."
            ) from error
    return found


def compact(log: Path, *, chunk_bytes: int = CHUNK_BYTES) -> Compacted:
    """Turn every closed segment into Parquet; run again, it finds nothing to do.

    Raises
    ------
    Busy
        When another compaction of this log is under way.
    OSError
        When the disk is full or fails; what was committed before stays, the rest is still in its segments.
    """
    if not log.is_dir():
        return Compacted(0, 0, 0, 0, 0)
    done: list[Commit] = []
    torn = 0
    with alone(log):
        tidy(log)
        groups, still_open = _closed(log)
        for (model, version), paths in groups.items():
            for chunk in _chunks(paths, chunk_bytes):
                commit, torn_here = _compact(log, model, version, chunk)
                done.append(commit)
                torn += torn_here
    made = [part for commit in done for part in commit.parts]
    return Compacted(
        sum(len(c.segments) for c in done), sum(p.rows for p in made), len(made), still_open, torn
    )


def tidy(log: Path) -> None:
    """Finish what a run that was killed left: segments that are committed, parts and beginnings that are not."""
    known = commits(log)
    named = {part.path for commit in known for part in commit.parts}
    for commit in known:
        for name in commit.segments:
            (log / name).unlink(missing_ok=True)
    for path in (log / PARTS).glob("*/*/*/*"):
        if path.relative_to(log).as_posix() not in named:
            path.unlink()
    for path in (log / COMMITS).glob(".*"):
        path.unlink()
    for path in (log / SEGMENTS).glob(f"*/*/.*{SUFFIX}"):
        # A segment that is being begun exists for a moment before its writer holds it.
        with suppress(FileNotFoundError):
            if time.time() - path.stat().st_mtime > _ABANDONED_SECONDS and not is_open(path):
                path.unlink()


def _compact(log: Path, model: str, version: str, paths: Sequence[Path]) -> tuple[Commit, int]:
    names = tuple(path.relative_to(log).as_posix() for path in paths)
    name = digest_json(names)[:16]
    by_schema: dict[str, list[pl.DataFrame]] = {}
    torn = 0
    for path in paths:
        data = path.read_bytes()
        found = walk(data)
        torn += found.torn_bytes
        frame = decode(data, found)
        if frame.height:
            by_schema.setdefault(digest_json([[n, str(t)] for n, t in frame.schema.items()]), []).append(
                frame
            )
    parts = []
    for schema, frames in by_schema.items():
        whole = pl.concat(frames, rechunk=False).sort("time", maintain_order=True)
        for (day,), rows in whole.group_by(pl.col("time").dt.date(), maintain_order=True):
            assert isinstance(day, date)
            path = log / PARTS / day.isoformat() / quote(model, safe="") / quote(version, safe="")
            path = path / f"{name}-{schema[:8]}.parquet"
            _write(rows, path)
            parts.append(Part(path.relative_to(log).as_posix(), day, model, version, rows.height, schema))
    for folder in sorted({(log / p.path).parent for p in parts}):
        for level in (folder, *folder.parents[:3]):
            sync_folder(level)
    commit = Commit(names, tuple(parts))
    write_commit(log / COMMITS / f"{paths[0].stem}-{name}.json", commit)
    for path in paths:
        path.unlink()
    return commit, torn


def write_commit(path: Path, commit: Commit) -> None:
    """Write or replace a commit in one step: from then on its parts count and its segments do not."""
    write_atomic(path, _to_json(commit), mode=0o600)


def _write(rows: pl.DataFrame, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        rows.write_parquet(file, compression="zstd", statistics=True)
        file.flush()
        os.fsync(file.fileno())


def _closed(log: Path) -> tuple[dict[tuple[str, str], list[Path]], int]:
    groups: dict[tuple[str, str], list[Path]] = {}
    still_open = 0
    for model, version, path in segments(log):
        if is_open(path):
            still_open += 1
        else:
            groups.setdefault((model, version), []).append(path)
    return groups, still_open


def _chunks(paths: Sequence[Path], limit: int) -> Iterator[list[Path]]:
    chunk: list[Path] = []
    size = 0
    for path in paths:
        own = path.stat().st_size
        if chunk and size + own > limit:
            yield chunk
            chunk, size = [], 0
        chunk.append(path)
        size += own
    if chunk:
        yield chunk


@contextmanager
def alone(log: Path) -> Iterator[None]:
    """Keep others from changing what is compacted; raises `Busy` when somebody does."""
    descriptor = os.open(log / "compact.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise Busy(
            "another compaction or deletion of this log is under way", remedy="Wait until it has ended."
        ) from None
    finally:
        os.close(descriptor)


def _to_json(commit: Commit) -> bytes:
    parts = [
        {
            "path": p.path,
            "day": p.day.isoformat(),
            "model": p.model,
            "version": p.version,
            "rows": p.rows,
            "schema": p.schema,
        }
        for p in commit.parts
    ]
    return canonical_json(
        {"schema_version": SCHEMA_VERSION, "segments": list(commit.segments), "parts": parts}
    )


def _parse(data: Any) -> Commit:
    if data["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema_version {data['schema_version']!r}; this program reads {SCHEMA_VERSION}")
    parts = [Part(**{**p, "day": date.fromisoformat(p["day"])}) for p in data["parts"]]
    return Commit(tuple(data["segments"]), tuple(parts))


if __name__ == "__main__":  # what a server without a workspace runs by a timer
    for folder in sys.argv[1:]:
        compact(Path(folder))
