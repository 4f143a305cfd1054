"""What a forecast learns instead of the label, how much each row counts, and the way back to the label's unit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from charter.core.errors import DataError
from charter.features.expressions import columns_of, compile_number
from charter.train.calibrate import Calibration

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


def corrected(kind: str, raw: np.ndarray, y: np.ndarray) -> Calibration:
    """The way back, with the bias corrected that a transformation makes.

    The mean of exp(prediction of the logarithm + error) is larger than exp(prediction), by the mean of exp(error) where
    errors are alike at all levels: Duan's smearing estimate, from out-of-fold rows, each counting the same. The factor
    with which the sums of forecasts and actual values agree would follow the few largest promotions of the folds.
    (Duan, N., 1983, "Smearing estimate: a nonparametric retransformation method", JASA 78, 605-610.)

    Parameters
    ----------
    raw : ndarray of float64, shape (n,)
        Out-of-fold predictions of what was learned.
    y : ndarray of float64, shape (n,)
        Labels, in their unit.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> raw = rng.normal(5, 1, 100_000)
    >>> y = np.exp(raw + rng.normal(0, 0.5, len(raw))) - 1
    >>> round(float(np.exp(corrected("log1p", raw, y).y[0])), 2), round(float(np.exp(0.5**2 / 2)), 2)
    (1.13, 1.13)
    """
    if kind != "log1p":
        return Calibration("at_least_zero")
    factor = float(np.mean((y + 1.0) / np.exp(raw)))
    return Calibration("log1p", x=(0.0,), y=(float(np.log(factor)),))


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
