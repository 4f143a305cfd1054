"""How likely a difference is where nothing changed, and how small a change could have been seen. Pure.

All tests take rows for independent. Rows that come in bursts, or from few entities, vary more than that: then the
persistence over windows is what keeps alarms true.
"""

from __future__ import annotations

from functools import lru_cache

POWER = 0.8
_EXPECTED_AT_LEAST = 5.0


def chi_square_p(statistic: float, freedom: int) -> float:
    """Upper tail of the chi-square distribution; 1 without a degree of freedom."""
    from scipy.special import chdtrc

    return float(chdtrc(freedom, statistic)) if freedom else 1.0


def two_shares_p(hits_a: int, n: int, hits_b: int, m: int) -> float:
    """Two-sided p-value of two equal shares: Pearson's chi-square, or Fisher's exact test where few are expected.

    Examples
    --------
    >>> round(two_shares_p(10, 1000, 25, 1000), 4), two_shares_p(0, 10, 0, 10)
    (0.0105, 1.0)
    """
    hits, rows = hits_a + hits_b, n + m
    if hits in (0, rows):
        return 1.0
    if min(hits, rows - hits) * min(n, m) / rows < _EXPECTED_AT_LEAST:
        from scipy.stats import fisher_exact

        return float(fisher_exact([[hits_a, n - hits_a], [hits_b, m - hits_b]]).pvalue)
    share = hits / rows
    difference = hits_b / m - hits_a / n
    return chi_square_p(difference**2 / (share * (1 - share) * (1 / n + 1 / m)), 1)


def unseen_p(unseen: int, n: int, once: int, m: int) -> float:
    """Chance of at least ``unseen`` rows of categories that m earlier rows did not have.

    Where categories have a long tail, new ones come all the time: their share is about ``once / m`` (Good, 1953), with
    ``once`` the categories that were seen a single time. With that share taken for Gamma(once + 1, m), the number of
    such rows among n later ones is negative binomial.

    Examples
    --------
    >>> unseen_p(0, 100, 0, 100), unseen_p(1, 100, 0, 100), round(unseen_p(12, 100, 10, 100), 2)
    (1.0, 0.5, 0.42)
    """
    from scipy.special import betainc

    return float(betainc(unseen, once + 1, n / (n + m))) if unseen else 1.0


def smallest_psi(freedom: int, n: int, m: int, alpha: float) -> float | None:
    """PSI that is found with probability 0.8 by a test at level ``alpha``; None without rows.

    Around no change PSI is ``(1 / n + 1 / m)`` times chi-square (Yurdakul and Naranjo, 2020), and of a small change
    that of a noncentral chi-square, whose noncentrality is the true PSI over ``1 / n + 1 / m``.
    """
    if not freedom or not n or not m:
        return None
    return _noncentrality(freedom, alpha) * (1 / n + 1 / m)


def smallest_change(base: float, n: int, m: int, alpha: float) -> float | None:
    """Change of a share that is found with probability 0.8 by a two-sided test at level ``alpha``."""
    from scipy.special import ndtri

    if not n or not m:
        return None
    share = max(min(base, 1 - base), 1 / (n + m))
    return float((ndtri(1 - alpha / 2) + ndtri(POWER)) * (share * (1 - share) * (1 / n + 1 / m)) ** 0.5)


@lru_cache(maxsize=4096)
def _noncentrality(freedom: int, alpha: float) -> float:
    from scipy.special import chdtri, chndtrinc

    return float(chndtrinc(chdtri(freedom, alpha), freedom, 1 - POWER))
