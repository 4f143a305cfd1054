"""What an experiment measures, as people write it: ``converted``, ``clicks / views``, ``p95(latency_ms)``."""

from __future__ import annotations

import re
from dataclasses import dataclass

_QUANTILE = re.compile(r"^\s*(median|p(\d{1,2}(?:\.\d+)?))\s*\((.+)\)\s*$")


@dataclass(frozen=True, slots=True)
class Measure:
    """A column of the results and what is taken of it.

    Attributes
    ----------
    column
        The numerator of a ratio.
    denominator
        Of a ratio of sums; else empty.
    quantile
        Between 0 and 1 for a quantile; else None: the mean, of a column of 0 and 1 the proportion.
    """

    column: str
    denominator: str = ""
    quantile: float | None = None

    @classmethod
    def parse(cls, text: str) -> Measure:
        """Read a measure.

        Raises
        ------
        ValueError
            When a name is missing, or a percentile is 0.

        Examples
        --------
        >>> Measure.parse("clicks / views"), str(Measure.parse("p95(latency_ms)"))
        (Measure(column='clicks', denominator='views', quantile=None), 'p95(latency_ms)')
        """
        if (match := _QUANTILE.match(text)) is not None:
            share = 0.5 if match[2] is None else float(match[2]) / 100
            if share <= 0:
                raise ValueError(f"{text!r}: a percentile lies above 0; write for example 'p95(latency_ms)'")
            return cls(match[3].strip(), quantile=share)
        column, slash, denominator = (part.strip() for part in text.partition("/"))
        if not column or (slash and (not denominator or "/" in denominator)):
            raise ValueError(
                f"{text!r} is not a measure; write a column, a ratio 'clicks / views', or 'p95(latency_ms)'"
            )
        return cls(column, denominator)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.column, self.denominator) if self.denominator else (self.column,)

    def __str__(self) -> str:
        if self.denominator:
            return f"{self.column} / {self.denominator}"
        if self.quantile is not None:
            name = "median" if self.quantile == 0.5 else f"p{self.quantile * 100:g}"
            return f"{name}({self.column})"
        return self.column
