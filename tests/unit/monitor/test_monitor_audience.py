"""Reports for three audiences: verdict, advice in words, numbers, and one page of HTML that stands alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import pytest

from charter.govern.incident import Incident
from charter.govern.review_report import report as reviewed
from charter.monitor.advice import advice
from charter.monitor.alerts import judge, rules
from charter.monitor.audience import page
from charter.monitor.facts import AUDIENCES, Facts
from charter.monitor.lifecycle import stand
from charter.monitor.page import html
from charter.monitor.report import stored_windows
from charter.monitor.trend import Series, trend
from charter.spec.types import ModelSpec

NOW = datetime(2026, 3, 2, tzinfo=UTC)
START = datetime(2026, 1, 5)  # noqa: DTZ001 - windows hold naive UTC


def estimate(value: float) -> dict[str, Any]:
    return {"value": value, "low": value - 0.02, "high": value + 0.02, "n": 900}


def window(place: int, *, roc_auc: float | None = 0.8, benefit: float = 900.0, **more: Any) -> dict[str, Any]:
    start = START + place * timedelta(weeks=1)
    realised = {"roc_auc": estimate(roc_auc)} if roc_auc is not None else {}
    quality = {
        "rows": 1000, "labelled": 900 if realised else 0, "positives": 300, "maturity": 0.9 if realised else 0.0,
        "realised": realised, "estimated": {"roc_auc": estimate(0.8)}, "promised": 0.33, "base_rate_moved": False,
        "surprise": [],
    }  # fmt: skip
    worth = {"currency": "EUR", "decisions": 1000, "known": 1100.0, "expected": 0.0, "costs": 100.0, "alone": 0.0,
             "benefit": benefit, "case": 800.0, "rule": 700.0, "return_on_cost": 9.0}  # fmt: skip
    operations = {"p50_latency_ms": 2.0, "p95_latency_ms": 6.0, "p99_latency_ms": 9.0, "fallback_share": 0.0,
                  "warning_share": 0.01}  # fmt: skip
    measures = {"maturity": quality["maturity"], "p95_latency_ms": 6.0, "benefit_per_month": benefit}
    measures |= {"roc_auc": roc_auc, "high(roc_auc)": roc_auc + 0.02} if roc_auc is not None else {}
    found = {"version": "v1", "start": start.isoformat(), "end": (start + timedelta(weeks=1)).isoformat(),
             "quality": quality, "worth": worth, "operations": operations, "measures": measures,
            "server": {}, "kpis": {}}  # fmt: skip
    return found | {"drift": []} | more


def facts(spec: ModelSpec, *windows: dict[str, Any], **more: Any) -> Facts:
    alerts, _ = judge(stored_windows(windows), rules(spec))
    standings = stand(alerts, (), spec.name, now=NOW)
    return replace(Facts(spec, NOW, "v1", NOW, windows, "roc_auc", standings), **more)


def test_where_all_is_well_there_is_nothing_to_do(loans_spec):
    for audience in AUDIENCES:
        found = page(facts(loans_spec, window(0), window(1)), audience)
        assert (found.verdict, found.advice) == ("pass", ())
        assert found.title == "loans: all is as it should be"
        assert "nothing to do" in html(found)


def test_a_broken_promise_is_told_with_how_sure_and_what_it_costs(loans_spec):
    found = facts(loans_spec, window(0), window(1, roc_auc=0.6, benefit=500.0))
    first = advice(found)[0]
    assert first.severity == "critical"
    assert first.what == "requires_roc_auc: high(roc_auc) = 0.62 since 2026-01-12"
    assert "roc_auc lies in [0.580, 0.620], 900 outcomes" in first.sure
    assert "the window earned EUR 300 less than its business case" in first.cost
    assert {page(found, a).verdict for a in AUDIENCES} == {"fail"}
    shortfall = page(found, "business").advice[-1]
    assert shortfall.what.startswith(
        "Benefit was EUR 500 in the window of 2026-01-12, the business case counts on"
    )


@pytest.mark.parametrize("severity", ["info", "warning", "critical"])
def test_operations_are_told_of_every_alert_that_is_on(loans_spec, severity):
    when = {"monitor": {"alerts": {"off": {"when": "surprises > 0", "severity": severity}}}}
    spec = ModelSpec.model_validate(loans_spec.model_dump(exclude_unset=True) | when)
    odd = window(0)
    odd["measures"]["surprises"] = 1.0
    found = page(facts(spec, odd), "operations")
    assert found.verdict != "pass"
    assert next(t for t in found.tiles if t.name == "alerts on").value == "1"
    assert any(one.what.startswith("off: surprises = 1") for one in found.advice)


def test_before_outcomes_come_the_report_says_that_it_estimates(loans_spec):
    found = page(facts(loans_spec, window(0, roc_auc=None)), "data-science")
    assert [t.name for t in found.tiles][:2] == ["roc_auc, estimated", "outcomes known"]
    assert found.advice[0].then == "`charter outcomes import FILE`"
    assert found.verdict == "pass"


def test_outcomes_that_came_before_they_count_are_waited_for(loans_spec):
    early = facts(loans_spec, window(0, roc_auc=None), waiting=(400, NOW + timedelta(days=9)))
    (told,) = advice(early)
    assert told.what == "400 outcomes are known early and count from label.known_after on"
    assert told.then == "Wait: the last of them counts from 2026-03-11 00:00. Then `charter monitor run`."


def test_each_audience_is_told_what_concerns_it(loans_spec):
    drift = {
        "column": "amount", "aspect": "distribution", "effects": {"psi": 0.4, "ks": 0.3}, "q_value": 1e-9,
        "rows": {"reference": 1000, "current": 1000}, "windows": 3, "level": "large", "verdict": "fail",
    }  # fmt: skip
    late_scores = Incident(
        1, "loans", "Late scores", "high", "x", {}, NOW - timedelta(hours=5), "eva", "Risk"
    )
    late = reviewed([], {}, now=NOW)
    found = facts(
        loans_spec,
        window(0, drift=[drift]),
        stopped_for=timedelta(days=40),
        undelivered=2,
        review=replace(late, waiting=3, overdue=2, oldest_hours=70.0),
        incidents=[late_scores],
    )
    said = {a: [one.what for one in page(found, a).advice] for a in AUDIENCES}
    everybody = ["The monitor has finished no pass for 40 days", "Incident I1 is open for 5 h: Late scores"]
    assert set(said["operations"]) == {
        *everybody, "2 notices were taken by nobody", "2 decisions wait for a person longer than they should"
    }  # fmt: skip
    assert set(said["data-science"]) == {*everybody, "The inputs moved: amount"}
    assert set(said["business"]) == {*everybody, "2 decisions wait for a person longer than they should"}
    drifted = next(t for t in page(found, "data-science").tables if t.name.startswith("Drift"))
    assert drifted.rows == (("amount", "distribution", "0.400", "0.300", "< 0.0001", "1,000", "3", "fail"),)


def test_nothing_answered_yet_is_a_report_too(loans_spec):
    for audience in AUDIENCES:
        found = page(facts(loans_spec, since=None, serving=None), audience)
        assert "nothing serves" in found.lead
        assert found.advice[0].what == "Nothing was answered yet"
        assert "</html>" in html(found)


def test_key_figures_stand_beside_their_targets(loans_spec):
    rows = next(
        t for t in page(facts(loans_spec, window(0)), "business").tables if t.name == "Key figures"
    ).rows
    assert rows == (
        ("unknown", "recall", "> 0.5", "not known yet", "no outcome"),
        ("unknown", "calls", "< 100", "not known yet", "comes from outside: `charter kpi import`"),
    )


class _Pages(HTMLParser):
    """Collects what a page would fetch and which tags are left open."""

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.fetched += [v or "" for n, v in attributes if n in ("src", "href", "srcset")]
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.mark.parametrize("audience", AUDIENCES)
def test_the_page_stands_alone_is_whole_and_escapes_everything(loans_spec, audience):
    nasty = Incident(1, "loans", "<script>alert(1)</script>", "critical", "x", {}, NOW, "eva", "Risk")
    text = html(page(facts(loans_spec, window(0), window(1, roc_auc=0.6), incidents=[nasty]), audience))
    parser = _Pages()
    parser.feed(text)
    assert (parser.fetched, parser.open) == ([], [])
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert not re.search(r"url\(|@import|https?://", text)
    assert "prefers-color-scheme: dark" in text
    assert "@media print" in text
    assert 'name="viewport"' in text
    assert "NaN" not in text


def test_a_page_is_plain_data_too(loans_spec):
    found = page(facts(loans_spec, window(0)), "operations").to_json()
    assert json.loads(json.dumps(found))["schema_version"] == 1


def test_lines_have_gaps_where_nothing_is_known():
    drawn = trend(
        [Series("a", [1.0, 2.0, None, 3.0], [0.5, 1.0, None, 2.0], [1.5, 3.0, None, 4.0])], limit=5.0
    )
    _, path, band, alone = drawn.lines[0]
    assert path.count("M") == 1
    assert band.count("z") == 2
    assert [x for x, _ in alone] == [300.0]
    assert (drawn.bottom, drawn.top, drawn.limit) == (0.5, 5.0, 0.0)
    assert trend([Series("a", [None, float("nan")])]) is None
    assert trend([Series("a", [2.0])]).lines[0][3] == ((0.0, 45.0),)
