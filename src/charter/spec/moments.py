"""Dates that follow the data: ``latest - 90d`` becomes a day once the newest row is known. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from pydantic import ValidationError

from charter.core.errors import DataError
from charter.core.quantity import parse_latest
from charter.spec.document import Path
from charter.spec.types import Cutoffs, ModelSpec, Moment

_CUTOFFS: Path = ("data", "observations", "cutoffs")
_SPLIT: Path = ("train", "split")
_MOMENTS: tuple[Path, ...] = (
    (*_CUTOFFS, "first"),
    (*_CUTOFFS, "last"),
    (*_SPLIT, "train_from"),
    (*_SPLIT, "train_until"),
    (*_SPLIT, "test_from"),
    (*_SPLIT, "test_until"),
)


def moving(spec: ModelSpec) -> tuple[Path, ...]:
    """Paths of the dates that follow the data."""
    return tuple(path for path in _MOMENTS if isinstance(_at(spec, path), str))


def resolve(spec: ModelSpec, latest: date) -> ModelSpec:
    """Replace the dates that follow the data by the days that they stand for.

    Parameters
    ----------
    latest
        Day of the newest row.

    Returns
    -------
    ModelSpec
        Where entities are observed at cut-offs, the days are cut-offs: the first one lies at the beginning of its week,
        month or quarter, ``last`` and every end is the last cut-off up to the day, every beginning the first one from
        it. So data sets differ only when a cut-off comes or goes.

    Raises
    ------
    DataError
        When the days do not fit together, such as a training period that ends before it begins.
    """
    days = {path: latest - parse_latest(_at(spec, path)) for path in moving(spec)}
    cutoffs = spec.data.observations.cutoffs
    if cutoffs is not None:
        days = _on_cutoffs(days, cutoffs)
    try:
        return with_days(spec, {".".join(map(str, path)): day.isoformat() for path, day in days.items()})
    except ValidationError as error:
        said = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise DataError(
            f"with a newest row of {latest}, the dates do not fit together: {said}",
            remedy="Bring data of a longer period, or count back further in the specification.",
        ) from error


def with_days(spec: ModelSpec, days: Mapping[str, str]) -> ModelSpec:
    """Put days in the place of dates that follow the data.

    Parameters
    ----------
    days
        Dotted path to a day in ISO 8601.
    """
    document = spec.model_dump(mode="json")
    for path, day in days.items():
        *above, last = path.split(".")
        parent = document
        for key in above:
            parent = parent[key]
        parent[last] = day
    return ModelSpec.model_validate_json(json.dumps(document), strict=True)


def _on_cutoffs(days: dict[Path, date], declared: Cutoffs) -> dict[Path, date]:
    first, last = (*_CUTOFFS, "first"), (*_CUTOFFS, "last")
    begin = _floor(days[first], declared.every) if first in days else fixed(declared.first)
    end = days[last] if last in days else fixed(declared.last)
    there = list(cutoff_dates(begin, end, declared.every))
    found = {**days, **({first: begin} if first in days else {})}
    for path in days:
        if path == first:
            continue
        if path[-1] in ("train_from", "test_from"):
            found[path] = next((d for d in there if d >= days[path]), days[path])
        else:
            found[path] = next((d for d in reversed(there) if d <= days[path]), days[path])
    return found


def fixed(moment: Moment) -> date:
    """Return a day that no longer follows the data.

    Raises
    ------
    TypeError
        When it still does: the specification was not resolved, which is a fault of ours.
    """
    if not isinstance(moment, date):
        raise TypeError(f"{moment} was not resolved")
    return moment


def cutoff_dates(first: date, last: date, every: str) -> Iterator[date]:
    """Yield the cut-offs from first to last; months keep the day, or take the month's last where it is shorter.

    Examples
    --------
    >>> [str(day) for day in cutoff_dates(date(2011, 1, 31), date(2011, 4, 1), "month")]
    ['2011-01-31', '2011-02-28', '2011-03-31']
    """
    step = {"day": 1, "week": 7}.get(every)
    months = {"month": 1, "quarter": 3}.get(every, 0)
    count = 0
    day = first
    while day <= last:
        yield day
        count += 1
        day = (
            first + timedelta(days=step * count) if step is not None else _months_later(first, months * count)
        )


def _months_later(day: date, months: int) -> date:
    index = day.year * 12 + day.month - 1 + months
    year, month = index // 12, index % 12 + 1
    following = date(year + month // 12, month % 12 + 1, 1)
    return date(year, month, min(day.day, (following - timedelta(days=1)).day))


def _floor(day: date, every: str) -> date:
    """Beginning of the week (Monday), month or quarter in which a day lies.

    Examples
    --------
    >>> str(_floor(date(2011, 8, 10), "week")), str(_floor(date(2011, 8, 10), "quarter"))
    ('2011-08-08', '2011-07-01')
    """
    if every == "week":
        return day - timedelta(days=day.weekday())
    if every == "month":
        return day.replace(day=1)
    return day.replace(month=(day.month - 1) // 3 * 3 + 1, day=1) if every == "quarter" else day


def _at(spec: ModelSpec, path: Path) -> Any:
    found: Any = spec
    for name in path:
        found = getattr(found, str(name)) if found is not None else None
    return found
