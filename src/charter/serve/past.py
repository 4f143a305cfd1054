"""What is known of an entity's past: nothing, or nothing recent, is worth a warning."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

import polars as pl

from charter.features.history import History
from charter.serve.types import AS_OF, Entity

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - frames hold naive UTC


class Past:
    """The events that windows read, looked at as a whole."""

    def __init__(self, entity: Entity, histories: Mapping[str, History]) -> None:
        self._column = entity.column
        self._histories = tuple(histories.values())
        self._newest = [
            (name, source.fresh_within_days, _EPOCH + timedelta(microseconds=end))
            for name, source in entity.sources.items()
            if name in histories and (end := histories[name].end) is not None
        ]

    def warn(self, observations: pl.DataFrame, warnings: list[list[str]]) -> None:
        """Add to the warnings of each row: the entity has no events; the newest event is old at ``as_of``."""
        places = [history.positions(observations[self._column]) for history in self._histories]
        for row, moment in enumerate(observations[AS_OF].to_list()):
            if places and all(found[row] < 0 for found in places):
                warnings[row].append(f"{self._column} has no events; its features are defaults or missing")
            for name, fresh_days, newest in self._newest:
                age_days = (moment - newest).total_seconds() / 86_400
                if age_days > fresh_days:
                    warnings[row].append(
                        f"the newest event of {name} is of {newest.date()}, {age_days:.0f} days before {AS_OF}"
                    )
