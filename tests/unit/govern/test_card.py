from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from govern_support import MEASUREMENT, NOW, PARITY, credit_risk, estimate, evaluation, signer, version

from charter.core.decision import Check, Decision, Verdict
from charter.core.errors import UsageError
from charter.data.eda.explore import explore
from charter.data.eda.page import page
from charter.govern.approval import sign
from charter.govern.audit import append
from charter.govern.card import document
from charter.govern.card_text import ENDINGS, render
from charter.govern.gates import judge
from charter.registry.types import AuditEvent
from charter.spec.loader import load
from charter.spec.types import SIX_STAGES


def written(
    form: str, found: dict[str, Any] | None = None, *, events: Sequence[AuditEvent] = (), **spec: Any
) -> str:
    declared, measured = credit_risk(**spec), evaluation() if found is None else found
    signed = sign(
        3,
        SIX_STAGES[0],
        signer("eva"),
        verdict="approve",
        reason="<script>x</script> | y",
        evidence={},
        now=NOW,
    )
    content = document(
        declared,
        measured,
        judge(measured, MEASUREMENT, PARITY, declared, where=lambda path: f"model.yaml:{len(path)}"),
        Decision.of("approve", [Check("final", "missing", "signed by a chief-data-officer", Verdict.FAIL)]),
        version=version(),
        signed=[signed],
        events=events,
        measurement=MEASUREMENT,
        facts={
            "features": {"rows": 30000, "train": 24000},
            "train": {"learner": "lightgbm", "run": "secret"},
        },
    )
    return render(content, form)


FORMS = [form for form in ENDINGS if form != "cyclonedx"]


