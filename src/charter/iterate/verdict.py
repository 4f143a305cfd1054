"""From effects to what to do: ship, do not ship, keep running; or invalid, where nothing may be read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from charter.core.decision import Check, Decision, Verdict
from charter.core.effect import Effect
from charter.core.measure import Measure
from charter.evaluate.types import Estimate
from charter.iterate.types import ArmEffect, ArmResult, ExperimentPlan, ExperimentReport, Outcome
from charter.iterate.words import estimated, percent


def withheld(
    plan: ExperimentPlan, arms: tuple[ArmResult, ...], validity: Sequence[Check], remarks: Sequence[str]
) -> ExperimentReport:
    """Report no effect at all, because the results must not be read."""
    decision = Decision.of("experiment", validity, {"outcome": Outcome.INVALID.value})
    told = (*remarks, "no effect is shown: what made the numbers of units wrong may make the effect, too")
    return ExperimentReport(plan, arms, (), (), Outcome.INVALID, "", decision, told)


def conclude(
    plan: ExperimentPlan,
    counts: Mapping[str, int],
    validity: Sequence[Check],
    effects: Sequence[ArmEffect],
) -> tuple[Outcome, str, Decision]:
    """Judge every arm and decide about the one that stands best.

    Returns
    -------
    Outcome, arm and decision. ``pass`` is ship, ``fail`` do not ship, ``unknown`` keep running; the outcome stands in
    the decision's evidence, too.
    """
    size = _size(plan, sum(counts.values()))
    early = size is not None and not size.verdict.allows
    common = [*validity, *([size] if size is not None else [])]
    found = []
    for arm in plan.others:
        own = {e.metric: e for e in effects if e.arm == arm}
        primary = own[str(plan.primary)]
        checks = [_primary(plan, primary, total=sum(counts.values()))]
        checks += [_guardrail(plan, m, limit, own[str(m)]) for m, limit in plan.guardrails.items()]
        if early:
            checks = [_unread(check) for check in checks]
        decision = Decision.of("experiment", [*common, *checks])
        found.append((_rank(decision), plan.better * (primary.difference.value or 0.0), arm, decision))
    _, _, arm, decision = max(found, key=lambda one: one[:2])
    outcome = {Verdict.FAIL: Outcome.STOP, Verdict.UNKNOWN: Outcome.CONTINUE}.get(
        decision.verdict, Outcome.SHIP
    )
    evidence = {"outcome": outcome.value, "arm": arm}
    return outcome, arm, Decision(decision.subject, decision.verdict, decision.checks, evidence)


def _rank(decision: Decision) -> int:
    return {Verdict.FAIL: 0, Verdict.UNKNOWN: 1}.get(decision.verdict, 2)


def _size(plan: ExperimentPlan, total: int) -> Check | None:
    """A result that is read once must not be read before its time; one of a sequence may."""
    if plan.sequential or plan.planned_units is None:
        return None
    reached = total >= plan.planned_units
    note = "" if reached else "read early it is wrong more often than alpha says; wait, or plan a sequence"
    verdict = Verdict.PASS if reached else Verdict.UNKNOWN
    return Check("size", f"{total:,} units", f"{plan.planned_units:,} units, as planned", verdict, note=note)


def _unread(check: Check) -> Check:
    return Check(check.name, check.observed, check.required, Verdict.UNKNOWN, note="not read before its time")


def _primary(plan: ExperimentPlan, effect: ArmEffect, *, total: int) -> Check:
    required = "a rise" if plan.better > 0 else "a fall"
    if plan.mde is not None:
        required += f", of interest from {plan.mde}"
    verdict, note = _superior(plan, effect, total)
    return Check(_name(plan, effect), observed(effect), required, verdict, note=note)


def _superior(plan: ExperimentPlan, effect: ArmEffect, total: int) -> tuple[Verdict, str]:
    ends = _ends(effect.difference, plan.better)
    if ends is None:
        return Verdict.UNKNOWN, effect.difference.note
    low, high = ends
    matters = _matters(plan, effect)
    if low > 0:
        if matters is not None and high < matters:
            return Verdict.WARN, f"better, but surely by less than {plan.mde}"
        return Verdict.PASS, "better"
    if high < 0:
        return Verdict.FAIL, "worse"
    if matters is not None and high < matters:
        return Verdict.FAIL, f"no change as large as {plan.mde}; the whole interval lies below it"
    told = "the data cannot tell better from worse"
    if plan.planned_units is not None and total >= plan.planned_units:
        return (
            Verdict.UNKNOWN,
            f"{told}, though the planned size is reached: extend the experiment, or give up",
        )
    return Verdict.UNKNOWN, told


def _matters(plan: ExperimentPlan, effect: ArmEffect) -> float | None:
    """The smallest change that matters, in the metric's unit, positive."""
    if plan.mde is None:
        return None
    if not plan.mde.relative:
        return abs(plan.mde.size)
    change, value = effect.relative.value, effect.difference.value
    if change is None or value is None or change == 0:
        return None
    return abs(plan.mde.size * value / change)


def _guardrail(plan: ExperimentPlan, measure: Measure, limit: Effect, effect: ArmEffect) -> Check:
    """Non-inferiority: the whole interval must lie on the safe side of what is tolerated."""
    way = "rises" if limit.direction > 0 else "falls"
    size = str(Effect(abs(limit.size), limit.relative)).removeprefix("+")
    required = f"{way} by less than {size}"
    ends = _ends(effect.relative if limit.relative else effect.difference, limit.direction)
    if ends is None:
        note = effect.relative.note if limit.relative else effect.difference.note
        return Check(_name(plan, effect), observed(effect), required, Verdict.UNKNOWN, note=note)
    low, high = ends
    if high < abs(limit.size):
        verdict, note = Verdict.PASS, "worse, within what is tolerated" if low > 0 else ""
    elif low > abs(limit.size):
        verdict, note = Verdict.FAIL, f"surely {way} by more"
    else:
        verdict, note = Verdict.UNKNOWN, f"the data cannot tell whether {measure} {way} by more"
    return Check(_name(plan, effect), observed(effect), required, verdict, note=note)


def _name(plan: ExperimentPlan, effect: ArmEffect) -> str:
    return effect.metric if len(plan.others) == 1 else f"{effect.metric} of {effect.arm}"


def _ends(estimate: Estimate, direction: float) -> tuple[float, float] | None:
    if estimate.low is None or estimate.high is None:
        return None
    return (estimate.low, estimate.high) if direction > 0 else (-estimate.high, -estimate.low)


def observed(effect: ArmEffect) -> str:
    """Write an effect for people."""
    if effect.difference.value is None:
        return "not known"
    text = estimated(effect.difference, sign="+")
    return text if effect.relative.value is None else f"{text}, {percent(effect.relative.value, '+')}"
