"""Whether the arms hold as many units as they should: if not, something other than chance chose who is counted."""

from __future__ import annotations

from collections.abc import Mapping

from charter.core.decision import Check, Verdict
from charter.core.errors import UsageError
from charter.evaluate.types import Floats

ALPHA = 0.001
"""Strict, because an assignment that works is checked again and again and must not be doubted once a week."""


def ratio_p_value(counts: Floats, shares: Floats) -> Floats:
    """Chi-square test of counts against shares (Pearson, 1900), for many experiments at once.

    Parameters
    ----------
    counts
        Units of each arm, shape (..., arms).
    shares
        Expected share of each arm, shape (arms,); scaled to add up to 1.

    Returns
    -------
    ndarray, shape (...)

    Notes
    -----
    ``sum (o - e)^2 / e`` with arms - 1 degrees of freedom; of two arms with Yates' continuity correction (1934),
    without which whole numbers give false alarms a little more often than stated. From 5 expected units in each arm on.

    Examples
    --------
    >>> import numpy as np
    >>> ratio_p_value(np.array([[50_000, 50_000], [51_000, 49_000]]), np.array([0.5, 0.5])).tolist()
    [1.0, 2.592157679681924e-10]
    """
    import numpy as np
    from scipy.stats import chi2

    seen = np.asarray(counts, dtype=np.float64)
    expected = seen.sum(axis=-1, keepdims=True) * (np.asarray(shares) / np.sum(shares))
    off = np.abs(seen - expected)
    if seen.shape[-1] == 2:
        off = np.maximum(off - 0.5, 0.0)
    statistic = np.divide(off**2, expected, out=np.zeros_like(off), where=expected > 0).sum(axis=-1)
    return np.asarray(chi2.sf(statistic, seen.shape[-1] - 1), dtype=np.float64)


def check_missing(counts: Mapping[str, int], known: Mapping[str, int]) -> Check | None:
    """Judge whether the arms lose outcomes alike; None where nothing is missing.

    Whoever is left is compared. Where an arm loses others than the rest, or more of them, the comparison is not that of
    the arms. Chi-square test of homogeneity (Pearson, 1900).

    Parameters
    ----------
    counts, known
        Units by arm, and those of them whose metric is known.

    Examples
    --------
    >>> check_missing({"a": 1000, "b": 1000}, {"a": 900, "b": 800}).verdict
    <Verdict.WARN: 'warn'>
    """
    import numpy as np
    from scipy.stats import chi2_contingency

    table = np.array([[known[a], counts[a] - known[a]] for a in counts], dtype=np.float64)
    if (table.sum(axis=0) == 0).any():
        return None
    p = float(chi2_contingency(table).pvalue)
    seen = ", ".join(f"{a} {1 - known[a] / counts[a]:.2%}" for a in counts)
    note = "arms lose units at different rates, so those compared differ; find out why, or count them as 0"
    alike = p >= ALPHA
    return Check(
        "missing values", f"{seen} (p = {p:.2g})", f"alike, p >= {ALPHA:g}",
        Verdict.PASS if alike else Verdict.WARN, note="" if alike else note,
    )  # fmt: skip


def check_ratio(counts: Mapping[str, int], shares: Mapping[str, float]) -> Check:
    """Judge the numbers of units by arm; a failure means that no result may be read.

    Examples
    --------
    >>> check_ratio({"a": 51_000, "b": 49_000}, {"a": 0.5, "b": 0.5}).verdict
    <Verdict.FAIL: 'fail'>
    """
    import numpy as np

    if set(counts) != set(shares) or len(shares) < 2 or min(shares.values()) <= 0:
        raise UsageError(f"arms {sorted(counts)} are compared with shares of {sorted(shares)}")
    total, whole = sum(counts.values()), sum(shares.values())
    p = float(ratio_p_value(np.array([counts[a] for a in shares]), np.array(list(shares.values()))))
    seen = ", ".join(f"{a} {counts[a]:,}" for a in shares)
    wanted = ", ".join(f"{a} {share / whole:.4g}" for a, share in shares.items())
    few = total * min(shares.values()) / whole < 5
    verdict = Verdict.UNKNOWN if few else Verdict.FAIL if p < ALPHA else Verdict.PASS
    note = {
        Verdict.UNKNOWN: "too few units to tell",
        Verdict.FAIL: "units went missing or were assigned otherwise; find out why before reading any result",
    }.get(verdict, "")
    return Check(
        "sample ratio", f"{seen} (p = {p:.2g})", f"shares {wanted}, p >= {ALPHA:g}", verdict, note=note
    )
