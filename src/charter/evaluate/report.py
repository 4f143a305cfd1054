"""Everything that is known about a model from its test rows, in one frozen, digestible record.

``Evaluation.to_json()`` has these keys. An *estimate* is ``{value, low, high, method, n, note}``; an undefined number
is null and ``note`` says why.

========================  ==========================================================================================
schema_version            1
task, primary             ``binary`` | ``multiclass`` | ``regression`` | ``forecast``; name of the search metric
n, positives              test rows; positives among them (null unless binary)
entities, clustered       independent units; whether entities repeat, so that whole entities were resampled
confidence, resamples     of the intervals; ``seed`` of the resamples
metrics                   {metric: estimate}
threshold                 {threshold, objective, objective_value, met, unmet, curve: [{threshold, selection_rate,
                          recall, precision, false_positive_rate, objective}]}; null unless binary
confusion                 {tp, fp, fn, tn}; null unless binary
classes, matrix           names; counts with a row per actual and a column per decided class (multiclass)
curves                    {roc: {fpr, tpr, threshold}, pr: {recall, precision, threshold}}, at most 200 points each
calibration               [{lowest, highest, n, predicted, observed, low, high}], bins of equal mass
deciles                   [{decile, n, positives, rate, lift, gain, cumulative_lift}], the highest scores first
value                     {currency, decisions_per_month, costs_per_month, outcomes: [{outcome, count, worth,
                          per_month}], net_value, net_value_per_month, without_model_per_month}; or null
slices                    [{slice, value, n, positives, judged, primary: estimate, gap: estimate, p_value,
                          metrics: {metric: number}, note}]
worst_slice, slices_note  one of ``slices`` or null; what looking at many slices means
fairness                  {attribute: {attribute, groups: [{group, n, positives, selection_rate: estimate,
                          tpr: estimate, fpr: estimate, unjudged: [rate], note}], demographic_parity_difference:
                          estimate, equal_opportunity_difference, false_positive_rate_difference,
                          disparate_impact_ratio}}
baselines                 {name: {metric: estimate}}
comparisons               [{baseline, metric, model, other, difference: estimate, better}], for every baseline
against_baseline          the comparison with the best baseline, or null
forecast                  forecasts only, else null: {metric, n, unknown, series, origins, horizon, level, confidence,
                          resamples, seed, overall: part, blocks: [part], steps, by_origin, slices, worst_slice,
                          over_time: {metric: estimate} with intervals over target periods, periods: how many,
                          new_series: [part], series forecast as if they had no past}; a *part* is {by, value, n,
                          series, judged, metrics: {metric: estimate}, added: [{baseline, metric, n, model, other,
                          difference: estimate, improvement: estimate, better}], note}
========================  ==========================================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charter.core.digest import plain
from charter.evaluate.curves import Curves
from charter.evaluate.threshold import ThresholdChoice
from charter.evaluate.types import (
    CalibrationBin,
    Decile,
    Difference,
    Estimate,
    FairnessResult,
    ForecastReport,
    SliceResult,
)
from charter.evaluate.value import ValueReport


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What was measured on the test rows; see the module for the meaning of each field."""

    task: str
    primary: str
    n: int
    positives: int | None
    entities: int
    clustered: bool
    confidence: float
    resamples: int
    seed: int
    metrics: dict[str, Estimate]
    threshold: ThresholdChoice | None
    confusion: dict[str, int] | None
    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]
    curves: Curves | None
    calibration: tuple[CalibrationBin, ...]
    deciles: tuple[Decile, ...]
    value: ValueReport | None
    slices: tuple[SliceResult, ...]
    worst_slice: SliceResult | None
    slices_note: str
    fairness: dict[str, FairnessResult]
    baselines: dict[str, dict[str, Estimate]]
    comparisons: tuple[Difference, ...]
    against_baseline: Difference | None
    forecast: ForecastReport | None = None
    schema_version: int = 1

    def to_json(self) -> dict[str, Any]:
        """Plain data without NaN; equal evaluations give equal bytes through `charter.core.digest.canonical_json`."""
        import msgspec

        data: dict[str, Any] = plain(msgspec.to_builtins(self))
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Evaluation:
        """Inverse of `to_json`.

        Raises
        ------
        PackageError
            When the data is not an evaluation of a version that this program reads.
        """
        import msgspec

        from charter.core.errors import PackageError

        if data.get("schema_version") != 1:
            raise PackageError(
                f"evaluation: schema_version {data.get('schema_version')!r} is not known; this program reads 1",
                remedy="Evaluate again with this version of Charter.",
            )
        try:
            return msgspec.convert(data, cls)
        except msgspec.ValidationError as error:
            raise PackageError(f"evaluation: {error}", remedy="Evaluate again.") from error
