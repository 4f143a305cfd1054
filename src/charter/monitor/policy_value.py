"""What decisions by another policy would have been worth, from decisions that chance had a part in. Pure.

Every decision is logged with the probability with which it was made (see `charter.serve.explore`). Decisions that the
other policy would have made too are weighed by the inverse of that probability, so that they stand for those it would
have made and that were not (Horvitz and Thompson, 1952).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from charter.core.errors import UsageError
from charter.evaluate.types import Estimate
from charter.spec.types import PerDecision

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Method = Literal["doubly_robust", "self_normalised", "horvitz_thompson"]
Seen = Literal["both", "positive", "negative"]
METHODS: tuple[Method, ...] = ("doubly_robust", "self_normalised", "horvitz_thompson")
FEWEST = 30
"""Informative rows below which no interval is given: a mean of fewer weighted rows is far from normal."""
HIDDEN = 0.05
"""A decision after which so small a share of the outcomes becomes known, compared with the other, hides them."""


@dataclass(frozen=True, slots=True)
class PolicyValue:
    """The estimated worth of a policy, per decision.

    Attributes
    ----------
    rows
        Decisions that it rests on.
    labelled
        Of these, with a known outcome.
    changed
        Rows that the policy decides otherwise than the threshold did, chance aside.
    informative
        Labelled rows among them that show what the policy would have brought.
    unsupported
        Rows among them that never could have been decided as the policy decides: about these nothing is known.
    effective_rows
        As many rows of equal weight would tell as much (Kish, 1965): ``sum(w)**2 / sum(w**2)``.
    largest_weight
        Of a single row.
    seen
        After which decisions outcomes become known.
    value
        Method to the worth of a decision; empty where it cannot be told, and ``note`` says why.
    gain
        The same over what served, chance aside.
    """

    rows: int
    labelled: int
    changed: int
    informative: int
    unsupported: int
    effective_rows: float
    largest_weight: float
    seen: Seen
    value: Mapping[Method, Estimate]
    gain: Mapping[Method, Estimate]
    note: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "rows": self.rows,
            "labelled": self.labelled,
            "changed": self.changed,
            "informative": self.informative,
            "unsupported": self.unsupported,
            "effective_rows": self.effective_rows,
            "largest_weight": self.largest_weight,
            "seen": self.seen,
            "value": {name: _plain(e) for name, e in self.value.items()},
            "gain": {name: _plain(e) for name, e in self.gain.items()},
            "note": self.note,
        }


def policy_value(
    taken: Bools,
    propensity: Floats,
    outcome: Floats,
    wanted: Bools,
    score: Floats,
    worth: PerDecision,
    *,
    groups: npt.NDArray[np.int64] | None = None,
    confidence: float = 0.95,
) -> PolicyValue:
    """Estimate what another policy's decisions are worth.

    Parameters
    ----------
    taken
        Whether each decision was positive [n].
    propensity
        Probability with which that decision was made, above 0.5 where it is the threshold's and below where chance
        turned it [n].
    outcome
        1 or 0; NaN while unknown [n].
    wanted
        Whether the other policy decides positive [n].
    score
        Probability that the outcome is 1, 0 to 1, as the model says [n]. Estimates are right on average whatever it is
        worth; a better one makes the doubly robust one sharper. NaN counts as even chances.
    worth
        What each decision is worth by its outcome.
    groups
        Rows of one group are taken to depend on each other: of one request, one customer [n].

    Raises
    ------
    UsageError
        When a propensity is not a probability above 0, or the arrays differ in length.

    Notes
    -----
    With ``w = 1{taken = wanted} / propensity`` and the worth ``r``, *Horvitz-Thompson* is ``mean(w r)``,
    *self-normalised* ``sum(w r) / sum(w)`` (Swaminathan and Joachims, 2015), and *doubly robust* ``mean(q(wanted) +
    w (r - q(taken)))``, where ``q`` is the worth that the score promises (Dudik, Langford and Li, 2011; Dudik, Erhan,
    Langford and Li, 2014). A missing outcome is taken to be missing by chance, given the decision: ``w`` is divided by
    the share that is known after such decisions. Where outcomes are known after one decision only (who is refused a
    loan repays none), no decision of the other kind has a worth that was seen; the outcome is then taken to be what it
    would have been whatever was decided, and ``w`` is the inverse of the probability of the decision that shows it.

    Intervals are Student's t of the mean over groups, of the linearised ratio for the self-normalised one, with as many
    degrees of freedom as there are groups that carry its variance. Of 1,500 replays with 35 informative rows on
    average, turned with probability 0.1 or 0.02, intervals at 95 % held the truth in 96 %; with 120 rows, in 95 %. With
    fewer than `FEWEST` informative rows none is given. Nothing is estimated when a row that is decided otherwise could
    never have been decided so (no overlap).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> score = rng.random(20_000)
    >>> greedy, turned = score >= 0.7, rng.random(20_000) < 0.1
    >>> worth = PerDecision(true_positive=1, false_positive=-1, false_negative=0, true_negative=0)
    >>> outcome = (rng.random(20_000) < score).astype(float)
    >>> found = policy_value(greedy ^ turned, np.where(turned, 0.1, 0.9), outcome, score >= 0.5, score, worth)
    >>> gain = found.gain["doubly_robust"]
    >>> gain.low < 0.04 < gain.high  # the truth: the mean of 2 s - 1 over 0.5 to 0.7, a fifth of the rows
    True
    """
    n = len(taken)
    if any(len(a) != n for a in (propensity, outcome, wanted, score)) or not n:
        raise UsageError("decisions, propensities, outcomes and scores must be as many, and at least one")
    if not ((propensity > 0) & (propensity <= 1)).all():
        raise UsageError("a propensity must be above 0 and at most 1")
    known = np.isfinite(outcome)
    coverage = {side: _share(known[taken == side], of=known) for side in (False, True)}
    seen = _seen(coverage[False], coverage[True])
    served = np.where(propensity > 0.5, taken, ~taken)
    changed = wanted != served
    if seen == "both":
        possible = (taken == wanted) | (propensity < 1)
        weigh = _by_decision(taken, propensity, known, coverage)
        informative = known & changed & (taken == wanted)
        everywhere = possible
    else:
        shows = seen == "positive"
        chance = np.where(taken == shows, propensity, 1 - propensity)
        possible = everywhere = chance > 0
        weigh = _by_outcome(taken == shows, chance, known, coverage[shows])
        informative = known & changed & (taken == shows)
    unsupported = int((changed & ~possible).sum())
    a, b = (_terms(side, weigh, taken, outcome, score, worth, seen) for side in (wanted, served))
    note = _why_not(n, known, changed, unsupported)
    groups = np.arange(n, dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    distinct = len(np.unique(groups[informative]))
    few = distinct < FEWEST and bool(changed.any())
    value: dict[Method, Estimate] = {}
    gain: dict[Method, Estimate] = {}
    if not note:
        for method in METHODS:
            if everywhere.all():
                value[method] = _mean(*a.of(method), groups, method, confidence, few=few)
            if method == "self_normalised" and not everywhere.all():
                continue  # it divides by the weights of all rows
            (one, lean_one), (two, lean_two) = a.of(method), b.of(method)
            gain[method] = _mean(one - two, lean_one - lean_two, groups, method, confidence, few=few)
        if few:
            note = f"only {distinct:,} informative rows or groups: {FEWEST} are needed for an interval"
    w = a.weight[a.weight > 0]
    return PolicyValue(
        n,
        int(known.sum()),
        int(changed.sum()),
        int(informative.sum()),
        unsupported,
        float(w.sum() ** 2 / (w**2).sum()) if len(w) else 0.0,
        float(w.max(initial=0.0)),
        seen,
        value,
        gain,
        note,
    )


@dataclass(frozen=True, slots=True)
class _Terms:
    """Of each row: weight, worth as it came out, worth as the score promised it, and what it promised of the policy."""

    weight: Floats
    reward: Floats
    promised: Floats
    direct: Floats

    def of(self, method: Method) -> tuple[float, Floats]:
        """An estimate, and how far each row leans it from there [n]: these have mean 0."""
        match method:
            case "horvitz_thompson":
                z = self.weight * self.reward
            case "doubly_robust":
                z = self.direct + self.weight * (self.reward - self.promised)
            case _:
                whole = float(self.weight.mean())
                if not whole:
                    return 0.0, np.zeros(len(self.weight))
                value = float((self.weight * self.reward).mean()) / whole
                return value, self.weight * (self.reward - value) / whole
        value = float(z.mean())
        return value, z - value


@dataclass(frozen=True, slots=True)
class _Weigh:
    """Weights of rows: ``matched`` where a policy must have decided as was decided, else whenever the outcome shows."""

    weight: Floats
    matched: bool


def _by_decision(taken: Bools, propensity: Floats, known: Bools, coverage: Mapping[bool, float]) -> _Weigh:
    share = np.where(taken, coverage[True], coverage[False])
    return _Weigh(np.where(known, 1 / (propensity * np.where(known, share, 1.0)), 0.0), True)


def _by_outcome(shown: Bools, chance: Floats, known: Bools, coverage: float) -> _Weigh:
    counts = shown & known
    return _Weigh(np.where(counts, 1 / np.where(counts, chance * coverage, 1.0), 0.0), False)


def _terms(
    policy: Bools, weigh: _Weigh, taken: Bools, outcome: Floats, score: Floats, worth: PerDecision, seen: Seen
) -> _Terms:
    score = np.where(np.isfinite(score), score, 0.5)
    weight = weigh.weight * (taken == policy) if weigh.matched else weigh.weight
    decided = taken if seen == "both" else policy
    reward = _worth(decided, np.where(np.isfinite(outcome), outcome, 0.0), worth)
    return _Terms(weight, reward, _worth(decided, score, worth), _worth(policy, score, worth))


def _worth(decided: Bools, chance: Floats, worth: PerDecision) -> Floats:
    """Expected worth of decisions about rows that are positive with some probability."""
    hit = np.where(decided, worth.true_positive, worth.false_negative)
    miss = np.where(decided, worth.false_positive, worth.true_negative)
    return np.asarray(chance * hit + (1 - chance) * miss, dtype=np.float64)


def _mean(
    value: float,
    lean: Floats,
    groups: npt.NDArray[np.int64],
    method: Method,
    confidence: float,
    *,
    few: bool,
) -> Estimate:
    from scipy.special import stdtrit

    n = len(lean)
    sums = np.bincount(groups, weights=lean)
    count = len(sums)
    if few or count < FEWEST:
        return Estimate(value, None, None, method, n, "too few rows for an interval")
    error = float((count / (count - 1) * (sums**2).sum()) ** 0.5) / n
    # Of many groups few may carry all of the variance, and only these make it known (Kish, 1965).
    squares = sums**2
    degrees = max(squares.sum() ** 2 / (squares**2).sum() - 1, 1.0) if squares.any() else count - 1
    half = float(stdtrit(degrees, 0.5 + confidence / 2)) * error
    return Estimate(value, value - half, value + half, method, n)


def _seen(after_negative: float, after_positive: float) -> Seen:
    if after_positive < HIDDEN * after_negative:
        return "negative"
    return "positive" if after_negative < HIDDEN * after_positive else "both"


def _share(side: Bools, *, of: Bools) -> float:
    """Share of outcomes known after one decision; that of all where nothing was decided so."""
    return float((side if len(side) else of).mean())


def _why_not(n: int, known: Bools, changed: Bools, unsupported: int) -> str:
    if not known.any():
        return "no outcome is known yet"
    if unsupported:
        return (
            f"{unsupported:,} of {int(changed.sum()):,} rows that would be decided otherwise never could have been: "
            "there is nothing to learn from about them (no overlap)"
        )
    return ""


def _plain(e: Estimate) -> dict[str, Any]:
    return {"value": e.value, "low": e.low, "high": e.high, "note": e.note}
