"""Arrow IPC streams that a crash may cut short: every message proves that it is whole.

A segment of the prediction log is a standard Arrow IPC stream (a schema, then record batches; no end mark, which the
format allows), so any Arrow reader opens it. Behind the metadata of each message, where the format allows padding,
stand a mark and a CRC-32 of the message. A reader that knows of it tells a whole batch from one that was being written
when the process or the machine died, and finds whole batches behind a damaged one.
"""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import polars as pl

END = struct.pack("<II", 0xFFFFFFFF, 0)
"""Ends a stream."""
_CONTINUATION = b"\xff\xff\xff\xff"
_MARK = b"CRC1"


@dataclass(frozen=True, slots=True)
class Walk:
    """What of a stream is whole.

    Attributes
    ----------
    spans
        Begin and end of each whole message, the schema's first.
    good_bytes
        Length of the whole messages together.
    torn_bytes
        The rest: cut or damaged.
    """

    spans: tuple[tuple[int, int], ...]
    good_bytes: int
    torn_bytes: int

    @property
    def batches(self) -> int:
        """Whole record batches."""
        return max(len(self.spans) - 1, 0)


def encode(frame: pl.DataFrame) -> tuple[bytes, bytes]:
    """Write a frame as a sealed schema message, and sealed record batches.

    Equal schemas give equal schema bytes, so batches of one schema can follow one head.
    """
    buffer = io.BytesIO()
    frame.rechunk().write_ipc_stream(buffer, compat_level=pl.CompatLevel.newest())
    data = buffer.getvalue()
    sealed, at = [], 0
    while len(data) - at > len(END):
        end = at + _length(data, at)
        sealed.append(_seal(data[at:end]))
        at = end
    return sealed[0], b"".join(sealed[1:])


def walk(data: bytes) -> Walk:
    """Find the whole messages of a stream, whatever happened to it.

    Examples
    --------
    >>> head, batch = encode(pl.DataFrame({"x": [1, 2]}))
    >>> walk(head + batch + batch[:-1]).batches, walk(head + batch + batch).batches
    (1, 2)
    """
    spans: list[tuple[int, int]] = []
    at, good = 0, 0
    while at + 8 <= len(data):
        end = _whole(data, at)
        if end is None:
            # Messages begin at multiples of 8; look for the next one that proves itself.
            at = data.find(_CONTINUATION, at + 8)
            if at < 0:
                break
            at += -at % 8
            continue
        if not spans and at > 0:
            break  # without its schema a batch cannot be read
        spans.append((at, end))
        good += end - at
        at = end
    return Walk(tuple(spans), good, len(data) - good)


def decode(data: bytes, found: Walk, *, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read the whole messages of a stream; no rows where not even the schema is whole."""
    if not found.spans:
        return pl.DataFrame()
    whole = data[: found.good_bytes] if not found.torn_bytes else b"".join(data[a:b] for a, b in found.spans)
    return pl.read_ipc_stream(io.BytesIO(whole + END), columns=list(columns) if columns is not None else None)


def schema_of(head: bytes) -> pl.Schema | None:
    """Schema of a stream from its first bytes; None when the schema message is not whole."""
    end = _whole(head, 0) if len(head) >= 8 else None
    return None if end is None else _schema(head[:end])


@lru_cache(maxsize=64)
def _schema(message: bytes) -> pl.Schema:
    """Segments of a version all begin alike."""
    return pl.read_ipc_stream(io.BytesIO(message + END)).schema


def _length(data: bytes, at: int) -> int:
    """Length of the message at ``at``: prefix, metadata, body; the last from the metadata's FlatBuffer."""
    size = struct.unpack_from("<I", data, at + 4)[0]
    meta = at + 8
    table = meta + struct.unpack_from("<I", data, meta)[0]
    fields = table - struct.unpack_from("<i", data, table)[0]
    # Field 3 of a Message is bodyLength; a vtable begins with its own size and the table's.
    slot = (
        struct.unpack_from("<H", data, fields + 10)[0]
        if struct.unpack_from("<H", data, fields)[0] > 10
        else 0
    )
    body = struct.unpack_from("<q", data, table + slot)[0] if slot else 0
    return 8 + int(size) + int(body)


def _seal(message: bytes) -> bytes:
    size = struct.unpack_from("<I", message, 4)[0]
    longer = struct.pack("<I", size + 8)
    check = zlib.crc32(message[8:])
    return b"".join(
        (message[:4], longer, message[8 : 8 + size], _MARK, struct.pack("<I", check), message[8 + size :])
    )


def _whole(data: bytes, at: int) -> int | None:
    """End of the message at ``at``, or None when it is not whole."""
    if data[at : at + 4] != _CONTINUATION:
        return None
    try:
        size = struct.unpack_from("<I", data, at + 4)[0]
        seal = at + 8 + size - 8
        if size < 16 or data[seal : seal + 4] != _MARK:
            return None
        end = at + _length(data, at)
        check = struct.unpack_from("<I", data, seal + 4)[0]
    except struct.error:
        return None
    if not seal + 8 <= end <= len(data):
        return None
    view = memoryview(data)
    return end if zlib.crc32(view[seal + 8 : end], zlib.crc32(view[at + 8 : seal])) == check else None
