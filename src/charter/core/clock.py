"""Time as an argument. UTC only."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the time."""

    def now(self) -> datetime:
        """Return the present moment, aware, in UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the present moment in UTC."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is moved; for tests and replays."""

    def __init__(self, start: datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        """Return the moment the clock was set to."""
        return self._now

    def advance(self, step: timedelta) -> None:
        """Move the clock by ``step``."""
        self._now += step


def iso(moment: datetime) -> str:
    """ISO 8601 in UTC, to the microsecond, ending in ``Z``.

    Examples
    --------
    >>> iso(datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))
    '2026-01-02T03:04:05.000000Z'
    """
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_iso(text: str) -> datetime:
    """Inverse of `iso`; a text without an offset is taken as UTC."""
    moment = datetime.fromisoformat(text)
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def naive(moment: datetime) -> datetime:
    """The same moment in UTC without saying so, as columns of moments hold it.

    Examples
    --------
    >>> naive(datetime(2026, 1, 2, 3, tzinfo=UTC))
    datetime.datetime(2026, 1, 2, 3, 0)
    """
    return moment.astimezone(UTC).replace(tzinfo=None)