class Outline(HTMLParser):
    """Checks that tags are balanced and notes what is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "link", "br", "img", "input", "rect", "line", "polyline"):
            self.open.append(tag)
        self.fetched += [str(v) for k, v in attrs if k in ("src", "href", "action")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.fetched += [str(v) for k, v in attrs if k in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("form", FORMS)
def test_decisions_that_chance_turns_around_are_owned_up_to(form: str) -> None:
    explore = {"share": 0.02, "within": 0.1, "turn": "positive"}
    said = "2.0% of the positive decisions within 0.1 of the threshold are turned around by chance"
    assert said in written(form, serve={"explore": explore})
    assert "turned around by chance" not in written(form)


def test_html_is_whole_fetches_nothing_and_escapes() -> None:
    text = written("html")
    outline = Outline()
    outline.feed(text)
    assert outline.open == []
    assert outline.fetched == []
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert text.count("<polyline") == 2


@pytest.mark.parametrize("form", FORMS)
def test_every_number_stands_on_the_card(form: str) -> None:
    text = written(form)
    wanted = [
        "0.79",
        "0.15",
        "0.012",
        "820",
        "3773" if form == "json" else "3,773",
        "0.31",
        "6.1",
        "0.29",
        "24000",
    ]
    for number in wanted:
        assert number in text or f"{int(number):,}" in text, number
    for word in (
        "credit-risk",
        "v3",
        "Not for granting credit",
        "rule today",
        "model.yaml:3",
        "eva",
        version().bundle,
    ):
        assert word in text or word.replace("-", "\\-") in text, word
    assert "secret" not in text


@pytest.mark.parametrize(
    ("form", "value"), [("html", "2 | &lt;b&gt;x&lt;/b&gt;"), ("markdown", r"2 \| \<b\>x\</b\>")]
)
def test_a_slice_shows_its_value_escaped(form: str, value: str) -> None:
    assert value in written(form)


FORGED = "north\x1b[2J\u202e\u2066 x"


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_no_screen_obeys_what_stands_on_a_card(form: str) -> None:
    text = written(form, summary=FORGED, stakeholders={"risk": FORGED})
    assert not {"\x1b", "\u202e", "\u2066"} & set(text)
    assert "x1b" in text
    assert "\n" in text


def test_nor_on_a_page_of_a_table() -> None:
    found = page(explore(pl.DataFrame({FORGED: [1, 2, 2], "a": ["x", FORGED, "x"]})), FORGED)
    assert not {"\x1b", "\u202e", "\u2066"} & set(found)


@pytest.mark.parametrize("form", FORMS)
def test_what_nobody_stated_is_missing_by_name(form: str) -> None:
    text = written(form, purpose={"limits": [], "harms": []}, stakeholders={})
    for place in (
        "missing: purpose.limits",
        "missing: purpose.harms",
        "missing: purpose.risks",
        "missing: card.update_schedule",
    ):
        assert place in text.replace("\\", "")


@pytest.mark.parametrize("form", FORMS)
def test_it_is_written_even_when_nothing_was_measured(form: str) -> None:
    text = written(form, {})
    assert "unknown" in text
    assert written(form, evaluation(fairness={}, slices=[], worst_slice=None, threshold=None, confusion=None))


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_no_fairness_asked_for_is_said(form: str) -> None:
    assert "missing: evaluate.fairness" in written(form, evaluate={"fairness": None})


def test_the_same_arguments_give_the_same_text() -> None:
    assert [written(form) for form in FORMS] == [written(form) for form in FORMS]


def test_json_is_json_with_a_version() -> None:
    data = json.loads(written("json"))
    assert data["schema_version"] == 2
    assert data["performance"]["metrics"][0]["baselines"] == {"no model": 0.5, "rule today": 0.64}
    assert data["compliance"]["protected"] == ["AGE", "MARRIAGE", "SEX"]
    assert data["compliance"]["protected_not_excluded"] == []


def test_markdown_tables_have_as_many_cells_as_their_head() -> None:
    rows = [line for line in written("markdown").splitlines() if line.startswith("|")]
    bars = [len(re.findall(r"(?<!\\)\|", row)) for row in rows]
    width = 0
    for row, count, before in zip(rows, bars, ["", *rows], strict=False):
        if re.fullmatch(r"[|-]+", row):
            width = len(re.findall(r"(?<!\\)\|", before))
        if width and not re.fullmatch(r"[|-]+", row) and count != width:
            following = rows[rows.index(row) + 1] if rows.index(row) + 1 < len(rows) else ""
            assert re.fullmatch(r"[|-]+", following), row
    assert len(rows) > 30


def test_an_unknown_form_is_refused() -> None:
    with pytest.raises(UsageError, match="did you mean html"):
        written("htm")


@pytest.mark.parametrize("form", FORMS)
def test_a_forecast_is_told_by_horizon(form: str) -> None:
    text = written(form, evaluation(forecast=forecast()))
    for word in ("0.311", "0.299", "0.352", "0.871", "seasonal", "0.512", "0.39", "913 series"):
        assert word in text, word
    assert ("By horizon" in text) == (form != "json")
    bare = forecast()
    for part in (bare["overall"], *bare["blocks"]):
        del part["metrics"]["interval_coverage"]
        part["added"] = []
    bare["level"] = None
    without = written(form, evaluation(forecast=bare))
    assert "inside the" not in without
    assert "By horizon" not in written(form)


@pytest.mark.parametrize("form", FORMS)
def test_what_a_forecast_is_used_for_stands_on_its_card(root: Path, form: str) -> None:
    spec = load(root / "src/charter/blueprints/sales_forecast/model.yaml").spec
    level = {
        "level": "store",
        "rows": 5684,
        "wmape": 0.1934,
        "wmape_bottom_up": 0.2111,
        "bias": 0.051,
        "coverage": 0.998,
    }
    policy = {"in_stock": 0.9863, "lost": 3836.0, "markdown": 1692.0, "value": 365343.0}
    stock = {"periods": 16, "series": 913, "service_level": 0.968, "gain": estimate(-270707.0),
             "forecast": policy, "moving_average": policy | {"value": 636051.0}}  # fmt: skip
    decisions = {
        "levels": {"method": "mint_shrink", "share": 0.9},
        "notes": ["effect: too few origins"],
        "measured": {"levels": [level], "inventory": stock},
    }
    measured = evaluation(forecast=forecast())
    verdict = judge(measured, MEASUREMENT, PARITY, spec, where=lambda path: "")
    given = {"version": version(), "measurement": MEASUREMENT}
    text = render(document(spec, measured, verdict, verdict, **given, decisions=decisions), form)
    for word in ("price11", "MinTrace", "19.34 %", "99.8 %", "636,051", "USD", "too few origins"):
        assert (word in text) == (
            form != "json" or word in ("price11", "MinTrace", "USD", "too few origins")
        ), word
    bare = render(document(spec, measured, verdict, verdict, **given), form)
    assert "price11" in bare
    assert "MinTrace" not in bare
    assert "price11" not in written(form)


def forecast() -> dict[str, Any]:
    def part(value: str, error: float, added: dict[str, float | None]) -> dict[str, Any]:
        return {
            "by": "block",
            "value": value,
            "n": 5000,
            "metrics": {
                "wmape": estimate(error),
                "bias": estimate(0.012, 0.002),
                "interval_coverage": estimate(0.871),
            },
            "added": [
                {
                    "baseline": name,
                    "other": other,
                    "improvement": estimate(None if other is None else 1 - error / other),
                }
                for name, other in added.items()
            ],
        }

    rivals: dict[str, float | None] = {"seasonal_naive": 0.512, "naive": 0.8, "ets": None}
    return {
        "metric": "wmape",
        "level": 0.9,
        "horizon": 12,
        "origins": 6,
        "series": 913,
        "unknown": 17,
        "overall": part("all", 0.311, rivals),
        "blocks": [part("1-6", 0.299, rivals), part("7-12", 0.352, rivals)],
    }


WORDS: dict[str, Any] = {
    "intended_use": ["Rank accounts for a call"],
    "out_of_scope": ["Granting credit"],
    "limitations": ["New accounts have no past"],
    "tradeoffs": ["Recall for fewer calls"],
    "ethics": [
        {"concern": "Calls are a burden", "mitigation": "At most one a month"},
        {"concern": "Pressure"},
    ],
    "groups": [{"group": "Young people", "harms": "Short histories", "mitigation": "Slices by age"}],
    "contacts": {"appeals": "appeals@example.org"},
    "update_schedule": "Every quarter",
    "compliance": ["ECOA"],
    "licence": "Internal use",
    "references": ["Policy 7"],
}


@pytest.mark.parametrize("form", FORMS)
def test_what_a_person_has_written_stands_on_the_card(form: str) -> None:
    text = written(form, card=WORDS).replace("\\", "")
    for words in (
        "Rank accounts for a call",
        "At most one a month",
        "Slices by age",
        "appeals@example.org",
        "ECOA",
    ):
        assert words in text
    assert "missing: card." not in text
    assert "mitigation: missing" in text


def test_the_gate_asks_for_what_the_card_requires() -> None:
    required = {"required": ["ethics", "limits", "risks", "licence"]}
    declared = credit_risk(card={**required, "licence": "Internal use"})
    found = {c.name: c for c in judge(evaluation(), MEASUREMENT, PARITY, declared, where=".".join).checks}
    assert found["model card: licence"].verdict is Verdict.PASS
    assert found["model card: limits"].verdict is Verdict.PASS
    assert found["model card: ethics"].verdict is Verdict.FAIL
    assert found["model card: risks"].note == "write purpose.risks: what may keep it from its objective"
    assert found["model card: ethics"].where == "card.required"


def trail() -> list[AuditEvent]:
    package = version().package
    held = Decision.of("canary", [Check("p95 latency", "88 ms", "<= 50 ms", Verdict.FAIL)]).to_json()
    told: list[tuple[str, str, dict[str, Any]]] = [
        ("version.verified", "v3", {"model": "credit-risk", "package": package, "profile": "light", "verdict": "pass",
                                    "report": "ab", "checks": {"integration": "pass"}}),
        ("version.released", "v3", {"model": "other-model"}),
        ("rollout.started", "v3", {"model": "credit-risk", "reason": "better"}),
        ("rollout.went_back", "v3", {"model": "credit-risk", "decision": held}),
        ("rollout.started", "v4", {"model": "credit-risk", "left": "v3"}),
        ("rollout.started", "v5", {"model": "credit-risk"}),
    ]  # fmt: skip
    events: list[AuditEvent] = []
    for action, subject, detail in told:
        last = events[-1] if events else None
        events.append(append(last, at=NOW, actor="eva", action=action, subject=subject, detail=detail))
    return events


@pytest.mark.parametrize("form", FORMS)
def test_the_card_tells_what_was_done_with_the_version_and_what_was_verified(form: str) -> None:
    text = written(form, events=trail()).replace("\\", "")
    assert "took v3 back" in text
    assert "p95 latency: 88 ms, required" in text
    assert "rollout started, v4" in text
    assert "v5" not in text
    assert "other-model" not in text
    assert text.count("released v3") == 0
    assert "this package was not verified" in written(form)
    assert "this package was not verified" not in text


def test_cyclonedx_says_what_the_card_says_and_is_the_same_each_time() -> None:
    text = written("cyclonedx", card=WORDS, events=trail())
    assert text == written("cyclonedx", card=WORDS, events=trail())
    found = json.loads(text)
    assert (found["bomFormat"], found["specVersion"], found["version"]) == ("CycloneDX", "1.6", 1)
    model = found["metadata"]["component"]
    assert (model["type"], model["name"], model["version"]) == ("machine-learning-model", "credit-risk", "v3")
    metrics = model["modelCard"]["quantitativeAnalysis"]["performanceMetrics"]
    auc = next(m for m in metrics if m["type"] == "roc_auc" and "slice" not in m)
    recorded = evaluation()["metrics"]["roc_auc"]
    assert float(auc["value"]) == recorded["value"]
    assert float(auc["confidenceInterval"]["lowerBound"]) == recorded["low"]
    considered = model["modelCard"]["considerations"]
    assert considered["ethicalConsiderations"][0] == {
        "name": "Calls are a burden",
        "mitigationStrategy": "At most one a month",
    }
    assert considered["fairnessAssessments"][0]["groupAtRisk"] == "Young people"
    refs = [found["metadata"]["component"]["bom-ref"], *(c["bom-ref"] for c in found["components"])]
    refs += [a["bom-ref"] for a in found["annotations"]] + [model["modelCard"]["bom-ref"]]
    assert len(set(refs)) == len(refs)
    assert {d["ref"] for d in found["dependencies"]} <= set(refs)
    missing = [p["value"] for p in model["modelCard"]["properties"] if p["name"] == "charter:missing"]
    assert missing == ["purpose.risks"]


@pytest.mark.parametrize(
    ("words", "found"), [({}, None), (WORDS, None), ({}, {}), ({}, evaluation(forecast={}))]
)
def test_cyclonedx_keeps_the_official_schema(words: dict[str, Any], found: dict[str, Any] | None) -> None:
    schemas = pytest.importorskip("cyclonedx.schema")
    validation = pytest.importorskip("cyclonedx.validation.json")
    check = validation.JsonStrictValidator(schemas.SchemaVersion.V1_6)
    assert check.validate_str(written("cyclonedx", found, card=words, events=trail())) is None
