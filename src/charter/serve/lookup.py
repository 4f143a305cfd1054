"""Window features of entities at request time, from the same code as in training."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from charter.core.errors import DataError
from charter.features.history import History
from charter.features.windows import Window, window_features
from charter.serve.types import AS_OF, Entity


class Lookup:
    """The events of entities, sorted once.

    Parameters
    ----------
    entity
        Whose events, and which columns of which sources.
    windows
        The feature set's windows.
    history
        Events per source.

    Raises
    ------
    DataError
        When a source that the windows read is missing.
    """

    def __init__(
        self, entity: Entity, windows: Mapping[str, Window], history: Mapping[str, pl.DataFrame | History]
    ) -> None:
        self._entity, self._windows = entity, windows
        missing = sorted(set(entity.sources) - set(history))
        if missing:
            raise DataError(
                f"events of source {missing[0]!r} are missing; the features of {entity.column} are made from them",
                remedy="Name its Parquet file under 'history' of the deployment.",
            )
        self._histories: dict[str, History] = {}
        for name, source in entity.sources.items():
            events = history[name]
            if not isinstance(events, History):
                events = History.of(events, entity.column, source.time, source.columns, source=name)
            self._histories[name] = events
        self._times = {name: source.time for name, source in entity.sources.items()}

    def windows(self, observations: pl.DataFrame) -> pl.DataFrame:
        """Window features of ``entity`` and ``as_of``, one row per observation, in their order."""
        return window_features(observations, self._histories, self._windows, self._entity.column, self._times)

    def warn(self, observations: pl.DataFrame, warnings: list[list[str]]) -> None:
        """Add warnings: nobody knows this entity; the events are old at ``as_of``."""
        keys, moments = observations[self._entity.column], observations[AS_OF].to_list()
        ranges = [history.find(keys) for history in self._histories.values()]
        for row in range(len(keys)):
            if ranges and all(high[row] <= low[row] for low, high in ranges):
                warnings[row].append(f"{self._entity.column} has no events; its features are defaults or missing")
        for name, source in self._entity.sources.items():
            end = self._histories[name].end
            if end is None:
                continue
            newest = datetime(1970, 1, 1) + timedelta(microseconds=end)  # noqa: DTZ001 - frames hold naive UTC
            for row, moment in enumerate(moments):
                age_days = _days(moment, newest)
                if age_days > source.fresh_within_days:
                    warnings[row].append(
                        f"the newest event of {name} is of {newest.date()}, {age_days:.0f} days before {AS_OF}"
                    )


def _days(moment: Any, newest: datetime) -> float:
    return (moment - newest).total_seconds() / 86_400 if isinstance(moment, datetime) else 0.0
