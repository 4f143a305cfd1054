"""What a model is worth, from the specification alone: before there is data, before there is a model.

With n decisions a month of which a share p is positive, a policy of recall r and precision q flags

    TP = n p r,   FP = TP (1 - q) / q,   FN = n p - TP,   TN = n - TP - FP - FN.

Its benefit is what it gains over leaving everybody alone. With v the value of a decision of each kind, per month

    benefit = TP u(q),   u(q) = v_TP - v_FN + (v_FP - v_TN) (1 - q) / q,

u being what one positive found is worth, its false alarms included. A model also costs c a month to run and to train.
It replaces today's process, so what it gains is its benefit less c less the benefit of today's process.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

from charter.core.quantity import parse_volume
from charter.spec.types import ModelSpec, PerDecision, Target, Value


@dataclass(frozen=True, slots=True)
class Case:
    """One level of quality and what it is worth.

    Attributes
    ----------
    recall, precision
        Shares, 0..1.
    flagged_per_month
        Decisions that are flagged.
    net_benefit_per_month
        Over leaving everybody alone, less what running and training cost (nothing for today's process).
    gain_per_month
        Over today's process (over leaving everybody alone when its quality is not known).
    payback_months
        Months until the gain has paid for building; None when it never does.
    roi_12_months
        (gain - cost) / cost over the first twelve months, building included, as a share; None when nothing costs, and
        at break-even, which by definition pays for running alone.
    possible
        False when that recall and precision would flag more negatives than there are.
    """

    name: str
    recall: float
    precision: float
    flagged_per_month: float
    net_benefit_per_month: float
    gain_per_month: float
    payback_months: float | None
    roi_12_months: float | None
    possible: bool


@dataclass(frozen=True, slots=True)
class ValueReport:
    """The business case.

    Attributes
    ----------
    decisions_per_month, positives_per_month
        Volume; positives None when their share is not declared.
    running_cost_per_month
        Running and training.
    today, break_even, target
        None where the specification does not say enough; see ``notes``.
    recall_point_worth
        What one more point (0.01) of recall is worth a month at the target's precision.
    false_alarm_cost
        What a negative loses by being flagged, positive.
    pays_from_score
        Probability from which flagging pays on average, for a calibrated score.
    notes
        What is missing or does not add up.
    """

    currency: str
    decisions_per_month: float
    positives_per_month: float | None
    running_cost_per_month: float
    build_cost: float
    today: Case | None
    break_even: Case | None
    target: Case | None
    recall_point_worth: float | None
    false_alarm_cost: float
    pays_from_score: float | None
    notes: tuple[str, ...]

    @property
    def pays(self) -> bool | None:
        """Whether the target gains over today's process; None when it cannot be told."""
        return None if self.target is None else self.target.possible and self.target.gain_per_month > 0

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**asdict(self), "notes": list(self.notes), "pays": self.pays}


def worth_of_a_find(v: PerDecision, precision: float) -> float:
    """What one positive found is worth, its false alarms included (u above), in the currency.

    Examples
    --------
    >>> v = PerDecision(true_positive=35, false_positive=-10, false_negative=0, true_negative=0)
    >>> worth_of_a_find(v, 0.5)
    25.0
    """
    return (
        v.true_positive
        - v.false_negative
        + (v.false_positive - v.true_negative) * (1 - precision) / precision
    )


def compute_per_million(cpu_ms: float, per_hour: float) -> float:
    """What the processors cost for a million predictions asked for one by one, in the currency.

    Parameters
    ----------
    cpu_ms
        Processor time of one prediction.
    per_hour
        Price of an hour of one processor.

    Examples
    --------
    >>> compute_per_million(0.36, 0.05)
    0.005
    """
    return cpu_ms / 3_600_000 * 1_000_000 * per_hour


def pays_from_score(v: PerDecision) -> float | None:
    """Probability from which flagging is worth more on average than not flagging.

    (v_TN - v_FP) / ((v_TN - v_FP) + (v_TP - v_FN)); Elkan, "The foundations of cost-sensitive learning", IJCAI 2001.
    None when flagging never pays or always does.

    Examples
    --------
    >>> pays_from_score(PerDecision(true_positive=35, false_positive=-15, false_negative=0, true_negative=0))
    0.3
    """
    loss, gain = v.true_negative - v.false_positive, v.true_positive - v.false_negative
    return loss / (loss + gain) if loss > 0 and gain > 0 else None


