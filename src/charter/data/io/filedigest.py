"""Digests of files, remembered so that an unchanged file is not read again. No numerical library here."""

from __future__ import annotations

import json
import time
from pathlib import Path

from charter.core.digest import Digest, digest_file
from charter.core.io.files import write_atomic

_CACHE = "file-digests.json"
_MAX_ENTRIES = 1000
# A file changed so shortly before it was read may change again within one tick of the file system's clock.
_SETTLED_NS = 2_000_000_000


def file_digest(path: Path, home: Path) -> Digest:
    """Digest of a file's bytes.

    Remembered under ``home`` by path, size, inode, modification and change time. The change time cannot be set by a
    user, so a file that was replaced and given its old modification time is read again; a file that changed within
    the last two seconds is not remembered at all. The memory is an optimisation: lost, damaged or unwritable, it
    only costs time.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    path = path.resolve()
    memory = home / _CACHE
    known = _load(memory)
    stamp = _stamp(path)
    entry = known.get(str(path))
    if isinstance(entry, list) and len(entry) == 2 and entry[0] == stamp and isinstance(entry[1], str):
        return Digest(entry[1])
    digest = digest_file(path)
    settled = time.time_ns() - max(stamp[2], stamp[3]) > _SETTLED_NS
    if settled and _stamp(path) == stamp:
        known = _load(memory)  # others may have written meanwhile
        known.pop(str(path), None)
        known[str(path)] = [stamp, digest]
        kept = dict(list(known.items())[-_MAX_ENTRIES:])
        try:
            write_atomic(memory, json.dumps(kept).encode())
        except OSError:
            return digest  # a home that cannot be written costs time, not correctness
    return digest


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns, status.st_dev]


def _load(memory: Path) -> dict[str, object]:
    try:
        known = json.loads(memory.read_bytes())
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
