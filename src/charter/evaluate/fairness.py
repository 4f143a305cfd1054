"""Rates of the groups of a protected attribute, at the decision threshold, and how far they are apart.

Definitions (those of Fairlearn): demographic parity compares selection rates; equal opportunity compares true
positive rates; a *difference* is largest less smallest, the disparate impact *ratio* is smallest over largest.
Groups are disjoint, so their rates are independent: differences get Newcombe's score interval (1998, method 10) and
ratios the MOVER interval (Donner and Zou, 2012), both made of Wilson's. Unlike the bootstrap's, they are honest at
rates of 0 and 1. Where entities repeat, a group counts for as many rows as its bootstrap variance warrants.

With more than two groups the upper end is the largest of all pairs' and the lower end the largest of all pairs' at a
confidence corrected for their number (Bonferroni), which holds at least as often as stated.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from charter.data.metrics import Sample
from charter.evaluate.intervals import estimate
from charter.evaluate.proportion import wilson
from charter.evaluate.resample import Draws, Replicates
from charter.evaluate.slices import SliceRows
from charter.evaluate.types import Estimate, FairnessResult, GroupRates

RATES = ("selection_rate", "recall", "specificity")


@dataclass(frozen=True, slots=True)
class Rate:
    """A group's rate, ``share`` of ``trials`` (effective, so not always whole) independent trials."""

    group: str
    share: float
    trials: float


def judge_fairness(
    attribute: str,
    groups: Sequence[SliceRows],
    sample: Sample,
    replicates: Sequence[Replicates],
    draws: Draws,
    *,
    min_rows: int,
    confidence: float,
) -> FairnessResult:
    """Measure the groups of one attribute and compare those that are large enough.

    Parameters
    ----------
    replicates
        `RATES` of each group on the resamples.
    min_rows
        A group with fewer rows is named, not judged; likewise its true positive rate with fewer positives, and its
        false positive rate with fewer negatives.
    """
    rows: list[GroupRates] = []
    rates: dict[str, list[Rate]] = {"selection_rate": [], "tpr": [], "fpr": []}
    for one, own in zip(groups, replicates, strict=True):
        part = sample.take(one.rows)
        found = estimate(RATES, part, own, draws, confidence=confidence, rows=one.rows)
        selection, tpr, fpr = found["selection_rate"], found["recall"], _one_less(found["specificity"])
        positives = int(part.y.sum())
        trials = {"selection_rate": part.n, "tpr": positives, "fpr": part.n - positives}
        unjudged = tuple(r for r in rates if part.n < min_rows or trials[r] < min_rows)
        note = f"not judged: fewer than {min_rows} rows" if part.n < min_rows else ""
        rows.append(GroupRates(one.value, part.n, positives, selection, tpr, fpr, unjudged, note))
        for name, metric, measured in zip(rates, RATES, (selection, tpr, fpr), strict=True):
            if name not in unjudged and measured.value is not None:
                boot = own.of(metric)[0] if draws.clustered else None
                units = len(np.unique(draws.unit[one.rows]))
                rates[name].append(
                    Rate(one.value, measured.value, _trials(measured.value, trials[name], boot, units))
                )
    return FairnessResult(
        attribute=attribute,
        groups=tuple(rows),
        demographic_parity_difference=difference(rates["selection_rate"], confidence),
        equal_opportunity_difference=difference(rates["tpr"], confidence),
        false_positive_rate_difference=difference(rates["fpr"], confidence),
        disparate_impact_ratio=ratio(rates["selection_rate"], confidence),
    )


def _one_less(found: Estimate) -> Estimate:
    if found.value is None or found.low is None or found.high is None:
        return Estimate(
            None if found.value is None else 1 - found.value, None, None, found.method, found.n, found.note
        )
    return Estimate(1 - found.value, 1 - found.high, 1 - found.low, found.method, found.n, found.note)


