"""Quality before labels are known, from calibrated probabilities alone (CBPE).

Confidence-based performance estimation: where a probability is calibrated, a row scored 0.8 is positive 8 times in
10, so expected confusion counts, and every metric made of them, follow without a single label (Guillory et al., 2021,
"Predicting with confidence on unseen distributions"; NannyML's CBPE). It sees what a shift of the inputs does to
quality. It cannot see a change of the relation between inputs and outcome: that is what realised quality, held against
the estimate, is for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charter.spec.measures import ESTIMABLE
from charter.spec.types import Value

Floats = npt.NDArray[np.float64]

MIN_ROWS = 100
"""Fewer rows give no interval worth showing."""
_BINS = 1000
_DRAWS = 400


@dataclass(frozen=True, slots=True)
class Estimated:
    """One estimated metric.

    Attributes
    ----------
    value
        What to expect; None where it is undefined.
    low, high
        Between them the realised metric lies, once the labels are known, with the stated confidence, provided that
        the probabilities are calibrated; None with fewer than `MIN_ROWS` rows.
    """

    value: float | None
    low: float | None
    high: float | None
    n: int


def cbpe(
    score: Floats,
    decision: Floats,
    *,
    value: Value | None = None,
    metrics: Sequence[str] = ESTIMABLE,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Estimated]:
    """Estimate the metrics of a binary model on rows whose labels are not known.

    Parameters
    ----------
    score
        Calibrated probability of the positive class, shape (n,).
    decision
        1 where decided positive, else 0, shape (n,).
    value
        Worth of decisions, for ``net_value``.

    Returns
    -------
    Point estimates are exact expectations of the counts; the ROC AUC is that of every row counted as ``p`` of a
    positive and ``1 - p`` of a negative. The interval is the parametric bootstrap's: rows are drawn again (Poisson
    weights) and labels drawn from their probabilities, on scores grouped into at most 1,000 quantiles.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.beta(1, 4, 20_000)
    >>> found = cbpe(p, (p >= 0.5).astype(float), metrics=("roc_auc", "precision"))
    >>> round(found["roc_auc"].value, 3), round(found["precision"].value, 3)
    (0.781, 0.604)
    """
    p, said = np.asarray(score, np.float64), np.asarray(decision, np.float64)
    kept = np.isfinite(p)
    p, said = np.clip(p[kept], 0.0, 1.0), said[kept]
    names = [m for m in metrics if m != "net_value" or value is not None]
    if not len(p):
        return {m: Estimated(None, None, None, 0) for m in names}
    order = np.lexsort((said, p))
    exact = _Counts(p[order], said[order], p[order][None, :], 1 - p[order][None, :], value)
    grouped = _grouped(p[order], said[order])
    rng = np.random.default_rng(seed)
    rows = rng.poisson(grouped.rows, (_DRAWS, len(grouped.rows)))
    positives = rng.binomial(rows, grouped.p)
    drawn = _Counts(
        grouped.p, grouped.said, positives.astype(np.float64), (rows - positives).astype(np.float64), value
    )
    tails = [0.5 - confidence / 2, 0.5 + confidence / 2]
    found = {}
    for name in names:
        point = float(exact.measure(name)[0])
        replicates = drawn.measure(name)
        replicates = replicates[np.isfinite(replicates)]
        if not np.isfinite(point):
            found[name] = Estimated(None, None, None, len(p))
        elif len(p) < MIN_ROWS or len(replicates) < 0.95 * _DRAWS:
            found[name] = Estimated(point, None, None, len(p))
        else:
            low, high = np.quantile(replicates, tails)
            found[name] = Estimated(point, float(low), float(high), len(p))
    return found


@dataclass(frozen=True, slots=True)
class _Groups:
    p: Floats
    said: Floats
    rows: Floats


def _grouped(p: Floats, said: Floats) -> _Groups:
    """Put sorted rows into at most `_BINS` groups of neighbours that were decided alike, by their mean probability."""
    block = np.arange(len(p)) * min(_BINS, len(p)) // len(p)
    change = np.flatnonzero((np.diff(block) != 0) | (np.diff(said) != 0)) + 1
    starts = np.concatenate([[0], change])
    rows = np.diff(np.append(starts, len(p))).astype(np.float64)
    return _Groups(np.add.reduceat(p, starts) / rows, said[starts], rows)


class _Counts:
    """Groups of equal score, ascending, with (replicates x groups) counts of positives and negatives."""

    def __init__(
        self, p: Floats, said: Floats, positive: Floats, negative: Floats, value: Value | None
    ) -> None:
        self.p, self.positive, self.negative, self.value = p, positive, negative, value
        flagged = said > 0
        self.tp, self.fp = positive[:, flagged].sum(1), negative[:, flagged].sum(1)
        self.fn, self.tn = positive[:, ~flagged].sum(1), negative[:, ~flagged].sum(1)
        self.n = self.tp + self.fp + self.fn + self.tn

    def measure(self, name: str) -> Floats:
        """Value of a metric on each replicate; NaN where it is undefined."""
        return np.asarray(self._measure(name), dtype=np.float64)

    def _measure(self, name: str) -> Any:
        tp, fp, fn, tn, n = self.tp, self.fp, self.fn, self.tn, self.n
        with np.errstate(divide="ignore", invalid="ignore"):
            match name:
                case "roc_auc":
                    return self._roc_auc()
                case "average_precision":
                    return self._average_precision()
                case "brier_score":
                    loss = self.positive * (1 - self.p) ** 2 + self.negative * self.p**2
                    return loss.sum(1) / n
                case "log_loss":
                    q = np.clip(self.p, 1e-15, 1 - 1e-15)
                    return -(self.positive * np.log(q) + self.negative * np.log1p(-q)).sum(1) / n
                case "accuracy":
                    return (tp + tn) / n
                case "precision":
                    return tp / (tp + fp)
                case "recall":
                    return tp / (tp + fn)
                case "specificity":
                    return tn / (tn + fp)
                case "f1":
                    return 2 * tp / (2 * tp + fp + fn)
                case "selection_rate":
                    return (tp + fp) / n
                case "net_value" if self.value is not None:
                    worth = self.value.per_decision
                    return (
                        tp * worth.true_positive + fp * worth.false_positive
                        + fn * worth.false_negative + tn * worth.true_negative
                    ) / n  # fmt: skip
        raise ValueError(f"{name} cannot be estimated")

    def _roc_auc(self) -> Any:
        positive, negative = self._by_score()
        below = np.cumsum(negative, axis=1) - negative
        pairs = (positive * (below + negative / 2)).sum(1)
        return pairs / (positive.sum(1) * negative.sum(1))

    def _average_precision(self) -> Any:
        positive, negative = self._by_score()
        tp, fp = np.cumsum(positive[:, ::-1], axis=1), np.cumsum(negative[:, ::-1], axis=1)
        seen = tp + fp
        precision = np.divide(tp, seen, out=np.zeros_like(tp), where=seen > 0)
        return (precision * positive[:, ::-1]).sum(1) / positive.sum(1)

    def _by_score(self) -> tuple[Floats, Floats]:
        """Counts of positives and negatives by distinct score: rows of one score cannot be ranked."""
        starts = np.concatenate([[0], np.flatnonzero(np.diff(self.p)) + 1])
        return np.add.reduceat(self.positive, starts, axis=1), np.add.reduceat(self.negative, starts, axis=1)
