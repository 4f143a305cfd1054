"""An assessment as a page of text."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from charter.core.decision import Verdict
from charter.framing.assess import Assessment
from charter.framing.suitability import CONDITIONS, WARNINGS, conditions_met, warnings_raised
from charter.framing.value import Case, ValueReport

_HEADLINES = {
    Verdict.PASS: "Machine learning fits",
    Verdict.WARN: "Machine learning fits, with warnings",
    Verdict.FAIL: "Machine learning is not the right tool",
    Verdict.UNKNOWN: "Whether machine learning fits cannot be told yet",
}


def lines(assessment: Assessment, where: Callable[[tuple[str, ...]], str] | None = None) -> list[str]:
    """Write an assessment for people, line by line, without colours.

    Parameters
    ----------
    where
        Turns a path into ``model.yaml:22``; None leaves places out.
    """
    return list(_lines(assessment, where))


def _lines(assessment: Assessment, where: Callable[[tuple[str, ...]], str] | None) -> Iterator[str]:
    def place(path: tuple[str, ...]) -> str:
        return f" ({where(path)})" if where is not None else ""

    decision = assessment.suitability
    raised = warnings_raised(decision)
    met = f"{conditions_met(decision)} of {len(CONDITIONS)} conditions hold"
    yield f"{_HEADLINES[decision.verdict]}: {met}, {len(raised)} of {len(WARNINGS)} warnings"
    for check in decision.checks:
        if check.verdict is not Verdict.PASS:
            mark = {Verdict.FAIL: "NO", Verdict.UNKNOWN: " ?", Verdict.WARN: " !"}[check.verdict]
            yield f" {mark} {check.note}{place(tuple(check.where.split('.')))}"
    yield from _value_lines(assessment.value)
    gaps = assessment.feasibility.gaps
    if not gaps:
        yield "Feasible: nothing is missing"
        return
    still = sum(gap.open for gap in gaps)
    yield f"Feasible with {len(gaps)} gap{'s' if len(gaps) != 1 else ''}, {still or 'none'} of them open"
    for gap in gaps:
        yield f"  {gap.what} -> {gap.closed_by or 'open'}{place(gap.path)}"


def _value_lines(value: ValueReport | None) -> Iterator[str]:
    if value is None:
        yield "Value: not stated (add 'value' to see what a model is worth)"
        return
    cases = [("today", value.today), ("to break even", value.break_even), ("target", value.target)]
    yield f"{f'Value at {value.decisions_per_month:,.0f} decisions a month':<34}" + "".join(
        f"{name:>18}" for name, _ in cases
    )

    def row(label: str, cell: Callable[[Case], str]) -> str:
        return f"  {label:<32}" + "".join(
            f"{cell(case) if case is not None else '-':>18}" for _, case in cases
        )

    yield row("net benefit over flagging nobody", lambda c: _money(value.currency, c.net_benefit_per_month))
    yield row(
        "gain over today",
        lambda c: "-" if c is value.today else _money(value.currency, c.gain_per_month),
    )
    yield row("recall / precision", lambda c: f"{c.recall:.2f} / {c.precision:.2f}")
    yield row("flagged per month", lambda c: f"{c.flagged_per_month:,.0f}")
    yield row("pays back the build in", _payback)
    yield row(
        "return over 12 months",
        lambda c: "-" if c.roi_12_months is None else f"{100 * c.roi_12_months:,.0f} %",
    )
    yield "  Money is per month. `charter show` gives net_value, too, which counts every outcome from 0."
    if value.recall_point_worth is not None:
        worth = _money(value.currency, value.recall_point_worth)
        alarm = _money(value.currency, value.false_alarm_cost)
        yield f"Each point of recall is worth {worth} a month; a false alarm costs {alarm}."
    if value.pays_from_score is not None:
        yield f"On average a flag pays from a probability of {value.pays_from_score:.2f}."
    for note in value.notes:
        yield f"  ! {note}"


def _payback(case: Case) -> str:
    months = case.payback_months
    return "-" if months is None else "< 0.1 months" if 0 < months < 0.1 else f"{months:,.1f} months"


def _money(currency: str, amount: float) -> str:
    digits = 0 if abs(amount) >= 100 or amount == int(amount) else 2
    return f"{currency} {round(amount, digits) + 0.0:,.{digits}f}"
