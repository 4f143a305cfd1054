from __future__ import annotations

import math
from typing import Any

import pytest
from govern_support import MEASUREMENT, PARITY, credit_risk, estimate, evaluation

from charter.core.decision import Check, Decision, Verdict
from charter.govern.gates import judge, number


def judged(found: dict[str, Any] | None = None, **spec: Any) -> Decision:
    return judge(
        evaluation() if found is None else found, MEASUREMENT, PARITY, credit_risk(**spec), where=".".join
    )


def check(decision: Decision, name: str) -> Check:
    return next(c for c in decision.checks if c.name == name)


def test_a_model_that_meets_everything_may_go_on_with_the_external_kpi_shown() -> None:
    decision = judged()
    assert decision.verdict is Verdict.WARN
    assert decision.reasons == ()
    complaints = check(decision, "kpi complaints")
    assert complaints.verdict is Verdict.WARN
    assert complaints.note.startswith("external, not a gate")
    assert {c.name for c in decision.checks} == {
        "roc_auc",
        "expected_calibration_error",
        "threshold",
        "demographic_parity_difference by SEX",
        "equal_opportunity_difference by SEX",
        "disparate_impact_ratio by SEX",
        "kpi default_detection (recall)",
        "kpi net_benefit (net_value_per_month)",
        "kpi complaints",
        "roc_auc over rule today",
        "latency_p95_ms",
        "memory_mb",
        "package_mb",
        "parity",
    }


def test_a_protected_column_among_the_features_is_told() -> None:
    assert credit_risk().features.exclude
    found = check(judged(features={"exclude": []}), "protected columns")
    assert (found.verdict, found.where) == (Verdict.WARN, "features")
    assert "SEX" in found.observed


def test_each_check_points_at_its_requirement() -> None:
    decision = judged()
    assert check(decision, "roc_auc").where == "evaluate.require.roc_auc"
    assert (
        check(decision, "equal_opportunity_difference by SEX").where
        == "evaluate.fairness.equal_opportunity_difference"
    )
    assert check(decision, "kpi default_detection (recall)").where == "kpis.default_detection"
    assert check(decision, "latency_p95_ms").where == "budget.latency_p95_ms"


@pytest.mark.parametrize("value", [None, math.nan, math.inf, "0.9", True, {"value": None}, {}])
def test_what_is_not_a_number_is_unknown_and_releases_nothing(value: Any) -> None:
    decision = judged(evaluation(metrics={**evaluation()["metrics"], "roc_auc": value}))
    assert check(decision, "roc_auc").verdict is Verdict.UNKNOWN
    assert not decision.allows


@pytest.mark.parametrize(
    "missing", ["metrics", "threshold", "fairness", "against_baseline", "everything", "measurement", "parity"]
)
def test_what_was_not_measured_releases_nothing(missing: str) -> None:
    found = {} if missing == "everything" else {k: v for k, v in evaluation().items() if k != missing}
    measurement = None if missing == "measurement" else MEASUREMENT
    parity = None if missing == "parity" else PARITY
    assert judge(found, measurement, parity, credit_risk(), where=".".join).verdict is Verdict.UNKNOWN


def test_the_value_is_judged_and_an_interval_across_the_limit_is_noted() -> None:
    near = check(
        judged(evaluation(metrics={**evaluation()["metrics"], "roc_auc": estimate(0.776)})), "roc_auc"
    )
    assert (near.verdict, near.observed) == (Verdict.PASS, "0.776 [0.766, 0.786]")
    assert near.note == "the interval reaches across the limit"


def test_enough_decimals_are_shown_to_see_why_it_failed() -> None:
    fairness = evaluation()["fairness"]["SEX"] | {"demographic_parity_difference": estimate(0.05004)}
    found = check(judged(evaluation(fairness={"SEX": fairness})), "demographic_parity_difference by SEX")
    assert found.verdict is Verdict.FAIL
    assert found.observed.startswith("0.05004 ")
    assert found.required == "<= 0.05"


