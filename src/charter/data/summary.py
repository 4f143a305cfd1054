"""Summarising one column: one sort gives extremes, quantiles, histogram and what is not finite."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.data.column import ColumnProfile, Kind, capped
from charter.data.sketch import hashes, sample, smallest

BINS = 20
KNOWN_VALUES = 50
TEXT_ROWS = 200
"""A column of text with fewer values than this is taken for categories, however many are distinct."""
_SQUARES_SAFELY = 1e140  # the squares of so many rows as there are stay below the largest float

Floats = npt.NDArray[np.float64]


def summarise(series: pl.Series, before: ColumnProfile | None = None) -> ColumnProfile:
    """Summarise a column, with the kind, edges and known values of ``before`` where there is one."""
    kind = before.kind if before is not None else _kind(series.dtype)
    if kind in ("numeric", "moment"):
        found = numbers(series)
        if found is not None:
            return _numeric(found, series.len(), kind, before.edges if before is not None else None)
        return ColumnProfile(
            kind, series.len(), series.len(), edges=before.edges if before else (), counts=_none(before)
        )
    texts = series.cast(pl.String, strict=False).drop_nulls()
    counted = texts.alias("value").value_counts(name="n")
    if kind == "text" or (before is None and _is_text(texts.len(), counted.height)):
        return _text(texts, counted, series.len(), before)
    return _categorical(texts, counted, series.len(), before)


def numbers(series: pl.Series) -> Floats | None:
    """Values as floats in ascending order, NaN last; moments and durations in seconds.

    None for columns that are no numbers.
    """
    if series.dtype.is_numeric() or series.dtype == pl.Boolean:
        found = series.cast(pl.Float64)
    elif series.dtype == pl.Duration:
        found = series.dt.total_microseconds().cast(pl.Float64) / 1e6
    elif series.dtype in (pl.Date, pl.Datetime):
        found = series.cast(pl.Datetime("us")).dt.epoch("us").cast(pl.Float64) / 1e6
    else:
        return None
    # Zero has two signs, of which either may come first; adding it makes them one.
    return np.sort(found.drop_nulls().to_numpy()) + 0.0


def bin_edges(ordered: Floats, bins: int = BINS) -> tuple[float, ...]:
    """Edges from sorted values: each of up to ``bins`` distinct values by itself, else lower quantiles, each once.

    A value that fills more than one quantile gets a bin of its own, so that a change of its share can be seen; what
    lies beyond the largest of few distinct values has a bin, too.

    Examples
    --------
    >>> bin_edges(np.arange(9.0), 4)
    (2.0, 4.0, 6.0)
    >>> bin_edges(np.array([0.0] * 99 + [1.0]))
    (0.0, 1.0, 1.0000000000000002)
    """
    if not len(ordered):
        return ()
    starts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    if len(starts) < bins:
        distinct = ordered[np.concatenate([[0], starts])]
        return tuple(_finite([*distinct, _after(distinct[-1:])[0]]))
    quantiles = ordered[[i * (len(ordered) - 1) // bins for i in range(1, bins)]]
    edges, times = np.unique(quantiles, return_counts=True)
    return tuple(_finite(np.unique(np.concatenate([edges, _after(edges[times > 1])]))))


def _after(values: Floats) -> Floats:
    """Next larger floats; infinity after the largest."""
    with np.errstate(over="ignore", under="ignore"):
        return np.nextafter(values, np.inf)


def _finite(edges: npt.ArrayLike) -> list[float]:
    found = np.asarray(edges, dtype=np.float64)
    return [float(e) for e in found[np.isfinite(found)]]


def histogram(ordered: Floats, edges: Sequence[float]) -> tuple[int, ...]:
    """Count sorted values by bin: bin i holds those with exactly i edges at or below them."""
    places = np.searchsorted(ordered, np.asarray(edges, dtype=np.float64), side="left")
    return tuple(np.diff(places, prepend=0, append=len(ordered)).tolist())


def _kind(dtype: pl.DataType) -> Kind:
    if dtype.is_numeric() or dtype in (pl.Boolean, pl.Duration):
        return "numeric"
    return "moment" if dtype in (pl.Date, pl.Datetime) else "categorical"


def _is_text(present: int, distinct: int) -> bool:
    return present >= TEXT_ROWS and 2 * distinct > present


def _none(before: ColumnProfile | None) -> tuple[int, ...]:
    return (0,) * (len(before.counts) if before is not None else 1)


def _numeric(ordered: Floats, rows: int, kind: Kind, edges: tuple[float, ...] | None) -> ColumnProfile:
    below, end = (int(n) for n in np.searchsorted(ordered, [-np.inf, np.inf], side="right"))
    above = int(np.searchsorted(ordered, np.inf, side="left"))
    infinite = below + end - above
    finite = ordered[below:above]
    if edges is None:
        edges = bin_edges(finite)
    spread: dict[str, Any] = {}
    if len(finite):
        low, high = float(finite[0]), float(finite[-1])
        mean, squares = _moments(finite, low, high)
        spread = {"low": low, "high": high, "mean": mean, "squares": squares}
    return ColumnProfile(
        kind,
        rows,
        rows - len(finite),
        infinite,
        edges=edges,
        counts=histogram(finite, edges),
        **spread,
    )


def _moments(values: Floats, low: float, high: float) -> tuple[float, float]:
    """Mean and sum of squared deviations; values whose squares would overflow are scaled first."""
    scale = max(abs(low), abs(high))
    if scale <= _SQUARES_SAFELY:
        mean = max(low, min(float(values.mean()), high))
        deviation = values - mean
        return mean, float(np.einsum("i,i->", deviation, deviation, optimize=False))
    scaled = values / scale
    mean = float(scaled.mean())
    squares = float(((scaled - mean) ** 2).sum())
    return max(low, min(mean * scale, high)), capped(squares * scale * scale)


def _categorical(
    texts: pl.Series, counted: pl.DataFrame, rows: int, before: ColumnProfile | None
) -> ColumnProfile:
    if before is not None:
        known = list(before.values)
    else:
        known = counted.sort(["n", "value"], descending=[True, False])["value"].head(KNOWN_VALUES).to_list()
    counts: dict[str, int] = dict(counted.filter(pl.col("value").is_in(known)).iter_rows())
    values = {value: counts.get(value, 0) for value in known}
    strange = smallest(counted.filter(~pl.col("value").is_in(known)))
    return ColumnProfile(
        "categorical",
        rows,
        rows - texts.len(),
        values=values,
        other=texts.len() - sum(values.values()),
        others=sample(dict(strange.iter_rows())),
    )


def _text(texts: pl.Series, counted: pl.DataFrame, rows: int, before: ColumnProfile | None) -> ColumnProfile:
    lengths = np.sort(texts.str.len_chars().cast(pl.Float64).to_numpy())
    described = _numeric(lengths, rows, "text", before.edges if before is not None else None)
    few = smallest(counted)
    counts: dict[str, int] = {}
    for h, n in zip(hashes(few["value"]).tolist(), few["n"].to_list(), strict=True):
        counts[f"{h:016x}"] = counts.get(f"{h:016x}", 0) + n
    return ColumnProfile(
        "text",
        rows,
        described.missing,
        low=described.low,
        high=described.high,
        mean=described.mean,
        squares=described.squares,
        edges=described.edges,
        counts=described.counts,
        other=texts.len(),
        others=sample(counts, hashed=True),
    )
