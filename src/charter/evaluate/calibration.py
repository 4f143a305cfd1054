"""Does a score of 0.3 come true three times in ten? Reliability table and the error that chance alone makes."""

from __future__ import annotations

import numpy as np

from charter.data.metrics import CALIBRATION_BINS, Sample, calibration_bins
from charter.evaluate.proportion import wilson
from charter.evaluate.types import CalibrationBin, Floats

_BLOCK_CELLS = 1_000_000


def reliability(
    y: Floats, score: Floats, *, bins: int = CALIBRATION_BINS, confidence: float = 0.95
) -> tuple[CalibrationBin, ...]:
    """Compare mean score and observed frequency over bins of equal mass.

    Parameters
    ----------
    y, score
        Shape (n,); 0 or 1, and probabilities.

    Returns
    -------
    tuple of CalibrationBin
        From the lowest score to the highest; at most ``bins``, for equal scores share a bin. The weighted mean of
        ``|predicted - observed|`` is the expected calibration error.
    """
    bin_of = calibration_bins(score, bins)
    table = []
    for number in np.unique(bin_of):
        rows = bin_of == number
        n, happened = int(rows.sum()), float(y[rows].sum())
        low, high = wilson(happened, n, confidence)
        inside = score[rows]
        table.append(
            CalibrationBin(
                lowest=float(inside.min()),
                highest=float(inside.max()),
                n=n,
                predicted=float(inside.mean()),
                observed=happened / n,
                low=low,
                high=high,
            )
        )
    return tuple(table)


def errors_by_chance(sample: Sample, *, resamples: int, seed: int) -> Floats:
    """Draw the calibration errors that a perfectly calibrated model would show on these scores.

    The expected calibration error of a finite sample is above 0 even for a perfect model. Outcomes are drawn with
    the scores as their probabilities (consistency resampling; Bröcker and Smith, 2007) and measured like the real
    ones. Rows are drawn independently: where entities repeat, the spread is understated.

    Returns
    -------
    ndarray of float64, shape (resamples,)
    """
    rng = np.random.default_rng((seed, 2))
    ranked = sample.score[sample.order]
    step = max(1, _BLOCK_CELLS // max(sample.n, 1))
    found = []
    for start in range(0, resamples, step):
        outcomes = rng.random((min(step, resamples - start), sample.n)) < ranked
        gaps = np.add.reduceat(ranked - outcomes, sample.bin_starts, axis=1)
        found.append(np.abs(gaps).sum(axis=1) / sample.n)
    return np.concatenate(found)
