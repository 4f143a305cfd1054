"""From rows as read to rows that keep the contract, with an account of all others."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import polars as pl

from charter.core.errors import DataError
from charter.data.preparation import Preparation
from charter.data.types import Prepared
from charter.spec.types import SourceSpec


def prepare(
    frame: pl.DataFrame,
    name: str,
    source: SourceSpec,
    *,
    now: datetime,
    references: Mapping[str, pl.DataFrame] | None = None,
) -> Prepared:
    """Rename, drop duplicates, cast, derive, filter, check, set aside.

    Parameters
    ----------
    frame
        Rows as read, in the order of the source.
    name
        Name of the source, for messages.
    source
        Its specification.
    now
        When the data was read; nothing may have happened later. Naive means UTC.
    references
        Prepared frames of the other sources by name, for foreign keys.

    Returns
    -------
    Prepared rows, quarantined rows and the report. A violation never raises: judge ``report.decision()``.

    Raises
    ------
    DataError
        When a declared column is not there, an expression cannot be evaluated on the data, or a format is not one.

    Examples
    --------
    >>> from charter.spec.types import ColumnSpec
    >>> source = SourceSpec(uri="a.csv", columns={"n": ColumnSpec(type="integer", min=0)}, on_violation="quarantine")
    >>> result = prepare(pl.DataFrame({"n": ["1", "-2", "x"]}), "a", source, now=datetime(2026, 1, 1))
    >>> result.frame["n"].to_list(), [(v.rule, v.examples) for v in result.report.violations]
    ([1], [('integer', ("row 3: 'x'",)), ('at least 0', ("row 2: '-2'",))])
    """
    work = Preparation(name, source, now=now, references={n: f.lazy() for n, f in (references or {}).items()})
    if source.duplicates != "keep":
        work.compare(work.hashes(frame))
    return work.finish(work.add(frame).lazy()).collect()


def in_order(sources: Mapping[str, SourceSpec]) -> list[str]:
    """Names of sources, those that others refer to first.

    Raises
    ------
    DataError
        When sources refer to each other in a circle.
    """
    done: list[str] = []
    while waiting := {n: s for n, s in sources.items() if n not in done}:
        ready = [n for n, s in waiting.items() if not (_referred(s) & waiting.keys() - {n})]
        if not ready:
            raise DataError(
                f"sources {', '.join(waiting)} refer to each other in a circle",
                remedy="Drop one of their foreign_keys.",
            )
        done += ready
    return done


def _referred(source: SourceSpec) -> set[str]:
    return {key.references.partition(".")[0] for key in source.foreign_keys}
