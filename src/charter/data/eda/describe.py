"""Describing single columns."""

from __future__ import annotations

import numpy as np
import polars as pl

from charter.data.column import ColumnProfile
from charter.data.eda.prepare import Floats, Prepared
from charter.data.eda.types import ColumnView

BARS = 40
TOP = 12
_SHARES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def describe(series: pl.Series, prepared: Prepared, summary: ColumnProfile) -> ColumnView:
    """Describe a column from its values, its prepared forms, and its profile over all rows."""
    name, kind, dtype = series.name, summary.kind, str(series.dtype)
    if prepared.ordered is None:
        counted = sorted({**summary.others, **summary.values}.items(), key=lambda pair: (-pair[1], pair[0]))
        shown = tuple((v, n) for v, n in counted[:TOP] if n) if kind == "categorical" else ()
        bars, span = ((), None) if kind == "categorical" else _bars(_lengths(series))
        return ColumnView(name, kind, dtype, summary.distinct, bars=bars, span=span, top=shown)
    x = prepared.ordered
    distinct = int(np.count_nonzero(x[1:] != x[:-1])) + 1 if len(x) else 0
    if not len(x):
        return ColumnView(name, kind, dtype, 0)
    quantiles = dict(zip([f"{s:g}" for s in _SHARES], np.quantile(x, _SHARES).tolist(), strict=True))
    skewness, kurtosis = _shape(x) if kind == "numeric" else (None, None)
    bars, span = _bars(x)
    return ColumnView(
        name,
        kind,
        dtype,
        distinct,
        quantiles,
        skewness,
        kurtosis,
        _far_out(x, quantiles["0.25"], quantiles["0.75"]) if kind == "numeric" else 0,
        int(np.searchsorted(x, 0.0, side="right") - np.searchsorted(x, 0.0, side="left")),
        bars,
        span,
    )


def _lengths(series: pl.Series) -> Floats:
    return np.sort(
        series.cast(pl.String, strict=False).drop_nulls().str.len_chars().cast(pl.Float64).to_numpy()
    )


def _shape(x: Floats) -> tuple[float | None, float | None]:
    """Skewness and excess kurtosis; None for constants."""
    largest = max(abs(float(x[0])), abs(float(x[-1])))
    if not largest:
        return None, None
    deviation = x / largest  # so that no power overflows
    deviation -= deviation.mean()
    square = deviation * deviation
    variance = float(square.mean())
    if not variance > 1e-30:
        return None, None
    third, fourth = float((square * deviation).mean()), float((square * square).mean())
    return third / variance**1.5, fourth / variance**2 - 3


def _far_out(x: Floats, q1: float, q3: float) -> int:
    """Values beyond three interquartile ranges; where half of all values are equal no value is far out."""
    reach = 3 * (q3 - q1)
    if not 0 < reach < np.inf:
        return 0
    return int(
        np.searchsorted(x, q1 - reach, side="left") + len(x) - np.searchsorted(x, q3 + reach, side="right")
    )


def _bars(x: Floats) -> tuple[tuple[int, ...], tuple[float, float] | None]:
    """Heights for a chart between the 0.5 % and 99.5 % quantiles, so that one outlier does not flatten all."""
    if not len(x):
        return (), None
    low, high = (float(v) for v in x[[int(0.005 * (len(x) - 1)), int(np.ceil(0.995 * (len(x) - 1)))]])
    if low == high:
        low, high = float(x[0]), float(x[-1])
    if low == high or not np.isfinite(high - low):
        return (len(x),), (low, high)
    edges = np.linspace(low, high, BARS + 1)
    places = np.searchsorted(x, edges, side="left")
    places[-1] = np.searchsorted(x, high, side="right")
    return tuple(np.diff(places).tolist()), (low, high)
