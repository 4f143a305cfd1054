"""Values of a request as they stand in a frame."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl

from charter.serve.types import Scalar

DTYPES: dict[str, pl.DataType] = {
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "text": pl.String(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}
"""Polars type of each type of a request; those of `charter.data.cast.DTYPES`, which this room cannot import without
pydantic (a test proves that the two agree)."""

INT64 = (-(2**63), 2**63 - 1)


def category_text(value: Scalar) -> str | None:
    """Write a category as text: JSON's ``2`` and ``true`` are the categories ``2`` and ``true``; blank is missing.

    Examples
    --------
    >>> category_text(2), category_text(True), category_text("BE"), category_text("")
    ('2', 'true', 'BE', None)
    """
    if value is None or isinstance(value, str):
        return value or None
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def moment(text: str, kind: str) -> date | datetime:
    """Read ISO 8601; a moment with an offset becomes naive UTC, a day counts from 00:00.

    Raises
    ------
    ValueError, OverflowError
        When the text is no date or datetime.

    Examples
    --------
    >>> moment("2011-09-01T02:00:00+02:00", "datetime")
    datetime.datetime(2011, 9, 1, 0, 0)
    """
    if kind == "date":
        return date.fromisoformat(text)
    parsed = datetime.fromisoformat(text)
    return parsed if parsed.tzinfo is None else parsed.astimezone(UTC).replace(tzinfo=None)


def limits(low: float | str | None, high: float | str | None, kind: str) -> tuple[date | None, date | None]:
    """Declared limits of a date or datetime, comparable with what `moment` reads."""
    return (
        None if low is None else moment(str(low), kind),
        None if high is None else moment(str(high), kind),
    )
