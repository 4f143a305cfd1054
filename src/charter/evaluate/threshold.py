"""The decision threshold, chosen exactly over all distinct scores."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from charter.core.errors import UsageError
from charter.core.quantity import Requirement
from charter.data.metrics import Array, Floats, Sample, direction, from_cells
from charter.spec.types import ModelSpec, Threshold, Value
from charter.spec.vocabulary import METRICS

_CURVE_POINTS = 200


@dataclass(frozen=True, slots=True)
class ThresholdPoint:
    """What deciding at one threshold would give; ``objective`` is None where undefined or nothing is maximised."""

    threshold: float
    selection_rate: float
    recall: float | None
    precision: float | None
    false_positive_rate: float | None
    objective: float | None


@dataclass(frozen=True, slots=True)
class ThresholdChoice:
    """The threshold and why.

    Attributes
    ----------
    threshold
        A row is decided positive when ``score >= threshold``.
    objective
        What was maximised, or None where the threshold is fixed by the specification.
    objective_value
        On the rows that the threshold was chosen on.
    met
        False when no threshold satisfies ``subject_to``; then the least violation was chosen.
    unmet
        The constraints that the chosen threshold violates, in words.
    curve
        At most 200 thresholds, from the highest.
    """

    threshold: float
    objective: str | None
    objective_value: float | None
    met: bool
    unmet: tuple[str, ...] = ()
    curve: tuple[ThresholdPoint, ...] = ()


def rule_of(spec: ModelSpec) -> Threshold:
    """How the specification wants the threshold chosen: as stated, else by net value, else by F1."""
    if spec.evaluate.threshold is not None:
        return spec.evaluate.threshold
    return Threshold(maximise="net_value" if spec.value is not None else "f1")


def choose(y: Array, score: Array, threshold: Threshold, value: Value | None = None) -> ThresholdChoice:
    """Choose the threshold that maximises the objective under the constraints, in O(n log n).

    Parameters
    ----------
    y, score
        Shape (n,), of out-of-fold predictions: rows that the model was not fitted on, and not the test rows.
    threshold
        ``maximise`` a decision metric ``subject_to`` limits on decision metrics, or ``fixed``. A metric of which
        less is better is minimised.
    value
        Needed where ``net_value`` is named.

    Returns
    -------
    ThresholdChoice
        Every distinct score is tried, and flagging nobody. Among equals the fewest rows are flagged. Between two
        neighbouring scores, the threshold is the roundest number, so that it reads well and no row lies on it.

    Raises
    ------
    UsageError
        Without rows, or for a metric that no threshold changes.

    Examples
    --------
    >>> choice = choose(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.62, 0.8]), Threshold(maximise="f1"))
    >>> choice.threshold, choice.objective_value, choice.met
    (0.5, 1.0, True)
    """
    sample = Sample(y, score)
    if sample.n == 0 or not np.isfinite(sample.score).all():
        raise UsageError(
            "a threshold cannot be chosen without rows, or with a score that is missing or infinite"
        )
    ends = sample.ends
    ranked = sample.score[sample.order]
    tp = np.append(0.0, np.cumsum(sample.y[sample.order])[ends])
    fp = np.append(0.0, (ends + 1.0) - tp[1:])
    cells = (tp, fp, tp[-1] - tp, fp[-1] - fp)
    thresholds = _between(ranked[ends])
    if threshold.fixed is not None:
        at = int((ranked[ends] >= threshold.fixed).sum())
        curve = _curve(thresholds, cells, np.full(len(tp), np.nan), at)
        return ThresholdChoice(threshold.fixed, None, None, met=True, curve=curve)
    name = threshold.maximise or "f1"
    objective = _decision_metric(name, cells, value)
    violation = _violations(threshold.subject_to, cells, value)
    rank = np.where(np.isfinite(objective), objective if direction(name) == "up" else -objective, -np.inf)
    worst = violation.max(axis=0) if len(violation) else np.zeros(len(tp))
    least = worst == worst.min()
    at = int(
        np.argmax(np.where(least, rank, -np.inf)) if np.isfinite(rank[least]).any() else np.argmax(least)
    )
    best = float(objective[at])
    return ThresholdChoice(
        threshold=float(thresholds[at]),
        objective=name,
        objective_value=best if math.isfinite(best) else None,
        met=bool(worst[at] <= 0),
        unmet=tuple(
            f"{metric} {Requirement.parse(limit)}"
            for (metric, limit), by in zip(threshold.subject_to.items(), violation, strict=True)
            if by[at] > 0
        ),
        curve=_curve(thresholds, cells, objective, at),
    )


def _decision_metric(name: str, cells: tuple[Floats, Floats, Floats, Floats], value: Value | None) -> Floats:
    word = METRICS.get(name)
    if word is None or word.needs not in ("decision", "value") or "binary" not in word.tasks:
        raise UsageError(
            f"threshold: {name!r} does not depend on the threshold",
            remedy="Name a metric of decisions, such as f1, recall, precision or net_value.",
        )
    return from_cells(name, *cells, value=value)


def _violations(
    subject_to: Mapping[str, str], cells: tuple[Floats, Floats, Floats, Floats], value: Value | None
) -> Floats:
    """Return how far each candidate is from each limit, relative to the limit; 0 where it is met."""
    rows = []
    for name, text in subject_to.items():
        observed, limit = _decision_metric(name, cells, value), Requirement.parse(text)
        # The limit itself may be excluded (> 0.5); a hair's violation keeps it so.
        distance = np.maximum(np.abs(observed - limit.limit) / max(abs(limit.limit), 1e-9), 1e-12)
        met = np.array([limit.met_by(one) for one in observed.tolist()])
        rows.append(np.where(met, 0.0, np.where(np.isfinite(distance), distance, np.inf)))
    return np.array(rows).reshape(len(rows), len(cells[0]))


def _between(distinct: Floats) -> Floats:
    """Thresholds that flag 0, 1, 2, ... of the distinct scores, given from the highest."""
    nobody = float(np.nextafter(max(1.0, float(distinct[0])), np.inf))
    everybody = min(0.0, float(distinct[-1]))
    middle = [_roundest(low, high) for high, low in pairwise(distinct.tolist())]
    return np.array([nobody, *middle, everybody])


def _roundest(low: float, high: float) -> float:
    """Return the number with the fewest decimals strictly between two floats, else the upper one."""
    middle = low + (high - low) / 2
    if high > low:
        first = max(0, -math.floor(math.log10(high - low)) - 1)
        for digits in range(first, first + 4):
            if low < (rounded := round(middle, digits)) < high:
                return rounded
    return middle if low < middle < high else high


def _curve(
    thresholds: Floats, cells: tuple[Floats, Floats, Floats, Floats], objective: Floats, at: int
) -> tuple[ThresholdPoint, ...]:
    even = np.linspace(0, len(thresholds) - 1, min(_CURVE_POINTS - 1, len(thresholds)))
    places = np.unique(np.append(even.round().astype(np.int64), at))
    rates = [from_cells(n, *cells) for n in ("selection_rate", "recall", "precision")]
    columns = [thresholds, *rates, 1 - from_cells("specificity", *cells), objective]
    return tuple(
        ThresholdPoint(
            float(columns[0][i]), float(columns[1][i]), *(_known(float(column[i])) for column in columns[2:])
        )
        for i in places
    )


def _known(number: float) -> float | None:
    return number if math.isfinite(number) else None
