"""A candidate and a champion on the same rows: metrics, decisions, shift of the score, slices; all paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import polars as pl

from charter.core.errors import UsageError
from charter.data.distance import psi
from charter.data.metrics import Array, Sample, direction
from charter.evaluate.compare import Comparison, delong_test, improvement, mcnemar_test, paired
from charter.evaluate.proportion import wilson
from charter.evaluate.resample import Draws, Part, Replicates, replicate
from charter.evaluate.slices import holm, slice_rows
from charter.evaluate.types import Estimate, Floats, Integers
from charter.spec.types import ModelSpec
from charter.spec.vocabulary import METRICS, metrics_for

_BINS = 10


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model says of the rows: score (n, or n x classes) and, of a binary task, decision 0 or 1."""

    score: Array
    decision: Array | None = None


@dataclass(frozen=True, slots=True)
class MetricChange:
    """Candidate less champion on one metric.

    Attributes
    ----------
    compared
        Model a is the candidate, model b the champion.
    gain
        How much better the candidate is, as a share of the champion's metric; negative is worse.
    """

    compared: Comparison
    gain: Estimate

    @property
    def metric(self) -> str:
        """Name of the metric."""
        return self.compared.metric


@dataclass(frozen=True, slots=True)
class Shift:
    """How far the candidate's answers are from the champion's.

    Attributes
    ----------
    share
        Of rows whose score moves by more than ``by``.
    by
        In the unit of the score.
    psi
        Population stability index of the candidate's scores over the champion's tenths.
    flipped
        Share of rows that are decided otherwise; None where nothing is decided.
    """

    share: Estimate
    by: float
    mean: float
    psi: float
    flipped: Estimate | None


@dataclass(frozen=True, slots=True)
class SliceChange:
    """The primary metric in one slice; ``p_value`` is corrected for the number of slices (Holm)."""

    slice: str
    value: str
    n: int
    change: MetricChange | None
    p_value: float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ModelComparison:
    """Everything that was found, deterministic for the same arguments.

    Attributes
    ----------
    common_rows, common_features
        The primary metric on the rows that have every feature which only one model has, and on all rows with those
        features taken away from whoever has them; None where the features are the same.
    resources
        Name to (champion, candidate), such as ``latency_p95_ms``; None where not measured.
    """

    champion: str
    candidate: str
    n: int
    units: int
    clustered: bool
    confidence: float
    primary: str
    metrics: tuple[MetricChange, ...]
    decisions: Comparison | None
    shift: Shift
    slices: tuple[SliceChange, ...]
    common_rows: MetricChange | None = None
    common_features: MetricChange | None = None
    resources: Mapping[str, tuple[float | None, float | None]] | None = None
    remarks: tuple[str, ...] = ()

    def change(self, metric: str) -> MetricChange | None:
        """Return the change of one metric."""
        return next((m for m in self.metrics if m.metric == metric), None)

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {"schema_version": 1, **asdict(self)}


def compare_models(
    frame: pl.DataFrame,
    y: Array,
    candidate: Answers,
    champion: Answers,
    *,
    spec: ModelSpec,
    names: tuple[str, str] = ("candidate", "champion"),
    cluster: Array | None = None,
) -> ModelComparison:
    """Compare two models on rows that neither has learned from.

    Parameters
    ----------
    frame
        n rows with the columns that ``evaluate.slices`` names.
    y
        Actual, n rows, as in `charter.data.metrics`.
    spec
        Task, metrics, value, slices, resamples, confidence, and ``release.redeploy.shift_by``.
    cluster
        Entity of each row, where entities repeat: then whole entities are resampled.
    """
    task, wanted = spec.train.task, spec.evaluate
    primary = spec.train.metric
    a, b = (Sample(y, one.score, one.decision, spec.value) for one in (candidate, champion))
    if a.n == 0:
        raise UsageError("there are no rows to compare on", remedy="Both models need the same held-out rows.")
    metrics = tuple(m for m in metrics_for(task) if _measurable(m, spec))
    slices = slice_rows(frame, [s for s in wanted.slices if _possible(frame, s)])
    draws = Draws.of(a.n, resamples=wanted.resamples, seed=spec.train.seed, cluster=cluster)
    parts = [Part(a, metrics), Part(b, metrics)]
    judged = [one for one in slices if len(one.rows) >= wanted.min_slice_rows]
    parts += [Part(m.take(one.rows), (primary,), one.rows) for one in judged for m in (a, b)]
    of_a, of_b, *of_slices = replicate(parts, draws)
    points = [
        dict(zip(metrics, m.measure(metrics, np.ones((1, m.n)))[:, 0].tolist(), strict=True)) for m in (a, b)
    ]
    changes = tuple(
        _change(m, (points[0][m], of_a), (points[1][m], of_b), a.n, draws.units, wanted.confidence)
        for m in metrics
    )
    if task == "binary" and np.unique(a.y).size == 2:
        tested = delong_test(a.y, a.score, b.score, cluster=cluster, confidence=wanted.confidence)
        changes = tuple(replace(c, compared=tested) if c.metric == "roc_auc" else c for c in changes)
    decides = task == "binary" and candidate.decision is not None and champion.decision is not None
    return ModelComparison(
        champion=names[1],
        candidate=names[0],
        n=a.n,
        units=draws.units,
        clustered=draws.clustered,
        confidence=wanted.confidence,
        primary=primary,
        metrics=changes,
        decisions=mcnemar_test(a.y, a.decision, b.decision, confidence=wanted.confidence)
        if decides and not draws.clustered
        else None,
        shift=_shift(a, b, spec, decides=decides or task == "multiclass"),
        slices=_slices(slices, judged, of_slices, a, b, primary, draws, spec),
    )


