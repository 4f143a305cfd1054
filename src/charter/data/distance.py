"""How far two distributions are apart: from counts by bin or category, and exactly from the values.

Counts are of the same bins on both sides. From counts, the Kolmogorov-Smirnov distance is a lower bound of that of the
values.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def psi(expected: npt.ArrayLike, actual: npt.ArrayLike) -> float:
    """Population stability index, the symmetrised Kullback-Leibler divergence in nats.

    ``sum (q - p) ln(q / p)`` over shares p and q (Siddiqi, 2006). A bin that is empty on one side counts as half a row
    there; one that is empty on both is left out. Without any change it is about
    ``(1 / n + 1 / m) chi-square(bins - 1)`` (Yurdakul and Naranjo, 2020), so that small samples show a PSI of 0.1 by
    chance. NaN when a side has no rows.

    Parameters
    ----------
    expected, actual
        Counts, shape (bins,).

    Examples
    --------
    >>> round(psi([50, 30, 20], [40, 30, 30]), 6)
    0.062861
    """
    p, q = _counts(expected, actual)
    n, m = p.sum(), q.sum()
    if not n or not m:
        return float("nan")
    p, q = np.where(p > 0, p, 0.5) / n, np.where(q > 0, q, 0.5) / m
    return float(((q - p) * np.log(q / p)).sum())


def jensen_shannon(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Jensen-Shannon distance with logarithms to base 2, between 0 and 1 (Endres and Schindelin, 2003).

    The square root of the mean divergence of both from their mixture, as ``scipy.spatial.distance.jensenshannon``.
    NaN when a side has no rows.

    Examples
    --------
    >>> jensen_shannon([1, 0], [0, 1])
    1.0
    """
    p, q = _counts(a, b)
    n, m = p.sum(), q.sum()
    if not n or not m:
        return float("nan")
    p, q = p / n, q / m
    middle = (p + q) / 2
    divergence = sum(float((x[x > 0] * np.log2(x[x > 0] / middle[x > 0])).sum()) for x in (p, q)) / 2
    return math.sqrt(max(divergence, 0.0))


def ks_of_counts(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Largest distance of the two cumulative shares at the edges of the bins; NaN when a side has no rows.

    Examples
    --------
    >>> round(ks_of_counts([50, 30, 20], [40, 30, 30]), 12)
    0.1
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not x.sum() or not y.sum():
        return float("nan")
    return float(np.abs(x.cumsum() / x.sum() - y.cumsum() / y.sum()).max())


def chi_square(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[float, int]:
    """Pearson's chi-square statistic of homogeneity and its degrees of freedom, without Yates' correction.

    Bins that are empty on both sides are left out.

    Examples
    --------
    >>> statistic, freedom = chi_square([50, 30, 20], [40, 30, 30])
    >>> round(statistic, 6), freedom
    (3.111111, 2)
    """
    x, y = _counts(a, b)
    n, m = x.sum(), y.sum()
    if not n or not m:
        return 0.0, 0
    # For two samples: sum (x sqrt(m / n) - y sqrt(n / m))^2 / (x + y).
    return float(((x * (m / n) ** 0.5 - y * (n / m) ** 0.5) ** 2 / (x + y)).sum()), len(x) - 1


def pooled(
    a: npt.ArrayLike, b: npt.ArrayLike, *, ordered: bool = False, least: float = 5.0
) -> tuple[Floats, Floats]:
    """Join the bins in which fewer than ``least`` rows are expected on the smaller side (Cochran, 1954).

    Parameters
    ----------
    ordered
        Join neighbours, as bins of numbers are joined; else all small ones into one.

    Examples
    --------
    >>> [x.tolist() for x in pooled([90, 6, 3, 1], [95, 4, 1, 0])]
    [[90.0, 6.0, 4.0], [95.0, 4.0, 1.0]]
    >>> [x.tolist() for x in pooled([4, 3, 5, 5, 2], [4, 4, 5, 5, 1], ordered=True)]
    [[7.0, 5.0, 7.0], [8.0, 5.0, 6.0]]
    """
    x, y = _counts(a, b)
    expected = (x + y) * (min(x.sum(), y.sum()) / max(x.sum() + y.sum(), 1.0))
    small = expected < least
    if not small.any():
        return x, y
    if not ordered:
        return np.append(x[~small], x[small].sum()), np.append(y[~small], y[small].sum())
    starts, gathered = [0], 0.0
    for i, rows in enumerate(expected[:-1]):
        gathered += rows
        if gathered >= least:
            starts, gathered = [*starts, i + 1], 0.0
    if gathered + expected[-1] < least and len(starts) > 1:
        starts.pop()
    return np.add.reduceat(x, starts), np.add.reduceat(y, starts)


def wasserstein_of_counts(places: npt.ArrayLike, a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Wasserstein's first distance of counts at given places, in the unit of the places.

    Parameters
    ----------
    places
        Where the values of each bin are taken to be, ascending, shape (bins,).

    Examples
    --------
    >>> wasserstein_of_counts([0, 1, 5], [1, 1, 0], [0, 1, 1])
    2.5
    """
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if not x.sum() or not y.sum():
        return float("nan")
    gap = np.abs(x.cumsum() / x.sum() - y.cumsum() / y.sum())[:-1]
    return float((gap * np.diff(np.asarray(places, dtype=np.float64))).sum())


def ks_of_values(a: Floats, b: Floats) -> float:
    """Two-sample Kolmogorov-Smirnov distance of values, exact.

    Parameters
    ----------
    a, b
        Finite and ascending, shapes (n,) and (m,); NaN when one is empty.

    Examples
    --------
    >>> ks_of_values(np.array([1.0, 2.0, 3.0]), np.array([2.0, 3.0, 4.0, 5.0]))
    0.5
    """
    if not len(a) or not len(b):
        return float("nan")
    # Between two neighbours of b its share is constant and that of a grows, so the extremes are at b's values.
    at, before = np.searchsorted(a, b, side="right") / len(a), np.searchsorted(a, b, side="left") / len(a)
    above, below = np.searchsorted(b, b, side="right") / len(b), np.searchsorted(b, b, side="left") / len(b)
    return float(max(np.abs(at - above).max(), np.abs(before - below).max()))


def wasserstein_of_values(a: Floats, b: Floats) -> float:
    """Wasserstein's first distance of values (the earth mover's), exact, in the unit of the values.

    Parameters
    ----------
    a, b
        Finite and ascending; NaN when one is empty.

    Examples
    --------
    >>> wasserstein_of_values(np.array([0.0, 1.0, 3.0]), np.array([5.0, 6.0, 8.0]))
    5.0
    """
    if not len(a) or not len(b):
        return float("nan")
    if len(a) == len(b):
        return float(np.abs(a - b).mean())
    every = np.sort(np.concatenate([a, b]))
    shares = [np.searchsorted(x, every[:-1], side="right") / len(x) for x in (a, b)]
    return float((np.abs(shares[0] - shares[1]) * np.diff(every)).sum())


def _counts(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[Floats, Floats]:
    x, y = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if x.shape != y.shape or x.ndim != 1:
        raise ValueError(f"counts of shapes {x.shape} and {y.shape} are not of the same bins")
    some = (x > 0) | (y > 0)
    return x[some], y[some]
