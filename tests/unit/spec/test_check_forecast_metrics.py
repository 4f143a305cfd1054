"""Metrics of forecasts in a specification: what may be required, searched by and compared on."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.core.errors import SpecError
from charter.spec.loader import loads
from charter.spec.vocabulary import DEFAULT_METRIC, METRICS, metrics_for

SERIES = (Path(__file__).parent / "samples" / "series.yaml").read_text("utf-8")


def faults(evaluate: str = "", search: str = "") -> list[tuple[str, str]]:
    text = SERIES.replace("  learners: [lightgbm]\n", f"  learners: [lightgbm]\n  search: {{{search}}}\n")
    text = text.replace('evaluate: {require: {wmape: "<= 0.4"}}', f"evaluate: {evaluate or '{}'}")
    try:
        loads(text)
    except SpecError as error:
        return [(".".join(map(str, p.path)), p.message) for p in error.problems]
    return []


def test_every_metric_of_a_forecast_may_be_required() -> None:
    every = ", ".join(f'{name}: "<= 1"' for name in metrics_for("forecast"))
    assert faults(f"{{require: {{{every}}}}}") == []
    assert DEFAULT_METRIC["forecast"] in metrics_for("forecast")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bias", "bias is best at 0, so neither more nor less of it is better"),
        ("interval_coverage", "interval_coverage measures intervals, which a search does not make"),
        ("roc_auc", "roc_auc is not a metric of a forecast task"),
    ],
)
def test_models_are_ordered_by_errors_only(name: str, message: str) -> None:
    ((path, told),) = faults(search=f"metric: {name}")
    assert path == "train.search.metric"
    assert told.startswith(message)
    ((path, told),) = faults(f"{{beat_baseline: {{metric: {name}}}}}")
    assert path == "evaluate.beat_baseline.metric"
    assert told.startswith(message)


def test_errors_order_models() -> None:
    ordered = [
        n for n in metrics_for("forecast") if METRICS[n].better == "down" and METRICS[n].needs == "values"
    ]
    assert len(ordered) == 6
    for name in ordered:
        assert faults(f"{{beat_baseline: {{metric: {name}}}}}", search=f"metric: {name}") == []


def test_what_can_never_be_is_said() -> None:
    ((path, told),) = faults('{require: {coverage_error: "< 0"}}')
    assert path == "evaluate.require.coverage_error"
    assert "can never be met" in told
