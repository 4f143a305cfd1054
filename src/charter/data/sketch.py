"""A sample of the distinct values of a column that adds up exactly: the values of smallest hash, with their counts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from zlib import crc32

import numpy as np
import numpy.typing as npt
import polars as pl

SAMPLED_VALUES = 256
"""So many values are kept; the estimate of the number of distinct ones has a standard error of 6 %."""
_HASHES = 2.0**64


def hashes(values: Iterable[str]) -> npt.NDArray[np.uint64]:
    """Hash texts evenly to 64 bits, the same on every machine and in every version.

    CRC-32 made even by SplitMix64's finaliser (Steele, Lea and Flood, 2014). Two texts in four thousand million share a
    hash, so among a million distinct ones about a hundred do.

    Examples
    --------
    >>> [f"{h:016x}" for h in hashes(["a", "b"]).tolist()]
    ['2c3debbc7335b4ee', '645f1e1d7a7ff68f']
    """
    mixed = np.array([crc32(v.encode("utf-8", "surrogatepass")) for v in values], dtype=np.uint64)
    mixed += np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sample(counts: Mapping[str, int], *, hashed: bool = False) -> dict[str, int]:
    """Keep the values of smallest hash, with their counts, in the order of the hash.

    Whoever is among the smallest of the whole is among the smallest of each part in which it occurs, so the sample of
    the merged counts of samples is the sample of the whole: merging is exact, associative and commutative (bottom-k
    sketch; Cohen and Kaplan, 2007).

    Parameters
    ----------
    hashed
        The values are hashes in hexadecimal already (of texts, which are not kept).
    """
    names = list(counts)
    order = _ranks(names, hashed=hashed)
    kept = np.argsort(order, kind="stable")[:SAMPLED_VALUES]
    return {names[i]: counts[names[i]] for i in kept.tolist()}


def smallest(counted: pl.DataFrame) -> pl.DataFrame:
    """Leave of distinct values only those that `sample` can keep, before they become Python's.

    Parameters
    ----------
    counted
        Distinct texts in ``value``.
    """
    if counted.height <= SAMPLED_VALUES:
        return counted
    ranks = hashes(counted["value"])
    last = np.unique(ranks)[:SAMPLED_VALUES][-1]  # texts that share a hash stay together
    return counted.filter(ranks <= last)


def merge_samples(a: Mapping[str, int], b: Mapping[str, int], *, hashed: bool = False) -> dict[str, int]:
    """Sample of both together."""
    if not a or not b:
        return dict(a or b)
    return sample({v: a.get(v, 0) + b.get(v, 0) for v in (*a, *(v for v in b if v not in a))}, hashed=hashed)


def distinct(kept: Mapping[str, int], rows: int, *, hashed: bool = False) -> int | None:
    """Number of distinct values among ``rows`` rows of which ``kept`` is the sample.

    Exact while nothing had to be left out, else ``(k - 1) / h`` with ``h`` the largest hash kept, as a share of all
    hashes (Beyer and others, 2007). None when no sample was kept (profiles before schema version 2).

    Examples
    --------
    >>> distinct({"a": 2, "b": 1}, 3)
    2
    """
    if sum(kept.values()) == rows:
        return len(kept)
    if len(kept) < SAMPLED_VALUES:
        return None
    largest = float(_ranks(list(kept), hashed=hashed).max())
    return max(round((len(kept) - 1) / ((largest + 1) / _HASHES)), len(kept))


def _ranks(names: list[str], *, hashed: bool) -> npt.NDArray[np.uint64]:
    return np.array([int(n, 16) for n in names], dtype=np.uint64) if hashed else hashes(names)
