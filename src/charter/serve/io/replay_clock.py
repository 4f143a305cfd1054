"""The time of a replay: a file of eight bytes that whoever replays moves on, and that the server reads.

A server that is told such a file writes the moments of the replay into its log, and nothing else of it changes: how
long an answer took is measured as ever.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from charter.core.errors import UsageError

_BYTES = 8


class ReplayClock:
    """Reads the time of a replay.

    Raises
    ------
    UsageError
        When the file is not there or tells no time.

    Examples
    --------
    >>> import tempfile
    >>> file = Path(tempfile.mkdtemp()) / "clock"
    >>> set_time(file, datetime(2026, 3, 1))
    >>> ReplayClock(file).now_us()
    1772323200000000
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise UsageError(f"the clock {path} cannot be read: {error.strerror}") from error
        if len(os.pread(self._descriptor, _BYTES, 0)) != _BYTES:
            raise UsageError(
                f"{path} is no clock of a replay", remedy="`charter simulate --server` makes one."
            )

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return int.from_bytes(os.pread(self._descriptor, _BYTES, 0), "little")


def set_time(path: Path, moment: datetime) -> None:
    """Set the time of a replay (naive moments are UTC); those who read see the old one or the new one."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    stamp = round(aware.timestamp() * 1_000_000).to_bytes(_BYTES, "little")
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.pwrite(descriptor, stamp, 0)
    finally:
        os.close(descriptor)
