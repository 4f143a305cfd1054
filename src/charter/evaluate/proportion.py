"""Wilson's interval of a proportion, and the normal quantile that all intervals share."""

from __future__ import annotations


def normal_quantile(share: float) -> float:
    """Quantile of the standard normal distribution."""
    from scipy.special import ndtri

    return float(ndtri(share))


def wilson(successes: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of a proportion (Wilson, 1927). NaN when ``n`` is 0.

    Examples
    --------
    >>> low, high = wilson(8, 10)
    >>> round(low, 3), round(high, 3)
    (0.49, 0.943)
    """
    if n <= 0:
        return float("nan"), float("nan")
    z2 = normal_quantile(0.5 + confidence / 2) ** 2
    share, centre = successes / n, (successes + z2 / 2) / (n + z2)
    half = (z2 * (share * (1 - share) / n + z2 / (4 * n * n))) ** 0.5 / (1 + z2 / n)
    # The ends are exact where nothing, or everything, succeeded; floats would miss them by a hair.
    low = 0.0 if successes <= 0 else max(centre - half, 0.0)
    high = 1.0 if successes >= n else min(centre + half, 1.0)
    return low, high
