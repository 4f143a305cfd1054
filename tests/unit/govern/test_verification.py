from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from xml.etree import ElementTree

import pytest
from govern_support import NOW

from charter.core.clock import iso
from charter.core.decision import Check, Decision, Verdict
from charter.core.digest import Digest
from charter.govern.audit import append
from charter.govern.verification import ACTION, CHECKS, Verification, headline, judge_verified, last_of
from charter.govern.verification_report import junit, markdown
from charter.registry.types import AuditEvent

PACKAGE, OTHER = Digest("ab" * 32), Digest("cd" * 32)


def found(**verdicts: Verdict) -> Verification:
    """A verification whose checks have one requirement each; all pass but those that are named."""
    named = {name.replace("_", " "): verdict for name, verdict in verdicts.items()}
    checks = tuple(
        Decision.of(name, [Check("first | <b>", "1 \x00", "2", named.get(name, Verdict.PASS), note="why")])
        for name in CHECKS
    )
    machine = {"processor": "a | b", "cores": "2"}
    return Verification(
        "loans", "v3", PACKAGE, "light", iso(NOW), machine, checks, dict.fromkeys(CHECKS, 1.5)
    )


def trail(*told: dict[str, Any]) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for minutes, detail in enumerate(told):
        events.append(
            append(
                events[-1] if events else None,
                at=NOW + timedelta(minutes=minutes),
                actor="ann",
                action=ACTION,
                subject="v3",
                detail={"package": PACKAGE, "profile": "light", "verdict": "pass", "report": "00", **detail},
            )
        )
    return events


def test_it_survives_being_written_and_names_itself_by_its_content() -> None:
    report = found(governance=Verdict.WARN)
    assert Verification.from_json(report.to_json()) == report
    assert report.told()["report"] == report.digest != replace(report, began="2026-01-01T00:00:00Z").digest
    assert report.decision.verdict is Verdict.WARN
    assert "8 of 8 checks passed" in headline(report)


@pytest.mark.parametrize("verdict", [Verdict.FAIL, Verdict.UNKNOWN])
def test_what_fails_or_is_not_known_stands_in_the_way(verdict: Verdict) -> None:
    report = found(data_quality=verdict)
    assert not report.decision.allows
    assert [c.name for c in report.decision.reasons] == ["data quality"]
    assert "first" in report.decision.reasons[0].note


@pytest.mark.parametrize(
    ("required", "told", "allows", "seen"),
    [
        ("none", [], True, "not asked for"),
        ("light", [], False, "never verified"),
        ("light", [{}], True, "pass, light"),
        ("light", [{"profile": "robust"}], True, "pass, robust"),
        ("light", [{"verdict": "warn"}], True, "warn, light"),
        ("robust", [{}], False, "verified light only"),
        ("light", [{"package": OTHER}], False, "never verified"),
        ("light", [{}, {"verdict": "fail"}], False, "fail, light"),
        ("light", [{"verdict": "fail"}, {}], True, "pass, light"),
        # A failure of the weaker profile undoes the stronger one's success, until it passes again.
        ("robust", [{"profile": "robust"}, {"verdict": "fail"}], False, "fail, light"),
        ("robust", [{"profile": "robust"}, {"verdict": "fail"}, {}], True, "pass, robust"),
        # What a later run could not find out, on a busy machine, undoes nothing.
        ("robust", [{"profile": "robust"}, {"verdict": "unknown"}], True, "pass, robust"),
        ("robust", [{}, {"profile": "robust", "verdict": "unknown"}], False, "unknown, robust"),
        ("light", [{"verdict": "splendid"}], False, "unknown, light"),
        ("light", [{"profile": "no such"}], False, "never verified"),
    ],
)
def test_the_last_verification_of_exactly_this_package_counts(
    required: str, told: list[dict[str, Any]], allows: bool, seen: str
) -> None:
    decision = judge_verified(required, trail(*told), PACKAGE, version="v3", where="model.yaml:9")
    assert decision.allows is allows
    assert decision.checks[0].observed.startswith(seen)
    assert ("charter verify v3" in decision.checks[0].note) is not allows


def test_other_entries_of_the_trail_are_no_verification() -> None:
    (event,) = trail({})
    assert last_of([event], PACKAGE) is event
    assert last_of([replace(event, action="version.released")], PACKAGE) is None


def test_junit_counts_failures_and_errors_and_holds_only_what_xml_can() -> None:
    root = ElementTree.fromstring(junit(found(resources=Verdict.FAIL, integration=Verdict.UNKNOWN)))
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("8", "1", "1")
    assert [suite.get("name") for suite in root] == list(CHECKS)
    assert len(root.findall("./testsuite/testcase/failure[@type='fail']")) == 1
    assert root.find("./testsuite/testcase").get("name") == "first | <b>"  # type: ignore[union-attr]
    assert root.find("./testsuite/properties/property[@name='package']").get("value") == PACKAGE  # type: ignore[union-attr]


def test_markdown_has_a_table_for_each_check_and_escapes_what_was_measured() -> None:
    text = markdown(found(resources=Verdict.FAIL))
    assert "## Resources: fail" in text
    assert all(f"## {name.capitalize()}:" in text for name in CHECKS)
    assert "<b>" not in text
    assert r"first \| \<b\>" in text
