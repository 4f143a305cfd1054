"""The stages that judge a bundle: evaluate measures it through the serving scorer, gate holds it against the spec."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from charter.core.digest import Digest, canonical_json, plain
from charter.core.errors import CharterError
from charter.flow import cold_start, decide, judge_forecast
from charter.flow.build import snapshot_frames, training_rows
from charter.flow.context import Context, Done, Output, read_frame, read_json, write_frame
from charter.flow.plan import Stage
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.registry.io.records import Records
    from charter.serve.scorer import Scorer

MEASURED_ROWS = 300
"""Requests sent one by one to measure latency."""


def evaluate(ctx: Context, done: Done) -> Output:
    """Choose the threshold on out-of-fold rows, then score the held-out rows as serving will, and measure."""
    from charter.data.ratios import Bounds
    from charter.evaluate.evaluation import evaluate as measure_quality
    from charter.evaluate.threshold import choose, rule_of
    from charter.serve.scorer import Scorer

    spec, label = ctx.spec, ctx.spec.data.label.name
    entity = "series" if spec.data.observations.series else spec.data.observations.entity
    dataset = read_frame(ctx.blobs, done.output(Stage.FEATURES), "dataset.parquet")
    rows = training_rows(dataset, label, "test")
    oof = read_frame(ctx.blobs, done.output(Stage.TRAIN), "oof.parquet")
    threshold = None
    if spec.train.task == "binary":
        threshold = choose(
            oof["label"].to_numpy(), oof["calibrated_score"].to_numpy(), rule_of(spec), spec.value
        )
    with ctx.scratch() as folder:
        ctx.blobs.checkout(done.summary(Stage.TRAIN)["bundle"], folder / "bundle")
        write_rules(folder / "bundle", spec, threshold.threshold if threshold else None)
        scorer = Scorer.load(folder / "bundle", _history(ctx, done))
        ctx.progress.start(f"scoring {rows.height:,} held-out rows")
        scored = scorer.score(rows, decide=False)
        ctx.progress.finish()
        classes = scorer.bundle.classes
        plan, made = scorer.signature.series, None
        rivals, bounds = _baselines(ctx, rows, training_rows(dataset, label, "train")), None
        if plan is not None and scorer.series is not None:
            ctx.progress.start("forecasting the test origins by simple methods")
            rows = judge_forecast.tested_frame(
                rows, scored, plan, scorer.series.sources, label, scorer.bundle.method, ctx.spread
            )
            rivals |= judge_forecast.rivals(rows)
            ctx.progress.finish()
            ctx.progress.start("learning sums, differences and orders from the folds")
            known = training_rows(dataset, label, "train", "fold")
            made = decide.decide(oof, known, rows, plan, scorer.series.sources, spec)
            rows = decide.delivered(rows, made, plan, scorer.series.sources)
            bounds = Bounds(rows["lower"].to_numpy(), rows["upper"].to_numpy(), spec.train.interval)
            ctx.progress.finish()
        ctx.progress.start("measuring quality with intervals")
        evaluation = measure_quality(
            rows,
            actual(rows[label], spec.train.task, classes),
            scores(scored, spec.train.task) if made is None else rows["forecast"].to_numpy(),
            spec=spec,
            threshold=threshold,
            baselines=rivals,
            cluster=rows[entity].to_numpy() if entity is not None else None,
            classes=classes if spec.train.task == "multiclass" else (),
            bounds=bounds,
        )
        ctx.progress.finish()
        if evaluation.forecast is not None:
            ctx.progress.start("forecasting series as if they had no past")
            new = cold_start.measured(scorer, rows, spec)
            evaluation = replace(evaluation, forecast=replace(evaluation.forecast, new_series=new))
            ctx.progress.finish()
        measurement = _measure(ctx, done, scorer, rows, folder)
        document = plain(evaluation.to_json())
        out = folder / "out"
        out.mkdir()
        (out / "evaluation.json").write_bytes(canonical_json(document))
        (out / "measurement.json").write_bytes(canonical_json(plain(measurement)))
        if made is not None:
            (out / decide.FILE).write_bytes(canonical_json(plain(made)))
        output = ctx.blobs.put_tree(out)
    primary = document["primary"]
    return Output(
        output,
        {
            "rows": rows.height,
            "primary": {"name": primary, **document["metrics"][primary]},
            "threshold": threshold.threshold if threshold else None,
            "measurement": plain(measurement),
        },
    )


def actual(label: pl.Series, task: str, classes: Sequence[str]) -> np.ndarray:
    """Return labels as the metrics read them; a class that training has not seen has no number and is refused there."""
    if task != "multiclass":
        return label.cast(float).to_numpy()
    places = {name: float(i) for i, name in enumerate(classes)}
    return np.array([places.get(str(v), np.nan) for v in label.to_list()], dtype=np.float64)


def scores(scored: pl.DataFrame, task: str) -> np.ndarray:
    """Take from what a scorer answered the numbers that the metrics read: of several classes one column for each."""
    if task != "multiclass":
        return scored["score"].to_numpy()
    return np.array(scored["scores"].to_list(), dtype=np.float64)


def _history(ctx: Context, done: Done) -> dict[str, pl.DataFrame] | None:
    """Events or series that the model looks back on; None for one row per observation."""
    return dict(snapshot_frames(ctx, done)) if _looks_back(ctx.spec) else None


def _looks_back(spec: ModelSpec) -> bool:
    """Whether an answer rests on what happened before: of an entity, or of a series."""
    return spec.data.observations.entity is not None or bool(spec.data.observations.series)


def _baselines(
    ctx: Context, rows: pl.DataFrame, known: pl.DataFrame
) -> dict[str, dict[str, np.ndarray | None]]:
    """Answer the held-out rows by what needs no learning: all alike, and by today's rule."""
    from charter.train.baseline import constants, rule, share
    from charter.train.units import learned_task

    spec, y = ctx.spec, known[ctx.spec.data.label.name].to_numpy()
    if spec.train.task == "binary":
        found = constants(y, rows.height)
    else:
        found = {"no model": share(y, rows.height, task=learned_task(spec.train.task))}
    today = spec.purpose.today
    if today.rule is not None:
        found["rule today"] = rule(rows, today.rule, today.score)
    return found


