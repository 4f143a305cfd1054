"""Segments of the prediction log on disk: each written by one process, held by a lock that dies with it."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote, unquote

import polars as pl

from charter.core.io.files import sync_folder
from charter.serve.arrow import encode

SUFFIX = ".arrows"
MAX_BYTES = 64 * 1024 * 1024
MAX_SECONDS = 600.0
SEGMENTS, PARTS, COMMITS, PROFILES = "segments", "parts", "commits", "profiles"
"""Folders of a log."""
# macOS has no fdatasync.
_sync = getattr(os, "fdatasync", os.fsync)


class SegmentWriter:
    """Appends record batches of one model's version; one process, one thread.

    A batch is either whole in the file or, after a crash, recognised as torn (see `charter.serve.arrow`). After a
    failed write the file is cut back to its last whole batch.

    Parameters
    ----------
    log
        Folder of the log.
    max_bytes, max_seconds
        A segment that is larger or older is closed, and another one begun.
    """

    def __init__(
        self,
        log: Path,
        model: str,
        version: str,
        *,
        max_bytes: int = MAX_BYTES,
        max_seconds: float = MAX_SECONDS,
    ) -> None:
        self.folder = log / SEGMENTS / quote(model, safe="") / quote(version, safe="")
        self._max_bytes, self._max_seconds = max_bytes, max_seconds
        self._descriptor: int | None = None
        self._head = b""
        self._size = 0
        self._begun = 0.0
        self._number = 0

    def append(self, frame: pl.DataFrame) -> int:
        """Add a frame as one record batch; returns the bytes written.

        Raises
        ------
        OSError
            When the disk is full or fails; the segment stays readable and the frame is not in it.
        """
        head, batch = encode(frame)
        too_long = self._size + len(batch) > self._max_bytes and self._size > len(self._head)
        if head != self._head or too_long or self.aged():
            self.close()
        descriptor = self._descriptor if self._descriptor is not None else self._open(head)
        try:
            _write(descriptor, batch)
        except OSError:
            self._cut_back(descriptor)
            raise
        self._size += len(batch)
        return len(batch)

    def sync(self) -> None:
        """Wait until everything appended is on the disk.

        Raises
        ------
        OSError
            When the disk fails. What of the segment is on it is then unknown, so it is closed and not used again.
        """
        if self._descriptor is None:
            return
        try:
            _sync(self._descriptor)
        except OSError:
            self._abandon()
            raise

    def aged(self) -> bool:
        """Whether the segment is old enough to be closed."""
        return self._descriptor is not None and time.monotonic() - self._begun > self._max_seconds

    def close(self) -> None:
        """End the segment, so that it may be compacted."""
        if self._descriptor is not None:
            try:
                with suppress(OSError):  # relaxed rows are not promised; `sync` came before for durable ones
                    _sync(self._descriptor)
            finally:
                self._abandon()

    def _open(self, head: bytes) -> int:
        """Begin a segment: it has its name only when it is locked and holds its schema."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._number += 1
        name = f"{time.time_ns() // 1000:016d}-{os.getpid()}-{self._number}{SUFFIX}"
        hidden = self.folder / f".{name}"
        descriptor = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            _write(descriptor, head)
            hidden.rename(self.folder / name)
            for folder in (self.folder, *self.folder.parents[:3]):
                sync_folder(folder)
        except OSError:
            os.close(descriptor)
            hidden.unlink(missing_ok=True)
            raise
        self._descriptor, self._head, self._size = descriptor, head, len(head)
        self._begun = time.monotonic()
        return descriptor

    def _cut_back(self, descriptor: int) -> None:
        try:
            os.ftruncate(descriptor, self._size)
        except OSError:
            self._abandon()

    def _abandon(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        self._head, self._size = b"", 0
        if descriptor is not None:
            os.close(descriptor)


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def segments(log: Path) -> Iterator[tuple[str, str, Path]]:
    """Model, version and path of every segment, oldest first within a version."""
    for path in sorted((log / SEGMENTS).glob(f"*/*/*{SUFFIX}")):
        if not path.name.startswith("."):
            yield unquote(path.parts[-3]), unquote(path.parts[-2]), path


def is_open(path: Path) -> bool:
    """Whether a living process still writes to the segment.

    Raises
    ------
    FileNotFoundError
        When it is gone.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False
