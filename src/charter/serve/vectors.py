"""Vectors of features as bytes: the moment, then the numbers, all little-endian and 8 bytes wide."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

import numpy as np
import numpy.typing as npt

from charter.serve.ports import Found

EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - frames hold naive UTC


def pack(as_of: int, vectors: npt.NDArray[np.float64]) -> Iterator[bytes]:
    """Records of vectors, float64 [n, d], that look back from ``as_of`` (microseconds since 1970).

    Examples
    --------
    >>> records = list(pack(7, np.array([[0.1, np.nan]])))
    >>> found = unpack([*records, None, b"damaged"], width=2)
    >>> found.vectors[0].tolist(), found.as_of.tolist(), found.known.tolist()
    ([0.1, nan], [7, 0, 0], [True, False, False])
    """
    records = np.empty(len(vectors), _record(vectors.shape[1]))
    records["as_of"], records["vector"] = as_of, vectors
    data, size = records.tobytes(), records.itemsize
    return (data[i : i + size] for i in range(0, len(data), size))


def unpack(records: Sequence[bytes | None], width: int) -> Found:
    """Inverse of `pack` to the bit; None, and what is not as long as a record, is an unknown entity."""
    dtype = _record(width)
    known = np.array([r is not None and len(r) == dtype.itemsize for r in records], dtype=bool)
    vectors = np.full((len(records), width), np.nan)
    as_of = np.zeros(len(records), np.int64)
    if known.any():
        whole = [r for r, k in zip(records, known.tolist(), strict=True) if k and r is not None]
        read = np.frombuffer(b"".join(whole), dtype)
        vectors[known], as_of[known] = read["vector"], read["as_of"]
    return Found(vectors, as_of, known)


def since_1970(moment: datetime) -> int:
    """Microseconds of a naive UTC moment since 1970."""
    return (moment - EPOCH) // timedelta(microseconds=1)


def moment_of(microseconds: int) -> datetime:
    """Inverse of `since_1970`."""
    return EPOCH + timedelta(microseconds=microseconds)


def _record(width: int) -> np.dtype[np.void]:
    return np.dtype([("as_of", "<i8"), ("vector", "<f8", (width,))])
