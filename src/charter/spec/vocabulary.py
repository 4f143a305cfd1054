"""The metrics that a specification may name: what they are, for which task, and which way is better.

Only words stand here, so that a specification is checked without a numerical library; ``evaluate.metrics`` computes
them and a test proves that the two lists agree.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from charter.core import plugins

Direction = Literal["up", "down", "zero"]
Needs = Literal["score", "decision", "value", "values", "interval"]

UNIT_TYPES = ("integer", "category", "text")
"""Types of fields by whose values units can be dealt out: those that have one way to be written."""

SERIES_METHODS = (
    "naive",
    "moving_average",
    "seasonal_naive",
    "exponential_smoothing",
    "ets",
    "auto_arima",
    "auto_theta",
)
"""Words of ``train.learners`` that forecast each series from its own past; a test proves that `train` agrees."""


@dataclass(frozen=True, slots=True)
class MetricWord:
    """One metric in words.

    Attributes
    ----------
    tasks
        Tasks it is defined for.
    better
        ``up`` when larger is better, ``down`` when smaller is, ``zero`` when nothing is better than 0.
    needs
        ``score`` (probability), ``decision`` (score and threshold), ``value`` (decision and value matrix),
        ``values`` (predicted number), ``interval`` (predicted number and prediction interval).
    low, high
        Range of possible values; None is unbounded.
    """

    name: str
    tasks: frozenset[str]
    better: Direction
    needs: Needs
    low: float | None
    high: float | None
    means: str


def _word(
    name: str, tasks: str, better: Direction, needs: Needs, low: float | None, high: float | None, means: str
) -> MetricWord:
    return MetricWord(name, frozenset(tasks.split()), better, needs, low, high, means)


METRICS: dict[str, MetricWord] = {
    word.name: word
    for word in (
        _word("roc_auc", "binary", "up", "score", 0, 1, "chance that a positive ranks above a negative"),
        _word("average_precision", "binary", "up", "score", 0, 1, "area under the precision-recall curve"),
        _word("gini", "binary", "up", "score", -1, 1, "2 x ROC AUC - 1"),
        _word("ks_statistic", "binary", "up", "score", 0, 1, "largest gap between the score distributions"),
        _word("log_loss", "binary multiclass", "down", "score", 0, None, "negative mean log likelihood"),
        _word("brier_score", "binary", "down", "score", 0, 1, "mean squared error of the probability"),
        _word("expected_calibration_error", "binary", "down", "score", 0, 1, "mean gap between score and frequency"),
        _word("accuracy", "binary multiclass", "up", "decision", 0, 1, "share of right decisions"),
        _word("balanced_accuracy", "binary multiclass", "up", "decision", 0, 1, "mean recall over classes"),
        _word("precision", "binary", "up", "decision", 0, 1, "share of flagged that are positive"),
        _word("recall", "binary", "up", "decision", 0, 1, "share of positives that are flagged"),
        _word("specificity", "binary", "up", "decision", 0, 1, "share of negatives that are left alone"),
        _word("f1", "binary", "up", "decision", 0, 1, "harmonic mean of precision and recall"),
        _word("matthews_correlation", "binary", "up", "decision", -1, 1, "correlation of decision and truth"),
        _word("selection_rate", "binary", "down", "decision", 0, 1, "share of rows flagged"),
        _word("net_value", "binary", "up", "value", None, None, "mean value of a decision, in the currency"),
        _word("net_value_per_month", "binary", "up", "value", None, None,
              "value of a month's decisions less running and training costs"),
        _word("macro_f1", "multiclass", "up", "decision", 0, 1, "mean F1 over classes"),
        _word("mean_absolute_error", "regression forecast", "down", "values", 0, None, "mean absolute error"),
        _word("root_mean_squared_error", "regression forecast", "down", "values", 0, None,
              "root of the mean squared error"),
        _word("r2", "regression", "up", "values", None, 1, "share of variance explained"),
        _word("mean_absolute_percentage_error", "regression", "down", "values", 0, None, "mean of |error| / |actual|"),
        _word("wmape", "forecast", "down", "values", 0, None, "sum of |error| / sum of |actual|"),
        _word("mape", "forecast", "down", "values", 0, None, "mean of |error| / |actual| where the actual is not 0"),
        _word("median_ape", "forecast", "down", "values", 0, None,
              "median of |error| / |actual| where the actual is not 0"),
        _word("bias", "forecast", "zero", "values", None, None, "sum of forecast - actual / sum of |actual|"),
        _word("absolute_bias", "forecast", "down", "values", 0, None, "bias without its sign"),
        _word("interval_coverage", "forecast", "up", "interval", 0, 1, "share of actuals inside the interval"),
        _word("coverage_error", "forecast", "down", "interval", 0, 1,
              "how far the coverage is from what the intervals promise"),
        _word("interval_width", "forecast", "down", "interval", 0, None, "sum of widths / sum of |actual|"),
        _word("interval_score", "forecast", "down", "interval", 0, None,
              "Winkler score: mean width and a penalty for actuals outside"),
    )
}  # fmt: skip

DEFAULT_METRIC = {
    "binary": "average_precision",
    "multiclass": "log_loss",
    "regression": "root_mean_squared_error",
    "forecast": "wmape",
}


def metrics_for(task: str) -> tuple[str, ...]:
    """Names of the metrics of a task, built in and plugged in, sorted."""
    own = [name for name, word in METRICS.items() if task in word.tasks]
    return tuple(sorted({*own, *plugins.names("metrics")}))