def assess_value(spec: ModelSpec) -> ValueReport | None:
    """Work out the business case; None when the specification says nothing of value."""
    value = spec.value
    if value is None:
        return None
    decisions = parse_volume(value.volume)
    v = value.per_decision
    notes: list[str] = []
    today = break_even = target = None
    worth: float | None = None
    if value.positives is None:
        notes.append("value.positives is not given, so nothing can be worked out before data is seen")
    else:
        before = _benefit(value, value.today)
        if value.today is None:
            notes.append("value.today is not given: gains are over leaving everybody alone")
        else:
            today = _case("today", value, value.today, before, running=False)
        if value.target is None:
            notes.append("value.target is not given: what quality do you count on?")
        else:
            target = _case("target", value, value.target, before, running=True)
            break_even = _break_even(value, value.target.precision, before, notes)
        at = value.target or value.today
        if at is not None:
            worth = decisions * value.positives * worth_of_a_find(v, at.precision) / 100
        notes += [
            f"{case.name}: recall {case.recall:.2f} at precision {case.precision:.2f} would flag more than there are"
            for case in (today, target)
            if case is not None and not case.possible
        ]
    if v.true_positive <= v.false_negative:
        notes.append("a positive found is worth no more than one missed: nothing is gained by finding any")
    return ValueReport(
        currency=value.currency,
        decisions_per_month=decisions,
        positives_per_month=None if value.positives is None else decisions * value.positives,
        running_cost_per_month=_running(value),
        build_cost=value.costs.build,
        today=today,
        break_even=break_even,
        target=target,
        recall_point_worth=worth,
        false_alarm_cost=v.true_negative - v.false_positive,
        pays_from_score=pays_from_score(v),
        notes=tuple(notes),
    )


def _running(value: Value) -> float:
    return value.costs.run_per_month + value.costs.train_per_month


def _benefit(value: Value, quality: Target | None) -> float:
    """Over leaving everybody alone, per month, before costs."""
    if quality is None or value.positives is None:
        return 0.0
    found = parse_volume(value.volume) * value.positives * quality.recall
    return found * worth_of_a_find(value.per_decision, quality.precision)


def _case(name: str, value: Value, quality: Target, before: float, *, running: bool) -> Case:
    decisions, share = parse_volume(value.volume), value.positives or 0.0
    flagged = decisions * share * quality.recall / quality.precision
    false_alarms = flagged * (1 - quality.precision)
    benefit = _benefit(value, quality)
    cost = _running(value) if running else 0.0
    gain = benefit - cost - before
    build = value.costs.build if running else 0.0
    spent = build + 12 * cost
    return Case(
        name=name,
        recall=quality.recall,
        precision=quality.precision,
        flagged_per_month=flagged,
        net_benefit_per_month=benefit - cost,
        gain_per_month=gain,
        payback_months=build / gain if running and gain > 0 else None,
        roi_12_months=(12 * (benefit - before) - spent) / spent if spent > 0 else None,
        possible=false_alarms <= decisions * (1 - share) * (1 + 1e-9),
    )


def _break_even(value: Value, precision: float, before: float, notes: list[str]) -> Case | None:
    """Recall at which the model, at the target's precision, just pays for running and does as well as today."""
    found = parse_volume(value.volume) * (value.positives or 0.0)
    needed = before + _running(value)
    per_recall = found * worth_of_a_find(value.per_decision, precision)
    if per_recall <= 0:
        notes.append(f"at precision {precision:.2f} a flag loses more than it gains: no recall breaks even")
        return None
    recall = max(needed, 0.0) / per_recall
    if recall > 1:
        notes.append(f"at precision {precision:.2f} not even perfect recall would pay")
        return None
    case = _case("break even", value, Target(recall=recall, precision=precision), before, running=True)
    return replace(case, gain_per_month=0.0, payback_months=None, roi_12_months=None)
