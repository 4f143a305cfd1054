"""Metrics, computed exactly: ties count half, an undefined metric is NaN, never a guess.

Training and evaluation share this module. Every built-in metric is a function of *row weights*: `compute`
weighs each row with 1, and the bootstrap weighs it with the number of times that it was drawn. Scores are
therefore sorted once, however many resamples are taken, and a metric exists in one implementation only.

Conventions
-----------
binary
    ``y`` is 0 or 1, ``score`` the probability of 1 (any real number will do for the ranking metrics),
    ``decision`` is 0 or 1.
multiclass
    ``y`` and ``decision`` are class numbers 0..k-1, ``score`` has one column per class.
regression, forecast
    ``y`` is the actual and ``score`` the predicted number; ``bounds`` the prediction intervals, where there are any.

Where no decision is given it is ``score >= 0.5`` (binary), the most probable class (multiclass).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Literal, Protocol, cast

import numpy as np
import numpy.typing as npt

from charter.core import plugins
from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.core.quantity import parse_volume
from charter.data.ratios import (
    ADDITIVE,
    RATIOS,
    Bounds,
    divide,
    finish,
    median_ape,
    terms,
    weigh,
    why_undefined_number,
)
from charter.spec.vocabulary import METRICS, Direction

if TYPE_CHECKING:
    from charter.spec.types import Value

Floats = npt.NDArray[np.float64]
Array = npt.NDArray[np.generic]

CALIBRATION_BINS = 15
PROBABILITY_METRICS = frozenset({"log_loss", "brier_score", "expected_calibration_error"})
_RANKING = frozenset({"roc_auc", "gini", "average_precision", "ks_statistic"})
_CELLS = frozenset(
    {
        "accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "matthews_correlation",
        "selection_rate", "net_value", "net_value_per_month",
    }
)  # fmt: skip
_VALUES = ADDITIVE | {"r2"}


class Metric(Protocol):
    """A metric from outside, registered under the entry-point group ``charter.metrics``.

    The entry point names an instance, or a class that is created without arguments.
    """

    better: Direction
    """``up`` when larger is better."""
    needs: Literal["score", "decision", "value", "values"]

    def compute(self, y: Array, score: Array, decision: Array | None, value: Value | None) -> float:
        """Measure; NaN where the metric is undefined."""
        ...


def _plugin(name: str) -> Metric:
    if name not in plugins.names("metrics"):
        known = tuple(sorted({*METRICS, *plugins.names("metrics")}))
        raise UsageError(f"metric {name!r} is not known", remedy=did_you_mean(name, known))
    loaded = plugins.load("metrics", name)
    return cast("Metric", loaded() if isinstance(loaded, type) else loaded)


def direction(name: str) -> Direction:
    """Tell which way is better: ``up`` or ``down``.

    Raises
    ------
    UsageError
        When nobody knows a metric of that name.

    Examples
    --------
    >>> direction("roc_auc"), direction("log_loss")
    ('up', 'down')
    """
    return METRICS[name].better if name in METRICS else _plugin(name).better


def compute(
    name: str,
    y: Array,
    score: Array,
    decision: Array | None = None,
    value: Value | None = None,
    bounds: Bounds | None = None,
) -> float:
    """Measure one metric.

    Parameters
    ----------
    name
        A word of `charter.spec.vocabulary.METRICS`, or of the entry-point group ``charter.metrics``.
    y, score, decision
        Arrays of n rows (``score`` n x k for several classes); see the module's conventions.
    value
        What outcomes are worth; needed by ``net_value`` and ``net_value_per_month``.
    bounds
        Prediction intervals; needed by the metrics of intervals.

    Returns
    -------
    float
        NaN where the metric is undefined; `why_undefined` says why.

    Raises
    ------
    UsageError
        For an unknown metric, lengths that differ, or a value metric without ``value``.

    Examples
    --------
    >>> compute("roc_auc", np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.4, 0.8]))
    0.875
    """
    sample = Sample(y, score, decision, value, bounds)
    return float(sample.measure((name,), np.ones((1, sample.n)))[0, 0])


def why_undefined(
    name: str, y: Array, score: Array, decision: Array | None = None, bounds: Bounds | None = None
) -> str:
    """Say in words why a metric came out as NaN."""
    sample = Sample(y, score, decision)
    if sample.n == 0:
        return "there are no rows"
    if not np.isfinite(sample.score).all():
        return "a score is missing or infinite"
    if name in _VALUES:
        return why_undefined_number(name, sample.y, bounds)
    if name in PROBABILITY_METRICS and not sample.is_probability:
        return "the score is not a probability"
    if np.unique(sample.y).size < 2:
        return "the rows hold one class only"
    return "no row is flagged" if name == "precision" else "it is not defined for these rows"


def from_cells(
    name: str, tp: Floats, fp: Floats, fn: Floats, tn: Floats, value: Value | None = None
) -> Floats:
    """Measure a decision metric from counts of outcomes, element by element.

    Precision without a flagged row is NaN; Matthews' correlation of a constant decision is 0, as is usual.

    Parameters
    ----------
    tp, fp, fn, tn
        Counts (or sums of weights), arrays of one shape.
    """
    positives, negatives, flagged = tp + fn, fp + tn, tp + fp
    total = positives + negatives
    match name:
        case "accuracy":
            return divide(tp + tn, total)
        case "balanced_accuracy":
            return (divide(tp, positives) + divide(tn, negatives)) / 2
        case "precision":
            return divide(tp, flagged)
        case "recall":
            return divide(tp, positives)
        case "specificity":
            return divide(tn, negatives)
        case "f1":
            return divide(2 * tp, 2 * tp + fp + fn)
        case "selection_rate":
            return divide(flagged, total)
        case "matthews_correlation":
            spread = np.sqrt(positives) * np.sqrt(negatives) * np.sqrt(flagged) * np.sqrt(fn + tn)
            result = np.where(spread > 0, divide(tp * tn - fp * fn, spread), 0.0)
            return np.where((positives > 0) & (negatives > 0), result, np.nan)
        case "net_value" | "net_value_per_month":
            if value is None:
                raise UsageError(
                    f"metric {name!r} needs the worth of outcomes",
                    remedy="Give 'value' in the specification.",
                )
            worth = value.per_decision
            gained = tp * worth.true_positive + fp * worth.false_positive
            mean = divide(gained + fn * worth.false_negative + tn * worth.true_negative, total)
            return mean if name == "net_value" else per_month(mean, value)
        case _:
            raise UsageError(f"metric {name!r} is not computed from decisions")


def per_month(net_value: Floats, value: Value) -> Floats:
    """Worth of a month: mean worth of a decision x decisions a month - running costs - training costs."""
    return net_value * parse_volume(value.volume) - value.costs.run_per_month - value.costs.train_per_month


def calibration_bins(score: Floats, bins: int = CALIBRATION_BINS) -> npt.NDArray[np.int64]:
    """Cut scores into bins of equal mass: about as many rows in each.

    A row of rank r (0 the lowest) of n is in bin ``floor(bins x r / n)``; rows of equal score share the bin
    of the lowest of them, so a bin may be larger than its neighbours, or empty.

    Returns
    -------
    ndarray of int64, shape (n,)
    """
    order = np.argsort(score, kind="stable")
    ranked = score[order]
    lowest = np.searchsorted(ranked, ranked, side="left")
    found = np.empty(len(score), dtype=np.int64)
    found[order] = lowest * bins // max(len(score), 1)
    return found


class Sample:
    """Rows to be measured, sorted once.

    Parameters
    ----------
    y, score, decision, value, bounds
        As in `compute`.
    """

    def __init__(
        self,
        y: Array,
        score: Array,
        decision: Array | None = None,
        value: Value | None = None,
        bounds: Bounds | None = None,
    ) -> None:
        self.y: Floats = np.asarray(y, dtype=np.float64)
        self.score: Floats = np.asarray(score, dtype=np.float64)
        self.n = len(self.y)
        self.value = value
        self.bounds = bounds
        if decision is None:
            decision = self.score >= 0.5 if self.score.ndim == 1 else self.score.argmax(axis=1)
        self.decision: Floats = np.asarray(decision, dtype=np.float64)
        if len(self.score) != self.n or len(self.decision) != self.n:
            raise UsageError(
                f"y has {self.n} rows, score {len(self.score)}, decision {len(self.decision)}: not the same"
            )

    def take(self, rows: npt.NDArray[np.int64] | npt.NDArray[np.bool_]) -> Sample:
        """Return the sample of some of the rows."""
        bounds = self.bounds.take(rows) if self.bounds is not None else None
        return Sample(self.y[rows], self.score[rows], self.decision[rows], self.value, bounds)

    @cached_property
    def is_probability(self) -> bool:
        """Whether every score lies between 0 and 1."""
        return self.n > 0 and bool(((self.score >= 0) & (self.score <= 1)).all())

    @cached_property
    def order(self) -> npt.NDArray[np.int64]:
        """Rows from the highest score to the lowest."""
        return np.argsort(-self.score, kind="stable")

    @cached_property
    def ends(self) -> npt.NDArray[np.int64]:
        """Places in `order` of the last row of each group of equal scores."""
        ranked = self.score[self.order]
        return np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))

    def measure(self, names: Iterable[str], weights: Floats) -> Floats:
        """Measure metrics under many weightings of the rows at once.

        Parameters
        ----------
        weights
            Shape (b, n): how often each row counts, whole numbers >= 0 for a bootstrap.

        Returns
        -------
        ndarray of float64, shape (number of names, b)

        Notes
        -----
        The edges of the calibration bins are those of the rows themselves, not of each weighting. Memory is a
        small multiple of ``weights``; the caller cuts it into blocks.
        """
        names = tuple(names)
        out = np.full((len(names), len(weights)), np.nan)
        if self.n == 0 or not np.isfinite(self.score).all():
            return out
        wanted = set(names)
        found: dict[str, Floats] = {}
        if self.score.ndim == 2:
            found = self._several_classes(wanted, weights)
        else:
            if wanted & (_RANKING | {"expected_calibration_error"}):
                found |= self._ranking(wanted, weights)
            if wanted & _CELLS:
                found |= self._cells(wanted & _CELLS, weights)
            if wanted & (PROBABILITY_METRICS | {"r2"}):
                found |= self._means(wanted, weights)
            if wanted & ADDITIVE:
                found |= self._numbers(wanted & ADDITIVE, weights)
        for i, name in enumerate(names):
            out[i] = found[name] if name in found else self._outside(name, weights)
        return out

    def _ranking(self, wanted: set[str], weights: Floats) -> dict[str, Floats]:
        ranked = weights[:, self.order]
        found: dict[str, Floats] = {}
        if "expected_calibration_error" in wanted and self.is_probability:
            starts, gap = self.bin_starts, (self.score - self.y)[self.order]
            gaps = np.abs(np.add.reduceat(ranked * gap, starts, axis=1)).sum(axis=1)
            found["expected_calibration_error"] = divide(gaps, weights.sum(axis=1))
        if not wanted & _RANKING:
            return found
        # Sums of whole numbers below 2**53 are exact, so the order of addition cannot change a result.
        tp = np.cumsum(ranked * self.y[self.order], axis=1)[:, self.ends]
        fp = np.cumsum(ranked, axis=1)[:, self.ends] - tp
        positives, negatives = tp[:, -1], fp[:, -1]
        more_tp = np.diff(tp, axis=1, prepend=0)
        if wanted & {"roc_auc", "gini"}:
            pairs = (np.diff(fp, axis=1, prepend=0) * (tp - more_tp / 2)).sum(axis=1)
            found["roc_auc"] = divide(pairs, positives * negatives)
            found["gini"] = 2 * found["roc_auc"] - 1
        if "average_precision" in wanted:
            precision = tp / np.maximum(tp + fp, 1e-300)
            found["average_precision"] = divide((more_tp * precision).sum(axis=1), positives)
        if "ks_statistic" in wanted:
            gap = np.abs(divide(tp, positives[:, None]) - divide(fp, negatives[:, None]))
            found["ks_statistic"] = gap.max(axis=1)
        return found

    @cached_property
    def bin_starts(self) -> npt.NDArray[np.int64]:
        """Places in `order` where a calibration bin begins."""
        bins = calibration_bins(self.score)[self.order]
        return np.flatnonzero(np.append(True, bins[1:] != bins[:-1]))

    def _cells(self, wanted: set[str], weights: Floats) -> dict[str, Floats]:
        y, flagged, total = self.y, self.decision, weights.sum(axis=1)
        tp, p, f = weigh(weights, y * flagged), weigh(weights, y), weigh(weights, flagged)
        cells = (tp, f - tp, p - tp, total - p - f + tp)
        return {name: from_cells(name, *cells, value=self.value) for name in wanted}

    def _means(self, wanted: set[str], weights: Floats) -> dict[str, Floats]:
        total, error = weights.sum(axis=1), self.score - self.y
        found: dict[str, Floats] = {}

        def mean(of: Floats) -> Floats:
            return divide(weigh(weights, of), total)

        for name in wanted:
            match name:
                case "log_loss" if self.is_probability:
                    sure = _clip(np.where(self.y > 0, self.score, 1 - self.score))
                    found[name] = mean(-np.log(sure))
                case "brier_score" if self.is_probability:
                    found[name] = mean(error**2)
                case "r2":
                    # Centred first: the textbook's difference of squares would cancel.
                    centred = self.y - self.y.mean()
                    spread = mean(centred**2) - mean(centred) ** 2
                    found[name] = 1 - divide(mean(error**2), np.where(np.ptp(self.y) > 0, spread, 0.0))
                case _:
                    pass
        return found

    def _numbers(self, wanted: set[str] | frozenset[str], weights: Floats) -> dict[str, Floats]:
        found: dict[str, Floats] = {}
        for name in wanted & RATIOS:
            sums = terms(name, self.y, self.score, self.bounds)
            if sums is not None:
                ratio = divide(weigh(weights, sums[0]), weigh(weights, sums[1]))
                found[name] = finish(name, ratio, self.bounds)
        if "median_ape" in wanted:
            found["median_ape"] = median_ape(self.y, self.score, weights)
        return found

    def _several_classes(self, wanted: set[str], weights: Floats) -> dict[str, Floats]:
        total, classes = weights.sum(axis=1), range(self.score.shape[1])
        found: dict[str, Floats] = {}
        if "accuracy" in wanted:
            found["accuracy"] = divide(weigh(weights, (self.y == self.decision).astype(np.float64)), total)
        if "log_loss" in wanted and self.is_probability:
            sure = self.score[np.arange(self.n), self.y.astype(np.int64)]
            found["log_loss"] = divide(weigh(weights, -np.log(_clip(sure))), total)
        if wanted & {"macro_f1", "balanced_accuracy"}:
            true = np.stack([weigh(weights, (self.y == c) * 1.0) for c in classes])
            said = np.stack([weigh(weights, (self.decision == c) * 1.0) for c in classes])
            right = np.stack([weigh(weights, ((self.y == c) & (self.decision == c)) * 1.0) for c in classes])
            several = (true > 0).sum(axis=0) > 1
            # A class that neither occurs nor is predicted says nothing; the mean is over the others.
            found["macro_f1"] = np.where(several, _mean_of_known(divide(2 * right, true + said)), np.nan)
            found["balanced_accuracy"] = np.where(several, _mean_of_known(divide(right, true)), np.nan)
        return found

    def _outside(self, name: str, weights: Floats) -> Floats:
        """A metric that somebody plugged in knows no weights: repeat the rows instead."""
        if name in METRICS:
            return np.full(len(weights), np.nan)
        metric = _plugin(name)
        result = np.empty(len(weights))
        for b, row in enumerate(weights):
            rows = np.repeat(np.arange(self.n), row.astype(np.int64))
            result[b] = metric.compute(self.y[rows], self.score[rows], self.decision[rows], self.value)
        return result


def _clip(probability: Floats) -> Floats:
    """Keep a logarithm finite, as scikit-learn does: at least the spacing of floats at 1."""
    eps = float(np.finfo(np.float64).eps)
    return np.clip(probability, eps, 1 - eps)


def _mean_of_known(by_class: Floats) -> Floats:
    known = np.isfinite(by_class)
    return divide(np.where(known, by_class, 0.0).sum(axis=0), known.sum(axis=0).astype(np.float64))
