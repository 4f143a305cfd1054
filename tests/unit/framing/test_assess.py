from __future__ import annotations

import json
from pathlib import Path

import pytest

from charter.core.decision import Verdict
from charter.framing.assess import assess
from charter.framing.feasibility import feasibility, in_words
from charter.framing.report import lines
from charter.framing.suitability import WARNINGS, conditions_met, suitability, warnings_raised
from charter.spec.loader import loads
from charter.spec.types import Answer, ModelSpec, Suitability

SAMPLES = Path(__file__).parents[1] / "spec" / "samples"
ROWS = loads((SAMPLES / "rows.yaml").read_text("utf-8"), "model.yaml")
ENTITIES = loads((SAMPLES / "entities.yaml").read_text("utf-8"))


def answered(**answers: bool | None) -> ModelSpec:
    base = {
        **dict.fromkeys(("learns_complex_patterns", "quality_data", "predicts_unseen"), True),
        **dict.fromkeys(WARNINGS, False),
        **answers,
    }
    given = {name: None if yes is None else Answer(answer=yes, because="so") for name, yes in base.items()}
    return ROWS.spec.model_copy(update={"suitability": Suitability.model_validate(given)})


@pytest.mark.parametrize(
    ("answers", "verdict"),
    [
        ({}, Verdict.PASS),
        ({"quality_data": False}, Verdict.FAIL),
        ({"quality_data": None}, Verdict.UNKNOWN),
        ({"quality_data": None, "predicts_unseen": False}, Verdict.FAIL),
        ({"rule_suffices": True}, Verdict.WARN),
        ({"rule_suffices": None}, Verdict.WARN),
        ({"rule_suffices": True, "static_reporting": True}, Verdict.FAIL),
        ({"full_transparency": True}, Verdict.WARN),
        ({"full_transparency": True, "rule_suffices": True}, Verdict.WARN),
    ],
)
def test_answers_are_weighed(answers: dict[str, bool | None], verdict: Verdict) -> None:
    assert suitability(answered(**answers)).verdict is verdict


def test_a_regulated_decision_needs_reasons() -> None:
    spec = answered(full_transparency=True)
    bare = spec.model_copy(update={"serve": spec.serve.model_copy(update={"reasons": 0})})
    decision = suitability(bare)
    assert decision.verdict is Verdict.FAIL
    assert "set serve.reasons" in decision.reasons[0].note


def test_nobody_answered_is_not_good_enough() -> None:
    decision = suitability(ENTITIES.spec)
    assert decision.verdict is Verdict.UNKNOWN
    assert not decision.allows
    assert conditions_met(decision) == 0
    assert warnings_raised(decision) == ()


def test_gaps_that_the_specification_shows_by_itself() -> None:
    gaps = {gap.path: gap for gap in feasibility(ENTITIES.spec).gaps}
    assert gaps["data", "label", "over_next"].what == "labels are known after 30 days"
    assert not gaps["data", "label", "over_next"].open
    assert "no consent" in gaps["data", "sources", "readings"].what
    assert ("feasibility", "scale") in gaps
    assert not feasibility(ENTITIES.spec).feasible
    unruly = ROWS.spec.model_copy(
        update={
            "purpose": ROWS.spec.purpose.model_copy(
                update={"today": ROWS.spec.purpose.today.model_copy(update={"rule": None})}
            ),
            "serve": ROWS.spec.serve.model_copy(update={"fallback": None}),
            "approve": ROWS.spec.approve.model_copy(update={"stages": ()}),
        }
    )
    paths = [gap.path for gap in feasibility(unruly).gaps]
    assert {("purpose", "today"), ("serve",), ("approve",)} <= set(paths)


def test_a_declared_gap_is_open_until_something_closes_it() -> None:
    text = (SAMPLES / "rows.yaml").read_text("utf-8")
    spec = loads(
        text
        + "feasibility:\n  scale: {needed: 9 a second, have: 3 a second, gap: 6 a second, closed_by: a second core}\n"
    ).spec
    (gap,) = [gap for gap in feasibility(spec).gaps if gap.path == ("feasibility", "scale")]
    assert (gap.what, gap.closed_by, gap.open) == ("6 a second", "a second core", False)


def test_durations_in_words() -> None:
    assert in_words("90d") == "90 days"
    assert in_words("1h") == "1 hour"


def test_an_assessment_reads_like_a_page() -> None:
    page = "\n".join(lines(assess(ROWS.spec), ROWS.source.where))
    assert page.startswith("Machine learning fits, with warnings: 3 of 3 conditions hold, 1 of 5 warnings")
    assert "reasons per decision are required, and are configured (serve.reasons: 3) (model.yaml:" in page
    assert "Value at 1,000 decisions a month" in page
    assert "EUR 9,000" in page
    assert "Each point of recall is worth EUR 180 a month; a false alarm costs EUR 10." in page
    assert "labels are known after 90 days -> quality is estimated until then" in page
    assert all(len(line) < 160 for line in page.splitlines())
    bare = lines(assess(ENTITIES.spec))
    assert "Value: not stated (add 'value' to see what a model is worth)" in bare
    assert not any("model.yaml" in line for line in bare)


def test_an_assessment_is_plain_data() -> None:
    for loaded in (ROWS, ENTITIES):
        data = assess(loaded.spec).to_json()
        assert json.loads(json.dumps(data, allow_nan=False)) == data
