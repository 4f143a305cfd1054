"""Two models on the same rows: paired tests.

All three need the same rows in the same order. DeLong's and McNemar's tests are asymptotic (McNemar's is exact below
25 discordant rows) and take rows as independent unless ``cluster`` is given; the bootstrap works for every metric.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from charter.core.errors import UsageError
from charter.data.metrics import Array, Sample, direction
from charter.evaluate.delong import auc_covariance
from charter.evaluate.intervals import from_replicates
from charter.evaluate.proportion import normal_quantile
from charter.evaluate.resample import Draws, Part, Replicates, replicate
from charter.evaluate.types import Estimate, Floats
from charter.spec.types import Value

_EXACT_BELOW = 25


@dataclass(frozen=True, slots=True)
class Comparison:
    """Model a less model b.

    Attributes
    ----------
    a, b
        The metric of each; None where undefined.
    p_value
        Two-sided, of no difference; None where there is nothing to test.
    test
        ``delong``, ``mcnemar_exact``, ``mcnemar`` (with continuity correction) or ``bootstrap``.
    """

    metric: str
    a: float | None
    b: float | None
    difference: Estimate
    p_value: float | None
    test: str
    better: str


def delong_test(
    y: Array, score_a: Array, score_b: Array, *, cluster: Array | None = None, confidence: float = 0.95
) -> Comparison:
    """Compare two ROC AUCs (DeLong, DeLong and Clarke-Pearson, 1988; clusters: Obuchowski, 1997).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> y = rng.integers(0, 2, 500)
    >>> found = delong_test(y, y + rng.normal(0, 1, 500), y + rng.normal(0, 3, 500))
    >>> found.better, found.p_value < 0.001
    ('a', True)
    """
    truth, a, b = (np.asarray(x, dtype=np.float64) for x in (y, score_a, score_b))
    _same_length(truth, a, b)
    if not 0 < truth.sum() < len(truth):
        nothing = Estimate(None, None, None, "none", len(truth), "the rows hold one class only")
        return Comparison("roc_auc", None, None, nothing, None, "delong", "neither")
    codes = None if cluster is None else np.unique(cluster, return_inverse=True)[1].astype(np.int64)
    auc, covariance = auc_covariance(truth, np.stack([a, b]), codes)
    gap = float(auc[0] - auc[1])
    variance = float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])
    if math.isnan(variance):
        nothing = Estimate(gap, None, None, "none", len(truth), "too few rows of a class")
        return Comparison("roc_auc", float(auc[0]), float(auc[1]), nothing, None, "delong", "neither")
    spread = math.sqrt(max(variance, 0.0))
    # Equal rankings leave rounding only; it is no evidence.
    p_value = math.erfc(abs(gap) / spread / math.sqrt(2)) if spread > 1e-12 else float(abs(gap) < 1e-12)
    half = normal_quantile(0.5 + confidence / 2) * spread
    found = Estimate(gap, gap - half, gap + half, "delong", len(truth))
    return _comparison("roc_auc", float(auc[0]), float(auc[1]), found, p_value, "delong")


def mcnemar_test(y: Array, decision_a: Array, decision_b: Array, *, confidence: float = 0.95) -> Comparison:
    """Compare the accuracy of two sets of decisions (McNemar, 1947).

    Notes
    -----
    Only rows on which exactly one model is right count: p of them for a, q for b. Exact binomial test below 25 of
    them, else ``(|p - q| - 1)^2 / (p + q)`` against chi squared with one degree of freedom. The interval is Wald's
    for paired proportions.
    """
    from scipy.stats import binomtest

    truth, a, b = (np.asarray(x, dtype=np.float64) for x in (y, decision_a, decision_b))
    _same_length(truth, a, b)
    n, right_a, right_b = len(truth), a == truth, b == truth
    if n == 0:
        nothing = Estimate(None, None, None, "none", 0, "there are no rows")
        return Comparison("accuracy", None, None, nothing, None, "mcnemar_exact", "neither")
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    discordant = only_a + only_b
    if discordant < _EXACT_BELOW:
        test = "mcnemar_exact"
        p_value = float(binomtest(only_a, discordant, 0.5).pvalue) if discordant else 1.0
    else:
        test = "mcnemar"
        statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / discordant
        p_value = math.erfc(math.sqrt(statistic / 2))
    gap = (only_a - only_b) / n
    half = normal_quantile(0.5 + confidence / 2) * math.sqrt(max(discordant / n - gap**2, 0.0) / n)
    found = Estimate(gap, gap - half, gap + half, "wald", n)
    return _comparison("accuracy", float(right_a.mean()), float(right_b.mean()), found, p_value, test)


def bootstrap_test(
    metric: str,
    y: Array,
    score_a: Array,
    score_b: Array,
    *,
    decision_a: Array | None = None,
    decision_b: Array | None = None,
    value: Value | None = None,
    cluster: Array | None = None,
    resamples: int = 1000,
    seed: int = 0,
    confidence: float = 0.95,
) -> Comparison:
    """Compare any metric on the same resamples.

    Notes
    -----
    ``p = 2 min(share of resamples <= 0, share >= 0)``, each share counted as (k + 1) / (resamples + 1), so that it
    never claims more than the resamples can show (Davison and Hinkley, 1997, 4.2).
    """
    a, b = Sample(y, score_a, decision_a, value), Sample(y, score_b, decision_b, value)
    draws = Draws.of(a.n, resamples=resamples, seed=seed, cluster=cluster)
    of_a, of_b = replicate([Part(a, (metric,)), Part(b, (metric,))], draws)
    points = [float(s.measure((metric,), np.ones((1, s.n)))[0, 0]) for s in (a, b)]
    return paired(
        metric, (points[0], of_a), (points[1], of_b), confidence=confidence, n=a.n, units=draws.units
    )


def paired(
    metric: str,
    a: tuple[float, Replicates],
    b: tuple[float, Replicates],
    *,
    confidence: float,
    n: int,
    units: int,
) -> Comparison:
    """Compare a metric of two models whose replicates are of the same resamples.

    Parameters
    ----------
    a, b
        The metric on the rows as they are, and its replicates. Of a metric that is best at 0 the sizes are compared.
    n, units
        Rows, and independent units among them.
    """
    (point_a, boot_a, jack_a), (point_b, boot_b, jack_b) = (_sized(metric, *one) for one in (a, b))
    boot = boot_a - boot_b
    found = from_replicates(point_a - point_b, boot, jack_a - jack_b, confidence=confidence, n=n, units=units)
    known = [p if math.isfinite(p) else None for p in (point_a, point_b)]
    if found.low is None:
        return Comparison(metric, known[0], known[1], found, None, "bootstrap", "neither")
    defined = boot[np.isfinite(boot)]
    tail = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    p_value = min(1.0, 2 * (tail + 1) / (len(defined) + 1))
    return _comparison(metric, known[0], known[1], found, p_value, "bootstrap")


def improvement(
    metric: str,
    a: tuple[float, Replicates],
    b: tuple[float, Replicates],
    *,
    confidence: float,
    n: int,
    units: int,
) -> Estimate:
    """Measure how much better model a is, as a share of model b's metric: 0.01 is one per cent better.

    Positive is better whichever way the metric goes. Without a value where model b's metric is not surely different
    from 0, since a share of nothing means nothing.
    """
    (point_a, boot_a, jack_a), (point_b, boot_b, jack_b) = (_sized(metric, *one) for one in (a, b))
    signs = np.sign(boot_b[np.isfinite(boot_b)])
    if not math.isfinite(point_b) or point_b == 0 or len(signs) == 0 or abs(signs.sum()) < len(signs):
        why = "the other model's metric is not surely different from 0"
        return Estimate(None, None, None, "none", n, why)
    way = 1.0 if direction(metric) == "up" else -1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        boot, jack = (way * (x - z) / np.abs(z) for x, z in ((boot_a, boot_b), (jack_a, jack_b)))
    point = way * (point_a - point_b) / abs(point_b)
    return from_replicates(point, boot, jack, confidence=confidence, n=n, units=units)


def _sized(metric: str, point: float, own: Replicates) -> tuple[float, Floats, Floats]:
    boot, jack = own.of(metric)
    return (abs(point), np.abs(boot), np.abs(jack)) if direction(metric) == "zero" else (point, boot, jack)


def _comparison(
    metric: str, a: float | None, b: float | None, found: Estimate, p_value: float, test: str
) -> Comparison:
    better = "neither"
    if found.low is not None and found.high is not None and not found.low <= 0 <= found.high:
        better = "a" if (found.low > 0) == (direction(metric) == "up") else "b"
    return Comparison(metric, a, b, found, p_value, test, better)


def _same_length(*arrays: Array) -> None:
    if len({len(a) for a in arrays}) != 1:
        raise UsageError(f"both models must be measured on the same rows, not on {[len(a) for a in arrays]}")
