"""Telling that a file has changed, without reading it."""

from __future__ import annotations

import stat
from pathlib import Path

EVERY_SECONDS = 0.2
Mark = tuple[int, int, int] | None


def mark(path: Path) -> Mark:
    """Tell one content of a file from another without reading it; None for a missing one, or what is no file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_mtime_ns, found.st_size, found.st_ino) if stat.S_ISREG(found.st_mode) else None
