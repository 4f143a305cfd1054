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


LEVELS, FEWEST = 10, 200
"""Levels of the forecast at which its bias is corrected, and rows below which there are fewer levels."""


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

    The mean of exp(prediction of the logarithm + error) is larger than exp(prediction). Duan's smearing estimate
    multiplies by the mean of exp(error), the same at every level. Sales that are forecast to be large (promotions) err
    more than others, so here the estimate is made at ten levels of the forecast, each time as the factor with which the
    out-of-fold forecasts of that level add up to the actual values, and is linear between the levels. A larger score
    never gives a smaller answer. (Duan, N., 1983, "Smearing estimate: a nonparametric retransformation method", JASA
    78, 605-610.)

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
    >>> factor = np.exp(corrected("log1p", raw, y).y)
    >>> bool(np.allclose(factor, np.exp(0.5**2 / 2), atol=0.03))
    True
    """
    from scipy.optimize import isotonic_regression

    if kind != "log1p":
        return Calibration("at_least_zero")
    order = np.argsort(raw, kind="stable")
    parts = np.array_split(order, max(min(LEVELS, len(raw) // FEWEST), 1))
    level = np.exp(raw)
    centre = np.array([float(np.mean(raw[own])) for own in parts])
    factor = [max(float(np.sum(y[own] + 1.0)), 1e-9) / float(np.sum(level[own])) for own in parts]
    # Flat at worst: the order of forecasts stays what it was.
    answered = np.asarray(isotonic_regression(centre + np.log(factor)).x)
    kept = np.append(True, np.diff(centre) > 0)
    return Calibration(
        "log1p", x=tuple(map(float, centre[kept])), y=tuple(map(float, (answered - centre)[kept]))
    )


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
