from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from charter.framing.value import ValueReport, assess_value, pays_from_score, worth_of_a_find
from charter.spec.loader import loads
from charter.spec.types import ModelSpec, PerDecision, Target, Value

TEXT = (Path(__file__).parents[1] / "spec" / "samples" / "rows.yaml").read_text("utf-8")
SPEC = loads(TEXT).spec


def valued(**changes: object) -> ValueReport:
    value = Value.model_validate({**SPEC.value.model_dump(), **changes}) if SPEC.value is not None else None
    report = assess_value(SPEC.model_copy(update={"value": value}))
    assert report is not None
    return report


def by_counting(spec: ModelSpec, quality: Target) -> float:
    """The value of a month's decisions less that of leaving everybody alone, cell by cell of the confusion matrix."""
    value = spec.value
    assert value is not None
    assert value.positives is not None
    v, decisions = value.per_decision, 1000.0
    positives = decisions * value.positives
    tp = positives * quality.recall
    fp = tp * (1 - quality.precision) / quality.precision
    fn, tn = positives - tp, decisions - positives - fp
    with_model = tp * v.true_positive + fp * v.false_positive + fn * v.false_negative + tn * v.true_negative
    alone = positives * v.false_negative + (decisions - positives) * v.true_negative
    return with_model - alone


def test_the_case_of_the_sample_by_hand() -> None:
    report = valued()
    # 200 positives a month; a find at precision 0.5 is worth 100 - 10 = 90; running costs 1800.
    assert report.positives_per_month == 200
    assert report.today is not None
    assert report.today.net_benefit_per_month == pytest.approx(60 * 90)
    assert report.target is not None
    assert report.target.net_benefit_per_month == pytest.approx(120 * 90 - 1800)
    assert report.target.gain_per_month == pytest.approx(120 * 90 - 1800 - 60 * 90)
    assert report.target.payback_months == pytest.approx(10_000 / 3600)
    assert report.target.roi_12_months == pytest.approx(
        (12 * 5400 - (10_000 + 12 * 1800)) / (10_000 + 12 * 1800)
    )
    assert report.target.flagged_per_month == pytest.approx(240)
    assert report.break_even is not None
    assert report.break_even.recall == pytest.approx((5400 + 1800) / (200 * 90))
    assert report.recall_point_worth == pytest.approx(2 * 90)
    assert report.false_alarm_cost == 10
    assert report.pays_from_score == pytest.approx(10 / 110)
    assert report.pays is True


shares = st.floats(0.05, 0.95)
money = st.floats(-500, 500).map(lambda x: round(x, 2))


@given(shares, shares, shares, money, money, money, money)
def test_the_formula_is_the_confusion_matrix(
    positives: float, recall: float, precision: float, tp: float, fp: float, fn: float, tn: float
) -> None:
    assert SPEC.value is not None
    cells = PerDecision(true_positive=tp, false_positive=fp, false_negative=fn, true_negative=tn)
    quality = Target(recall=recall, precision=precision)
    value = SPEC.value.model_copy(
        update={"per_decision": cells, "positives": positives, "target": quality, "today": None}
    )
    spec = SPEC.model_copy(update={"value": value})
    report = assess_value(spec)
    assert report is not None
    assert report.target is not None
    assert report.target.net_benefit_per_month + 1800 == pytest.approx(
        by_counting(spec, quality), rel=1e-9, abs=1e-6
    )
    one_more = Target(recall=recall + 0.01, precision=precision)
    gained = by_counting(spec, one_more) - by_counting(spec, quality)
    assert report.recall_point_worth == pytest.approx(gained, rel=1e-6, abs=1e-6)
    if report.break_even is not None:
        at = by_counting(spec, Target(recall=report.break_even.recall, precision=precision))
        assert at == pytest.approx(1800, abs=1e-6)


def test_at_break_even_the_model_does_as_well_as_today() -> None:
    report = valued()
    assert report.break_even is not None
    assert report.today is not None
    assert report.break_even.net_benefit_per_month == pytest.approx(report.today.net_benefit_per_month)
    assert report.break_even.gain_per_month == 0
    assert report.break_even.payback_months is None


def test_what_is_not_declared_is_named_and_not_guessed() -> None:
    report = valued(positives=None)
    assert (report.today, report.break_even, report.target, report.pays) == (None, None, None, None)
    assert any("value.positives" in note for note in report.notes)
    report = valued(target=None)
    assert report.target is None
    assert report.recall_point_worth == pytest.approx(180)
    assert any("value.target" in note for note in report.notes)
    report = valued(today=None)
    assert report.target is not None
    assert report.target.gain_per_month == pytest.approx(report.target.net_benefit_per_month)
    assert any("value.today" in note for note in report.notes)


def test_what_does_not_add_up_is_said() -> None:
    report = valued(target={"recall": 0.9, "precision": 0.1})
    assert report.target is not None
    assert not report.target.possible
    assert any("target: recall 0.90" in note for note in report.notes)
    assert report.pays is False
    report = valued(
        per_decision={"true_positive": 1, "false_positive": -100, "false_negative": 0, "true_negative": 0}
    )
    assert report.break_even is None
    assert any("no recall breaks even" in note for note in report.notes)
    report = valued(costs={"build": 0, "run_per_month": 1e9, "train_per_month": 0})
    assert any("not even perfect recall" in note for note in report.notes)
    assert report.target is not None
    assert report.target.payback_months is None
    report = valued(
        per_decision={"true_positive": 0, "false_positive": -1, "false_negative": 0, "true_negative": 0}
    )
    assert any("nothing is gained" in note for note in report.notes)


def test_a_flag_pays_from_the_score_at_which_both_choices_are_worth_the_same() -> None:
    v = PerDecision(true_positive=1200, false_positive=-60, false_negative=-1500, true_negative=5)
    score = pays_from_score(v)
    assert score is not None
    flagged = score * v.true_positive + (1 - score) * v.false_positive
    left = score * v.false_negative + (1 - score) * v.true_negative
    assert flagged == pytest.approx(left)
    assert worth_of_a_find(v, 1.0) == 2700
    assert (
        pays_from_score(PerDecision(true_positive=1, false_positive=0, false_negative=0, true_negative=0))
        is None
    )


def test_nothing_of_value_is_no_report() -> None:
    assert assess_value(SPEC.model_copy(update={"value": None})) is None
