"""Two versions on the same held-out rows, through the scorer that serves, and whether one may replace the other."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.decision import Decision
from charter.core.digest import Digest
from charter.core.errors import DataError, Refusal, UsageError
from charter.core.progress import Progress
from charter.flow.build import training_rows
from charter.flow.context import read_frame
from charter.flow.judge import write_rules
from charter.flow.observe import proven
from charter.flow.plan import Stage
from charter.flow.views import (
    features_result,
    judged_alike,
    result_of,
    trained_result,
    tree_json,
    version_number,
)
from charter.flow.workspace import Workspace
from charter.spec.diff import Change, diff
from charter.spec.loader import Loaded
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from charter.evaluate.comparison import Answers, ModelComparison
    from charter.iterate.redeploy import Changes
    from charter.registry.io.blobs import Blobs
    from charter.registry.io.records import Records
    from charter.registry.types import ModelVersion, StageResult
    from charter.serve.scorer import Scorer

_LABEL = (("data", "label"), ("data", "observations"), ("train", "task"))
_RULES = (
    ("evaluate", "threshold"), ("serve", "bands"), ("serve", "fallback"), ("value", "per_decision"),
)  # fmt: skip
_MOST_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Compared:
    """What was found, what is different about the candidate, and who decides."""

    comparison: ModelComparison
    changes: Changes
    decision: Decision

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        from dataclasses import asdict

        return {
            "outcome": self.decision.evidence["outcome"],
            "decision": self.decision.to_json(),
            "changes": asdict(self.changes),
            "comparison": self.comparison.to_json(),
        }


@dataclass(frozen=True, slots=True)
class _Version:
    """What the records hold of a version."""

    version: ModelVersion
    spec: ModelSpec
    trained: StageResult
    evaluated: StageResult
    gate: Decision | None
    dataset: Digest
    snapshot: Digest


def compare_versions(
    workspace: Workspace, loaded: Loaded, champion: str, candidate: str, *, progress: Progress
) -> Compared:
    """Compare two versions on the candidate's held-out rows, those left out on which the champion was trained.

    Raises
    ------
    Refusal
        When a version was not evaluated, or no row is left that neither has learned from.
    UsageError
        For one version twice, an unknown one, or a champion that cannot answer the candidate's rows.
    """
    from charter.evaluate.comparison import compare_models
    from charter.iterate.redeploy import judge_redeployment

    if version_number(champion) == version_number(candidate):
        raise UsageError(
            f"{champion} is compared with itself", remedy="Name two versions; see `charter history`."
        )
    blobs = workspace.blobs()
    with workspace.records(loaded.spec.name, readonly=True) as records:
        proven(workspace, records)
        old, new = (_version(records, blobs, name) for name in (champion, candidate))
        alike = judged_alike(records, new.trained)
    if old.spec.train.task != new.spec.train.task:
        raise UsageError(
            f"{old.version.name} is a {old.spec.train.task} model and {new.version.name} a {new.spec.train.task} one",
            remedy="Compare versions of one task.",
        )
    spec = new.spec.model_copy(update={"release": loaded.spec.release})
    rows, remarks = _held_out(blobs, old, new)
    history = _history(blobs, old, new)
    with tempfile.TemporaryDirectory(prefix="charter-compare-") as place:
        scorers = [_scorer(blobs, one, Path(place) / one.version.name, history) for one in (new, old)]
        progress.start(f"scoring {rows.height:,} held-out rows with both")
        truth, said, rows = _answers(rows, spec, (new, old), scorers)
        progress.finish()
        cluster = _cluster(rows, spec)
        progress.start("comparing, with intervals")
        names = (new.version.name, old.version.name)
        found = compare_models(rows, truth, *said, spec=spec, names=names, cluster=cluster)
        changes = _changes(old, new, scorers)
        found = _on_common(found, changes, rows, truth, said, scorers, spec, cluster)
        progress.finish()
    if alike > 1:
        remarks.append(f"{alike} models were judged on these rows; the best of many looks better than it is")
    found = replace(found, resources=_resources(blobs, old, new), remarks=(*found.remarks, *remarks))
    policy = loaded.spec.release.redeploy
    decision = judge_redeployment(found, policy, changes, required=spec.evaluate.require, gate=new.gate)
    # A default stands nowhere in the file; it is a built-in rule.
    checks = (
        c if c.where.rpartition(".")[2] in policy.model_fields_set else replace(c, where="")
        for c in decision.checks
    )
    return Compared(found, changes, replace(decision, checks=tuple(checks)))


def _version(records: Records, blobs: Blobs, name: str) -> _Version:
    found = records.version(version_number(name))
    trained = trained_result(records, found)
    evaluated = result_of(records, Stage.EVALUATE, "train", trained.output)
    if evaluated is None:
        raise Refusal(f"{found.name} was not evaluated", remedy="`charter apply` evaluates it.")
    judged = result_of(records, Stage.GATE, "evaluate", evaluated.output)
    features = features_result(records, trained)
    document = records.result("spec", found.spec)
    if found.package is not None:
        text = blobs.get(blobs.tree(found.package)["spec.json"])
    elif document is not None:
        text = blobs.get(document.output)
    else:
        raise UsageError(
            f"the specification of {found.name} is not recorded", remedy="See `charter history`."
        )
    return _Version(
        found,
        ModelSpec.model_validate_json(text),
        trained,
        evaluated,
        Decision.from_json(judged.summary["decision"]) if judged is not None else None,
        features.output,
        Digest(features.inputs["snapshot"]),
    )


def _held_out(blobs: Blobs, old: _Version, new: _Version) -> tuple[pl.DataFrame, list[str]]:
    """Rows that neither version has learned from, as the candidate's features stage made them."""
    from charter.data.split import ROW

    rows = training_rows(read_frame(blobs, new.dataset, "dataset.parquet"), new.spec.data.label.name, "test")
    remarks = []
    if old.dataset != new.dataset:
        seen = training_rows(
            read_frame(blobs, old.dataset, "dataset.parquet"), old.spec.data.label.name, "train"
        )
        before, rows = rows.height, rows.join(seen.select(ROW), on=ROW, how="anti", maintain_order="left")
        if rows.height < before:
            remarks.append(
                f"{before - rows.height:,} rows on which {old.version.name} was trained are left out"
            )
    if rows.height == 0:
        raise Refusal(
            f"{old.version.name} was trained on every row that {new.version.name} holds out",
            remedy="Compare on newer rows: let the test period begin after both were trained.",
        )
    return rows, remarks


