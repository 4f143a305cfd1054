"""Buckets of units and their division among arms.

A unit (a customer, a device) gets a bucket, one of a million, from its name and a salt::

    bucket = floor(u * 1,000,000 / 2**32),  u = the first four bytes, big end first, of SHA-256("<salt>:<unit>")

and the bucket's place in an `Allocation` names the arm. Nothing is stored for a unit, so nothing is lost or looked
up, and the same line can be written in any language and in SQL (``docs/experiments.md`` shows both;
``docs/assignment-vectors.json`` holds cases to test them with). Different salts give independent buckets.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from charter.core.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

    Integers = npt.NDArray[np.int64]

BUCKETS = 1_000_000
_SALT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,63}")


def bucket(salt: str, unit: str | int) -> int:
    """Bucket of a unit, 0 to 999,999.

    Parameters
    ----------
    salt
        Letters, digits, ``.``, ``_``, ``/``, ``-``; at most 64.
    unit
        Text, hashed as it is in UTF-8 (so upper and lower case differ), or a whole number, hashed as its digits.

    Raises
    ------
    UsageError
        For another salt, an empty unit, or a unit of another type: 7.0 and "7" would be two units.

    Examples
    --------
    >>> bucket("checkout-2026", "customer-1"), bucket("checkout-2026", 17850) == bucket("checkout-2026", "17850")
    (963749, True)
    """
    check_salt(salt)
    return _bucket(f"{salt}:".encode(), unit_text(unit))


def buckets(salt: str, units: pl.Series, *, secret: bytes = b"") -> Integers:
    """Buckets of a column of units: exactly those of `bucket`, one by one, where there is no secret.

    Parameters
    ----------
    units
        Text, categories or whole numbers, n rows.
    secret
        Hashed before the salt, always as long: where whoever asks can choose a unit, only its holder can tell the
        bucket.

    Returns
    -------
    ndarray of int64, shape (n,)
        -1 where the unit is null or empty.
    """
    import numpy as np
    import polars as pl

    check_salt(salt)
    if not (units.dtype.is_integer() or units.dtype in (pl.String, pl.Categorical, pl.Enum)):
        raise UsageError(
            f"units are of type {units.dtype}, which has no one way to be written",
            remedy="Give text or whole numbers.",
        )
    prefix = secret + f"{salt}:".encode()
    texts = units.cast(pl.String).to_list()
    return np.fromiter((_bucket(prefix, t) if t else -1 for t in texts), dtype=np.int64, count=len(texts))


def _bucket(prefix: bytes, unit: str) -> int:
    first = hashlib.sha256(prefix + unit.encode()).digest()[:4]
    return (int.from_bytes(first, "big") * BUCKETS) >> 32


def unit_text(unit: str | int) -> str:
    """Write a unit as it is hashed."""
    if isinstance(unit, bool) or not isinstance(unit, str | int) or unit == "":
        raise UsageError(f"{unit!r} is not a unit", remedy="Give text that is not empty, or a whole number.")
    return str(unit)


def check_salt(salt: str) -> None:
    """Refuse what cannot be a salt."""
    if not _SALT.fullmatch(salt):
        raise UsageError(
            f"{salt!r} is not a salt",
            remedy="Write up to 64 letters, digits, '.', '_', '/' or '-', the first a letter or digit.",
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """Buckets ``start <= bucket < stop`` of one arm."""

    arm: str
    start: int
    stop: int

    @property
    def size(self) -> int:
        """Number of buckets."""
        return self.stop - self.start


@dataclass(frozen=True, slots=True)
class Allocation:
    """Which buckets belong to which arm; what no segment holds belongs to none.

    Attributes
    ----------
    segments
        Ascending, not overlapping.
    """

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        edges = [edge for s in self.segments for edge in (s.start, s.stop)]
        if any(s.size <= 0 for s in self.segments) or edges != sorted(edges):
            raise UsageError("segments must be ascending, not empty and not overlap")
        if edges and not (edges[0] >= 0 and edges[-1] <= BUCKETS):
            raise UsageError(f"segments must lie between 0 and {BUCKETS:,}")

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> Allocation:
        """Lay out arms side by side in the order given.

        Parameters
        ----------
        shares
            Arm to its share of units; they add up to 1 at most, exact to a millionth.

        Examples
        --------
        >>> Allocation.of({"control": 0.9, "treatment": 0.1}).shares
        {'control': 0.9, 'treatment': 0.1}
        """
        return cls(()).with_shares(shares)

    @property
    def shares(self) -> dict[str, float]:
        """Share of units of each arm."""
        return {arm: size / BUCKETS for arm, size in self._sizes().items()}

    def arm_at(self, place: int) -> str | None:
        """Arm of a bucket."""
        i = bisect_right(self.segments, place, key=lambda s: s.start) - 1
        return self.segments[i].arm if i >= 0 and place < self.segments[i].stop else None

    def with_shares(self, shares: Mapping[str, float]) -> Allocation:
        """Change the shares and move as few units as can be.

        An arm that does not shrink keeps every unit that it has, so a ramp shows nobody two arms. An arm that shrinks
        gives up its last buckets; arms that grow take free buckets first, then those given up.

        Examples
        --------
        >>> five = Allocation.of({"new": 0.05, "old": 0.95})
        >>> twenty = five.with_shares({"new": 0.2, "old": 0.8})
        >>> moved = [b for b in range(0, BUCKETS, 1000) if five.arm_at(b) == "new" != twenty.arm_at(b)]
        >>> twenty.shares, moved
        ({'new': 0.2, 'old': 0.8}, [])
        """
        wanted = _whole(shares)
        kept: list[Segment] = []
        given_up: list[tuple[int, int]] = []
        room = dict(wanted)
        for s in self.segments:
            size = min(s.size, room.get(s.arm, 0))
            room[s.arm] = room.get(s.arm, 0) - size
            if size:
                kept.append(Segment(s.arm, s.start, s.start + size))
            if size < s.size:
                given_up.append((s.start + size, s.stop))
        free = [*self._gaps(), *given_up]
        for arm, need in ((arm, need) for arm, need in room.items() if need):
            while need:
                start, stop = free.pop(0)
                taken = min(need, stop - start)
                kept.append(Segment(arm, start, start + taken))
                need -= taken
                if start + taken < stop:
                    free.insert(0, (start + taken, stop))
        return Allocation(_joined(sorted(kept, key=lambda s: s.start)))

    def _sizes(self) -> dict[str, int]:
        sizes: dict[str, int] = {}
        for s in self.segments:
            sizes[s.arm] = sizes.get(s.arm, 0) + s.size
        return sizes

    def _gaps(self) -> list[tuple[int, int]]:
        edges = [0, *(edge for s in self.segments for edge in (s.start, s.stop)), BUCKETS]
        return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]

    def to_json(self) -> list[list[Any]]:
        """Plain data: ``[[arm, start, stop], ...]``."""
        return [[s.arm, s.start, s.stop] for s in self.segments]

    @classmethod
    def from_json(cls, data: Iterable[Iterable[Any]]) -> Allocation:
        """Inverse of `to_json`."""
        return cls(tuple(Segment(*one) for one in data))


def _whole(shares: Mapping[str, float]) -> dict[str, int]:
    """Shares in whole buckets: borders are rounded, so that the parts of a whole stay whole."""
    total, borders = 0.0, [0]
    for arm, share in shares.items():
        if not 0 <= share <= 1:
            raise UsageError(f"arm {arm!r} has the share {share}", remedy="A share is between 0 and 1.")
        total += share
        borders.append(round(total * BUCKETS))
    if total > 1 + 1e-9:
        raise UsageError(f"the arms' shares add up to {total:g}", remedy="They may add up to 1 at most.")
    return {arm: stop - start for arm, (start, stop) in zip(shares, pairwise(borders), strict=True)}


def _joined(segments: list[Segment]) -> tuple[Segment, ...]:
    joined: list[Segment] = []
    for s in segments:
        if joined and joined[-1].arm == s.arm and joined[-1].stop == s.start:
            joined[-1] = Segment(s.arm, joined[-1].start, s.stop)
        else:
            joined.append(s)
    return tuple(joined)
