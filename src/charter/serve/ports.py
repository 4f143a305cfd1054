"""What serving asks of the outside: a store that keeps each entity's window features for a while."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
import numpy.typing as npt

from charter.core.errors import UsageError

Chunk = tuple[Sequence[str], npt.NDArray[np.float64]]
"""Entities as text, n of them, and their vectors, float64 [n, d]; NaN is missing."""


class StoreDown(UsageError):
    """The store cannot be asked now: not reached, too slow, or damaged. Asking later may help."""


@dataclass(frozen=True, slots=True)
class Freshness:
    """The last materialisation of a feature set.

    Attributes
    ----------
    as_of
        Naive UTC: what happened before this moment is in the vectors.
    entities
        How many have a vector.
    """

    as_of: datetime
    entities: int


@dataclass(frozen=True, slots=True)
class Found:
    """What a store holds of n entities that were asked for.

    Attributes
    ----------
    vectors
        float64 [n, d]; NaN where there is none.
    as_of
        int64 [n]: microseconds since 1970 from which the vector looks back.
    known
        bool [n]: whether there is a vector.
    """

    vectors: npt.NDArray[np.float64]
    as_of: npt.NDArray[np.int64]
    known: npt.NDArray[np.bool_]


class OnlineStore(Protocol):
    """Vectors of one feature set by entity; what another feature set put there is not seen.

    A store is safe to call from several threads. ``get_many`` and ``freshness`` come back within a fraction of a
    second, whatever happens to the store; every method raises `StoreDown` and nothing else when it cannot do its work.
    `charter.testing.stores.StoreConformance` tests all this.
    """

    def put_many(self, as_of: datetime, chunks: Iterable[Chunk]) -> Freshness:
        """Replace all vectors. Readers see the old ones until the last chunk is there, then only the new."""
        ...

    def get_many(self, entities: Sequence[str]) -> Found:
        """Look up entities in one query; repeats and unknown ones are fine."""
        ...

    def freshness(self) -> Freshness | None:
        """Tell what was materialised last; None when nothing was."""
        ...

    def close(self) -> None:
        """Let go of connections."""
        ...
