"""Who decides whether a model is replaced: every rule of the default policy, at its limits."""

from __future__ import annotations

from dataclasses import replace

import pytest

from charter.core.decision import Check, Decision, Verdict
from charter.evaluate.compare import Comparison
from charter.evaluate.comparison import MetricChange, ModelComparison, Shift, SliceChange
from charter.evaluate.types import Estimate
from charter.iterate.redeploy import Changes, judge_redeployment
from charter.spec.types import RedeploySpec

GATE = Decision.of("gate", [Check("roc_auc", "0.8", ">= 0.7", Verdict.PASS)])
RESOURCES = {"latency_p95_ms": (10.0, 10.5), "memory_mb": (200.0, 210.0)}


def change(metric: str, gain: float, *, room: float = 0.004) -> MetricChange:
    """A gain with an interval of that room on both sides, on a metric that is 0.8 for the champion."""
    ends = [0.8 * (gain + k * room) for k in (0, -1, 1)]
    better = "a" if ends[1] > 0 else "b" if ends[2] < 0 else "neither"
    compared = Comparison(
        metric, 0.8 * (1 + gain), 0.8, Estimate(*ends, "bca", 1000), 0.01, "bootstrap", better
    )
    return MetricChange(compared, Estimate(gain, gain - room, gain + room, "bca", 1000))


def comparison(gain: float = 0.02, **other: object) -> ModelComparison:
    shift = Shift(Estimate(0.01, 0.005, 0.02, "wilson", 1000), 0.1, 0.0, 0.01, None)
    found = ModelComparison(
        "v1", "v2", 1000, 1000, False, 0.95, "roc_auc",
        (change("roc_auc", gain), change("recall", 0.0, room=0.002)), None, shift, (), resources=RESOURCES,
    )  # fmt: skip
    return replace(found, **other)  # type: ignore[arg-type]


def judged(found: ModelComparison, changes: Changes | None = None, **policy: object) -> Decision:
    return judge_redeployment(
        found,
        RedeploySpec(**policy),
        changes or Changes(),
        required=("recall",),
        gate=GATE,  # type: ignore[arg-type]
    )


def outcome(decision: Decision) -> str:
    return decision.evidence["outcome"]


def test_a_sure_gain_without_harm_is_automatic() -> None:
    decision = judged(comparison())
    assert (outcome(decision), decision.verdict) == ("automatic", "pass")
    assert decision.allows


@pytest.mark.parametrize(
    ("found", "expected", "rule"),
    [
        (comparison(gain=0.009), "manual", "gain in roc_auc"),
        (comparison(gain=0.051), "manual", "gain in roc_auc"),
        (comparison(metrics=(change("roc_auc", 0.02, room=0.03),)), "manual", "gain in roc_auc"),
        (comparison(metrics=(change("roc_auc", 0.02), change("recall", -0.006))), "manual", "drop in recall"),
        (comparison(metrics=(change("roc_auc", 0.02), change("recall", -0.021))), "rejected", "drop in recall"),
        (comparison(metrics=(change("roc_auc", 0.02), change("recall", 0.0, room=0.03))), "manual", "drop in recall"),
        (comparison(gain=-0.021), "rejected", "drop in roc_auc"),
        (comparison(resources={**RESOURCES, "latency_p95_ms": (10.0, 11.1)}), "manual", "p95 latency"),
        (comparison(resources={**RESOURCES, "memory_mb": (200.0, 300.0)}), "manual", "memory"),
        (comparison(resources=None), "manual", "p95 latency"),
        (comparison(shift=Shift(Estimate(0.06, 0.05, 0.07, "wilson", 1000), 0.1, 0.0, 0.3, None)), "manual", "shift"),
        (comparison(slices=(SliceChange("sex", "f", 400, change("roc_auc", -0.05), 0.001),)), "manual", "slices"),
    ],
)  # fmt: skip
def test_each_rule_decides(found: ModelComparison, expected: str, rule: str) -> None:
    decision = judged(found)
    assert outcome(decision) == expected
    assert rule in [c.name for c in decision.reasons]
    assert all(c.observed and c.required for c in decision.checks)


@pytest.mark.parametrize(
    ("gain", "seen", "note"),
    [
        (0.0122, "-1.22% [-1.62%, -0.82%]", "better"),
        (-0.003, "+0.30% [-0.10%, +0.70%]", ""),
        (0.0, "+0.00% [-0.40%, +0.40%]", ""),
    ],
)
def test_a_drop_has_the_sign_of_what_is_lost(gain: float, seen: str, note: str) -> None:
    found = judged(comparison(metrics=(change("roc_auc", 0.02), change("recall", gain))))
    (drop,) = [c for c in found.checks if c.name == "drop in recall"]
    assert (drop.observed, drop.note, drop.verdict) == (seen, note, Verdict.PASS)


