"""What a forecast learns instead of the label, how much each row counts, and the way back to the label's unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charter.core.errors import DataError
from charter.data import metrics
from charter.features.expressions import columns_of, compile_number
from charter.train.calibrate import Calibration, apply

if TYPE_CHECKING:
    import polars as pl

    from charter.spec.types import ModelSpec


def learned_task(task: str) -> str:
    """The task as a learner knows it: a forecast is a regression."""
    return "regression" if task == "forecast" else task


def transformed(kind: str, y: np.ndarray) -> np.ndarray:
    """What is learned for the label: ``log1p`` its log(1 + y), ``none`` itself."""
    return np.log1p(y) if kind == "log1p" else y


def plain(kind: str, task: str) -> Calibration:
    """The way back without a correction of the bias."""
    if task != "forecast":
        return Calibration()
    return Calibration("log1p") if kind == "log1p" else Calibration("at_least_zero")


def corrected(kind: str, raw: np.ndarray, y: np.ndarray, metric: str) -> Calibration:
    """The way back that serves the search's metric best on out-of-fold rows: to the median or to the mean.

    The mean of exp(prediction of the logarithm + error) is larger than exp(prediction), by the mean of exp(error) where
    errors are alike at all levels: Duan's smearing estimate, each row counting the same. It suits squared errors.
    Absolute errors, and so WMAPE, are smallest at the median, which needs no correction; where errors are skewed, as
    those of promotions are, smearing would make a forecast of units that is far too high in most weeks.
    (Duan, N., 1983, "Smearing estimate: a nonparametric retransformation method", JASA 78, 605-610.)

    Parameters
    ----------
    raw : ndarray of float64, shape (n,)
        Out-of-fold predictions of what was learned.
    y : ndarray of float64, shape (n,)
        Labels, in their unit.
    metric
        Of the search.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> raw = rng.normal(5, 1, 100_000)
    >>> y = np.exp(raw + rng.normal(0, 0.5, len(raw))) - 1
    >>> mean = corrected("log1p", raw, y, "root_mean_squared_error")
    >>> round(float(np.exp(mean.y[0])), 2), round(float(np.exp(0.5**2 / 2)), 2)
    (1.13, 1.13)
    >>> corrected("log1p", raw, y, "wmape") == plain("log1p", "forecast")
    True
    """
    if kind != "log1p":
        return Calibration("at_least_zero")
    factor = float(np.mean((y + 1.0) / np.exp(raw)))
    median, mean = plain(kind, "forecast"), Calibration("log1p", x=(0.0,), y=(float(np.log(factor)),))
    values = [metrics.compute(metric, y, apply(way, raw)) for way in (median, mean)]
    better = values[1] > values[0] if metrics.direction(metric) == "up" else values[1] < values[0]
    return mean if better else median


def row_weights(rows: pl.DataFrame, spec: ModelSpec) -> np.ndarray | None:
    """How much each training row counts, by ``train.weight``; None where all count the same.

    Returns
    -------
    float64 [n] with mean 1.

    Raises
    ------
    DataError
        When a weight is missing, negative or not finite, or all are 0.
    """
    text = spec.train.weight
    if text is None:
        return None
    found = rows.select(*columns_of(text)).select(compile_number(text)).to_series().cast(float).to_numpy()
    if len(found) != rows.height:
        found = np.full(rows.height, float(found[0]))
    wrong = int((~np.isfinite(found) | (found < 0)).sum())
    mean = float(np.mean(found)) if not wrong else 0.0
    if wrong or mean <= 0:
        what = (
            f"is missing, negative or not finite in {wrong:,} of {len(found):,} training rows"
            if wrong
            else "is 0"
        )
        raise DataError(f"train.weight {text!r} {what}", remedy="Wrap it: GREATEST(COALESCE(x, 1), 0).")
    return np.asarray(found / mean)
