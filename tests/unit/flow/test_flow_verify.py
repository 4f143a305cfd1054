"""What a load says of a model, and what it says of the machine that it was measured on."""

from __future__ import annotations

import os
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from charter.core.decision import Verdict
from charter.flow.verify_service import Measured, resources
from charter.serve.io.footprint import Footprint, machine_s, processor_s
from charter.serve.io.load import Load

MEMORY = Footprint(100.0, 110.0, 200.0)


@pytest.fixture
def subject(tmp_path) -> Any:
    budget = SimpleNamespace(latency_p95_ms=50.0, memory_mb=None, package_mb=None)
    source = SimpleNamespace(where=lambda _path: "model.yaml:1")
    return SimpleNamespace(
        spec=SimpleNamespace(budget=budget),
        model=SimpleNamespace(package=tmp_path),
        loaded=SimpleNamespace(source=source),
    )


def judged(subject: Any, load: Load, others: float | None) -> dict[str, Any]:
    decision = resources(subject, Measured(load, MEMORY, MEMORY, others), per_second=50.0, seconds=2.0)
    return {c.name: c for c in decision.checks}


@pytest.mark.parametrize(
    ("slow_ms", "others", "late", "stalled", "verdict", "says"),
    [
        (10.0, 0.9, 0.5, 3.0, Verdict.PASS, "over HTTP"),  # what holds all the same holds
        (90.0, 0.0, 0.01, 0.02, Verdict.FAIL, "over HTTP"),
        (90.0, None, 0.3, 0.02, Verdict.FAIL, "over HTTP"),  # nothing shows that it was not the model itself
        (90.0, 0.4, 0.01, 0.02, Verdict.FAIL, "over HTTP"),  # others worked, and took nothing from us
        (90.0, 0.4, 0.3, 0.02, Verdict.UNKNOWN, "other programs took 40% of the processors meanwhile"),
        (90.0, 0.0, 0.3, 18.0, Verdict.UNKNOWN, "the machine stood still for 18.0 s"),
    ],
)
def test_a_model_is_not_blamed_for_time_that_the_machine_lost(
    subject, slow_ms, others, late, stalled, verdict, says
):
    load = Load(100, 2.0, [slow_ms] * 100, Counter({200: 100}), late_share=late, stalled_s=stalled)
    check = judged(subject, load, others)["latency p95"]
    assert check.verdict is verdict
    assert says in check.note


@pytest.mark.parametrize(("status", "verdict"), [(0, Verdict.UNKNOWN), (500, Verdict.FAIL)])
def test_an_error_that_was_answered_is_the_model_s(subject, status, verdict):
    load = Load(100, 2.0, [1.0] * 98, Counter({200: 98, status: 2}), stalled_s=12.0)
    assert judged(subject, load, 0.0)["errors under load"].verdict is verdict


def test_processor_time_is_counted():
    own, whole = processor_s(os.getpid()), machine_s()
    assert own is None or own > 0
    assert whole is None or whole > 0
