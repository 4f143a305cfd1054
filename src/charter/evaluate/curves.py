"""ROC and precision-recall curves, and how many positives the highest scores hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from charter.data.metrics import Floats, Sample
from charter.evaluate.types import Decile, Integers

_POINTS = 200


@dataclass(frozen=True, slots=True)
class Roc:
    """Points from (0, 0) to (1, 1); ``threshold`` None flags nobody."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    threshold: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Points from the highest threshold to the lowest."""

    recall: tuple[float, ...]
    precision: tuple[float, ...]
    threshold: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """Curves thinned to at most 200 points each."""

    roc: Roc
    pr: PrecisionRecall


def curves(sample: Sample) -> Curves | None:
    """Draw the curves; None where the rows hold one class only."""
    positives = float(sample.y.sum())
    negatives = sample.n - positives
    if positives == 0 or negatives == 0:
        return None
    tp = np.cumsum(sample.y[sample.order])[sample.ends]
    flagged = sample.ends + 1.0
    threshold = sample.score[sample.order][sample.ends]
    some = _thin(len(tp), _POINTS - 1)
    tpr, fpr, precision = tp[some] / positives, (flagged - tp)[some] / negatives, (tp / flagged)[some]
    at = tuple(threshold[some].tolist())
    return Curves(
        roc=Roc((0.0, *fpr.tolist()), (0.0, *tpr.tolist()), (None, *at)),
        pr=PrecisionRecall(tuple(tpr.tolist()), tuple(precision.tolist()), at),
    )


def _thin(n: int, most: int) -> Integers:
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))


def deciles(sample: Sample) -> tuple[Decile, ...]:
    """Cut the rows into tenths by score, the highest first; empty without positives.

    The order of the rows does not matter: positives of a group of equal scores are spread evenly over it.

    Examples
    --------
    >>> table = deciles(Sample(np.array([1] * 10 + [0] * 10), np.linspace(1, 0, 20)))
    >>> table[0].lift, table[4].gain, len(table)
    (2.0, 1.0, 10)
    """
    positives = float(sample.y.sum())
    if positives == 0:
        return ()
    ends: Floats = np.append(0.0, sample.ends + 1.0)
    found: Floats = np.append(0.0, np.cumsum(sample.y[sample.order])[sample.ends])
    border = [sample.n * k // 10 for k in range(11)]
    upto = np.interp(border, ends, found)
    base = positives / sample.n
    table = []
    for k in range(1, 11):
        n, hits = border[k] - border[k - 1], float(upto[k] - upto[k - 1])
        if n == 0:
            continue
        gain = float(upto[k]) / positives
        table.append(Decile(k, n, hits, hits / n, hits / n / base, gain, gain * sample.n / border[k]))
    return tuple(table)
