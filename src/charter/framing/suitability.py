"""Is machine learning the right tool? Weighs the answers of the specification."""

from __future__ import annotations

from charter.core.decision import Check, Decision, Verdict
from charter.spec.types import Answer, ModelSpec

CONDITIONS = {
    "learns_complex_patterns": "it learns patterns too complex to write down",
    "quality_data": "there is data of sufficient quality",
    "predicts_unseen": "it predicts cases that were not seen before",
}
"""Each must hold."""

WARNINGS = {
    "rule_suffices": "a rule would do",
    "plain_retrieval": "the answer could be looked up",
    "static_reporting": "a report would do",
    "deterministic_output": "the answer must be certain, not probable",
    "full_transparency": "a regulated decision: every step must be transparent",
}
"""Each speaks against machine learning."""

_TOO_MANY = 2


def suitability(spec: ModelSpec) -> Decision:
    """Judge whether machine learning fits the problem.

    Every condition must hold: one that does not is a failure, one that nobody answered is unknown. A warning that
    holds is a warning; two of the first four, which say that something simpler would do, are a failure.
    Transparency is no obstacle when reasons are given with each decision (``serve.reasons``), and a failure when they
    are not.

    Returns
    -------
    Decision ``suitability`` with one check for each question; `Check.where` is the dotted path of the answer.
    """
    checks = [
        _condition(name, meaning, getattr(spec.suitability, name)) for name, meaning in CONDITIONS.items()
    ]
    simpler = sum(
        (answer := getattr(spec.suitability, name)) is not None and answer.answer
        for name in WARNINGS
        if name != "full_transparency"
    )
    for name, meaning in WARNINGS.items():
        answer = getattr(spec.suitability, name)
        if name == "full_transparency":
            checks.append(_transparency(meaning, answer, spec.serve.reasons))
        else:
            checks.append(_warning(name, meaning, answer, simpler))
    return Decision.of("suitability", checks)


def conditions_met(decision: Decision) -> int:
    """How many of the three conditions hold."""
    return sum(check.name in CONDITIONS and check.verdict is Verdict.PASS for check in decision.checks)


def warnings_raised(decision: Decision) -> tuple[Check, ...]:
    """Warnings that hold."""
    return tuple(check for check in decision.checks if check.name in WARNINGS and check.observed == "yes")


def _condition(name: str, meaning: str, answer: Answer | None) -> Check:
    where = f"suitability.{name}"
    if answer is None:
        return Check(
            name, "not answered", "yes", Verdict.UNKNOWN, where, f"{meaning}: answer it with a reason"
        )
    verdict = Verdict.PASS if answer.answer else Verdict.FAIL
    return Check(name, _yes_no(answer), "yes", verdict, where, answer.because)


def _warning(name: str, meaning: str, answer: Answer | None, simpler: int) -> Check:
    where = f"suitability.{name}"
    if answer is None:
        return Check(name, "not answered", "no", Verdict.WARN, where, f"{meaning}? answer it with a reason")
    if not answer.answer:
        return Check(name, "no", "no", Verdict.PASS, where, answer.because)
    verdict = Verdict.FAIL if simpler >= _TOO_MANY else Verdict.WARN
    return Check(name, "yes", "no", verdict, where, f"{meaning}: {answer.because}")


def _transparency(meaning: str, answer: Answer | None, reasons: int) -> Check:
    name = "full_transparency"
    if answer is None or not answer.answer:
        return _warning(name, meaning, answer, 0)
    if reasons > 0:
        note = f"a regulated decision: reasons per decision are required, and are configured (serve.reasons: {reasons})"
        return Check(name, "yes", "no, or reasons", Verdict.WARN, f"suitability.{name}", note)
    note = "a regulated decision: reasons per decision are required; set serve.reasons"
    return Check(name, "yes", "no, or reasons", Verdict.FAIL, f"suitability.{name}", note)


def _yes_no(answer: Answer) -> str:
    return "yes" if answer.answer else "no"
