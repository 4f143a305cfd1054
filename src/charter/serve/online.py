"""Window features looked up in a store instead of computed from events, and what to say when they cannot be had."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.features.featureset import FeatureSet
from charter.features.history import microseconds
from charter.features.windows import window_names
from charter.serve.ports import Found, Freshness, OnlineStore, StoreDown
from charter.serve.types import AS_OF
from charter.serve.vectors import moment_of

OUTCOME = "__stored"
"""Column beside the looked-up features: a place in `OUTCOMES`."""
OUTCOMES = ("found", "unknown", "stale", "ahead", "down")
"""A vector that may be used; none; one that is too old at ``as_of``; one that looks back from a later moment, and so
knows what ``as_of`` must not know; and a store that did not answer."""
_FOUND, _UNKNOWN, _STALE, _AHEAD, _DOWN = range(len(OUTCOMES))
_RETRY_SECONDS = 1.0
T = TypeVar("T")


class Lookup:
    """Window features of requests, one query of the store per batch.

    Where there is no vector that may be used, the windows have their declared defaults, or are missing, exactly as for
    an entity without events; the answer says so. A store that failed is left alone for a second, so that a dead one
    costs no more than its timeout a second.

    Parameters
    ----------
    store
        Holds vectors of the windows of ``features``, in the order of `charter.features.windows.window_names`.
    fresh_within
        Oldest age at ``as_of`` at which a vector may be used.
    dtype
        Type of the entity's column in a request.
    monotonic
        A clock in seconds.
    """

    def __init__(
        self,
        store: OnlineStore,
        features: FeatureSet,
        fresh_within: timedelta,
        dtype: pl.DataType,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fresh_within = fresh_within
        self._store, self._entity, self._dtype = store, features.entity or "", dtype
        windows = {w.name: w for w in features.windows}
        self._names = window_names(windows)
        defaults = [w.default for w in features.windows for _ in w.over]
        self._defaults = np.array([np.nan if d is None else d for d in defaults])
        self._fresh_us = fresh_within // timedelta(microseconds=1)
        self._monotonic = monotonic
        self._retry_at = -np.inf
        self._seen: tuple[float, Freshness | None] = (-np.inf, None)

    def join(self, inputs: pl.DataFrame) -> pl.DataFrame:
        """Add the windows' features and the column `OUTCOME` to inputs, unless they are there.

        Parameters
        ----------
        inputs
            n rows with the entity and ``as_of``.
        """
        if OUTCOME in inputs.columns:
            return inputs
        vectors, outcomes, as_of = self._look_up(inputs)
        columns = pl.DataFrame(vectors, schema=dict.fromkeys(self._names, pl.Float64), orient="row")
        return inputs.with_columns(
            *columns.select(pl.all().fill_nan(None)).get_columns(),
            pl.Series(OUTCOME, outcomes),
            pl.Series(_stored(), as_of),
        )

    def warn(self, joined: pl.DataFrame) -> Iterator[tuple[int, str]]:
        """Warnings with the row's place, for rows whose windows are not from the store."""
        joined = self.join(joined)
        outcomes = joined[OUTCOME].to_numpy()
        for row in np.flatnonzero(outcomes != _FOUND).tolist():
            yield row, self._say(int(outcomes[row]), joined[_stored()][row]) + _INSTEAD

    def tally(self, joined: pl.DataFrame) -> Mapping[str, int]:
        """How many rows had which outcome."""
        counts = np.bincount(joined[OUTCOME].to_numpy(), minlength=len(OUTCOMES))
        return {name: n for name, n in zip(OUTCOMES, counts.tolist(), strict=True) if n}

    def freshness(self) -> Freshness | None:
        """What was materialised last, asked at most once a second.

        Raises
        ------
        StoreDown
            When the store cannot tell.
        """
        now = self._monotonic()
        at, seen = self._seen
        if now - at >= _RETRY_SECONDS:
            seen = self._guarded(self._store.freshness)
            self._seen = (now, seen)
        return seen

    @property
    def as_of(self) -> datetime | None:
        """The moment of what was materialised last, as far as is known."""
        return self._seen[1].as_of if self._seen[1] is not None else None

    def state(self, now: datetime) -> dict[str, Any]:
        """Tell people and probes how the store is: ``fresh``, ``stale``, ``empty`` or ``down``."""
        try:
            seen = self.freshness()
        except StoreDown as error:
            return {"state": "down", "why": error.message}
        if seen is None:
            return {"state": "empty", "why": "nothing is materialised for this feature set"}
        fresh = now.replace(tzinfo=None) - seen.as_of <= self.fresh_within
        state = "fresh" if fresh else "stale"
        return {"state": state, "as_of": seen.as_of.isoformat() + "Z", "entities": seen.entities}

    def _look_up(
        self, inputs: pl.DataFrame
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
        rows = inputs.height
        outcomes = np.full(rows, _DOWN, np.uint8)
        vectors = np.tile(self._defaults, (rows, 1))
        keys = entity_texts(inputs[self._entity], self._dtype)
        try:
            found = self._guarded(lambda: self._ask(keys))
        except StoreDown:
            return vectors, outcomes, np.zeros(rows, np.int64)
        age = microseconds(inputs[AS_OF]) - found.as_of
        outcomes[:] = np.select(
            [~found.known | inputs[self._entity].is_null().to_numpy(), age < 0, age > self._fresh_us],
            [_UNKNOWN, _AHEAD, _STALE],
            _FOUND,
        )
        usable = outcomes == _FOUND
        vectors[usable] = found.vectors[usable]
        return vectors, outcomes, found.as_of

    def _ask(self, keys: Sequence[str | None]) -> Found:
        found = self._store.get_many([k or "" for k in keys])
        shape = (len(keys), len(self._names))
        if found.vectors.shape != shape:
            raise StoreDown(f"the feature store gave numbers of shape {found.vectors.shape}, not {shape}")
        return found

    def _guarded(self, ask: Callable[[], T]) -> T:
        now = self._monotonic()
        if now < self._retry_at:
            raise StoreDown("the feature store failed less than a second ago")
        try:
            return ask()
        # Serving fails soft, whatever a store that somebody plugged in raises.
        except Exception as error:
            self._retry_at = self._monotonic() + _RETRY_SECONDS
            if isinstance(error, StoreDown):
                raise
            raise StoreDown(f"the feature store failed: {type(error).__name__}") from error

    def _say(self, outcome: int, stored: int) -> str:
        if outcome == _DOWN:
            return "the feature store does not answer"
        if outcome == _UNKNOWN:
            return f"{self._entity} is not in the feature store"
        day = moment_of(stored).isoformat(" ", "minutes")
        if outcome == _AHEAD:
            return f"the stored features are of {day}, after {AS_OF}"
        return f"the stored features are of {day}, longer before {AS_OF} than {_words(self.fresh_within)}"


_INSTEAD = "; its window features are defaults or missing"


def entity_texts(keys: pl.Series, dtype: pl.DataType) -> Sequence[str | None]:
    """Entities as a store names them, the same from events and from requests."""
    return keys.cast(dtype).cast(pl.String).to_list()


def _stored() -> str:
    return f"{OUTCOME}_as_of"


def _words(span: timedelta) -> str:
    return f"{span.days} d" if span.days and not span.seconds else f"{span.total_seconds() / 3600:g} h"
