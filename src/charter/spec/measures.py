"""What an alert rule may measure: every number that the monitor keeps of a window, in words.

Only words stand here, so that a specification is checked without a numerical library. What computes them takes their
names from nowhere else: a test holds all that a pass of the monitor keeps against this list, both ways.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

from charter.core.nearest import did_you_mean
from charter.spec.alerts import ANY, Condition
from charter.spec.types import ModelSpec
from charter.spec.vocabulary import METRICS, metrics_for

Of = Literal["nothing", "column", "metric", "estimate", "kpi", "detector", "block", "baseline"]
"""What stands in brackets."""

ESTIMABLE = (
    "roc_auc",
    "average_precision",
    "brier_score",
    "log_loss",
    "accuracy",
    "precision",
    "recall",
    "specificity",
    "f1",
    "selection_rate",
    "net_value",
)
"""Metrics of a binary task that calibrated scores promise before any outcome is known."""
EXPECTED_LOSSES = ("mean_absolute_error", "mean_absolute_percentage_error", "root_mean_squared_error")
"""Metrics of a regression that are expected before any outcome is known."""
CALIBRATION = ("calibration_slope", "calibration_intercept")
DETECTORS = ("adwin", "page_hinkley")
REFERENCES = {"": "training", "_previous": "previous", "_year_ago": "year_ago"}
"""End of a measure of drift, and what the window is compared with."""
_AGAINST = {"": "training", "_previous": "the window before", "_year_ago": "the same season a year ago"}
SCORE = "score"
_NOT_WATCHED = frozenset({"net_value_per_month"})  # told as value, in the window's own volume


@dataclass(frozen=True, slots=True)
class MeasureWord:
    """One measure in words.

    Attributes
    ----------
    tasks
        Tasks in which it is measured; empty for all.
    """

    name: str
    of: Of
    means: str
    tasks: frozenset[str] = frozenset()


def _words(of: Of, words: Mapping[str, str], tasks: str = "") -> dict[str, MeasureWord]:
    return {name: MeasureWord(name, of, means, frozenset(tasks.split())) for name, means in words.items()}


MEASURES: Mapping[str, MeasureWord] = {
    **_words("nothing", {
        "rows": "answers of the window",
        "maturity": "share of them whose outcome is due and known",
        "fallback_share": "share that the fallback answered",
        "warning_share": "share with a warning",
        "p50_latency_ms": "latency that half of the answers stay below",
        "p95_latency_ms": "latency that 95 % of the answers stay below",
        "p99_latency_ms": "latency that 99 % of the answers stay below",
        "surprises": "metrics that are surely worse than expected",
        "skew_share": "share of answers that come out differently when they are computed again",
        "importance_ndcg": "agreement of the order of importance with that at training",
        "reached_share": "share of the looks at the server that it answered",
        "instances": "processes that serve",
        "memory_mb": "memory of all of them",
        "uptime_hours": "age of the youngest",
        "requests_per_second": "requests to the server",
        "cpu_cores": "processor seconds per second",
        "error_share": "share of requests that ended in 5xx",
        "refused_share": "share of requests that were refused as invalid (400, 422)",
        "served_p95_ms": "latency that 95 % of the requests stay below, by the server's buckets",
    }),
    **_words("nothing", {name: f"{name.replace('_', ' ')} of the scores" for name in CALIBRATION}, "binary"),
    **_words("nothing", {"benefit_per_month": "value of the decisions over leaving everybody alone"}, "binary"),
    **_words("nothing", {"exceptions": "series that somebody should look at"}, "forecast"),
    **_words("nothing", {
        f"drifted_columns{end}": f"columns that drifted from {_AGAINST[end]}" for end in REFERENCES
    }),
    **_words("metric", {
        "low": "lower end of a realised metric's interval",
        "high": "upper end of a realised metric's interval",
    }),
    **_words("estimate", {
        "estimated": "metric as the scores, or the inputs, let expect it",
        "estimation_error": "realised metric less the expected one",
    }, "binary regression"),
    **_words("column", {
        f"{effect}{end}": f"{means}, against {_AGAINST[end]}"
        for end in REFERENCES
        for effect, means in {
            "psi": "population stability index",
            "jensen_shannon": "Jensen-Shannon distance",
            "ks": "Kolmogorov-Smirnov distance",
            "wasserstein": "Wasserstein distance in standard deviations",
            "missing_change": "change of the share of missing values",
            "unseen_share": "share of unseen categories",
        }.items()
    }),
    **_words("detector", {"concept_drift": "1 where the detector found that errors grew"}),
    **_words("kpi", {"kpi": "newest value of a key figure from outside"}),
    **_words("block", {
        "wmape_at": "error by block of the horizon",
        "bias_at": "bias by block of the horizon",
        "interval_coverage_at": "coverage by block of the horizon",
    }, "forecast"),
    **_words("baseline", {"value_added": "improvement over a simple method"}, "forecast"),
}  # fmt: skip
"""Beside the metrics of the task by their own names (`watched`)."""


def watched(spec: ModelSpec) -> tuple[str, ...]:
    """Metrics that a window is measured by: the search's, those that are required, and the task's usual ones."""
    known = set(metrics_for(spec.train.task))
    asked = {spec.train.metric, *spec.evaluate.require}
    asked |= {k.metric for k in spec.kpis.values() if k.metric is not None}
    usual = {
        m for m in ESTIMABLE if spec.train.task == "binary" and (m != "net_value" or spec.value is not None)
    }
    usual |= {"expected_calibration_error"} if spec.train.task == "binary" else known - {"net_value"}
    needs_value = {m for m in known if m in METRICS and METRICS[m].needs == "value" and spec.value is None}
    return tuple(sorted((asked | usual) & known - _NOT_WATCHED - needs_value))


def fault_of(condition: Condition, spec: ModelSpec, columns: Collection[str]) -> tuple[str, str] | None:
    """Why no window of a model will ever hold what a condition measures, and a hint; None where one may.

    Parameters
    ----------
    columns
        What drift is measured of, the score among them.

    Examples
    --------
    ``p95_latncy_ms > 150`` gives ``("p95_latncy_ms is no measure", "did you mean p95_latency_ms?")``.
    """
    name, of, task = condition.measure, condition.of, spec.train.task
    metrics = watched(spec)
    worth = ("benefit_per_month", "net_value_per_month")
    words = {word for word, known in MEASURES.items() if not known.tasks or task in known.tasks}
    words |= {*metrics, "net_value_per_month"} if task == "binary" else set(metrics)
    if name not in words:
        if name in MEASURES:
            tasks = " and ".join(sorted(MEASURES[name].tasks))
            return f"{name} is not measured of a {task} task", f"it is of {tasks}"
        if name in METRICS:
            return f"{name} is not measured of this model", did_you_mean(name, words)
        return f"{name} is no measure", did_you_mean(name, words)
    if name in worth and spec.value is None:
        return f"{name} is not measured, since no value is stated", "state value.per_decision"
    kind = MEASURES[name].of if name in MEASURES else "nothing"
    if kind == "nothing":
        return (f"{name} is of nothing in brackets", f"write {name}") if of is not None else None
    end = next((e for e in REFERENCES if e and name.endswith(e)), "")
    if end and REFERENCES[end] not in spec.monitor.drift.also_against:
        return f"{name} is not measured", f"add {REFERENCES[end]} to monitor.drift.also_against"
    options = _options(kind, spec, columns, metrics)
    if of is None:
        example = next(iter(options), "any") if kind != "column" else ANY
        return f"{name} needs to be of something", f"write for example {name}({example})"
    if of == ANY or kind in ("block", "baseline") or of in options:
        return None
    if of in spec.monitor.drift.ignore and kind == "column":
        return f"{condition.name}: {of} stands in monitor.drift.ignore", ""
    what = {
        "column": "is no column that the model is given",
        "kpi": "is no key figure that comes from outside",
        "detector": "is no detector",
    }
    return f"{condition.name}: {of} {what.get(kind, 'is no metric that is measured')}", did_you_mean(
        of, options
    )


def _options(
    kind: Of, spec: ModelSpec, columns: Collection[str], metrics: Collection[str]
) -> Collection[str]:
    match kind:
        case "column":
            return [c for c in columns if c not in spec.monitor.drift.ignore]
        case "metric":
            return (*metrics, *(CALIBRATION if spec.train.task == "binary" else ()))
        case "estimate":
            able = ESTIMABLE if spec.train.task == "binary" else EXPECTED_LOSSES
            return [m for m in metrics if m in able]
        case "kpi":
            return [name for name, kpi in spec.kpis.items() if kpi.source == "external"]
        case "detector":
            return DETECTORS
        case _:
            return ()
