"""What a general model gets wrong by category, learned from its out-of-fold forecasts and held back where it is unsure.

A model of all series shares what they have in common; what is peculiar to a brand or a store it may level out. The
second stage adds, on the scale that is learned, a level and a slope for each category::

    said + level[c] + slope[c] * (said - centre[c])

Each fold gives one least-squares estimate of both for each category. Their mean over folds is shrunk towards 0, no
correction, by the empirical Bayes factor ``t / (t + s[c])`` (Efron and Morris, 1975): ``s`` is the squared standard
error of the mean over folds, ``t`` the variance of true corrections over categories, estimated by the mean of
``estimate^2 - s`` where that is positive. Folds, not rows, are what the standard error counts: all series of an origin
miss the same season together. A variance of a handful of folds is little known, so ``s[c]`` is at least the mean of all
categories'. With fewer than two folds, or `FEWEST` rows in each, a category has no correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
FEWEST = 20
"""Rows of a category in a fold below which nothing is estimated from it."""


@dataclass(frozen=True, slots=True, eq=False)
class Corrections:
    """Level, slope and centre of each category, float64 [k]; see the module."""

    level: Floats
    slope: Floats
    centre: Floats

    def apply(self, said: Floats, category: npt.NDArray[np.float32]) -> Floats:
        """Correct forecasts.

        Parameters
        ----------
        said
            Shape (n,), on the scale that is learned.
        category
            Shape (n, k), indicators; a row of zeros is corrected by nothing.
        """
        flags = category.astype(np.float64)
        base = flags @ (self.level - self.slope * self.centre)
        return np.asarray(said + base + said * (flags @ self.slope))


def fit_corrections(
    said: Sequence[Floats], actual: Sequence[Floats], category: Sequence[npt.NDArray[np.float32]], width: int
) -> Corrections:
    """Estimate the corrections from what a general model said out of fold.

    Parameters
    ----------
    said, actual
        Per fold, shape (n,), on the scale that is learned.
    category
        Per fold, shape (n, width), indicators.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> flags = np.repeat(np.eye(2, dtype=np.float32), 200, axis=0)
    >>> said = [rng.normal(3, 1, 400) for _ in range(4)]
    >>> actual = [one + 0.3 * flags[:, 1] + rng.normal(0, 0.2, 400) for one in said]
    >>> fit_corrections(said, actual, [flags] * 4, 2).level.round(1).tolist()[1]
    0.3
    """
    total = np.array([flags.sum(axis=0, dtype=np.float64) for flags in category]).sum(axis=0, initial=0.0)
    sums = np.array([one @ flags.astype(np.float64) for one, flags in zip(said, category, strict=True)])
    centre = sums.sum(axis=0, initial=0.0) / np.maximum(total, 1.0) if len(sums) else np.zeros(width)
    found = np.full((len(said), width, 2), np.nan)
    for fold, (one, truth, flags) in enumerate(zip(said, actual, category, strict=True)):
        for c in range(width):
            own = flags[:, c] > 0
            if int(own.sum()) >= FEWEST:
                found[fold, c] = _line(one[own] - centre[c], (truth - one)[own])
    level, slope = (_shrunk(found[:, :, part]) for part in (0, 1))
    return Corrections(level, slope, centre)


def _line(x: Floats, y: Floats) -> tuple[float, float]:
    """Level at x = 0 and slope, by least squares; a slope of 0 where x does not vary."""
    apart = x - x.mean()
    spread = float(apart @ apart)
    slope = float(apart @ y) / spread if spread > 1e-9 * len(x) else 0.0
    return float(y.mean()) - slope * float(x.mean()), slope


def _shrunk(estimates: Floats) -> Floats:
    """Means over folds [k] of estimates [folds, k], shrunk towards 0."""
    known = np.isfinite(estimates)
    count = known.sum(axis=0)
    enough = count >= 2
    shrunk = np.zeros(estimates.shape[1])
    if not enough.any():
        return shrunk
    kept = np.where(known, estimates, 0.0)[:, enough]
    count = count[enough]
    mean = kept.sum(axis=0) / count
    variance = (np.where(known[:, enough], kept - mean, 0.0) ** 2).sum(axis=0) / (count - 1)
    own = variance / count
    error = np.maximum(own, own.mean())
    true = max(float(np.mean(mean**2 - error)), 0.0)
    shrunk[enough] = mean * true / np.maximum(true + error, 1e-300)
    return shrunk


def known_by_fold(
    said: Sequence[Floats],
    actual: Sequence[Floats],
    category: Sequence[npt.NDArray[np.float32]],
    width: int,
    *,
    target: Sequence[npt.NDArray[np.int64]],
    origin: Sequence[int],
) -> list[Corrections]:
    """Corrections for each fold's forecasts by what the folds before it taught, as far as it was known then.

    Parameters
    ----------
    target
        Per fold, shape (n,): when the forecast period begins.
    origin
        Of each fold, ascending, on the same scale: earlier folds' rows with a target at or after it are left out.
    """
    found = []
    for at, begins in enumerate(origin):
        known = [one < begins for one in target[:at]]
        before = [one[rows] for one, rows in zip(said, known, strict=False)]
        truth = [one[rows] for one, rows in zip(actual, known, strict=False)]
        flags = [one[rows] for one, rows in zip(category, known, strict=False)]
        found.append(fit_corrections(before, truth, flags, width))
    return found
