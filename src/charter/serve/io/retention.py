"""Deleting old days of the prediction log, so that it can be proven later what was deleted.

A deletion is written down before it is begun, file by file with digest and rows, and the writing stays until somebody
has taken it over (the flow: into the audit trail). Killed at any moment and run again, it finishes what it has begun.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

from charter.core.digest import Digest, canonical_json, digest_bytes, digest_file
from charter.core.errors import DataError
from charter.core.io.files import sync_folder, write_atomic
from charter.serve.io.compaction import Part, alone, commit_files, tidy, write_commit
from charter.serve.io.segments import PARTS

DELETIONS = "deletions"
"""Folder of a log for deletions that nobody has taken over yet."""
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Deleted:
    """One file that is no more."""

    path: str
    day: date
    version: str
    rows: int
    sha256: Digest


@dataclass(frozen=True, slots=True)
class Deletion:
    """What was deleted of one model.

    Attributes
    ----------
    before
        First day that was kept.
    """

    model: str
    before: date
    files: tuple[Deleted, ...]

    @property
    def rows(self) -> int:
        """Answered rows that are no more."""
        return sum(f.rows for f in self.files)

    @property
    def days(self) -> tuple[date, ...]:
        """Days that rows were deleted of, in order."""
        return tuple(sorted({f.day for f in self.files}))

    def to_bytes(self) -> bytes:
        """Canonical JSON, which names every file with its digest and no value of any row."""
        files = [
            {
                "path": f.path,
                "day": f.day.isoformat(),
                "version": f.version,
                "rows": f.rows,
                "sha256": f.sha256,
            }
            for f in self.files
        ]
        return canonical_json(
            {
                "schema_version": SCHEMA_VERSION,
                "model": self.model,
                "before": self.before.isoformat(),
                "files": files,
            }
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> Deletion:
        """Inverse of `to_bytes`; ValueError, KeyError or TypeError when it is none."""
        found = json.loads(data)
        if found["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version {found['schema_version']!r}")
        files = tuple(Deleted(**{**f, "day": date.fromisoformat(f["day"])}) for f in found["files"])
        return cls(str(found["model"]), date.fromisoformat(found["before"]), files)


def prune(log: Path, model: str, before: date) -> None:
    """Delete a model's compacted rows of all days before one; `pending` then tells what was deleted.

    Raises
    ------
    Busy
        When a compaction or another deletion is under way.
    OSError
        When the disk fails; run again, it goes on.
    """
    if not log.is_dir():
        return
    with alone(log):
        tidy(log)
        _finish(log)
        old = [p for _, c in commit_files(log) for p in c.parts if p.model == model and p.day < before]
        if not old:
            return
        deletion = Deletion(model, before, tuple(_described(log, part) for part in old))
        data = deletion.to_bytes()
        write_atomic(log / DELETIONS / f"{digest_bytes(data)[:32]}.json", data, mode=0o600)
        _finish(log)


def pending(log: Path) -> Iterator[tuple[Path, Deletion]]:
    """Deletions that are done and that nobody has taken over; who does unlinks the file.

    Raises
    ------
    DataError
        When one cannot be understood.
    """
    for path in sorted((log / DELETIONS).glob("*.json")):
        try:
            yield path, Deletion.from_bytes(path.read_bytes())
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{path} is no record of a deletion: {error}", remedy="Restore it from a copy."
            ) from error


def _described(log: Path, part: Part) -> Deleted:
    return Deleted(part.path, part.day, part.version, part.rows, digest_file(log / part.path))


def _finish(log: Path) -> None:
    """Carry out what is written down: first nobody sees the files any more, then they go."""
    named = [f.path for _, deletion in pending(log) for f in deletion.files]
    if named:
        _forget(log, set(named))
        _unlink(log, named)


def _forget(log: Path, gone: Collection[str]) -> None:
    for path, commit in commit_files(log):
        kept = tuple(part for part in commit.parts if part.path not in gone)
        if len(kept) == len(commit.parts):
            continue
        if kept:
            write_commit(path, replace(commit, parts=kept))
        else:  # its segments went with `tidy`, so nothing depends on it any more
            path.unlink()


def _unlink(log: Path, names: Sequence[str]) -> None:
    folders = set()
    for name in names:
        (log / name).unlink(missing_ok=True)
        folders.add((log / name).parent)
    for folder in sorted(folders):
        for level in (folder, *folder.parents[:2]):
            with suppress(OSError):  # it holds something else
                level.rmdir()
    if (log / PARTS).is_dir():
        sync_folder(log / PARTS)


def description(deletion: Deletion, record: Digest) -> dict[str, Any]:
    """What an audit trail should hold of a deletion."""
    return {
        "before": deletion.before.isoformat(),
        "first_day": deletion.days[0].isoformat(),
        "last_day": deletion.days[-1].isoformat(),
        "rows": deletion.rows,
        "files": len(deletion.files),
        "record": record,
    }
