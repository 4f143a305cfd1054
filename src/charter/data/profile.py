"""A fixed-size summary of a table that adds up: over chunks, workers, days and machines.

One type for the exploration of a file, the training reference in a package, the counters of a server and drift.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import polars as pl

from charter.data.column import ColumnProfile, merge_columns
from charter.data.summary import summarise

SCHEMA_VERSION = 2
_MANY_CELLS = 2_000_000


@dataclass(frozen=True, slots=True)
class Profile:
    """Summary of a table: rows and columns by name."""

    rows: int
    columns: Mapping[str, ColumnProfile]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {
            "schema_version": SCHEMA_VERSION,
            "rows": self.rows,
            "columns": {n: c.to_json() for n, c in self.columns.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Inverse of `to_json`; also reads what earlier versions wrote.

        Raises
        ------
        ValueError
            For a schema version that this program does not read.
        """
        if data["schema_version"] not in (1, SCHEMA_VERSION):
            raise ValueError(
                f"the profile has schema_version {data['schema_version']!r}, of which this program knows nothing"
            )
        return cls(data["rows"], {n: ColumnProfile.from_json(c) for n, c in data["columns"].items()})


def profile(frame: pl.DataFrame, reference: Profile | None = None) -> Profile:
    """Summarise a table in one pass.

    Parameters
    ----------
    frame
        Any rows. Nested and binary columns are left out.
    reference
        Profile whose kinds, bin edges and known values are used, so that the result can be merged and compared with it;
        columns that it does not have are left out. Without one, edges are quantiles of the values at hand (20 bins at
        most), known values the 50 most frequent, and a column of text of which most values differ is described by its
        length.

    Examples
    --------
    >>> frame = pl.DataFrame({"x": [1.0, 2.0, None, 4.0], "s": ["a", "b", "a", None]})
    >>> p = profile(frame)
    >>> p.columns["x"].mean, p.columns["x"].missing, dict(p.columns["s"].values)
    (2.3333333333333335, 1, {'a': 2, 'b': 1})
    """
    wanted = [s for s in frame.get_columns() if describable(s.dtype)]
    if reference is not None:
        wanted = [s for s in wanted if s.name in reference.columns]
    before = [reference.columns[s.name] if reference is not None else None for s in wanted]
    if frame.height * len(wanted) < _MANY_CELLS:
        found = list(map(summarise, wanted, before))
    else:
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # sorting lets other threads run
            found = list(pool.map(summarise, wanted, before))
    return Profile(frame.height, {s.name: c for s, c in zip(wanted, found, strict=True)})


def describable(dtype: pl.DataType) -> bool:
    """Whether a profile describes columns of this type."""
    return not (dtype.is_nested() or dtype in (pl.Object, pl.Binary))


def merge(a: Profile, b: Profile) -> Profile:
    """Profile of the rows of both together.

    Counts, extremes, histograms and samples are exact, so merging is associative and commutative; mean and deviation
    are merged by Chan's formula and agree to rounding.

    Raises
    ------
    ValueError
        When the two do not have the same columns, edges and known values.
    """
    if a.columns.keys() != b.columns.keys():
        raise ValueError(f"profiles of different columns: {sorted(a.columns.keys() ^ b.columns.keys())}")
    return Profile(a.rows + b.rows, {n: merge_columns(n, a.columns[n], b.columns[n]) for n in a.columns})


def empty_like(reference: Profile) -> Profile:
    """Profile of no rows that merges with ``reference``."""
    return Profile(0, {name: c.empty() for name, c in reference.columns.items()})
