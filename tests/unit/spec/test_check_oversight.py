"""What can be seen to be wrong with playbooks and reviews before there is data."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import SpecError
from charter.spec.check import find
from charter.spec.loader import loads

ROWS = (Path(__file__).parent / "samples" / "rows.yaml").read_text(encoding="utf-8")
SERIES = (Path(__file__).parent / "samples" / "series.yaml").read_text(encoding="utf-8")
MONITOR = (
    'monitor: {{alerts: {{misses: {{when: "recall < 0.5", group: quality}}}}, playbook: {{{}: [Look]}}}}\n'
)


def faults(text: str, *, sample: str = ROWS) -> list[tuple[str, str]]:
    return [(".".join(map(str, f.path)), f.message) for f in find(loads(sample + "\n" + text).spec)]


@pytest.mark.parametrize("occasion", ["misses", "quality", "any", "rollout", "budget_latency"])
def test_a_playbook_is_for_an_alert_a_group_or_any(occasion: str) -> None:
    assert faults(MONITOR.format(occasion)) == []


def test_a_playbook_of_nothing_is_a_fault() -> None:
    with pytest.raises(SpecError, match="misse is neither an alert nor a group of alerts") as caught:
        faults(MONITOR.format("misse"))
    assert "did you mean misses" in str(caught.value)


@pytest.mark.parametrize(
    ("review", "message"),
    [
        ("{within: 2d}", "sends nothing to a person"),
        ("{bands: [hihg]}", "hihg is not a band of serve.bands"),
        ("{decisions: [yes]}", "is not a decision of a binary task"),
    ],
)
def test_a_review_that_cannot_be_is_a_fault(review: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        faults(f"review: {review}\n")


def test_a_review_that_can_be_is_none() -> None:
    assert (
        faults("review: {bands: [high], decisions: [positive], random: 0.01, role: reviewer, within: 2d}\n")
        == []
    )


def test_forecasts_make_no_decisions_to_review() -> None:
    with pytest.raises(SpecError, match="needs decisions to confirm or override"):
        faults("review: {random: 0.1}\n", sample=SERIES)