def test_it_says_when_the_data_cannot_tell() -> None:
    unsure = comparison(metrics=(change("roc_auc", 0.02, room=0.03), change("recall", -0.03, room=0.1)))
    notes = " ".join(c.note for c in judged(unsure).reasons)
    assert "cannot tell better from no better" in notes
    assert "cannot tell it from chance, and caution decides" in notes
    flat = judged(comparison(metrics=(change("roc_auc", 0.02), change("recall", 0.0, room=0.03))))
    assert "cannot rule out a drop" in " ".join(c.note for c in flat.reasons)


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        (Changes(new_features=("debt",)), "new features"),
        (Changes(lost_features=("debt",)), "lost features"),
        (Changes(algorithm=("logistic_regression", "lightgbm")), "algorithm"),
        (Changes(label=("data.label.over_next from 90d to 60d",)), "label"),
        (Changes(rules=("serve.bands.high lowered from 0.7 to 0.6",)), "business rules"),
    ],
)
def test_what_changed_always_asks_a_person(changes: Changes, rule: str) -> None:
    decision = judged(comparison(), changes)
    assert outcome(decision) == "manual"
    assert [c.name for c in decision.reasons] == [rule]


def test_what_fails_its_gate_replaces_nothing_and_what_was_not_judged_asks() -> None:
    failed = Decision.of("gate", [Check("demographic_parity", "0.09", "<= 0.05", Verdict.FAIL)])
    rejected = judge_redeployment(comparison(), RedeploySpec(), Changes(), gate=failed)
    assert outcome(rejected) == "rejected"
    assert "demographic_parity" in rejected.reasons[0].observed
    assert outcome(judge_redeployment(comparison(), RedeploySpec(), Changes(), gate=None)) == "manual"


def test_a_policy_of_one_s_own_overrides_the_default() -> None:
    assert outcome(judged(comparison(gain=0.006), min_gain=0.005)) == "automatic"
    assert outcome(judged(comparison(), automatic=False)) == "manual"
    assert outcome(judged(comparison(gain=0.08), suspicious_gain=0.1)) == "automatic"
    dropped = comparison(metrics=(change("roc_auc", 0.02), change("recall", -0.03)))
    assert outcome(judged(dropped, reject_drop=0.05)) == "manual"


@pytest.mark.parametrize(
    ("worse", "expected", "verdict"),
    [
        (0.0, "automatic", "pass"),
        (0.02, "automatic", "pass"),
        (0.029, "manual", "unknown"),
        (0.04, "rejected", "fail"),
    ],
)
def test_an_error_near_nothing_is_judged_in_its_own_unit(worse: float, expected: str, verdict: str) -> None:
    ends = (worse - 0.002, worse + 0.002)
    compared = Comparison(
        "recall",
        0.01 - worse,
        0.01,
        Estimate(-worse, -ends[1], -ends[0], "bca", 1000),
        0.01,
        "bootstrap",
        "b",
    )
    share = MetricChange(compared, Estimate(-worse / 0.01, -ends[1] / 0.01, -ends[0] / 0.01, "bca", 1000))
    found = judged(comparison(metrics=(change("roc_auc", 0.02), share)), tolerate={"recall": 0.03})
    assert outcome(found) == expected
    (check,) = [c for c in found.checks if c.name == "drop in recall"]
    assert (check.verdict, check.where) == (verdict, "release.redeploy.tolerate.recall")


def test_of_an_error_more_is_worse() -> None:
    compared = Comparison(
        "brier_score", 0.05, 0.01, Estimate(0.04, 0.03, 0.05, "bca", 1000), 0.01, "bootstrap", "b"
    )
    metrics = (change("roc_auc", 0.02), MetricChange(compared, Estimate(-4, -5, -3, "bca", 1000)))
    for tolerated, verdict in ((0.03, "fail"), (0.045, "unknown"), (0.06, "pass")):
        policy = RedeploySpec(tolerate={"brier_score": tolerated})
        found = judge_redeployment(
            comparison(metrics=metrics), policy, Changes(), required=("brier_score",), gate=GATE
        )
        assert [c.verdict for c in found.checks if c.name == "drop in brier_score"] == [verdict]


def test_a_gain_of_nothing_is_not_known() -> None:
    nothing = MetricChange(
        Comparison("roc_auc", 0.1, 0.0, Estimate(0.1, 0.0, 0.2, "bca", 10), 0.1, "bootstrap", "neither"),
        Estimate(None, None, None, "none", 10, "the other model's metric is not surely different from 0"),
    )
    decision = judged(comparison(metrics=(nothing, change("recall", 0.0, room=0.002))))
    assert outcome(decision) == "manual"
    assert "not surely different" in decision.reasons[0].note


@pytest.mark.parametrize("wrong", [{"min_gain": 0.06}, {"max_drop": 0.03}])
def test_a_policy_that_contradicts_itself_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must not be above"):
        RedeploySpec(**wrong)  # type: ignore[arg-type]
