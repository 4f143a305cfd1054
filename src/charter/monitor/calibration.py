"""Whether probabilities still mean what they say: slope and intercept of the outcomes on the scores. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from charter.evaluate.proportion import normal_quantile
from charter.evaluate.types import Estimate

Floats = npt.NDArray[np.float64]

FEWEST_OF_A_KIND = 30
"""Positives and negatives, below which there is no interval worth showing."""
_ROUNDS = 50
_NEAR = 1e-9


def calibration_line(score: Floats, y: Floats, *, confidence: float = 0.95) -> dict[str, Estimate]:
    """Regress outcomes on the log odds of the scores.

    ``calibration_slope`` is b of ``logit P(y) = a + b logit(score)``: below 1 the scores are too extreme, above 1 too
    timid. ``calibration_intercept`` is a where b is held at 1: above 0 more is positive than the scores say, in log
    odds (Cox, "Two further applications of a model for binary regression", 1958; Van Calster et al., "Calibration: the
    Achilles heel of predictive analytics", 2019). Maximum likelihood, Wald intervals.

    Parameters
    ----------
    score
        Probabilities, shape (n,); clipped to 1e-6 from 0 and 1.
    y
        0 or 1, shape (n,).

    Returns
    -------
    Without values, and with a note, where fewer than `FEWEST_OF_A_KIND` are positive or negative, or scores are all
    alike (then there is no slope), or separate the outcomes.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.beta(2, 2, 20_000)
    >>> odds = 0.5 * np.log(p / (1 - p))
    >>> found = calibration_line(p, (rng.random(20_000) < 1 / (1 + np.exp(-odds))).astype(float))
    >>> round(found["calibration_slope"].value, 1), abs(found["calibration_intercept"].value) < 0.05
    (0.5, True)
    """
    n, positives = len(y), int(y.sum())
    p = np.clip(score, 1e-6, 1 - 1e-6)
    odds = np.log(p) - np.log1p(-p)
    if min(positives, n - positives) < FEWEST_OF_A_KIND:
        note = f"{positives} positive of {n}: {FEWEST_OF_A_KIND} of each kind are needed"
        return {name: _none(n, note) for name in ("calibration_slope", "calibration_intercept")}
    z = normal_quantile(0.5 + confidence / 2)
    both = np.column_stack([np.ones(n), odds])
    slope = _fit(both, np.zeros(n), y) if np.ptp(odds) > 0 else None
    large = _fit(both[:, :1], odds, y)
    return {
        "calibration_slope": _told(slope, 1, n, z, "scores are all alike, or separate the outcomes"),
        "calibration_intercept": _told(large, 0, n, z, "no fit"),
    }


def _fit(X: Floats, offset: Floats, y: Floats) -> tuple[Floats, Floats] | None:
    """Coefficients and standard errors of a logistic regression, by Newton's method; None where it has none."""
    beta = np.zeros(X.shape[1])
    beta[1:] = 1.0
    for _ in range(_ROUNDS):
        mean = 1 / (1 + np.exp(-np.clip(X @ beta + offset, -500, 500)))
        information = (X * (mean * (1 - mean))[:, None]).T @ X
        try:
            step = np.linalg.solve(information, X.T @ (y - mean))
        except np.linalg.LinAlgError:
            return None
        if not np.isfinite(step).all() or np.abs(beta).max() > 100:
            return None
        beta = beta + np.clip(step, -2.0, 2.0)
        if np.abs(step).max() < _NEAR:
            return beta, np.sqrt(np.diag(np.linalg.inv(information)))
    return None


def _told(fit: tuple[Floats, Floats] | None, place: int, n: int, z: float, why_not: str) -> Estimate:
    if fit is None:
        return _none(n, why_not)
    value, error = float(fit[0][place]), float(fit[1][place])
    return Estimate(value, value - z * error, value + z * error, "wald", n)


def _none(n: int, note: str) -> Estimate:
    return Estimate(None, None, None, "none", n, note)
