"""Alert rules over windows: what fires, what it takes, when it is over."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

import pytest

from charter.monitor.alerts import Rule, Turn, Window, judge, rules
from charter.spec.alerts import AlertRule
from charter.spec.types import AlertSpec

START = datetime(2026, 1, 5)  # noqa: DTZ001 - frames hold naive UTC


def rule(text: str, name: str = "one") -> Rule:
    return Rule(name, AlertRule.parse(text), AlertSpec(when=text), ("monitor", "alerts", name))


def weeks(*measures: dict[str, float], version: str = "v1") -> list[Window]:
    week = timedelta(weeks=1)
    return [Window(version, START + i * week, START + (i + 1) * week, m) for i, m in enumerate(measures)]


def turns(text: str, *values: float | None, measure: str = "recall") -> list[tuple[int, Turn]]:
    windows = weeks(*({} if v is None else {measure: v} for v in values))
    _, events = judge(windows, [rule(text)])
    return [((e.window - START).days // 7, e.turn) for e in events]


def test_it_fires_at_once_and_is_over_after_two_good_windows() -> None:
    assert turns("recall < 0.8", 0.9, 0.7, 0.7, 0.9, 0.9, 0.9) == [(1, Turn.FIRED), (4, Turn.RESOLVED)]


def test_it_does_not_flap_at_its_limit() -> None:
    assert turns("recall < 0.8", *[0.79, 0.81] * 10) == [(0, Turn.FIRED)]


@pytest.mark.parametrize(
    ("text", "first"),
    [("recall < 0.8 for 3 windows", 2), ("recall < 0.8 for 2w", 1), ("recall < 0.8 for 5m", 0)],
)
def test_it_waits_as_long_as_it_says(text: str, first: int) -> None:
    assert turns(text, 0.7, 0.7, 0.7, 0.7) == [(first, Turn.FIRED)]


def test_a_window_in_between_begins_the_count_anew() -> None:
    assert turns("recall < 0.8 for 2 windows", 0.7, 0.9, 0.7, 0.9, 0.7, 0.7) == [(5, Turn.FIRED)]


def test_what_was_not_measured_says_nothing_and_interrupts_nothing() -> None:
    assert turns("recall < 0.8 for 2 windows", 0.7, None, 0.7) == [(2, Turn.FIRED)]
    assert turns("recall < 0.8", 0.7, None, None, None) == [(0, Turn.FIRED)]
    assert turns("recall < 0.8", float("nan")) == []


def test_the_condition_decides_whether_a_window_counts() -> None:
    young, old = {"recall": 0.5, "maturity": 0.3}, {"recall": 0.5, "maturity": 0.7}
    _, events = judge(weeks(young, old), [rule("recall < 0.8 when maturity > 0.6")])
    assert [e.window for e in events] == [START + timedelta(weeks=1)]


def test_any_looks_at_all_columns_and_names_the_worst() -> None:
    windows = weeks({"psi(AGE)": 0.1, "psi(BILL)": 0.4, "psi(SEX)": 0.3, "psix(Z)": 9.0})
    _, events = judge(windows, [rule("psi(any) > 0.2")])
    assert events[0].observed == "psi(BILL) = 0.4, psi(SEX) = 0.3"
    assert judge(windows, [rule("psi(AGE) > 0.2")])[1] == ()


def test_versions_are_judged_apart() -> None:
    windows = weeks({"recall": 0.7}, {"recall": 0.7}) + weeks({"recall": 0.9}, version="v2")
    alerts, events = judge(windows, [rule("recall < 0.8 for 2 windows")])
    assert [(a.version, a.firing) for a in alerts] == [("v1", True), ("v2", False)]
    assert [e.version for e in events] == ["v1"]


def test_an_alert_of_a_version_that_serves_no_more_is_over() -> None:
    windows = weeks({"recall": 0.7}) + weeks({"recall": 0.7}, version="v2")
    alerts, events = judge(windows, [rule("recall < 0.8")], serving={"v2"})
    assert [(a.version, a.firing) for a in alerts] == [("v1", False), ("v2", True)]
    own = [e for e in events if e.version == "v1"]
    assert [e.turn for e in own] == [Turn.FIRED, Turn.RESOLVED]
    assert own[1].began == own[0].id
    assert own[1].observed == "v1 serves no more"


def test_the_order_of_windows_and_a_second_judgement_change_nothing() -> None:
    windows = weeks(*({"recall": v} for v in (0.9, 0.7, 0.7, 0.9, 0.9, 0.7)))
    shuffled = random.Random(1).sample(windows, len(windows))
    assert judge(windows, [rule("recall < 0.8")]) == judge(shuffled, [rule("recall < 0.8")])


def test_events_are_told_apart_by_rule_version_window_and_turn() -> None:
    windows = weeks(*({"recall": v} for v in (0.7, 0.9, 0.9, 0.7))) + weeks({"recall": 0.7}, version="v2")
    _, events = judge(windows, [rule("recall < 0.8"), rule("recall < 0.75", "two")])
    assert len({e.id for e in events}) == len(events) == 8


@pytest.mark.parametrize(
    "text",
    ["", "recall", "recall < ", "recall << 0.8", "recall < 0.8 for 0 windows", "recall < 0.8 when", "Recall < 1",
     "psi() > 0.2", "psi(a(b)) > 1", "recall < 0.8 for 2 windows for 3d", "1 < recall", "recall < 1e999"],
)  # fmt: skip
def test_what_is_no_rule_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"must|requirement"):
        AlertRule.parse(text)


@pytest.mark.parametrize(
    "text",
    ["recall < 0.8 when maturity > 0.6", "psi(any) > 0.2 for 2 windows", "p95_latency_ms > 150 for 5m",
     "net_value_per_month < 100000", "missing_share(Customer ID) >= 0.5"],
)  # fmt: skip
def test_a_rule_is_written_as_it_was_read(text: str) -> None:
    assert str(AlertRule.parse(text)) == text


def test_what_was_required_before_release_is_watched_after_it(loans_spec) -> None:
    found = {r.name: str(r.rule) for r in rules(loans_spec)}
    assert found == {
        "requires_roc_auc": "high(roc_auc) < 0.7 when maturity >= 0.8",
        "kpi_recall": "high(recall) <= 0.5 when maturity >= 0.8",
        "budget_latency": "p95_latency_ms > 50",
        "mine": "psi(any) > 0.2 for 2 windows",
    }


@pytest.mark.parametrize(
    ("interval", "fires"), [((0.0, 0.793), False), ((0.6, 0.699), True), ((0.2, None), False)]
)
def test_a_handful_of_rows_breaks_no_requirement(loans_spec, interval, fires) -> None:
    low, high = interval
    measures = {"roc_auc": low, "low(roc_auc)": low, "maturity": 1.0}
    measures |= {"high(roc_auc)": high} if high is not None else {}  # too few rows for an interval
    start = datetime(2026, 1, 5)  # noqa: DTZ001 - windows hold naive UTC
    alerts, _ = judge([Window("v1", start, start + timedelta(weeks=1), measures)], rules(loans_spec))
    assert ["requires_roc_auc" in a.rule.name for a in alerts if a.firing] == [True] * fires