def _trials(
    share: float, trials: int, boot: np.ndarray[tuple[int, ...], np.dtype[np.float64]] | None, units: int
) -> float:
    """How many independent trials would vary as much as the resamples do."""
    if boot is None:
        return float(trials)
    variance = float(np.var(boot[np.isfinite(boot)])) if np.isfinite(boot).any() else 0.0
    if variance == 0 or not 0 < share < 1:
        return float(min(units, trials))
    return min(float(trials), share * (1 - share) / variance)


def difference(rates: Sequence[Rate], confidence: float = 0.95) -> Estimate:
    """Largest rate less smallest.

    Examples
    --------
    >>> found = difference([Rate("a", 56 / 70, 70), Rate("b", 48 / 80, 80)])
    >>> round(found.value, 2), round(found.low, 3), round(found.high, 3)
    (0.2, 0.052, 0.334)
    """
    if (few := _too_few(rates)) is not None:
        return few
    pairs = list(combinations(rates, 2))
    value = max(abs(a.share - b.share) for a, b in pairs)
    low = max(_folded(newcombe(a, b, 1 - (1 - confidence) / len(pairs)))[0] for a, b in pairs)
    high = max(_folded(newcombe(a, b, confidence))[1] for a, b in pairs)
    return Estimate(value, min(low, value), max(high, value), "newcombe", _rows(rates), _between(rates))


def ratio(rates: Sequence[Rate], confidence: float = 0.95) -> Estimate:
    """Smallest rate over largest; undefined where every rate is 0."""
    if (few := _too_few(rates)) is not None:
        return few
    largest = max(r.share for r in rates)
    if largest == 0:
        return Estimate(None, None, None, "none", _rows(rates), "every rate is 0")
    value = min(r.share for r in rates) / largest
    pairs = [pair for a, b in combinations(rates, 2) for pair in ((a, b), (b, a))]
    low = min(mover(a, b, confidence)[0] for a, b in pairs)
    high = min(1.0, min(mover(a, b, 1 - 2 * (1 - confidence) / len(pairs))[1] for a, b in pairs))
    return Estimate(value, min(low, value), max(high, value), "mover", _rows(rates), _between(rates))


def newcombe(a: Rate, b: Rate, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of ``a.share - b.share`` (Newcombe, 1998, method 10)."""
    (la, ua), (lb, ub) = (wilson(r.share * r.trials, r.trials, confidence) for r in (a, b))
    gap = a.share - b.share
    return gap - math.hypot(a.share - la, ub - b.share), gap + math.hypot(ua - a.share, b.share - lb)


def mover(a: Rate, b: Rate, confidence: float = 0.95) -> tuple[float, float]:
    """Interval of ``a.share / b.share`` from Wilson's intervals of both (Donner and Zou, 2012, eq. 9)."""
    (la, ua), (lb, ub) = (wilson(r.share * r.trials, r.trials, confidence) for r in (a, b))
    product = a.share * b.share
    low = product - math.sqrt(max(product**2 - la * ub * (2 * a.share - la) * (2 * b.share - ub), 0.0))
    high = product + math.sqrt(max(product**2 - ua * lb * (2 * a.share - ua) * (2 * b.share - lb), 0.0))
    below, above = ub * (2 * b.share - ub), lb * (2 * b.share - lb)
    return (max(low / below, 0.0) if below > 0 else 0.0), (high / above if above > 0 else math.inf)


def _folded(interval: tuple[float, float]) -> tuple[float, float]:
    """From the interval of a difference to that of its size."""
    low, high = interval
    return max(low, -high, 0.0), max(high, -low)


def _too_few(rates: Sequence[Rate]) -> Estimate | None:
    if len(rates) >= 2:
        return None
    return Estimate(
        None, None, None, "none", _rows(rates), "fewer than two groups are large enough to be compared"
    )


def _rows(rates: Sequence[Rate]) -> int:
    return round(sum(r.trials for r in rates))


def _between(rates: Sequence[Rate]) -> str:
    pick: Mapping[str, Callable[..., Rate]] = {"highest": max, "lowest": min}
    return ", ".join(f"{word} {by(rates, key=lambda r: r.share).group}" for word, by in pick.items())
