"""Key figures that come from outside: dated values, brought in from a file. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.monitor.outcomes import refuse_odd
from charter.spec.types import ModelSpec

Kpis = Mapping[str, Mapping[str, float]]
"""Name to day (ISO) to value."""
_EXAMPLES = 3
_FIRST = date(1900, 1, 1)


def external(spec: ModelSpec) -> tuple[str, ...]:
    """Names of the key figures that come from outside."""
    return tuple(name for name, kpi in spec.kpis.items() if kpi.source == "external")


def read_kpis(
    frame: pl.DataFrame, spec: ModelSpec, *, until: date, name: str | None = None
) -> dict[str, dict[str, float]]:
    """Bring the rows of a file into the form in which they are kept.

    Parameters
    ----------
    frame
        ``date`` (the first day of the period that a value is of) and ``value``, and ``kpi`` unless ``name`` is given.
    until
        The last day that a period can have begun on: today.

    Raises
    ------
    DataError
        When a column is missing, a key figure is not declared as external, a day or a value is none, or one day has two
        values: nothing is taken then.
    """
    declared = external(spec)
    needed = ["date", "value", *(() if name is not None else ("kpi",))]
    absent = [column for column in needed if column not in frame.columns]
    if absent:
        remedy = (
            "A file holds date, value and kpi; or name the figure: --kpi NAME."
            if absent == ["kpi"]
            else "A file holds date and value."
        )
        raise DataError(f"there is no column {absent[0]!r}", remedy=remedy)
    names = [name] * frame.height if name is not None else [str(one) for one in frame["kpi"].to_list()]
    for one in dict.fromkeys(names):
        if one not in declared:
            raise DataError(
                f"{one!r} is no key figure that comes from outside; "
                + (did_you_mean(one, declared) if declared else "the specification declares none"),
                remedy="Declare it under kpis with `source: external` and what it is to be.",
            )
    for column in needed:
        refuse_odd(frame, column)
    days = _days(frame["date"])
    values = frame["value"].cast(pl.Float64, strict=False)
    possible = days.is_between(_FIRST, until + timedelta(days=1))  # a day more: elsewhere it is tomorrow
    broken = ~possible.fill_null(value=False) | ~values.is_finite().fill_null(value=False)
    if broken.any():
        rows = broken.arg_true().head(_EXAMPLES).to_list()
        examples = "; ".join(f"row {i + 1}: {frame['date'][i]}, {frame['value'][i]}" for i in rows)
        raise DataError(
            f"{int(broken.sum()):,} of {frame.height:,} rows hold no day that has come, or no finite number "
            f"({examples})",
            remedy=f"Write days as 2026-03-01, from {_FIRST} to {until}.",
        )
    found: dict[str, dict[str, float]] = {}
    for one, day, value in zip(names, days.to_list(), values.to_list(), strict=True):
        own = found.setdefault(one, {})
        if own.setdefault(day.isoformat(), value) != value:
            raise DataError(f"{one} has two values for {day}: {own[day.isoformat()]:g} and {value:g}")
    return found


def _days(column: pl.Series) -> pl.Series:
    """Days; null where a value is none, also where it merely begins like one."""
    if column.dtype.is_temporal():
        return column.cast(pl.Date, strict=False)
    text = column.cast(pl.String).str.strip_chars()
    # A moment is taken for its day: that is how many a tool writes days.
    moment = text.str.extract(
        r"^(\d{4}-\d{2}-\d{2})(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d+)?)?(?:Z|[+-]\d{2}:\d{2})?)?$"
    )
    return moment.str.to_date("%Y-%m-%d", strict=False)


def newest(kpis: Kpis, before: date) -> dict[str, tuple[str, float]]:
    """Of each key figure the last value of a period that began before a day: the period's first day, and the value.

    Examples
    --------
    >>> newest({"revenue": {"2026-01-01": 5.0, "2026-02-01": 6.0}}, date(2026, 2, 1))
    {'revenue': ('2026-01-01', 5.0)}
    """
    found = {}
    for name, values in kpis.items():
        days = [day for day in values if day < before.isoformat()]
        if days:
            found[name] = max(days), values[max(days)]
    return found
