"""The effect of an arm on a metric: difference from the control, with an interval and a p-value.

All take ``alpha`` as the chance to be wrong of this one interval; who compares several arms passes a smaller one.
Coverage of each over 10,000 simulated experiments is measured in ``benchmarks/experiments``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from charter.evaluate.fairness import Rate, newcombe
from charter.evaluate.types import Floats, Integers
from charter.iterate.boundary import fixed_boundary, sequential_boundary, sequential_p_value
from charter.iterate.moments import Moments, Number, linearised

LEAST_UNITS = 50
"""Of an arm, for a confidence sequence: it holds asymptotically, and says nothing of a handful of units."""
_SURE_OF_SIGN = 3.0
_DRAWS = 20_000


@dataclass(frozen=True, slots=True)
class EffectEstimate:
    """An arm less the control.

    Attributes
    ----------
    low, high
        Ends of the interval; NaN where there is none.
    p_value
        Two-sided, of no difference.
    method
        ``welch``, ``newcombe``, ``sequence`` (a confidence sequence) or ``order statistics``.
    """

    difference: float
    low: float
    high: float
    p_value: float
    method: str


def welch(control: Moments, arm: Moments, alpha: float) -> tuple[Number, Number, Number, Number]:
    """Difference of two means, ends of its interval and p-value by Welch's test (1947), for arrays, too.

    Degrees of freedom are Satterthwaite's. Means of skewed metrics (revenue) need some thousand units.

    Examples
    --------
    >>> from charter.iterate.moments import moments
    >>> a, b = np.array([1.0, 2.0, 3.0, 4.0]), np.array([2.0, 4.0, 6.0, 9.0])
    >>> [round(float(v), 4) for v in welch(moments(a), moments(b), 0.05)]
    [2.75, -1.7299, 7.2299, 0.1647]
    """
    from scipy.special import stdtr, stdtrit

    parts = np.asarray(control.of_mean), np.asarray(arm.of_mean)
    error = np.sqrt(parts[0] + parts[1])
    gap = arm.mean - control.mean
    with np.errstate(divide="ignore", invalid="ignore"):
        freedom = (parts[0] + parts[1]) ** 2 / (parts[0] ** 2 / (control.n - 1) + parts[1] ** 2 / (arm.n - 1))
        half = stdtrit(freedom, 1 - alpha / 2) * error
        p_value = 2 * stdtr(freedom, -np.abs(gap) / error)
    return gap, gap - half, gap + half, p_value


def sequence(control: Moments, arm: Moments, alpha: float, weight: float) -> tuple[Number, Number, Number]:
    """Difference of two means and the ends of its confidence sequence at this look, for arrays, too.

    Parameters
    ----------
    weight
        From `charter.iterate.boundary.mixture_weight`; the same at every look.

    Notes
    -----
    The asymptotic sequence of Waudby-Smith et al. (2024) with ``n`` units of both arms and ``n (s0^2 / n0 + s1^2 /
    n1)`` for the variance of one.
    """
    gap = arm.mean - control.mean
    half = sequential_boundary(control.n + arm.n, weight, alpha) * np.sqrt(control.of_mean + arm.of_mean)
    return gap, gap - half, gap + half


def doubt(arms: Sequence[Moments], units: Sequence[float], *, sequential: bool) -> str:
    """Why no interval of a difference of means can be told; empty where it can.

    Parameters
    ----------
    units
        Of each arm, those that count: of units with very different numbers of rows as many as would tell as much.

    Examples
    --------
    >>> doubt([Moments(5.0, 1.0, 0.2), Moments(3.0, 0.0, 0.3)], [5.0, 3.0], sequential=True)
    'too few units: an arm has 3, and 50 are needed to read at any time'
    """
    if sequential and min(units) < LEAST_UNITS:
        return f"too few units: an arm has {min(units):.3g}, and {LEAST_UNITS} are needed to read at any time"
    if any(not float(m.variance) > 0 for m in arms):
        return "the metric does not vary in an arm, so nothing says how far other units would lie"
    return ""


def unvaried(hits: float, units: float) -> float:
    """Variance of a proportion of which only zeros or only ones were seen: of one more unit of either kind.

    Examples
    --------
    >>> round(unvaried(0, 98), 4)
    0.0099
    """
    share = (hits + 1) / (units + 2)
    return share * (1 - share)


def mean_effect(control: Moments, arm: Moments, alpha: float, weight: float | None) -> EffectEstimate:
    """Judge a difference of means (or linearised ratios): once by Welch, or at any time (``weight``) by a sequence."""
    error = math.sqrt(float(control.of_mean + arm.of_mean))
    gap = float(arm.mean - control.mean)
    method = "welch" if weight is None else "sequence"
    if error == 0:  # nobody differs from anybody, so nothing says how far others would
        return EffectEstimate(gap, math.nan, math.nan, 1.0, "none")
    if weight is None:
        _, low, high, p_value = (float(v) for v in welch(control, arm, alpha))
        return EffectEstimate(gap, low, high, p_value, method)
    _, low, high = (float(v) for v in sequence(control, arm, alpha, weight))
    p_value = sequential_p_value(gap / error, float(control.n + arm.n), weight)
    return EffectEstimate(gap, low, high, p_value, method)


def proportion_effect(hits0: float, n0: float, hits1: float, n1: float, alpha: float) -> EffectEstimate:
    """Judge a difference of two proportions: pooled z test, interval of Newcombe (1998, method 10).

    Examples
    --------
    >>> e = proportion_effect(56, 70, 48, 80, 0.05)
    >>> round(e.difference, 3), round(e.low, 4), round(e.high, 4)
    (-0.2, -0.3339, -0.0524)
    """
    from scipy.special import ndtr

    p0, p1, pooled = hits0 / n0, hits1 / n1, (hits0 + hits1) / (n0 + n1)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1))
    p_value = float(2 * ndtr(-abs(p1 - p0) / error)) if error > 0 else 1.0
    low, high = newcombe(Rate("arm", p1, n1), Rate("control", p0, n0), 1 - alpha)
    return EffectEstimate(p1 - p0, low, high, p_value, "newcombe")


def relative(control: Moments, arm: Moments, boundary: float) -> tuple[float, float, float] | None:
    """Relative change of a mean that is not negative, with an interval.

    Parameters
    ----------
    boundary
        Standard errors on each side.

    Returns
    -------
    Change (0.1 is ten per cent) and its ends; None where a mean is not `_SURE_OF_SIGN` standard errors above 0.

    Notes
    -----
    ``exp(log(m1 / m0) -+ b sqrt(v1 / m1^2 + v0 / m0^2)) - 1``: the delta method on the logarithm.
    """
    if any(float(m.mean) <= _SURE_OF_SIGN * math.sqrt(float(m.of_mean)) for m in (control, arm)):
        return None
    error = math.sqrt(float(arm.of_mean / arm.mean**2 + control.of_mean / control.mean**2))
    centre = math.log(float(arm.mean / control.mean))
    return math.expm1(centre), math.expm1(centre - boundary * error), math.expm1(centre + boundary * error)


@dataclass(frozen=True, slots=True)
class QuantileDraws:
    """A quantile, and what it might as well have been."""

    value: float
    draws: Floats


def quantile_draws(values: Floats, unit: Integers, q: float, seed: int) -> QuantileDraws:
    """Draw a quantile's sampling distribution without resampling.

    Parameters
    ----------
    values, unit
        Shape (rows,): the metric, and the number of the unit of each row.
    q
        Between 0 and 1.

    Notes
    -----
    In a bootstrap sample the quantile is one of the order statistics, whose place is normal around ``n q`` with the
    standard deviation of ``n`` times the share of rows below (Schultzberg and Ankargren, 2022). Rows of one unit are
    not independent; that share is therefore a ratio of sums over units, by the delta method (Deng, Knoblich and Lu,
    2018). Trust it while ``n q`` and ``n (1 - q)``, of units, are 50 at least.

    Examples
    --------
    >>> values = np.arange(1000.0)
    >>> found = quantile_draws(values, np.arange(1000), 0.5, seed=0)
    >>> found.value, np.quantile(found.draws, [0.025, 0.975]).round(-1).tolist()
    (499.0, [470.0, 530.0])
    """
    ordered, n = np.sort(values), len(values)
    place = max(math.ceil(n * q) - 1, 0)
    units = int(unit.max()) + 1
    below = np.bincount(unit, values <= ordered[place], units).astype(np.float64)
    rows = np.bincount(unit, minlength=units).astype(np.float64)
    present = rows > 0
    share = linearised(below[present], rows[present])
    # At the edges of discrete values the share jumps; q (1 - q) is what a continuous metric would have.
    error = math.sqrt(
        max(float(np.var(share)), q * (1 - q) * float(present.sum()) / n) / float(present.sum())
    )
    z = np.random.default_rng(seed).standard_normal(_DRAWS)
    places = np.clip(np.rint(place + n * error * z), 0, n - 1).astype(np.int64)
    return QuantileDraws(float(ordered[place]), np.asarray(ordered[places], dtype=np.float64))


def quantile_effect(control: QuantileDraws, arm: QuantileDraws, alpha: float) -> EffectEstimate:
    """Judge a difference of quantiles from the draws of both."""
    gaps = arm.draws - control.draws
    low, high = np.quantile(gaps, [alpha / 2, 1 - alpha / 2])
    tail = min(int((gaps <= 0).sum()), int((gaps >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (len(gaps) + 1))
    return EffectEstimate(arm.value - control.value, float(low), float(high), p_value, "order statistics")


def boundary_of(units: float, alpha: float, weight: float | None) -> float:
    """Standard errors on each side of an interval, at one look or at any."""
    return fixed_boundary(alpha) if weight is None else float(sequential_boundary(units, weight, alpha))