def test_a_constraint_that_no_threshold_meets_fails() -> None:
    unmet = judged(evaluation(threshold={"threshold": 0.5, "met": False}))
    assert check(unmet, "threshold").verdict is Verdict.FAIL


@pytest.mark.parametrize(
    ("difference", "by", "verdict"), [(0.04, 0.05, "fail"), (0.05, 0.05, "pass"), (0.0, 0.0, "fail")]
)
def test_the_best_baseline_must_be_beaten_by_what_the_spec_says(
    difference: float, by: float, verdict: str
) -> None:
    found = evaluation(
        against_baseline={**evaluation()["against_baseline"], "difference": estimate(difference)}
    )
    decision = judged(found, evaluate={"beat_baseline": {"metric": "roc_auc", "by": by}})
    assert check(decision, "roc_auc over rule today").verdict.value == verdict


def test_that_a_baseline_must_be_beaten_is_said_to_be_built_in() -> None:
    lost = {"metric": "wmape", "difference": estimate(0.02)}
    spec = credit_risk(evaluate={"beat_baseline": {"metric": "wmape"}})
    said = {}
    for task, baseline in (("binary", "no model"), ("forecast", "moving average"), ("forecast", "lightgbm")):
        own = spec.model_copy(update={"train": spec.train.model_copy(update={"task": task})})
        found = evaluation(against_baseline=lost | {"baseline": baseline})
        decision = judge(found, MEASUREMENT, PARITY, own, where=".".join)
        said[baseline] = check(decision, f"wmape over {baseline}")
    assert {c.verdict for c in said.values()} == {Verdict.FAIL}
    assert all("built in; evaluate.beat_baseline.metric" in c.note for c in said.values())
    assert [name for name, c in said.items() if "in train.learners" in c.note] == ["moving average"]
    assert "moving_average in train.learners may become the model" in said["moving average"].note


def test_where_less_is_better_a_lower_value_beats_the_baseline() -> None:
    against = {
        "baseline": "no model",
        "metric": "log_loss",
        "difference": {"value": -0.2, "low": -0.25, "high": -0.15},
    }
    decision = judged(
        evaluation(against_baseline=against), evaluate={"beat_baseline": {"metric": "log_loss", "by": 0.1}}
    )
    found = check(decision, "log_loss over no model")
    assert (found.verdict, found.observed) == (Verdict.PASS, "0.200 [0.150, 0.250]")


def test_a_baseline_on_another_metric_does_not_count() -> None:
    decision = judged(evaluate={"beat_baseline": {"metric": "recall", "by": 0.0}})
    assert check(decision, "recall over rule today").verdict is Verdict.UNKNOWN


def test_budget_and_parity_are_limits() -> None:
    slow = judge(evaluation(), MEASUREMENT | {"latency_p95_ms": 51}, PARITY, credit_risk(), where=".".join)
    assert [c.name for c in slow.reasons] == ["latency_p95_ms"]
    apart = judge(
        evaluation(), MEASUREMENT, PARITY | {"max_abs_difference": 2e-5}, credit_risk(), where=".".join
    )
    assert [c.name for c in apart.reasons] == ["parity"]
    lenient = {"max_abs_difference": 2e-5, "limit": 1.0}
    assert not judge(evaluation(), MEASUREMENT, lenient, credit_risk(), where=".".join).allows


def test_lowering_a_requirement_judges_otherwise_from_the_same_evaluation() -> None:
    found = evaluation(metrics={**evaluation()["metrics"], "roc_auc": estimate(0.77)})
    assert not judged(found).allows
    lower = {"require": {"roc_auc": ">= 0.76", "expected_calibration_error": "<= 0.03"}}
    assert judged(found, evaluate=lower).allows


def test_a_decision_survives_json() -> None:
    decision = judged()
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.000"), (1234567.8, "1,234,568"), (-0.5, "-0.500"), (3e-8, "3e-08")]
)
def test_numbers_as_people_read_them(value: float, text: str) -> None:
    assert number(value) == text


