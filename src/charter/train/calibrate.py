"""Turns scores into probabilities, and forecasts into the label's unit.

Fitting needs SciPy; applying needs NumPy alone, as serving has no more.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from charter.core.errors import DataError, UsageError

LOWEST, HIGHEST = 1e-12, 1.0 - 2.0**-25
"""Scores are clipped to this range before their logarithm is taken."""


@dataclass(frozen=True)
class Calibration:
    """A strictly increasing map from score to probability.

    Attributes
    ----------
    kind
        ``none``: the score as it is. ``sigmoid``: ``1 / (1 + exp(-(a x logit(score) + b)))``. ``isotonic``: linear
        between the points (``x``, ``y``), constant outside. Of forecasts: ``log1p``: ``max(exp(score + c) - 1, 0)``
        with the correction ``c`` linear between the points (``x``, ``y``), constant outside. ``at_least_zero``:
        ``max(score, 0)``.
    """

    kind: str = "none"
    x: tuple[float, ...] = ()
    y: tuple[float, ...] = ()
    a: float = 1.0
    b: float = 0.0

    @cached_property
    def knots(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Points of the map and the slopes between them, made once: a server applies them to every few rows."""
        x, y = np.array(self.x), np.array(self.y)
        return x, y, np.diff(y) / np.diff(x)

    def apply(self, score: np.ndarray) -> np.ndarray:
        """See `apply`."""
        return apply(self, score)

    def to_json(self) -> dict[str, Any]:
        """Plain data; floats survive the round trip to the bit."""
        match self.kind:
            case "isotonic":
                return {"kind": self.kind, "x": list(self.x), "y": list(self.y)}
            case "sigmoid":
                return {"kind": self.kind, "a": self.a, "b": self.b}
            case "log1p":
                return {"kind": self.kind, "x": list(self.x), "y": list(self.y)}
            case "at_least_zero":
                return {"kind": self.kind}
            case _:
                return {"kind": "none"}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Inverse of `to_json`."""
        kind = data["kind"]
        if kind == "isotonic":
            return cls(kind, x=tuple(data["x"]), y=tuple(data["y"]))
        if kind == "sigmoid":
            return cls(kind, a=float(data["a"]), b=float(data["b"]))
        if kind == "log1p":
            return cls(kind, x=tuple(data["x"]), y=tuple(data["y"]))
        if kind == "at_least_zero":
            return cls(kind)
        if kind == "none":
            return cls()
        known = "none, sigmoid, isotonic, log1p, at_least_zero"
        raise UsageError(f"calibration: kind {kind!r} is not known; allowed: {known}")


def apply(calibration: Calibration | Mapping[str, Any], score: np.ndarray) -> np.ndarray:
    """Probabilities for scores, each row by itself.

    Parameters
    ----------
    calibration
        Or its `Calibration.to_json`.
    score : ndarray of float, shape (n,) or, with ``kind`` none only, (n, k)
        Between 0 and 1, of forecasts any number; NaN stays NaN.

    Returns
    -------
    ndarray of float64, same shape

    Examples
    --------
    >>> apply(Calibration("isotonic", x=(0.0, 0.5, 1.0), y=(0.0, 0.1, 0.4)), np.array([0.25, 0.75])).tolist()
    [0.05, 0.25]
    """
    if not isinstance(calibration, Calibration):
        calibration = Calibration.from_json(calibration)
    score = np.asarray(score, dtype=np.float64)
    if calibration.kind == "none":
        return score
    if calibration.kind == "log1p":
        return np.asarray(np.maximum(np.exp(score + _between(calibration, score)) - 1.0, 0.0))
    if calibration.kind == "at_least_zero":
        return np.asarray(np.maximum(score, 0.0))
    if calibration.kind == "sigmoid":
        return np.asarray(1.0 / (1.0 + np.exp(-(calibration.a * _logit(score) + calibration.b))))
    return _between(calibration, score)


def _between(calibration: Calibration, score: np.ndarray) -> np.ndarray:
    """Linear between the points, constant outside; 0 without points."""
    x, y, slope = calibration.knots
    if len(x) < 2:
        return np.where(np.isnan(score), np.nan, y[0] if len(y) else 0.0)
    # Not `np.interp`: it takes different routes for few and for many rows. Nor `np.clip`, slow for few.
    inside = np.minimum(np.maximum(score, x[0]), x[-1])
    left = np.minimum(np.maximum(x.searchsorted(inside, side="right") - 1, 0), len(x) - 2)
    return np.asarray(y[left] + slope[left] * (inside - x[left]))


def fit(kind: str, score: np.ndarray, y: np.ndarray) -> Calibration:
    """Fit on out-of-fold scores.

    Parameters
    ----------
    kind
        ``none``, ``sigmoid`` or ``isotonic``.
    score : ndarray of float, shape (n,)
        Between 0 and 1.
    y : ndarray, shape (n,)
        0 or 1.

    Raises
    ------
    DataError
        When the rows hold one class only.

    Examples
    --------
    >>> rng = np.random.default_rng(1)
    >>> score = rng.random(5000)
    >>> y = (rng.random(5000) < score**2).astype(int)
    >>> bool(abs(apply(fit("isotonic", score, y), np.array([0.5]))[0] - 0.25) < 0.05)
    True
    """
    if kind == "none":
        return Calibration()
    score, y = np.asarray(score, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if len(np.unique(y)) < 2:
        raise DataError(
            "train.calibrate: the out-of-fold rows hold one class only", remedy="Use 'calibrate: none'."
        )
    if kind == "sigmoid":
        return _sigmoid(score, y)
    if kind == "isotonic":
        return _isotonic(score, y)
    raise UsageError(f"train.calibrate: {kind!r} is not known; allowed: none, sigmoid, isotonic")


def align(score: np.ndarray, y: np.ndarray, fold_of: np.ndarray, *, offset: float = 0.0) -> np.ndarray:
    """Take the drift of the base rate between time folds out of out-of-fold scores.

    A fold of a time split is judged on later rows than it was fitted on. If positives have become more frequent by
    then, its scores are too low as a whole. That is news about those months and not a property of the model: the final
    model has seen them. Calibrating on such scores would raise every later probability. So each fold's log odds are
    shifted until their mean probability is the fold's observed frequency; what is left to calibrate is the shape.

    Parameters
    ----------
    score : ndarray of float, shape (n,)
        Raw out-of-fold scores between 0 and 1.
    y : ndarray, shape (n,)
        0 or 1, both in every fold.
    fold_of : ndarray, shape (n,)
    offset
        Log odds by which the final model's scores are expected to be too high as a whole: 0 for a model that was
        fitted on rows as they are, minus the log odds of the base rate for one fitted on balanced classes.

    Returns
    -------
    ndarray of float64, shape (n,)
        Scores as a model with the right base rate, and ``offset``, would have given them.

    Examples
    --------
    >>> moved = align(np.array([0.1, 0.2, 0.1, 0.2]), np.array([0, 1, 1, 0]), np.zeros(4))
    >>> round(float(moved.mean()), 6)
    0.5
    """
    from scipy.optimize import brentq

    odds = _logit(score)
    for fold in np.unique(fold_of):
        own = fold_of == fold
        frequency = float(np.mean(y[own]))

        def gap(shift: float, own: np.ndarray = own, frequency: float = frequency) -> float:
            return float(np.mean(1.0 / (1.0 + np.exp(-(odds[own] + shift))))) - frequency

        odds[own] += brentq(gap, -60.0, 60.0, xtol=1e-12) + offset
    return np.asarray(1.0 / (1.0 + np.exp(-odds)))


def _logit(score: np.ndarray) -> np.ndarray:
    inside = np.clip(score, LOWEST, HIGHEST)
    return np.asarray(np.log(inside) - np.log1p(-inside))


def _sigmoid(score: np.ndarray, y: np.ndarray) -> Calibration:
    """Platt's method (1999) on the log odds, with his smoothed targets, by Newton's method with halved steps."""
    positives, negatives = y.sum(), (1 - y).sum()
    target = np.where(y > 0, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    design = np.stack([_logit(score), np.ones_like(score)], axis=1)

    def loss(w: np.ndarray) -> float:
        z = _columns(design, w)
        return float(np.sum(np.logaddexp(0, z) - target * z))

    w = np.array([1.0, float(np.log(positives / negatives))])
    best = loss(w)
    for _ in range(100):
        p = 1.0 / (1.0 + np.exp(-np.clip(_columns(design, w), -700, 700)))
        gradient = (design * (p - target)[:, None]).sum(axis=0)
        curved = design * (p * (1 - p))[:, None]
        hessian = np.array([[(curved[:, i] * design[:, j]).sum() for j in (0, 1)] for i in (0, 1)])
        step = np.linalg.solve(hessian + 1e-9 * np.eye(2), gradient)
        size = 1.0
        while size > 1e-10 and loss(w - size * step) > best:
            size /= 2
        w = w - size * step
        now = loss(w)
        if best - now <= 1e-10 * max(abs(best), 1.0):
            break
        best = now
    # A falling map would turn the model's ranking, and its monotone promises, upside down.
    return Calibration("sigmoid", a=max(float(w[0]), 1e-6), b=float(w[1]))


def _columns(design: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.asarray(design[:, 0] * w[0] + design[:, 1] * w[1])


def _isotonic(score: np.ndarray, y: np.ndarray) -> Calibration:
    """Isotonic regression (pool adjacent violators), made strictly increasing.

    The plain step function would give all rows of a block the same probability and cost ranking quality. Instead the
    map runs linearly between the blocks' centres (mean score, observed frequency), and from the outer centres half the
    way to 0 at score 0 and to 1 at score 1; so the order of rows, and ROC AUC, stay what they were. Frequencies are
    kept ``1 / (n + 2)`` away from 0 and 1: no finite sample shows more.
    """
    from scipy.optimize import isotonic_regression

    values, codes, counts = np.unique(score, return_inverse=True, return_counts=True)
    weights = counts.astype(np.float64)
    frequency = np.bincount(codes, weights=y) / weights
    result = isotonic_regression(frequency, weights=weights, increasing=True)
    starts = np.asarray(result.blocks)[:-1]
    mass = np.add.reduceat(weights, starts)
    centre = np.add.reduceat(values * weights, starts) / mass
    least = 1.0 / (len(y) + 2)
    level = np.clip(np.asarray(result.x)[starts], least, 1 - least)
    if centre[0] > 0:
        centre, level = np.insert(centre, 0, 0.0), np.insert(level, 0, level[0] / 2)
    if centre[-1] < 1:
        centre, level = np.append(centre, 1.0), np.append(level, (1 + level[-1]) / 2)
    return Calibration("isotonic", x=tuple(map(float, centre)), y=tuple(map(float, level)))