def _history(blobs: Blobs, old: _Version, new: _Version) -> dict[str, pl.DataFrame] | None:
    """Events that either version looks back on, the candidate's where both have them."""
    observations = new.spec.data.observations
    if observations.entity is None and not observations.series:
        return None
    return {
        name: read_frame(blobs, one.snapshot, f"{name}.parquet")
        for one in (old, new)
        for name in one.spec.data.sources
    }


def _scorer(blobs: Blobs, one: _Version, folder: Path, history: Mapping[str, pl.DataFrame] | None) -> Scorer:
    from charter.serve.scorer import Scorer

    blobs.checkout(Digest(one.trained.summary["bundle"]), folder)
    write_rules(folder, one.spec, one.evaluated.summary["threshold"])
    return Scorer.load(folder, history)


@contextmanager
def _answering(one: _Version, of: _Version) -> Iterator[None]:
    try:
        yield
    except DataError as error:
        raise UsageError(
            f"{one.version.name} cannot answer the held-out rows of {of.version.name}: {error.message}",
            remedy="Its inputs are not among them, so the two cannot be compared on the same rows.",
        ) from error


def _answers(
    rows: pl.DataFrame, spec: ModelSpec, versions: tuple[_Version, _Version], scorers: list[Scorer]
) -> tuple[np.ndarray, list[Answers], pl.DataFrame]:
    """Truth and both models' answers, on the rows to which both gave a number."""
    import numpy as np

    from charter.evaluate.comparison import Answers

    classes = scorers[0].bundle.classes
    found = []
    for one, scorer in zip(versions, scorers, strict=True):
        with _answering(one, versions[0]):
            found.append(_aligned(scorer.score(rows, decide=False), spec, scorer, classes))
    label = rows[spec.data.label.name]
    if spec.train.task == "multiclass":
        places = {name: float(i) for i, name in enumerate(classes)}
        truth = np.array([places.get(str(v), np.nan) for v in label.to_list()], dtype=np.float64)
    else:
        truth = label.cast(float).to_numpy()
    known = np.isfinite(truth)
    for score in found:
        known &= np.isfinite(score).reshape(len(score), -1).all(axis=1)
    thresholds = [one.evaluated.summary["threshold"] for one in versions]
    said = [
        Answers(score[known], (score[known] >= at).astype(np.float64) if at is not None else None)
        for score, at in zip(found, thresholds, strict=True)
    ]
    return truth[known], said, rows.filter(known)