def decided(own: float, **rivals: tuple[float, float]) -> Check | None:
    """The check of the decisions' worth; each rival is (net value, selection rate)."""
    found = evaluation(
        metrics={**evaluation()["metrics"], "net_value": estimate(own)},
        baselines={
            name: {"net_value": estimate(value), "selection_rate": estimate(rate)}
            for name, (value, rate) in rivals.items()
        },
    )
    return next((c for c in judged(found).checks if "of the decisions over" in c.name), None)


def test_decisions_must_be_worth_more_than_the_best_that_needs_no_model() -> None:
    better = decided(40.0, nobody=(-300.0, 0.0), rule=(20.0, 0.1))
    assert better is not None
    assert (better.name, better.verdict) == ("net_value of the decisions over rule", Verdict.PASS)
    equal = decided(20.0, nobody=(-300.0, 0.0), rule=(20.0, 0.1))
    assert equal is not None
    assert equal.verdict is Verdict.FAIL
    assert equal.where == "evaluate.threshold"


def test_a_baseline_that_breaks_the_constraints_of_the_threshold_is_no_alternative() -> None:
    found = decided(40.0, nobody=(-300.0, 0.0), everybody=(200.0, 1.0))
    assert found is not None
    assert (found.name, found.verdict) == ("net_value of the decisions over nobody", Verdict.PASS)


def _part(value: str, **improvements: float) -> dict[str, Any]:
    added = [
        {"baseline": name, "metric": "wmape", "other": 1 - share / 2, "improvement": estimate(share)}
        for name, share in improvements.items()
    ]
    return {"value": value, "added": added}


def test_a_forecast_must_take_its_share_of_the_error_away_in_every_block() -> None:
    spec = credit_risk(evaluate={"beat_baseline": {"metric": "roc_auc", "by_share": 0.15}})
    report = {
        "overall": _part("all", naive=0.4, ets=0.3),
        "blocks": [_part("1-4", naive=0.5), _part("5-8", naive=0.1)],
    }
    decision = judge(evaluation() | {"forecast": report}, MEASUREMENT, PARITY, spec, where=".".join)
    found = {c.name: c.verdict for c in decision.checks if " below " in c.name}
    assert found == {
        "wmape below naive, all steps": Verdict.PASS,
        "wmape below naive, steps 1-4": Verdict.PASS,
        "wmape below naive, steps 5-8": Verdict.FAIL,
    }


def test_series_without_a_past_are_held_against_what_is_required_of_such() -> None:
    required = {"new shop": {"wmape": "<= 0.6"}, "new item": {"wmape": "<= 0.6", "bias": "<= 0.1"}}
    spec = credit_risk(evaluate={"require_new_series": required})
    parts = [{"value": "new shop", "metrics": {"wmape": estimate(0.5)}},
             {"value": "new item", "metrics": {"wmape": estimate(0.7)}}]  # fmt: skip
    report = {"forecast": {"new_series": parts}}
    decision = judge(evaluation() | report, MEASUREMENT, PARITY, spec, where=".".join)
    found = {c.name: (c.verdict, c.where) for c in decision.checks if ", new" in c.name}
    place = "evaluate.require_new_series"
    assert found == {
        "wmape, new shop": (Verdict.PASS, f"{place}.new shop.wmape"),
        "wmape, new item": (Verdict.FAIL, f"{place}.new item.wmape"),
        "bias, new item": (Verdict.UNKNOWN, f"{place}.new item.bias"),
    }


def test_a_share_without_a_report_is_unknown() -> None:
    spec = credit_risk(evaluate={"beat_baseline": {"metric": "roc_auc", "by_share": 0.15}})
    decision = judge(evaluation(), MEASUREMENT, PARITY, spec, where=".".join)
    assert [c.verdict for c in decision.checks if " below " in c.name] == [Verdict.UNKNOWN]
