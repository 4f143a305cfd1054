"""Small quantities that a specification states as text: requirements, durations, volumes."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import timedelta

_REQUIREMENT = re.compile(r"^\s*(>=|<=|>|<|==)\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*$")
_DURATION = re.compile(r"^\s*(\d+)\s*(ms|s|m|h|d|w)\s*$")
_VOLUME = re.compile(r"^\s*(\d+(?:\.\d+)?)\s+per\s+(day|week|month|year)\s*$")
_LATEST = re.compile(r"^\s*latest\s*(?:-\s*(\d+)\s*([dw])\s*)?$")
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_CENTURY = timedelta(days=100 * 366)
_PER_MONTH = {"day": 365.25 / 12, "week": 365.25 / 84, "month": 1.0, "year": 1 / 12}


@dataclass(frozen=True, slots=True)
class Requirement:
    """A limit on a measured number, such as ``>= 0.76``."""

    operator: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Requirement:
        """Read ``">= 0.76"``.

        Raises
        ------
        ValueError
            When the text is not a comparison with a finite number.
        """
        match = _REQUIREMENT.match(text)
        if match is None or not math.isfinite(float(match[2])):
            raise ValueError(
                f"{text!r} is not a requirement; write a comparison with a number, such as '>= 0.76'"
            )
        return cls(match[1], float(match[2]))

    def met_by(self, observed: float) -> bool:
        """Whether ``observed`` satisfies the limit; NaN never does.

        Examples
        --------
        >>> Requirement.parse("<= 0.03").met_by(0.03), Requirement.parse("> 1").met_by(float("nan"))
        (True, False)
        """
        match self.operator:
            case ">=":
                return observed >= self.limit
            case "<=":
                return observed <= self.limit
            case ">":
                return observed > self.limit
            case "<":
                return observed < self.limit
            case _:
                return observed == self.limit

    def __str__(self) -> str:
        limit = int(self.limit) if self.limit.is_integer() and abs(self.limit) < 1e15 else self.limit
        return f"{self.operator} {limit}"


def parse_duration(text: str) -> timedelta:
    """Read ``30d``, ``12h``, ``5m``, ``90s``, ``2w`` or ``250ms``.

    Raises
    ------
    ValueError
        When the text is not a whole number and a unit, or is longer than a century.
    """
    match = _DURATION.match(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a duration; write a whole number and a unit: 250ms, 90s, 5m, 12h, 30d, 2w"
        )
    milliseconds = int(match[1]) * _UNIT_MS[match[2]]
    if milliseconds > _CENTURY // timedelta(milliseconds=1):
        raise ValueError(f"{text!r} is longer than a century")
    return timedelta(milliseconds=milliseconds)


def span(length: timedelta) -> str:
    """Write a length of time by its two largest units.

    Examples
    --------
    >>> span(timedelta(days=2, hours=3, minutes=4)), span(timedelta(minutes=4)), span(timedelta(seconds=9))
    ('2 days 3 h', '4 min', '9 s')
    """
    seconds = max(round(length.total_seconds()), 0)
    sizes = (("day", 86_400), ("h", 3600), ("min", 60), ("s", 1))
    found = []
    for unit, size in sizes:
        count, seconds = divmod(seconds, size)
        if count:
            found.append(f"{count} {unit}s" if unit == "day" and count > 1 else f"{count} {unit}")
        elif found:
            break
    return " ".join(found[:2]) or "0 s"


def parse_latest(text: str) -> timedelta:
    """Read ``latest`` or ``latest - 90d``: how long before the day of the newest row.

    Raises
    ------
    ValueError
        When the text is neither, or goes back more than a century.

    Examples
    --------
    >>> parse_latest("latest - 2w").days
    14
    """
    match = _LATEST.match(text)
    if match is None:
        raise ValueError(
            f"{text!r} is no moment; write a date, or days or weeks before the newest row: latest - 90d"
        )
    return parse_duration(match[1] + match[2]) if match[1] is not None else timedelta(0)


def parse_volume(text: str) -> float:
    """Read ``30000 per month`` as decisions a month.

    Examples
    --------
    >>> parse_volume("1200 per year")
    100.0
    """
    match = _VOLUME.match(text)
    if match is None:
        raise ValueError(
            f"{text!r} is not a volume; write for example '30000 per month' (day, week, month, year)"
        )
    return float(match[1]) * _PER_MONTH[match[2]]
