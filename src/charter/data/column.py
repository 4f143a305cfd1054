"""A fixed-size summary of one column that adds up."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from charter.data.sketch import distinct, merge_samples

Kind = Literal["numeric", "moment", "categorical", "text"]
_LARGEST = sys.float_info.max


@dataclass(frozen=True, slots=True)
class ColumnProfile:
    """Summary of one column.

    Attributes
    ----------
    kind
        ``numeric`` (also Boolean: 0 and 1; durations in seconds), ``moment`` (dates as seconds since 1970),
        ``categorical``, or ``text`` (mostly different from row to row: its length in characters is described, and no
        value is kept).
    count, missing, infinite
        Rows; rows without a value, NaN and infinities among them; the infinities alone.
    low, high, mean, squares
        Of the values; ``squares`` is the sum of squared deviations from the mean (Welford's M2), at
        most the largest float: one value of 1e300 must not make a profile that JSON cannot hold.
    edges, counts
        Fixed bin edges, ascending, and the values in ``(-inf, e0), [e0, e1), ..., [en, inf)``: one more than edges.
    values, other
        Counts of the known values, and of all others.
    others
        Of the others a sample with exact counts, see `charter.data.sketch.sample`; all of them where they are few. Of
        a text the hashes in hexadecimal, since a text may be a name or an address.
    """

    kind: Kind
    count: int
    missing: int
    infinite: int = 0
    low: float | None = None
    high: float | None = None
    mean: float = 0.0
    squares: float = 0.0
    edges: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    values: Mapping[str, int] = field(default_factory=dict)
    other: int = 0
    others: Mapping[str, int] = field(default_factory=dict)

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.count - self.missing

    @property
    def standard_deviation(self) -> float | None:
        """Of the sample; None below two values."""
        return math.sqrt(self.squares / (self.present - 1)) if self.present > 1 else None

    @property
    def distinct(self) -> int | None:
        """Number of distinct values: exact for up to 256 beyond the known ones, else estimated to 6 %.

        None for numbers and moments, and where an old profile does not tell.
        """
        if self.kind in ("numeric", "moment"):
            return None
        others = distinct(self.others, self.other, hashed=self.kind == "text")
        return None if others is None else sum(n > 0 for n in self.values.values()) + others

    def empty(self) -> ColumnProfile:
        """Summary of no rows that merges with this one."""
        none = dict.fromkeys(self.values, 0)
        return ColumnProfile(self.kind, 0, 0, edges=self.edges, counts=(0,) * len(self.counts), values=none)

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive the round trip exactly."""
        found: dict[str, Any] = {"kind": self.kind, "count": self.count, "missing": self.missing}
        if self.kind != "categorical":
            spread = {"low": self.low, "high": self.high, "mean": self.mean, "squares": self.squares}
            found |= {"infinite": self.infinite, **spread}
            found |= {"edges": list(self.edges), "counts": list(self.counts)}
        if self.kind in ("categorical", "text"):
            found |= {"values": dict(self.values), "other": self.other, "others": dict(self.others)}
        return found

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ColumnProfile:
        """Inverse of `to_json`; also reads schema version 1, which had no infinities and no sample."""
        lists = {k: tuple(v) for k, v in data.items() if isinstance(v, list)}
        return cls(**{**data, **lists})


def merge_columns(name: str, a: ColumnProfile, b: ColumnProfile) -> ColumnProfile:
    """Summary of the rows of both.

    Raises
    ------
    ValueError
        When the two do not have the same kind, edges and known values.
    """
    if (a.kind, a.edges, a.values.keys()) != (b.kind, b.edges, b.values.keys()):
        raise ValueError(f"column {name}: profiles merge only when they were made with the same reference")
    n = a.present + b.present
    step = capped(b.mean - a.mean)
    share = b.present / n if n else 0.0
    return ColumnProfile(
        kind=a.kind,
        count=a.count + b.count,
        missing=a.missing + b.missing,
        infinite=a.infinite + b.infinite,
        low=min((v for v in (a.low, b.low) if v is not None), default=None),
        high=max((v for v in (a.high, b.high) if v is not None), default=None),
        mean=a.mean + step * share,
        squares=capped(a.squares + b.squares + capped(step * step) * a.present * share),
        edges=a.edges,
        counts=tuple(x + y for x, y in zip(a.counts, b.counts, strict=True)),
        values={value: count + b.values[value] for value, count in a.values.items()},
        other=a.other + b.other,
        others=merge_samples(a.others, b.others, hashed=a.kind == "text"),
    )


def capped(value: float) -> float:
    """Bring an overflow back to the largest float."""
    return max(-_LARGEST, min(value, _LARGEST))
