"""Measure a model on its test rows: one pass over the resamples for the model, baselines, slices and groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.core.errors import DataError, UsageError
from charter.core.nearest import did_you_mean
from charter.data.metrics import PROBABILITY_METRICS, Array, Sample, direction
from charter.data.ratios import Bounds
from charter.evaluate.calibration import reliability
from charter.evaluate.curves import curves, deciles
from charter.evaluate.fairness import RATES, judge_fairness
from charter.evaluate.forecast import forecast_report, horizon_blocks
from charter.evaluate.intervals import estimate, from_replicates
from charter.evaluate.report import Evaluation
from charter.evaluate.resample import Draws, Part, Replicates, replicate
from charter.evaluate.slices import SliceRows, judge_slices, slice_rows, slices_note, worst_of
from charter.evaluate.threshold import ThresholdChoice
from charter.evaluate.types import Difference, Estimate, Floats, ForecastReport
from charter.evaluate.value import value_report
from charter.features.forecasts import HELD_OUT
from charter.spec.types import ModelSpec
from charter.spec.vocabulary import METRICS, metrics_for

__all__ = ["Baselines", "Evaluation", "evaluate"]

Baselines = Mapping[str, Mapping[str, Array | None]]


@dataclass(frozen=True, slots=True)
class _Rival:
    name: str
    sample: Sample
    undefined: frozenset[str]
    why: str


def evaluate(
    test: pl.DataFrame,
    y: Array,
    score: Array,
    *,
    spec: ModelSpec,
    threshold: ThresholdChoice | None = None,
    baselines: Baselines | None = None,
    cluster: Array | None = None,
    classes: Sequence[str] = (),
    bounds: Bounds | None = None,
) -> Evaluation:
    """Evaluate a model on rows that neither its fitting nor its threshold has seen.

    Parameters
    ----------
    test
        n rows with the columns that slices and fairness name; of forecasts also ``series``, ``as_of`` and ``step``.
        Other columns do no harm.
    y, score
        Actual and predicted, n rows; conventions of `charter.data.metrics` (binary 0/1 and probability; several
        classes as numbers and n x k probabilities; numbers).
    threshold
        From `charter.evaluate.threshold.choose` on out-of-fold rows. Needed for binary tasks.
    baselines
        Name to ``{"score": array or None, "decision": array or None}``. A rule that only decides is ranked by its
        0/1 decision (so its ROC AUC is its balanced accuracy); being no probability, it has no log loss, Brier score
        or calibration error. A score without a decision is decided at the model's threshold if it is a probability;
        otherwise its decision metrics are undefined.
    cluster
        Entity (or series) of each row, where they repeat: then whole entities are resampled.
    classes
        Names of the classes, several classes only.
    bounds
        Prediction intervals of the model, forecasts only.

    Returns
    -------
    Evaluation
        The same for the same arguments, to the last bit.

    Raises
    ------
    DataError
        When a row has no label or no finite score, or a column that slices or fairness name is missing.
    UsageError
        For lengths that differ, or a binary task without a threshold.
    """
    actual, predicted = _floats(y), _floats(score)
    _refuse_gaps(test, actual, predicted)
    task, wanted = spec.train.task, spec.evaluate
    primary = spec.train.metric
    decision = None
    if task == "binary":
        if threshold is None:
            raise UsageError(
                "a binary task is evaluated at a threshold", remedy="Choose one with threshold.choose."
            )
        decision = (predicted >= threshold.threshold).astype(np.float64)
    sample = Sample(actual, predicted, decision, spec.value, bounds)
    without = {need for need, given in (("value", spec.value), ("interval", bounds)) if given is None}
    names = tuple(m for m in metrics_for(task) if m not in METRICS or METRICS[m].needs not in without)
    rivals = [_rival(name, one, sample, threshold) for name, one in sorted((baselines or {}).items())]
    slices = slice_rows(test, wanted.slices)
    groups = _groups(test, spec)
    draws = Draws.of(sample.n, resamples=wanted.resamples, seed=spec.train.seed, cluster=cluster)

    parts = [Part(sample, names), *(Part(rival.sample, names) for rival in rivals)]
    parts += [Part(sample.take(one.rows), (primary,), one.rows) for one in slices]
    parts += [Part(sample.take(one.rows), RATES, one.rows) for found in groups.values() for one in found]
    replicates = iter(replicate(parts, draws))
    overall = next(replicates)
    of_rivals = [next(replicates) for _ in rivals]
    of_slices = [next(replicates) for _ in slices]
    of_groups = {attribute: [next(replicates) for _ in found] for attribute, found in groups.items()}

    confidence = wanted.confidence
    metrics = estimate(names, sample, overall, draws, confidence=confidence)
    rival_metrics = {
        rival.name: _without(rival, estimate(names, rival.sample, own, draws, confidence=confidence))
        for rival, own in zip(rivals, of_rivals, strict=True)
    }
    compared = wanted.beat_baseline.metric or primary
    comparisons = tuple(
        _compare(compared, metrics, overall, rival, rival_metrics[rival.name], own, draws, confidence)
        for rival, own in zip(rivals, of_rivals, strict=True)
    )
    judged = judge_slices(
        slices, sample, of_slices, overall, draws,
        primary=primary, metrics=names, min_rows=wanted.min_slice_rows, confidence=confidence,
    )  # fmt: skip
    binary = task == "binary"
    confusion = _confusion(sample) if binary else None
    return Evaluation(
        task=task,
        primary=primary,
        n=sample.n,
        positives=int(actual.sum()) if binary else None,
        entities=draws.units,
        clustered=draws.clustered,
        confidence=confidence,
        resamples=wanted.resamples,
        seed=spec.train.seed,
        metrics=metrics,
        threshold=threshold if binary else None,
        confusion=confusion,
        classes=_class_names(sample, classes) if task == "multiclass" else (),
        matrix=_matrix(sample) if task == "multiclass" else (),
        curves=curves(sample) if binary else None,
        calibration=reliability(actual, predicted, confidence=confidence) if binary and sample.is_probability else (),
        deciles=deciles(sample) if binary else (),
        value=value_report(confusion, spec.value) if confusion is not None and spec.value is not None else None,
        slices=judged,
        worst_slice=worst_of(judged, primary),
        slices_note=slices_note(judged, confidence),
        fairness={
            attribute: judge_fairness(
                attribute, found, sample, of_groups[attribute], draws,
                min_rows=wanted.fairness.min_rows if wanted.fairness else 1, confidence=confidence,
            )
            for attribute, found in groups.items()
        },
        baselines=rival_metrics,
        comparisons=comparisons,
        against_baseline=_best(comparisons, direction(compared)),
        forecast=_by_horizon(test, sample, rivals, draws, spec, compared) if task == "forecast" else None,
    )  # fmt: skip


def _by_horizon(
    test: pl.DataFrame, sample: Sample, rivals: Sequence[_Rival], draws: Draws, spec: ModelSpec, compared: str
) -> ForecastReport:
    """Measure by block, step, origin and slice; series that no training row is of are a slice of their own."""
    wanted, slices, time = spec.evaluate, list(spec.evaluate.slices), spec.data.observations.time
    if spec.train.split.hold_out is not None and HELD_OUT in test.columns:
        test = test.rename({HELD_OUT: "held out"})
        slices.append("held out")
    return forecast_report(
        test,
        sample,
        {rival.name: rival.sample for rival in rivals},
        draws,
        blocks=horizon_blocks(int(test["step"].to_numpy().max()), wanted.horizon_blocks),
        slices=slices,
        metric=compared,
        min_slice_rows=wanted.min_slice_rows,
        confidence=wanted.confidence,
        period=None if time is None or time not in test.columns else test[time].rank("dense").to_numpy(),
    )


def _floats(values: Array) -> Floats:
    return np.asarray(values, dtype=np.float64)


def _refuse_gaps(test: pl.DataFrame, y: Floats, score: Floats) -> None:
    if not len(y) == len(score) == test.height:
        raise UsageError(f"test has {test.height} rows, y {len(y)} and score {len(score)}: not the same")
    for name, values in (("label", y), ("score", score)):
        missing = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        if missing:
            raise DataError(
                f"{missing} of {len(values)} test rows have no {name}",
                remedy="Drop or repair them before evaluating.",
            )


def _rival(
    name: str, given: Mapping[str, Array | None], model: Sample, threshold: ThresholdChoice | None
) -> _Rival:
    score, decision = given.get("score"), given.get("decision")
    if score is None and decision is None:
        raise UsageError(f"baseline {name!r} has neither a score nor a decision")
    if score is None and decision is not None:
        said = np.asarray(decision, dtype=np.float64)
        ranked = said if model.score.ndim == 1 else np.eye(model.score.shape[1])[said.astype(np.int64)]
        sample = Sample(model.y, ranked, said, model.value)
        return _Rival(name, sample, PROBABILITY_METRICS, "the baseline decides without a probability")
    sample = Sample(model.y, np.asarray(score, dtype=np.float64), decision, model.value)
    if decision is None and threshold is not None:
        if not sample.is_probability:
            decides = frozenset(m for m, word in METRICS.items() if word.needs in ("decision", "value"))
            return _Rival(name, sample, decides, "the baseline ranks without deciding")
        sample = Sample(model.y, sample.score, sample.score >= threshold.threshold, model.value)
    return _Rival(name, sample, frozenset(), "")


def _without(rival: _Rival, found: Mapping[str, Estimate]) -> dict[str, Estimate]:
    nothing = Estimate(None, None, None, "none", rival.sample.n, rival.why)
    return {name: nothing if name in rival.undefined else one for name, one in found.items()}


def _compare(
    metric: str,
    metrics: Mapping[str, Estimate],
    overall: Replicates,
    rival: _Rival,
    rival_metrics: Mapping[str, Estimate],
    own: Replicates,
    draws: Draws,
    confidence: float,
) -> Difference:
    if metric not in metrics:
        raise UsageError(
            f"evaluate.beat_baseline.metric: {metric!r} was not measured",
            remedy=did_you_mean(metric, metrics),
        )
    model, other = metrics[metric].value, rival_metrics[metric].value
    if model is None or other is None:
        why = rival_metrics[metric].note or metrics[metric].note
        nothing = Estimate(None, None, None, "none", rival.sample.n, why)
        return Difference(rival.name, metric, model, other, nothing, better=False)
    (boot, jack), (other_boot, other_jack) = overall.of(metric), own.of(metric)
    found = from_replicates(
        model - other, boot - other_boot, jack - other_jack,
        confidence=confidence, n=rival.sample.n, units=draws.units,
    )  # fmt: skip
    ends = (found.low, found.high) if direction(metric) == "up" else (found.high, found.low)
    better = ends[0] is not None and (ends[0] > 0 if direction(metric) == "up" else ends[0] < 0)
    return Difference(rival.name, metric, model, other, found, better=better)


def _best(comparisons: Sequence[Difference], better: str) -> Difference | None:
    """Pick the comparison with the baseline that is hardest to beat."""
    sign = 1.0 if better == "up" else -1.0
    known = [c for c in comparisons if c.other is not None]
    return max(known, key=lambda c: (sign * (c.other or 0.0), c.baseline), default=None)


def _groups(test: pl.DataFrame, spec: ModelSpec) -> dict[str, list[SliceRows]]:
    fairness = spec.evaluate.fairness
    if fairness is None or spec.train.task != "binary":
        return {}
    for column in fairness.by:
        if column not in test.columns:
            raise DataError(
                f"evaluate.fairness.by: the test rows have no column {column!r}",
                remedy=did_you_mean(column, test.columns),
            )
    return {column: slice_rows(test, (column,)) for column in fairness.by}


def _confusion(sample: Sample) -> dict[str, int]:
    y, said = sample.y > 0, sample.decision > 0
    cells = {"tp": y & said, "fp": ~y & said, "fn": y & ~said, "tn": ~y & ~said}
    return {name: int(rows.sum()) for name, rows in cells.items()}


def _class_names(sample: Sample, classes: Sequence[str]) -> tuple[str, ...]:
    return tuple(classes) or tuple(str(c) for c in range(sample.score.shape[1]))


def _matrix(sample: Sample) -> tuple[tuple[int, ...], ...]:
    k = sample.score.shape[1]
    cell = sample.y.astype(np.int64) * k + sample.decision.astype(np.int64)
    counts = np.bincount(cell, minlength=k * k).reshape(k, k)
    return tuple(tuple(row) for row in counts.tolist())