def _measure(ctx: Context, done: Done, scorer: Scorer, rows: pl.DataFrame, folder: Path) -> dict[str, Any]:
    """Measure latency, memory and size of what is to be packaged in a clean process, one row per request."""
    requests = rows.head(MEASURED_ROWS).select(
        f.name for f in scorer.signature.inputs if f.name in rows.columns
    )
    write_frame(requests, folder / "requests.parquet")
    command = [
        sys.executable,
        "-m",
        "charter.serve.measure",
        str(folder / "bundle"),
        str(folder / "requests.parquet"),
    ]
    if _looks_back(ctx.spec):
        snapshot = ctx.blobs.tree(done.output(Stage.SNAPSHOT))
        for name in ctx.spec.data.sources:
            command += ["--history", f"{name}={local_copy(ctx, snapshot[f'{name}.parquet'], folder)}"]
    ctx.progress.start("measuring latency and memory in a clean process")
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)  # noqa: S603
    ctx.progress.finish()
    if ran.returncode != 0:
        raise CharterError(f"the bundle could not be measured: {ran.stderr.strip()[-400:]}")
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def local_copy(ctx: Context, digest: Digest, folder: Path) -> Path:
    """Path of a blob on this machine: where it lies, or a copy in ``folder`` when the store is elsewhere."""
    if ctx.workspace.settings.blobs_url is None:
        return ctx.blobs.path(digest)
    target = folder / f"{digest}.blob"
    target.write_bytes(ctx.blobs.get(digest))
    return target


def write_rules(folder: Path, spec: ModelSpec, threshold: float | None) -> None:
    """Write ``decision.json`` beside a bundle: how scores become answers."""
    from charter.serve.bundle import write_decision
    from charter.serve.types import Exploration

    write_decision(
        folder,
        threshold=threshold,
        bands=spec.serve.bands,
        reasons=spec.serve.reasons,
        reasons_for=spec.serve.reasons_for,
        factors=spec.serve.factors,
        fallback=spec.serve.fallback.model_dump(exclude_none=True) if spec.serve.fallback else None,
        explore=Exploration(**spec.serve.explore.model_dump()) if spec.serve.explore else None,
    )


def gate(ctx: Context, done: Done) -> Output:
    """Hold the evaluation against what the specification requires."""
    from charter.govern.gates import judge

    tree = done.output(Stage.EVALUATE)
    decision = judge(
        read_json(ctx.blobs, tree, "evaluation.json"),
        read_json(ctx.blobs, tree, "measurement.json"),
        done.summary(Stage.TRAIN)["parity"],
        ctx.spec,
        where=".".join,
    )
    output = ctx.blobs.put_bytes(canonical_json(decision.to_json()))
    met = sum(c.verdict.allows for c in decision.checks)
    number = done.summary(Stage.TRAIN)["version"]
    ctx.audit(
        "gate.judged",
        f"v{number}",
        {"verdict": decision.verdict, "gate": output},
    )
    summary = {"decision": decision.to_json(), "met": met, "total": len(decision.checks)}

    def stand(tx: Records) -> Mapping[str, Any]:
        tx.update_version(number, status="candidate" if decision.allows else "refused")
        return {}

    return Output(output, summary, stand)
