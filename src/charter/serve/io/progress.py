"""What a process is working on, for another to see: whether it hangs, and on what it died."""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path
from typing import NamedTuple

_RECORD = struct.Struct("<qqq")


class Task(NamedTuple):
    """A piece of work, named by who sent it and its number; ``began`` is `time.monotonic`, which processes share."""

    began: float
    pid: int
    number: int


class Progress:
    """A small file in memory that says what is being done.

    It outlives its process, so that the next one knows on what the one before died.
    """

    def __init__(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            os.ftruncate(descriptor, _RECORD.size)
            self._memory = mmap.mmap(descriptor, _RECORD.size)
        finally:
            os.close(descriptor)

    def begin(self, pid: int, number: int) -> None:
        """Say what is begun now."""
        _RECORD.pack_into(self._memory, 0, time.monotonic_ns(), pid, number)

    def end(self) -> None:
        """Say that it is done."""
        _RECORD.pack_into(self._memory, 0, 0, 0, 0)

    def task(self) -> Task | None:
        """What is being done; None while nothing is."""
        began_ns, pid, number = _RECORD.unpack_from(self._memory, 0)
        return Task(began_ns / 1e9, pid, number) if began_ns else None

    def close(self) -> None:
        """Let go of the file."""
        self._memory.close()