def primary_change(
    y: Array, candidate: Answers, champion: Answers, *, spec: ModelSpec, cluster: Array | None = None
) -> MetricChange:
    """Compare two models on the primary metric alone."""
    primary = spec.train.metric
    a, b = (Sample(y, one.score, one.decision, spec.value) for one in (candidate, champion))
    draws = Draws.of(a.n, resamples=spec.evaluate.resamples, seed=spec.train.seed, cluster=cluster)
    of_a, of_b = replicate([Part(a, (primary,)), Part(b, (primary,))], draws)
    points = [float(m.measure((primary,), np.ones((1, m.n)))[0, 0]) for m in (a, b)]
    return _change(primary, (points[0], of_a), (points[1], of_b), a.n, draws.units, spec.evaluate.confidence)


def _measurable(metric: str, spec: ModelSpec) -> bool:
    needs = METRICS[metric].needs if metric in METRICS else "score"
    return needs != "interval" and (needs != "value" or spec.value is not None)


def _possible(frame: pl.DataFrame, text: str) -> bool:
    """Whether the frame has what the slice names; columns that only one model's rows have are no fault here."""
    from charter.spec.expression import parse

    return text in frame.columns or all(c.name in frame.columns for c in parse(text).columns)


def _change(
    metric: str,
    a: tuple[float, Replicates],
    b: tuple[float, Replicates],
    n: int,
    units: int,
    confidence: float,
) -> MetricChange:
    compared = paired(metric, a, b, confidence=confidence, n=n, units=units)
    return MetricChange(compared, improvement(metric, a, b, confidence=confidence, n=n, units=units))


def _shift(a: Sample, b: Sample, spec: ModelSpec, *, decides: bool) -> Shift:
    new, old = (m.score if m.score.ndim == 1 else m.score.max(axis=1) for m in (a, b))
    moved = np.abs(a.score - b.score) if a.score.ndim == 1 else np.abs(a.score - b.score).max(axis=1)
    by = spec.release.redeploy.shift_by
    if spec.train.task not in ("binary", "multiclass"):
        by *= float(np.std(old)) or 1.0
    flipped = _share(a.decision != b.decision) if decides else None
    return Shift(_share(moved > by), by, float((new - old).mean()), _psi(old, new), flipped)


def _share(mask: Floats | np.ndarray[Any, np.dtype[np.bool_]]) -> Estimate:
    hits, n = int(np.asarray(mask).sum()), len(mask)
    return Estimate(hits / n, *wilson(hits, n), "wilson", n)


def _psi(old: Floats, new: Floats) -> float:
    """Of the new scores, over tenths of the old ones."""
    edges = np.unique(np.quantile(old, np.arange(1, _BINS) / _BINS))
    counts = [
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) for x in (old, new)
    ]
    return psi(*counts)


def _slices(
    slices: Sequence[Any],
    judged: Sequence[Any],
    replicates: Sequence[Replicates],
    a: Sample,
    b: Sample,
    primary: str,
    draws: Draws,
    spec: ModelSpec,
) -> tuple[SliceChange, ...]:
    found: list[SliceChange] = []
    own = dict(zip(map(id, judged), zip(replicates[::2], replicates[1::2], strict=True), strict=True))
    for one in slices:
        rows: Integers = one.rows
        if id(one) not in own:
            note = f"too small to judge: {len(rows)} rows, {spec.evaluate.min_slice_rows} needed"
            found.append(SliceChange(one.slice, one.value, len(rows), None, None, note))
            continue
        points = [float(m.take(rows).measure((primary,), np.ones((1, len(rows))))[0, 0]) for m in (a, b)]
        units = len(np.unique(draws.unit[rows]))
        of_a, of_b = own[id(one)]
        change = _change(
            primary, (points[0], of_a), (points[1], of_b), len(rows), units, spec.evaluate.confidence
        )
        found.append(SliceChange(one.slice, one.value, len(rows), change, change.compared.p_value))
    corrected = holm({i: s.p_value for i, s in enumerate(found) if s.p_value is not None})
    return tuple(replace(s, p_value=corrected.get(i)) for i, s in enumerate(found))


def surely_worse(change: MetricChange) -> bool:
    """Whether the whole interval says that the candidate is worse."""
    low, high = change.compared.difference.low, change.compared.difference.high
    if low is None or high is None:
        return False
    return high < 0 if direction(change.metric) == "up" else low > 0
