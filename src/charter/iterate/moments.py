"""What a difference of means needs to know of each arm; numbers, or arrays of many experiments at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from charter.evaluate.types import Floats

Number = Floats | float


@dataclass(frozen=True, slots=True)
class Moments:
    """Moments of a metric y between the units of one arm, and of a covariate x where there is one.

    Attributes
    ----------
    n
        Units.
    mean, variance
        Of y; a ratio's are those of its linearised values.
    x_mean, x_variance, covariance
        Of the covariate, and of both together; all 0 without one.
    """

    n: Number
    mean: Number
    variance: Number
    x_mean: Number = 0.0
    x_variance: Number = 0.0
    covariance: Number = 0.0

    @property
    def of_mean(self) -> Number:
        """Variance of the mean."""
        return self.variance / self.n


def moments(y: Floats, x: Floats | None = None) -> Moments:
    """Moments of one arm's units, shape (n,); n at least 2 for a variance.

    Examples
    --------
    >>> moments(np.array([1.0, 2.0, 6.0])).variance
    7.0
    """
    n = float(len(y))
    spread = float(np.var(y, ddof=1)) if n > 1 else float("nan")
    if x is None:
        return Moments(n, float(np.mean(y)), spread)
    off_x, off_y = x - np.mean(x), y - np.mean(y)
    rest = max(n - 1, 1.0)
    return Moments(
        n,
        float(np.mean(y)),
        spread,
        float(np.mean(x)),
        float((off_x**2).sum() / rest),
        float((off_x * off_y).sum() / rest),
    )


def linearised(y: Floats, x: Floats) -> Floats:
    """Values between units whose mean is the ratio ``sum y / sum x`` and whose variance is the delta method's.

    ``R + (y - R x) / mean(x)`` (Deng, Knoblich and Lu, 2018; Budylin et al., 2018). Trust it while the mean of x is
    known to a few per cent: from some hundred units on. Units are the last axis.

    Examples
    --------
    >>> linearised(np.array([1.0, 3.0]), np.array([2.0, 2.0])).tolist()
    [0.5, 1.5]
    """
    mean = x.mean(axis=-1, keepdims=True)
    ratio = y.mean(axis=-1, keepdims=True) / mean
    return np.asarray(ratio + (y - ratio * x) / mean, dtype=np.float64)


def adjusted(arms: Sequence[Moments]) -> tuple[Moments, ...]:
    """Take out of each arm what a covariate known before the exposure tells (CUPED).

    Notes
    -----
    ``y - theta (x - mean x)`` with one ``theta = cov(x, y) / var(x)`` within arms for all (Deng, Xu, Kohavi and Walker,
    2013): unbiased because x cannot know the arm, and the variance falls by the squared correlation. That theta is
    estimated matters below some hundred units.

    Examples
    --------
    >>> x = np.arange(10.0)
    >>> a, b = adjusted([moments(2 * x, x), moments(2 * x + 1, x)])
    >>> a.variance, b.mean - a.mean
    (0.0, 1.0)
    """
    within = sum((m.n - 1) * m.x_variance for m in arms)
    shared = sum((m.n - 1) * m.covariance for m in arms)
    centre = sum(m.n * m.x_mean for m in arms) / sum(m.n for m in arms)
    safe = np.where(np.asarray(within) > 0, within, 1.0)
    theta = np.where(np.asarray(within) > 0, shared / safe, 0.0)
    return tuple(
        replace(
            m,
            mean=_plain(m.mean - theta * (m.x_mean - centre)),
            variance=_plain(np.maximum(m.variance - 2 * theta * m.covariance + theta**2 * m.x_variance, 0.0)),
        )
        for m in arms
    )


def _plain(value: Number) -> Number:
    return float(value) if np.ndim(value) == 0 else value
