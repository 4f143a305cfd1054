"""Each column once in the forms that the measures need: values, order, ranks and codes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.data.column import Kind

CODES = 20
LEVELS = 50
Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A column, row by row.

    Attributes
    ----------
    values
        Finite numbers (moments in seconds) or NaN, shape (n,); None for categories and text.
    ordered
        The finite values, ascending.
    ranks
        Mean ranks among the finite values, NaN elsewhere, shape (n,).
    codes
        Bin or category from 0, or -1 where there is no value, shape (n,); of text, which has nearly as many values as
        rows, None.
    levels
        What the codes of categories mean; the last may be all rarer ones together.
    """

    name: str
    kind: Kind
    values: Floats | None
    ordered: Floats | None
    ranks: Floats | None
    codes: Integers | None
    levels: tuple[str, ...] = ()

    @property
    def numeric(self) -> bool:
        """Whether it is a number (and no moment)."""
        return self.kind == "numeric"


def prepare(series: pl.Series, kind: Kind) -> Prepared:
    """Bring a column into its forms."""
    if kind in ("numeric", "moment"):
        return _number(series, kind)
    texts = series.cast(pl.String, strict=False)
    if kind == "text":
        return Prepared(series.name, kind, None, None, None, None)
    counted = texts.drop_nulls().alias("v").value_counts(name="n").sort(["n", "v"], descending=[True, False])
    known = counted["v"].head(LEVELS)
    rest = (OTHERS,) if counted.height > LEVELS else ()
    codes = texts.replace_strict(known, range(len(known)), default=len(known), return_dtype=pl.Int64)
    codes = codes.set(texts.is_null(), -1)
    return Prepared(series.name, kind, None, None, None, codes.to_numpy(), (*known.to_list(), *rest))


OTHERS = "all others"


def _number(series: pl.Series, kind: Kind) -> Prepared:
    if series.dtype == pl.Duration:
        raw = series.dt.total_microseconds().cast(pl.Float64) / 1e6
    elif kind == "moment":
        raw = series.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    else:
        raw = series.cast(pl.Float64)
    values = raw.fill_null(float("nan")).to_numpy()
    finite = np.isfinite(values)
    if not finite.all():
        values = np.where(finite, values, np.nan)
    order = np.argsort(values)
    present = int(finite.sum())
    ordered = values[order[:present]] + 0.0
    ranks = np.full(len(values), np.nan)
    ranks[order[:present]] = mean_ranks(ordered)
    codes = np.full(len(values), -1, dtype=np.int64)
    codes[order[:present]] = _bins(ordered, ranks[order[:present]])
    return Prepared(series.name, kind, values, ordered, ranks, codes)


def mean_ranks(ordered: Floats) -> Floats:
    """Ranks from 1 of ascending values, ties sharing their mean.

    Examples
    --------
    >>> mean_ranks(np.array([1.0, 2.0, 2.0, 5.0])).tolist()
    [1.0, 2.5, 2.5, 4.0]
    """
    if not len(ordered):
        return np.empty(0)
    starts = np.concatenate([[0], np.flatnonzero(ordered[1:] != ordered[:-1]) + 1])
    sizes = np.diff(starts, append=len(ordered))
    return np.repeat(starts + (sizes + 1) / 2, sizes)


def _bins(ordered: Floats, ranks: Floats) -> Integers:
    """Each of few values its own bin, else bins of equal numbers of rows; equal values are always together."""
    if not len(ordered):
        return np.empty(0, dtype=np.int64)
    changes = np.concatenate([[0], (ordered[1:] != ordered[:-1]).cumsum()])
    if changes[-1] < CODES:
        return np.asarray(changes, dtype=np.int64)
    return np.minimum((ranks - 0.5) * CODES / len(ordered), CODES - 1).astype(np.int64)
