"""What the calendar says of a period: its place in the week or year, and the holidays near it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import polars as pl

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.features.history import Int64s, microseconds
from charter.features.layout import DAY_US, Floats
from charter.spec.scope import calendar_names

YEARS = range(1970, 2061)
"""Years whose holidays go into a package."""
_EPOCH = date(1970, 1, 1)
_NUMBERS: dict[str, tuple[pl.Expr, float]] = {
    "day_of_week": (pl.col("t").dt.weekday(), 7),
    "day_of_year": (pl.col("t").dt.ordinal_day(), 365.25),
    "week": (pl.col("t").dt.week(), 365.25 / 7),
    "month": (pl.col("t").dt.month(), 12),
    "quarter": (pl.col("t").dt.quarter(), 4),
}
"""Number of the part, from 1, and how many of them make a cycle."""


@dataclass(frozen=True, slots=True)
class PeriodCalendar:
    """What of the calendar becomes features; plain data, so that serving needs no list of holidays.

    Attributes
    ----------
    time
        Column of when the period begins.
    every
        ``day``, ``week`` or ``month``.
    parts
        Of ``day_of_week``, ``day_of_year``, ``week`` (ISO 8601), ``month``, ``quarter``.
    country
        Whose holidays; None for none.
    holidays
        Days since 1970, ascending, of all public holidays of `YEARS`.
    """

    time: str
    every: str
    parts: tuple[str, ...]
    country: str | None = None
    holidays: tuple[int, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return calendar_names(self.parts, holidays=self.country is not None)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> PeriodCalendar:
        """Inverse of ``asdict``, after a passage through JSON."""
        return cls(**{**data, "parts": tuple(data["parts"]), "holidays": tuple(map(int, data["holidays"]))})


def public_holidays(place: str) -> tuple[int, ...]:
    """Days since 1970 of a country's public holidays in `YEARS`, without substitutes for those on a weekend.

    Parameters
    ----------
    place
        ISO 3166: ``US``, or a part of a country, ``US-IL``.

    Raises
    ------
    UsageError
        When the place is not known, or the library ``holidays`` is not installed.
    """
    try:
        import holidays
    except ImportError as error:
        raise UsageError(
            "features.calendar.holidays needs the library holidays, which is not installed",
            remedy="Install charter-ml[forecast].",
        ) from error
    country, _, part = place.partition("-")
    known = holidays.list_supported_countries(include_aliases=True)
    if country not in known:
        raise UsageError(
            f"features.calendar.holidays: no holidays are known of {country}",
            remedy=did_you_mean(country, known),
        )
    if part and part not in known[country]:
        raise UsageError(
            f"features.calendar.holidays: no holidays are known of {part} in {country}",
            remedy=did_you_mean(part, known[country]),
        )
    days = holidays.country_holidays(country, subdiv=part or None, years=YEARS, observed=False)
    return tuple(sorted((day - _EPOCH).days for day in days))


def calendar_features(times: pl.Series, calendar: PeriodCalendar) -> pl.DataFrame:
    """Say what the calendar says of periods.

    Parameters
    ----------
    times
        When each period begins, [n], date or datetime.

    Returns
    -------
    Float64 columns ``PeriodCalendar.names``, n rows. A part p of a cycle of c gives ``sin`` and ``cos`` of
    ``2 pi (p - 1) / c``. Days to a holiday count from the period's first day (0 is that day), and are missing beyond
    `YEARS`.

    Examples
    --------
    >>> when = pl.Series([date(2026, 12, 21)])
    >>> christmas = ((date(2026, 12, 25) - date(1970, 1, 1)).days,)
    >>> calendar_features(when, PeriodCalendar("week", "week", ("quarter",), "US", christmas)).row(0)
    (4.0, -1.0, -0.0, 4.0, None, 1.0)
    """
    moments, back = np.unique(microseconds(times), return_inverse=True)
    frame = pl.DataFrame({"t": pl.Series(moments).cast(pl.Datetime("us"))})
    columns: list[Floats] = []
    for part in calendar.parts:
        expression, cycle = _NUMBERS[part]
        number = frame.select(expression.cast(pl.Float64)).to_series().to_numpy()
        # Rounded, so that the four quarters of a circle are the same number on every machine.
        angle = 2 * np.pi * (number - 1) / cycle
        columns += [number, np.sin(angle).round(12), np.cos(angle).round(12)]
    if calendar.country is not None:
        first = moments // DAY_US
        columns += _near(first, _end(frame["t"], calendar.every), np.array(calendar.holidays, np.int64))
    filled = {name: column[back] for name, column in zip(calendar.names, columns, strict=True)}
    return pl.DataFrame(filled, nan_to_null=True)


def _end(times: pl.Series, every: str) -> Int64s:
    """Day after the last one of each period."""
    after = times.dt.offset_by({"day": "1d", "week": "1w", "month": "1mo"}[every])
    return microseconds(after) // DAY_US


def _near(first: Int64s, end: Int64s, holidays: Int64s) -> Sequence[Floats]:
    edged = np.concatenate([[np.nan], holidays, [np.nan]])
    at = np.searchsorted(holidays, first)
    within = np.searchsorted(holidays, end) - at
    return edged[at + 1] - first, first - edged[at], within.astype(np.float64)
