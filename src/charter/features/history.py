"""Events in the order in which windows read them: an entity's past is one contiguous slice."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean

Int64s = NDArray[np.int64]

MOMENT = pl.Datetime("us")
"""How moments stand in frames: naive, UTC, microseconds."""


@dataclass(frozen=True, slots=True)
class History:
    """The events of one source, sorted by entity and time.

    Events of the same entity and moment are ordered by their values, so that nothing computed from a history
    depends on the order of the rows it was made from: floating-point sums are the same to the bit.

    Attributes
    ----------
    frame
        The events, n rows, without those whose entity or time is null: nobody knows whose or when they are.
    entity, time
        Names of the two columns; ``time`` is ``Datetime("us")``.
    entities
        Distinct entities, k values, ascending.
    starts
        int64 [k + 1]: the events of entity i are the rows ``starts[i]`` to ``starts[i + 1]`` (exclusive).
    times
        int64 [n]: microseconds since 1970, ascending within an entity.
    """

    frame: pl.DataFrame
    entity: str
    time: str
    entities: pl.Series
    starts: Int64s
    times: Int64s

    @classmethod
    def of(
        cls,
        frame: pl.DataFrame,
        entity: str,
        time: str,
        columns: Iterable[str] | None = None,
        *,
        source: str = "events",
    ) -> History:
        """Sort events; n log n once, after which an entity is found in microseconds.

        Parameters
        ----------
        frame
            Events in any order.
        entity, time
            Column of the entity, and column of the moment (date or datetime) from which an event is known.
        columns
            Columns that the windows read; None keeps all. Ties are broken by these columns, so training and
            serving must name the same ones to agree to the bit: both take them from the feature set.
        source
            Name for error messages.

        Raises
        ------
        DataError
            When a column is missing or ``time`` is no date.
        """
        kept = sorted(set(frame.columns if columns is None else columns) - {entity, time})
        for name in (entity, time, *kept):
            if name not in frame.columns:
                raise DataError(
                    f"source {source!r} has no column {name!r}, which the features need",
                    remedy=did_you_mean(name, frame.columns),
                )
        if not frame.schema[time].is_temporal():
            raise DataError(
                f"column {time!r} of source {source!r} is {frame.schema[time]}, not a date or datetime",
                remedy="Declare its type as datetime (with its format) in data.sources.",
            )
        sorted_frame = (
            frame.select(entity, pl.col(time).cast(MOMENT), *kept)
            .drop_nulls([entity, time])
            .sort(entity, time, *kept)
            .rechunk()
        )
        groups = sorted_frame.group_by(entity, maintain_order=True).len()
        starts = np.concatenate([[0], np.cumsum(groups["len"].to_numpy())]).astype(np.int64)
        return cls(sorted_frame, entity, time, groups[entity], starts, microseconds(sorted_frame[time]))

    @property
    def end(self) -> int | None:
        """Moment of the last event in microseconds since 1970; None without events."""
        return int(self.times.max()) if len(self.times) else None

    def positions(self, keys: pl.Series) -> Int64s:
        """Place of each key among the entities, -1 for an unknown one; the same after `where`."""
        if not len(self.entities):
            return np.full(len(keys), -1, np.int64)
        wanted = self._as_entity(keys)
        if wanted.null_count():
            # Null has no place in the order; it is looked for as any entity and found not to be that one.
            found = self.positions(wanted.fill_null(self.entities[0]))
            return np.where(wanted.is_null().to_numpy(), -1, found)
        plain = wanted.dtype == pl.String or wanted.dtype.is_integer()
        if len(wanted) == 1 and plain:  # a request; a call of Polars costs more than looking
            at = bisect_left(self.entities, wanted[0])
            here = at < len(self.entities) and self.entities[at] == wanted[0]
            return np.array([at if here else -1], np.int64)
        place = self.entities.search_sorted(wanted).to_numpy().astype(np.int64)  # unsigned before
        at = np.minimum(place, len(self.entities) - 1)
        return np.where((self.entities.gather(at) == wanted).to_numpy(), at, -1)

    def spans(self, positions: Int64s) -> tuple[Int64s, Int64s]:
        """First row and row after the last of the entities at ``positions``; an unknown one has none."""
        known = positions >= 0
        return np.where(known, self.starts[positions], 0), np.where(known, self.starts[positions + 1], 0)

    def among(self, keys: pl.Series) -> tuple[History, Int64s]:
        """Cut out the history of the entities among ``keys`` without a look at the others; with each key's place."""
        found = self.positions(keys)
        known = found >= 0
        places = np.unique(found[known])
        if len(places) == len(self.entities):
            return self, found
        low, high = self.spans(places)
        rows = ranges(low, high)
        if len(places) == 1:  # slices cost nothing
            frame, left = self.frame[int(low[0]) : int(high[0])], self.entities[int(places[0]) :][:1]
        else:
            frame, left = self.frame[rows], self.entities.gather(places)
        starts = np.concatenate([[0], np.cumsum(high - low)]).astype(np.int64)
        cut = History(frame, self.entity, self.time, left, starts, self.times[rows])
        return cut, np.where(known, np.searchsorted(places, found), -1)

    def where(self, condition: pl.Expr) -> History:
        """The events for which the condition is true; entities without any stay, with an empty range."""
        mask = self.frame.select(condition.cast(pl.Boolean).fill_null(False)).to_series()
        if len(mask) != self.frame.height:  # a constant condition
            mask = pl.repeat(bool(mask[0]), self.frame.height, eager=True)
        kept = mask.to_numpy()
        before = np.concatenate([[0], np.cumsum(kept)]).astype(np.int64)
        return History(
            self.frame.filter(mask),
            self.entity,
            self.time,
            self.entities,
            before[self.starts],
            self.times[kept],
        )

    def _as_entity(self, keys: pl.Series) -> pl.Series:
        if keys.dtype == self.entities.dtype:
            return keys
        try:
            return keys.cast(self.entities.dtype)
        except pl.exceptions.PolarsError as error:
            raise DataError(
                f"{self.entity} is {keys.dtype} in the observations and {self.entities.dtype} in the events",
                remedy=f"Declare {self.entity} with the same type in every source.",
            ) from error


def microseconds(moments: pl.Series) -> Int64s:
    """Moments as microseconds since 1970, int64; the series must hold no null."""
    return moments.cast(MOMENT).to_numpy().astype(np.int64)


def ranges(low: Int64s, high: Int64s) -> Int64s:
    """Concatenate the ranges ``low[i]`` to ``high[i]`` (exclusive).

    Examples
    --------
    >>> ranges(np.array([2, 7]), np.array([4, 10])).tolist()
    [2, 3, 7, 8, 9]
    """
    lengths = high - low
    ends = np.cumsum(lengths)
    return np.repeat(low - (ends - lengths), lengths) + np.arange(lengths.sum(), dtype=np.int64)


def first_at_or_after(times: Int64s, low: Int64s, high: Int64s, moments: Int64s) -> Int64s:
    """For each i, the first row of ``low[i]`` to ``high[i]`` whose time is not before ``moments[i]``.

    A binary search in all ranges at once: log2 of the longest range steps of vector arithmetic.
    """
    if len(low) == 1:
        first = int(low[0])
        return first + np.searchsorted(times[first : int(high[0])], moments).astype(np.int64)
    low, high = low.copy(), high.copy()
    while (open_ := low < high).any():
        middle = (low + high) // 2
        before = open_ & (times[np.where(open_, middle, 0)] < moments)
        low = np.where(before, middle + 1, low)
        high = np.where(open_ & ~before, middle, high)
    return low
