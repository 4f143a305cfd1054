"""How a version is shown."""

from __future__ import annotations

import pytest

from charter.cli.show import _compute, _estimate, _features
from charter.spec.types import Value


def test_the_features_are_ranked_and_the_rest_is_pointed_to(capsys: pytest.CaptureFixture[str]) -> None:
    importance = {f"f{i}": i / 55 for i in range(1, 11)}
    _features(importance, most=3)
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[1:4]] == ["f10", "f9", "f8"]
    assert "7 more" in shown
    _features(importance, most=None)
    assert "more" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("estimate", "shown"),
    [
        (
            {"value": 6_301_299.35, "low": 6_004_818.7, "high": 6_615_603.1},
            "6,301,299 [6,004,819, 6,615,603]",
        ),
        ({"value": 210.876, "low": -200.99, "high": 221.0}, "210.88 [-200.99, 221.00]"),
        ({"value": 0.79184, "low": None, "high": None}, "0.7918"),
        ({"value": None}, "not defined"),
    ],
)
def test_numbers_are_as_exact_as_they_are_read(estimate: dict[str, float | None], shown: str) -> None:
    assert _estimate(estimate) == shown


def test_a_prediction_has_a_price_where_an_hour_of_a_processor_has(
    capsys: pytest.CaptureFixture[str],
) -> None:
    outcomes = ("true_positive", "false_positive", "false_negative", "true_negative")
    value = Value.model_validate(
        {
            "currency": "EUR",
            "per_decision": dict.fromkeys(outcomes, 0),
            "volume": "1 per day",
            "costs": {"compute_per_hour": 0.05},
        }
    )
    _compute({"cpu_ms": 0.36}, value)
    _compute({"cpu_ms": 0.36}, None)
    _compute({}, value)
    assert capsys.readouterr().out.splitlines() == [
        "  compute  0.36 ms of one processor a request: EUR 0.005 for a million, asked for one by one "
        "(without network and HTTP)",
        "  compute  0.36 ms of one processor a request",
    ]
