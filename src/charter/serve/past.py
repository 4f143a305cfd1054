"""What is known of an entity's past: nothing, or nothing recent, is worth a warning."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from charter.features.history import History, microseconds
from charter.serve.types import AS_OF, Entity

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - frames hold naive UTC


class Past:
    """The events that windows read, looked at as a whole."""

    def __init__(self, entity: Entity, histories: Mapping[str, History]) -> None:
        self._column = entity.column
        self._histories = tuple(histories.values())
        self._newest = [
            (name, source.fresh_within_days, end)
            for name, source in entity.sources.items()
            if name in histories and (end := histories[name].end) is not None
        ]

    def warn(self, observations: pl.DataFrame) -> Iterator[tuple[int, str]]:
        """Warnings with the row's place: the entity has no events; the newest event is old at ``as_of``."""
        if self._histories:
            unknown = np.ones(observations.height, dtype=bool)
            for history in self._histories:
                unknown &= history.positions(observations[self._column]) < 0
            for row in np.flatnonzero(unknown).tolist():
                yield row, f"{self._column} has no events; its features are defaults or missing"
        as_of = microseconds(observations[AS_OF])
        for name, fresh_days, newest in self._newest:
            age_days = (as_of - newest) / 1e6 / 86_400
            day = (_EPOCH + timedelta(microseconds=newest)).date()
            for row in np.flatnonzero(age_days > fresh_days).tolist():
                age = age_days[row]
                yield row, f"the newest event of {name} is of {day}, {age:.0f} days before {AS_OF}"