def _aligned(scored: pl.DataFrame, spec: ModelSpec, scorer: Scorer, classes: tuple[str, ...]) -> np.ndarray:
    import numpy as np

    if spec.train.task != "multiclass":
        return np.asarray(scored["score"].to_numpy(), dtype=np.float64)
    own = scorer.bundle.classes
    if set(own) != set(classes):
        raise UsageError(
            f"the versions know different classes: {', '.join(own)} and {', '.join(classes)}",
            remedy="Models of different classes have no common measure.",
        )
    return np.array(scored["scores"].to_list(), dtype=np.float64)[:, [own.index(c) for c in classes]]


def _cluster(rows: pl.DataFrame, spec: ModelSpec) -> np.ndarray | None:
    observations = spec.data.observations
    name = "series" if observations.series else observations.entity
    return rows[name].to_numpy() if name is not None else None


def _changes(old: _Version, new: _Version, scorers: list[Scorer]) -> Changes:
    from charter.iterate.redeploy import Changes

    mine, theirs = (tuple(s.preprocessor.features) for s in scorers)
    learners = str(old.trained.summary["learner"]), str(new.trained.summary["learner"])
    between = diff(old.spec, new.spec)
    return Changes(
        tuple(f for f in mine if f not in theirs),
        tuple(f for f in theirs if f not in mine),
        learners if learners[0] != learners[1] else None,
        _words(between, _LABEL),
        _words(between, _RULES),
    )


def _words(changes: list[Change], starts: tuple[tuple[str, ...], ...]) -> tuple[str, ...]:
    return tuple(
        c.words
        for c in changes
        if any(c.path[: len(start)] == start or start[: len(c.path)] == c.path for start in starts)
    )


def _on_common(
    found: ModelComparison,
    changes: Changes,
    rows: pl.DataFrame,
    truth: np.ndarray,
    said: list[Answers],
    scorers: list[Scorer],
    spec: ModelSpec,
    cluster: np.ndarray | None,
) -> ModelComparison:
    """Compare where features differ: on the rows that have them all, and with what only one model sees taken away."""
    import numpy as np
    import polars as pl

    from charter.evaluate.comparison import Answers, primary_change

    own = (changes.new_features, changes.lost_features)
    if not any(own) or spec.data.observations.series:
        return found
    seen = [s.features(rows) for s in scorers]
    complete = np.logical_and.reduce(
        [f.select(pl.all_horizontal(pl.col(n).is_not_null() for n in names)).to_series().to_numpy()
         for f, names in zip(seen, own, strict=True) if names]
    )  # fmt: skip
    remarks = list(found.remarks)
    common_rows = None
    shown = ", ".join([*own[0], *own[1]][:_MOST_SHOWN])
    if complete.all():
        remarks.append(f"every row has the features that only one version sees ({shown})")
    elif complete.any():
        pick = [
            Answers(a.score[complete], a.decision[complete] if a.decision is not None else None) for a in said
        ]
        part = cluster[complete] if cluster is not None else None
        common_rows = primary_change(truth[complete], pick[0], pick[1], spec=spec, cluster=part)
    masked = []
    for scorer, features, names, answers in zip(scorers, seen, own, said, strict=True):
        score = _without(scorer, features, names) if names else answers.score
        masked.append(Answers(score, answers.decision))
    common_features = primary_change(truth, masked[0], masked[1], spec=spec, cluster=cluster)
    return replace(found, common_rows=common_rows, common_features=common_features, remarks=tuple(remarks))


def _without(scorer: Scorer, features: pl.DataFrame, names: tuple[str, ...]) -> np.ndarray:
    """Score with some features missing, as the model would see a row that never had them."""
    import polars as pl

    from charter.serve.model import OnnxModel
    from charter.train.calibrate import Calibration, apply

    blank = features.with_columns(pl.lit(None, dtype=features.schema[n]).alias(n) for n in names)
    raw = OnnxModel(scorer.bundle.model_onnx).predict(scorer.preprocessor.transform(blank))
    return apply(Calibration.from_json(scorer.bundle.calibration or {"kind": "none"}), raw)


def _resources(blobs: Blobs, old: _Version, new: _Version) -> dict[str, tuple[float | None, float | None]]:
    before, after = (tree_json(blobs, one.evaluated.output, "measurement.json") for one in (old, new))
    return {
        name: (before.get(name), after.get(name)) for name in ("latency_p95_ms", "memory_mb", "package_mb")
    }
