"""Confidence intervals: Wilson for proportions, DeLong for ROC AUC, the bootstrap for everything else.

How far to trust them (coverage measured by simulation in the tests):

- Wilson: from a handful of rows on.
- DeLong, on the logit scale: from about 30 rows of each class on.
- BCa bootstrap (bias corrected and accelerated; Efron, 1987): from about 100 rows with 30 of each class, or 30
  clusters, on. It corrects the bias of metrics such as the Kolmogorov-Smirnov statistic.
  The latter's intervals hold in about 92 of 100 cases rather than 95.
- Basic bootstrap: for the expected calibration error, a sum of absolute values whose resamples lie above it. Its
  lower end is 0 where a perfectly calibrated model would show as much by chance. About 90 of 100.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from charter.data.metrics import Sample, why_undefined
from charter.evaluate.calibration import errors_by_chance
from charter.evaluate.delong import auc_covariance
from charter.evaluate.proportion import normal_quantile, wilson
from charter.evaluate.resample import Draws, Replicates
from charter.evaluate.types import Estimate, Floats, Integers
from charter.spec.vocabulary import METRICS

_PROPORTIONS = frozenset({"accuracy", "precision", "recall", "specificity", "selection_rate"})
_MIN_UNITS = 10
_MIN_SHARE_DEFINED = 0.95


def bca(point: float, boot: Floats, jack: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Bias-corrected and accelerated bootstrap interval (Efron, 1987).

    Parameters
    ----------
    point
        The metric on the rows as they are.
    boot, jack
        The metric on resamples, and without one group of units each; all finite.

    Notes
    -----
    Acceleration comes from a jackknife over at most 200 random groups; ``sum d^3 / (6 (sum d^2)^1.5)`` estimates the
    same number for groups as for single rows.
    """
    from scipy.special import ndtr, ndtri

    below = (boot < point).mean() + (boot == point).mean() / 2
    bias = ndtri(np.clip(below, 0.5 / len(boot), 1 - 0.5 / len(boot)))
    deviation = jack.mean() - jack
    spread = float((deviation**2).sum())
    acceleration = float((deviation**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    z = bias + normal_quantile(0.5 + confidence / 2) * np.array([-1.0, 1.0])
    # Beyond 1 / acceleration the transformation folds back; there the plain shift is the sane limit.
    room = np.maximum(1 - acceleration * z, 0.1)
    low, high = np.quantile(boot, ndtr(bias + z / room))
    return float(low), float(high)


def basic(point: float, boot: Floats, confidence: float = 0.95) -> tuple[float, float]:
    """Basic bootstrap interval: the resamples' quantiles, mirrored at the point."""
    high, low = np.quantile(boot, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return 2 * point - float(low), 2 * point - float(high)


def auc_interval(
    y: Floats, score: Floats, confidence: float = 0.95, cluster: Integers | None = None
) -> tuple[float, float]:
    """DeLong's interval of the ROC AUC, on the logit scale so that it stays between 0 and 1.

    A perfect ranking has no variance to estimate; it gets Wilson's interval over as many independent pairs as the
    smaller class has rows (or there are clusters), which errs on the side of caution.
    """
    auc, covariance = auc_covariance(y, score[None, :], cluster)
    value, variance = float(auc[0]), float(covariance[0, 0])
    if not 0 < value < 1:
        pairs = float(min((y > 0).sum(), (y <= 0).sum()))
        if cluster is not None:
            pairs = min(pairs, float(len(np.unique(cluster))))
        return wilson(value * pairs, pairs, confidence)
    half = normal_quantile(0.5 + confidence / 2) * variance**0.5 / (value * (1 - value))
    centre = np.log(value / (1 - value))
    low, high = 1 / (1 + np.exp(-np.array([centre - half, centre + half])))
    return float(low), float(high)


def from_replicates(
    point: float, boot: Floats, jack: Floats, *, confidence: float, n: int, units: int, method: str = "bca"
) -> Estimate:
    """Make an estimate from resamples; without an interval where they are too few or mostly undefined."""
    if not np.isfinite(point):
        return Estimate(None, None, None, "none", n, "undefined for these rows")
    defined = boot[np.isfinite(boot)]
    if units < _MIN_UNITS:
        return Estimate(
            point, None, None, "none", n, f"no interval from fewer than {_MIN_UNITS} independent units"
        )
    if len(boot) == 0 or len(defined) < _MIN_SHARE_DEFINED * len(boot):
        return Estimate(point, None, None, "none", n, "no interval: undefined on too many resamples")
    note = ""
    if np.ptp(defined) == 0:
        note = "all resamples agree; the interval is too narrow to be believed"
    if method == "basic":
        low, high = basic(point, defined, confidence)
    else:
        low, high = bca(point, defined, jack[np.isfinite(jack)], confidence)
    return Estimate(point, *_around(point, low, high), method, n, note)


def estimate(
    names: Iterable[str],
    sample: Sample,
    replicates: Replicates,
    draws: Draws,
    *,
    confidence: float,
    rows: Integers | None = None,
) -> dict[str, Estimate]:
    """Estimate metrics of a sample with the interval that suits each.

    Parameters
    ----------
    replicates
        From `charter.evaluate.resample.replicate` for this sample and at least these metrics.
    rows
        The rows of the whole that the sample consists of; None is all.
    """
    names = tuple(names)
    unit = draws.unit if rows is None else draws.unit[rows]
    units = len(np.unique(unit)) if draws.clustered else sample.n
    clustered = draws.clustered and units < sample.n
    points = dict(zip(names, sample.measure(names, np.ones((1, sample.n)))[:, 0].tolist(), strict=True))
    found: dict[str, Estimate] = {}
    for name, point in points.items():
        if not np.isfinite(point):
            why = why_undefined(name, sample.y, sample.score, sample.decision, sample.bounds)
            found[name] = Estimate(None, None, None, "none", sample.n, why)
        elif name in ("roc_auc", "gini"):
            low, high = auc_interval(sample.y, sample.score, confidence, unit if clustered else None)
            if name == "gini":
                low, high = 2 * low - 1, 2 * high - 1
            found[name] = _estimate(point, low, high, "delong", sample.n)
        elif name in _PROPORTIONS and (not clustered or point in (0.0, 1.0)):
            # At 0 or 1 every resample agrees; then whole clusters stand for independent trials.
            over = _denominator(name, sample)
            trials = len(np.unique(unit[over])) if clustered else int(over.sum())
            found[name] = _estimate(point, *wilson(point * trials, trials, confidence), "wilson", sample.n)
        else:
            method = "basic" if name == "expected_calibration_error" else "bca"
            one = from_replicates(
                point, *replicates.of(name), confidence=confidence, n=sample.n, units=units, method=method
            )
            if name == "expected_calibration_error":
                one = _against_chance(one, sample, draws, confidence)
            if name in ("mape", "median_ape") and (zeros := int((sample.y == 0).sum())):
                note = f"{zeros:,} of {sample.n:,} rows left out, whose actual is 0"
                one = replace(one, note=f"{note}; {one.note}" if one.note else note)
            found[name] = _within_range(name, one)
    return found


def _against_chance(found: Estimate, sample: Sample, draws: Draws, confidence: float) -> Estimate:
    if found.value is None or found.low is None:
        return found
    chance = errors_by_chance(sample, resamples=draws.resamples, seed=draws.seed)
    low = 0.0 if found.value <= np.quantile(chance, confidence) else found.low
    note = f"a perfectly calibrated model would show about {chance.mean():.3f} on these rows"
    if found.high is not None and found.value - low > found.high - found.value:
        note += "; the interval takes that away, so it reaches further down than up"
    return Estimate(found.value, low, found.high, found.method, found.n, note)


def _denominator(name: str, sample: Sample) -> npt.NDArray[np.bool_]:
    match name:
        case "precision":
            return sample.decision > 0
        case "recall":
            return sample.y > 0
        case "specificity":
            return sample.y <= 0
        case _:
            return np.ones(sample.n, dtype=bool)


def _estimate(point: float, low: float, high: float, method: str, n: int) -> Estimate:
    if not (np.isfinite(low) and np.isfinite(high)):
        return Estimate(point, None, None, "none", n, "no interval from so few rows")
    return Estimate(point, float(low), float(high), method, n)


def _within_range(name: str, found: Estimate) -> Estimate:
    word = METRICS.get(name)
    if word is None or found.low is None or found.high is None:
        return found
    least = -np.inf if word.low is None else word.low
    most = np.inf if word.high is None else word.high
    low, high = (float(np.clip(end, least, most)) for end in (found.low, found.high))
    return Estimate(found.value, low, high, found.method, found.n, found.note)


def _around(value: float, low: float, high: float) -> tuple[float, float]:
    """Widen an interval to hold the value itself: a bias correction may move it past, which no reader expects."""
    return min(low, value), max(high, value)
