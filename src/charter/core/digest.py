"""Content digests: everything that Charter keeps is named by what it contains."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NewType

Digest = NewType("Digest", str)
"""``sha256`` of the content, 64 lower-case hexadecimal characters."""


def digest_bytes(data: bytes) -> Digest:
    """Digest of raw bytes."""
    return Digest(hashlib.sha256(data).hexdigest())


def digest_file(path: Path) -> Digest:
    """Digest of a file's bytes, read in chunks."""
    with path.open("rb") as file:
        return Digest(hashlib.file_digest(file, "sha256").hexdigest())


def canonical_json(value: Any) -> bytes:
    """Serialise plain data so that equal values give equal bytes: sorted keys, no spaces, UTF-8.

    Raises
    ------
    ValueError
        For NaN and infinities, which JSON cannot say; use `plain` to turn them into strings first.
    """
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def ordered_json(value: Any) -> bytes:
    """Serialise plain data with its keys in their order, for documents in which order has a meaning."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest_json(value: Any) -> Digest:
    """Digest of plain data.

    Examples
    --------
    >>> digest_json({"a": 1, "b": 2}) == digest_json({"b": 2, "a": 1})
    True
    """
    return digest_bytes(canonical_json(value))


def combine(parts: Iterable[str]) -> Digest:
    """Digest of an ordered list of digests or names."""
    return digest_json(list(parts))


def short(digest: str) -> str:
    """First characters of a digest, for people."""
    return digest[:8]


def plain(value: Any) -> Any:
    """Replace non-finite floats by ``None`` throughout plain data, for JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return value
