"""A fixed-size summary of a table that adds up: over chunks, workers, days and machines."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import polars as pl

BINS = 20
KNOWN_VALUES = 50
_LARGEST = sys.float_info.max
_SQUARES_SAFELY = 1e140  # the squares of so many rows as there are stay below the largest float


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Summary of one column.

    Attributes
    ----------
    kind
        ``numeric`` (also Boolean: 0 and 1), ``moment`` (dates as seconds since 1970), or ``categorical``.
    count, missing
        Rows, and rows without a value; NaN and infinities count as missing.
    low, high, mean, squares
        Of the values; ``squares`` is the sum of squared deviations from the mean (Welford's M2), at
        most the largest float: one value of 1e300 must not make a profile that JSON cannot hold.
    edges, counts
        Fixed bin edges, ascending, and the values in ``(-inf, e0), [e0, e1), ..., [en, inf)``: one more than edges.
    values, other
        Counts of the known values, and of all others.
    """

    kind: Literal["numeric", "moment", "categorical"]
    count: int
    missing: int
    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    squares: float = 0.0
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    values: Mapping[str, int] = field(default_factory=dict)
    other: int = 0

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.count - self.missing

    @property
    def standard_deviation(self) -> float | None:
        """Of the sample; None below two values."""
        return math.sqrt(self.squares / (self.present - 1)) if self.present > 1 else None

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive the round trip exactly."""
        common: dict[str, Any] = {"kind": self.kind, "count": self.count, "missing": self.missing}
        if self.kind == "categorical":
            return {**common, "values": dict(self.values), "other": self.other}
        spread = {"low": self.low, "high": self.high, "mean": self.mean, "squares": self.squares}
        return {**common, **spread, "edges": list(self.edges), "counts": list(self.counts)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnProfile:
        """Inverse of `to_json`."""
        lists = {k: tuple(v) for k, v in data.items() if isinstance(v, list)}
        return cls(**{**data, **lists})


@dataclass(frozen=True, slots=True)
class Profile:
    """Summary of a table: rows and columns by name."""

    rows: int
    columns: Mapping[str, ColumnProfile]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {
            "schema_version": 1,
            "rows": self.rows,
            "columns": {n: c.to_json() for n, c in self.columns.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Profile:
        """Inverse of `to_json`."""
        return cls(data["rows"], {n: ColumnProfile.from_json(c) for n, c in data["columns"].items()})


def profile(frame: pl.DataFrame, reference: Profile | None = None) -> Profile:
    """Summarise a table.

    Parameters
    ----------
    frame
        Any rows. Nested columns are left out.
    reference
        Profile whose bin edges and known values are used, so that the result can be merged and compared with it;
        columns that it does not have are left out. Without one, edges are quantiles of the values at hand
        (`BINS` bins at most) and known values the `KNOWN_VALUES` most frequent.

    Examples
    --------
    >>> frame = pl.DataFrame({"x": [1.0, 2.0, None, 4.0], "s": ["a", "b", "a", None]})
    >>> p = profile(frame)
    >>> p.columns["x"].mean, p.columns["x"].missing, dict(p.columns["s"].values)
    (2.3333333333333335, 1, {'a': 2, 'b': 1})
    """
    columns = {}
    for series in frame.get_columns():
        before = reference.columns.get(series.name) if reference is not None else None
        if (
            (reference is not None and before is None)
            or series.dtype.is_nested()
            or series.dtype == pl.Object
        ):
            continue
        columns[series.name] = _column(series, before)
    return Profile(frame.height, columns)


def merge(a: Profile, b: Profile) -> Profile:
    """Profile of the rows of both together.

    Counts, extremes and histograms are exact, so merging is associative and commutative; mean and deviation are
    merged by Chan's formula and agree to rounding.

    Raises
    ------
    ValueError
        When the two do not have the same columns, edges and known values.
    """
    if a.columns.keys() != b.columns.keys():
        raise ValueError(f"profiles of different columns: {sorted(a.columns.keys() ^ b.columns.keys())}")
    return Profile(a.rows + b.rows, {n: _merge(n, a.columns[n], b.columns[n]) for n in a.columns})


def empty_like(reference: Profile) -> Profile:
    """Profile of no rows that merges with ``reference``."""
    columns = {}
    for name, c in reference.columns.items():
        columns[name] = ColumnProfile(
            c.kind, 0, 0, edges=c.edges, counts=(0,) * len(c.counts), values=dict.fromkeys(c.values, 0)
        )
    return Profile(0, columns)


def _merge(name: str, a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    if (a.kind, a.edges, a.values.keys()) != (b.kind, b.edges, b.values.keys()):
        raise ValueError(f"column {name}: profiles merge only when they were made with the same reference")
    n = a.present + b.present
    step = _capped(b.mean - a.mean)
    share = b.present / n if n else 0.0
    return ColumnProfile(
        kind=a.kind,
        count=a.count + b.count,
        missing=a.missing + b.missing,
        low=min((v for v in (a.low, b.low) if v is not None), default=None),
        high=max((v for v in (a.high, b.high) if v is not None), default=None),
        mean=a.mean + step * share,
        squares=_capped(a.squares + b.squares + _capped(step * step) * a.present * share),
        edges=a.edges,
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        values={value: count + b.values[value] for value, count in a.values.items()},
        other=a.other + b.other,
    )


def _column(series: pl.Series, before: ColumnProfile | None) -> ColumnProfile:
    numbers, kind = _numbers(series)
    if (before is not None and before.kind == "categorical") or numbers is None:
        return _categorical(series, before)
    present = numbers.drop_nulls()
    edges = before.edges if before is not None else _edges(present)
    spread: dict[str, Any] = {}
    if present.len():
        low, high = float(present.min()), float(present.max())  # type: ignore[arg-type]  # Float64 has floats
        mean, squares = _moments(present, low, high)
        spread = {"low": low, "high": high, "mean": mean, "squares": squares}
    return ColumnProfile(
        kind,
        series.len(),
        series.len() - present.len(),
        edges=edges,
        counts=_histogram(present, edges),
        **spread,
    )


def _moments(present: pl.Series, low: float, high: float) -> tuple[float, float]:
    """Mean and sum of squared deviations; values whose squares would overflow are scaled first."""
    scale = max(abs(low), abs(high))
    if scale <= _SQUARES_SAFELY:
        mean = float(present.mean())  # type: ignore[arg-type]  # a Float64 series has a float mean
        return mean, float(((present - mean) ** 2).sum())
    scaled = present / scale
    mean = float(scaled.mean())  # type: ignore[arg-type]
    squares = float(((scaled - mean) ** 2).sum())
    return max(low, min(mean * scale, high)), _capped(squares * scale * scale)


def _capped(value: float) -> float:
    return max(-_LARGEST, min(value, _LARGEST))


def _numbers(series: pl.Series) -> tuple[pl.Series | None, Literal["numeric", "moment"]]:
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        values = series.cast(pl.Float64)
        return values.set(~values.is_finite(), None), "numeric"
    if series.dtype in (pl.Date, pl.Datetime):
        return series.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6, "moment"
    return None, "numeric"


def _edges(present: pl.Series) -> tuple[float, ...]:
    if not present.len():
        return ()
    quantiles = [present.quantile(i / BINS, interpolation="lower") for i in range(1, BINS)]
    return tuple(sorted({float(q) for q in quantiles if q is not None}))


def _histogram(present: pl.Series, edges: Sequence[float]) -> tuple[int, ...]:
    if not edges:
        return (present.len(),)
    # Bin i holds the values with exactly i edges at or below them.
    below = pl.Series(edges, dtype=pl.Float64).search_sorted(present, side="right")
    counts = dict(below.value_counts().iter_rows())
    return tuple(int(counts.get(i, 0)) for i in range(len(edges) + 1))


def _categorical(series: pl.Series, before: ColumnProfile | None) -> ColumnProfile:
    texts = series.cast(pl.String, strict=False).drop_nulls()
    counted = texts.alias("value").value_counts(name="n").sort(["n", "value"], descending=[True, False])
    counts: dict[str, int] = dict(counted.iter_rows())
    known = list(before.values) if before is not None else list(counts)[:KNOWN_VALUES]
    values = {value: counts.get(value, 0) for value in known}
    return ColumnProfile(
        "categorical",
        series.len(),
        series.len() - texts.len(),
        values=values,
        other=texts.len() - sum(values.values()),
    )
