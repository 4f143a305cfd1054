"""The stages that turn data into a scorable bundle: snapshot, features, train."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from charter.core.decision import Decision, Verdict
from charter.core.digest import canonical_json, plain
from charter.core.errors import DataError, Refusal
from charter.flow.context import (
    Context,
    Done,
    Output,
    of_source,
    read_frame,
    read_json,
    write_frame,
    write_rows,
)
from charter.flow.plan import Stage
from charter.spec.moments import with_days
from charter.spec.parts import dotted, flatten, spec_digest
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from charter.core.digest import Digest
    from charter.data.grid import SeriesPlan
    from charter.features.featureset import FeatureSet
    from charter.train.types import Trained

LARGEST_LABEL = 1e30
"""Of a label that is a number: features that hold it are kept in 32 bits, whose largest number is 3.4e38."""
WINDOW = "window.json"
"""In the tree of features: the days of the dates that follow the data, by path; only where there are such dates."""


def snapshot(ctx: Context, done: Done) -> Output:
    """Read every source, clean it, judge it by its contract, and keep the rows under their digest."""
    from charter.data.grid import results
    from charter.data.io.prepared import prepare_sources
    from charter.data.io.tables import profile_file

    spec, workspace, where = ctx.spec, ctx.workspace, ctx.loaded.source.where
    with ctx.scratch() as folder:
        prepared = prepare_sources(
            spec.data.sources,
            workspace.root,
            workspace.settings,
            now=workspace.clock.now(),
            folder=folder / "judged",
            results=results(spec.data),
            progress=ctx.progress,
            within=lambda name: of_source(ctx.loaded, name),
        )
        reports = {name: p.report for name, p in prepared.items()}
        checks = [c for r in reports.values() for c in r.decision(where).checks]
        decision = Decision.of("data contract", checks)
        if not decision.allows:
            raise Refusal(
                "the data breaks its contract",
                decision=decision,
                remedy=_mend(decision, spec),
            )
        tree = folder / "tree"
        tree.mkdir()
        profiles = {}
        for name, found in prepared.items():
            write_rows(found.frame, tree / f"{name}.parquet")
            profiles[name] = plain(profile_file(tree / f"{name}.parquet").to_json())
            if found.report.quarantined:
                write_rows(found.quarantine, tree / f"{name}.quarantine.parquet")
        (tree / "profile.json").write_bytes(canonical_json(profiles))
        report = {name: plain(r.to_json()) for name, r in reports.items()}
        (tree / "report.json").write_bytes(canonical_json(report))
        output = ctx.blobs.put_tree(tree)
    return Output(
        output,
        {
            "rows": {name: r.rows_kept for name, r in reports.items()},
            "read": {name: r.rows_read for name, r in reports.items()},
            "duplicates": {name: r.duplicates for name, r in reports.items()},
            "filtered": {name: r.filtered for name, r in reports.items()},
            "quarantined": {name: r.quarantined for name, r in reports.items()},
            "warnings": [
                f"{c.name}: {c.observed}; {c.required}" for c in decision.checks if c.verdict is Verdict.WARN
            ],
        },
    )


def _mend(decision: Decision, spec: ModelSpec) -> str:
    """What to do about rows that break the contract."""
    observed = spec.data.observations
    # Rows of a series may be planned, whose label nobody knows yet.
    needed = (None if observed.series else spec.data.label.column, observed.entity, *observed.key)
    names = [c.name for c in decision.reasons if c.required == "not missing"]
    missing = next((n for n in names if n.partition(".")[2] not in needed), None)
    loosen = f" (`nullable: true` lets {missing} be missing)" if missing is not None else ""
    return (
        f"Correct the source, or the contract if it asks too much{loosen}; `on_violation: quarantine` sets such rows "
        "aside, and says so."
    )


def snapshot_frames(ctx: Context, done: Done) -> Mapping[str, pl.DataFrame]:
    """Rows of the snapshot by source."""
    tree = done.output(Stage.SNAPSHOT)
    return {name: read_frame(ctx.blobs, tree, f"{name}.parquet") for name in ctx.spec.data.sources}


def features(ctx: Context, done: Done) -> Output:
    """Observe, label, compute features as of each observation, split, and look for leaks."""
    from charter.data.leaks import find_leaks
    from charter.features.dataset import build_dataset

    ctx.progress.start("computing features")
    frames = snapshot_frames(ctx, done)
    spec, window = _window(ctx, frames)
    dataset, feature_set = build_dataset(frames, spec, ctx.spread)
    ctx.progress.finish()
    label = spec.data.label.name
    known, held_out = training_rows(dataset, label, "train"), training_rows(dataset, label, "test")
    _learnable(known, held_out, spec)
    by_time = spec.train.split.kind == "time"
    leaks = find_leaks(
        known,
        held_out,
        label,
        feature_set.names,
        known_after=spec.data.label.wait if by_time else None,
    )
    if not leaks.allows:
        raise Refusal("the features know what they must not know", decision=leaks)
    with ctx.scratch() as folder:
        write_rows(dataset.lazy(), folder / "dataset.parquet")
        (folder / "featureset.json").write_bytes(canonical_json(feature_set.to_json()))
        (folder / "leaks.json").write_bytes(canonical_json(leaks.to_json()))
        if window is not None:
            (folder / WINDOW).write_bytes(canonical_json(window["dates"]))
        output = ctx.blobs.put_tree(folder)
    positives = (
        sum(int(f[label].eq(1).sum()) for f in (known, held_out)) if spec.train.task == "binary" else None
    )
    rows = known.height + held_out.height
    return Output(
        output,
        {
            "features": len(feature_set.names),
            "rows": rows,
            "train": known.height,
            "test": held_out.height,
            "unlabelled": int(dataset[label].is_null().sum()),
            "between": int((dataset["__split"].eq("unused") & dataset[label].is_not_null()).sum()),
            "positive_share": positives / rows if positives is not None else None,
            "empty": [name for name in feature_set.names if known[name].null_count() == known.height],
            "warnings": [c.name for c in leaks.checks if c.verdict.value == "warn"],
            **({"window": window} if window is not None else {}),
        },
    )


def _window(ctx: Context, frames: Mapping[str, pl.DataFrame]) -> tuple[ModelSpec, dict[str, Any] | None]:
    """Find the days of the dates that follow the data.

    Returns
    -------
    The specification with days in their place; the newest day and each date by its path, None where none follows.

    Raises
    ------
    DataError
        When the newest row lies in the future, or the days leave nothing to train on or to test.
    """
    from charter.features.observations import newest_day
    from charter.spec.checks.examiner import Examiner
    from charter.spec.checks.observations import check_observations, check_split
    from charter.spec.moments import moving, resolve

    paths = moving(ctx.spec)
    if not paths:
        return ctx.spec, None
    latest = newest_day(frames, ctx.spec.data)
    tomorrow = ctx.workspace.clock.now().date() + timedelta(days=1)
    if latest > tomorrow:
        raise DataError(
            f"the newest row is of {latest}, which is still to come, and the dates of the specification count back "
            "from it",
            remedy="Bound the time in data.sources by `max`, with `on_violation: quarantine`, or by `where`.",
        )
    found = resolve(ctx.spec, latest)
    look = Examiner(found)
    check_observations(look)
    check_split(look)
    if look.faults:
        fault = look.faults[0]
        raise DataError(
            f"with a newest row of {latest}, {dotted(fault.path)} {fault.message}",
            remedy=f"{fault.hint or 'Count back further in the specification'}.",
        )
    now = dict(flatten(found))
    return found, {"latest": str(latest), "dates": {dotted(path): now[path] for path in paths}}


def _learnable(known: pl.DataFrame, held_out: pl.DataFrame, spec: ModelSpec) -> None:
    """Refuse training rows in which there is nothing to tell apart, before time is spent on them."""
    label = spec.data.label.name
    if spec.train.task in ("regression", "forecast"):
        furthest = max(float(rows[label].abs().max() or 0) for rows in (known, held_out))  # type: ignore[arg-type]
        if not furthest <= LARGEST_LABEL:
            raise DataError(
                f"data.label: a {label} is {furthest:.3g} in size; more than {LARGEST_LABEL:.0e} is no quantity, and "
                "its square no number",
                remedy="Correct the row, or bound its column by `max` with `on_violation: quarantine`.",
            )
        return
    counts = known[label].value_counts().sort("count", label, descending=[True, False])
    rarest, fewest = counts.row(-1)
    if counts.height == 1:
        raise DataError(
            f"data.label: all {known.height:,} training rows have the label {rarest}; there is nothing to tell apart",
            remedy="Check data.label against the data, and which rows train.split leaves for training.",
        )
    if spec.train.task == "binary" and fewest < spec.train.split.folds:
        raise DataError(
            f"data.label: {fewest:,} of {known.height:,} training rows have the label {rarest}; "
            f"{spec.train.split.folds} folds need one each",
            remedy="Bring more rows, or lower train.split.folds.",
        )


def train(ctx: Context, done: Done) -> Output:
    """Search, fit, calibrate and export; the result is a bundle that a `Scorer` loads."""
    from charter.data.grid import on_grid, series_plan
    from charter.data.split import folds
    from charter.features.featureset import FeatureSet
    from charter.flow import cold_start
    from charter.registry.environment import code_version, environment
    from charter.serve.bundle import write_bundle
    from charter.serve.signature import signature
    from charter.train.io.tracking import mlflow_tracker
    from charter.train.run import train as fit

    label, tree = ctx.spec.data.label.name, done.output(Stage.FEATURES)
    spec = _as_built(ctx, tree)
    feature_set = FeatureSet.from_json(read_json(ctx.blobs, tree, "featureset.json"))
    dataset = read_frame(ctx.blobs, tree, "dataset.parquet")
    rows = training_rows(dataset, label, "train")
    plan, fitted, forecasts = series_plan(spec.data), None, None
    rehearsal, families, cold = None, None, None
    if plan is not None:
        rows = training_rows(dataset, label, "train", "fold")
        fitted = (rows["__split"] == "train").to_numpy()
        cut = _origin_folds(rows, fitted, plan, spec)
        frames = on_grid(snapshot_frames(ctx, done), plan)
        forecasts = _by_methods(ctx, frames, rows, cut, plan, spec)
        rehearsal, families = cold_start.rehearse(rows, cut, frames, feature_set, plan, spec)
    else:
        cut = folds(
            rows,
            spec.train.split,
            rows[label].to_numpy(),
            spec.train.seed,
            known_after=spec.data.label.wait,
        )
    with mlflow_tracker(ctx.workspace.state / "runs", spec, actor=ctx.actor) as tracker:
        kept = tracker if ctx.tracked else None
        trained = fit(
            rows,
            feature_set,
            spec,
            folds=cut,
            fitted=fitted,
            parity_rows=training_rows(dataset, label, "test"),
            forecasts=forecasts,
            rehearsal=rehearsal,
            progress=ctx.progress,
            tracker=kept,
            spread=ctx.spread,
        )
    asked = signature(spec, rows, used=trained.preprocessor.features)
    if families is not None:
        cold = cold_start.learned(rehearsal, families, trained, spec)
        asked = cold_start.with_traits(asked, cold)
    with ctx.scratch() as folder:
        bundle = folder / "bundle"
        write_bundle(
            bundle,
            name=spec.name,
            task=spec.train.task,
            signature=asked,
            featureset=feature_set.to_json(),
            preprocessor=trained.preprocessor.to_json(),
            calibration=trained.calibration.to_json(),
            classes=class_names(spec, trained.classes),
            model_onnx=trained.onnx,
            native=trained.native,
            profile=_reference(rows if fitted is None else rows.filter(fitted), trained, feature_set),
            intervals=_intervals(rows, trained, spec) if plan is not None else None,
            methods=trained.methods.to_json() if trained.methods is not None else None,
            cold_start=cold.to_json() if cold is not None else None,
        )
        write_frame(trained.oof, folder / "oof.parquet")
        (folder / "candidates.json").write_bytes(canonical_json(plain(trained.candidates_json())))
        made = {"code_version": code_version(), "environment": environment()}
        (folder / "environment.json").write_bytes(canonical_json(made))
        bundle_digest = ctx.blobs.put_tree(bundle)
        shutil.rmtree(bundle)
        # Later stages are keyed by this output: a bundle that differs in its contract alone must change it.
        (folder / "bundle.json").write_bytes(canonical_json({"bundle": bundle_digest}))
        output = ctx.blobs.put_tree(folder)
    now = ctx.workspace.clock.now()
    return Output(
        output,
        {
            "bundle": bundle_digest,
            "learner": trained.learner,
            "parameters": dict(trained.params),
            "metric": trained.metric,
            "value": trained.value,
            "trials": len(trained.candidates),
            "parity": dict(trained.parity),
            "run": trained.run,
        },
        lambda tx: {"version": tx.version_for(bundle_digest, spec=spec_digest(spec), now=now).number},
    )


def _as_built(ctx: Context, features: Digest) -> ModelSpec:
    """The specification with the days that its dates stood for when the data set was made."""
    if WINDOW not in ctx.blobs.tree(features):
        return ctx.spec
    return with_days(ctx.spec, read_json(ctx.blobs, features, WINDOW))


def _origin_folds(
    rows: pl.DataFrame, fitted: np.ndarray, plan: SeriesPlan, spec: ModelSpec
) -> list[tuple[np.ndarray, np.ndarray]]:
    import polars as pl

    from charter.data.split import origin_folds
    from charter.features.forecasts import fold_origins

    number = plan.grid.number
    origin = rows.select(number(pl.col("as_of"))).to_series().to_numpy()
    target = rows.select(number(pl.col(plan.time))).to_series().to_numpy()
    return origin_folds(origin, target, fitted, fold_origins(plan, spec.train.split, int(target.max())))


def _by_methods(
    ctx: Context,
    frames: Mapping[str, pl.DataFrame],
    rows: pl.DataFrame,
    cut: list[tuple[np.ndarray, np.ndarray]],
    plan: SeriesPlan,
    spec: ModelSpec,
) -> pl.DataFrame | None:
    """Let the statistical methods among the learners forecast what the folds judge."""
    from charter.train.series_methods import judged_forecasts, methods_of

    methods = methods_of(spec.train.learners)
    if not methods:
        return None
    ctx.progress.start(f"forecasting the folds by {', '.join(methods)}")
    found = judged_forecasts(
        rows, cut, frames[plan.source], plan, spec, processes=ctx.spread.processes, spread=ctx.spread
    )
    ctx.progress.finish()
    return found


def _intervals(rows: pl.DataFrame, trained: Trained, spec: ModelSpec) -> dict[str, Any]:
    """How wrong the folds' models were, step by step."""
    import polars as pl

    from charter.data.grid import STEP
    from charter.features.expressions import compile_number
    from charter.train.conformal_fit import fit

    text = spec.train.interval_scale
    spread = pl.lit(None, pl.Float64) if text is None else compile_number(text)
    known = rows.select("__row", STEP, spread.alias("__spread"))
    oof = trained.oof.join(known, on="__row", how="left", maintain_order="left")
    return fit(
        oof["label"].to_numpy(),
        oof["raw_score"].to_numpy(),
        oof[STEP].to_numpy(),
        level=spec.train.interval,
        transform=spec.train.transform,
        spread=None if text is None else oof["__spread"].to_numpy(),
        scale=text or "",
        symmetric=True,
        horizon=spec.data.observations.horizon,
    ).to_json()


def _reference(rows: pl.DataFrame, trained: Trained, feature_set: FeatureSet) -> dict[str, Any]:
    """Profile what the model saw and said, the reference that later days are compared with."""
    from charter.data.profile import profile

    seen = rows.select(name for name in feature_set.names if name in rows.columns)
    return {
        "schema_version": 1,
        "features": profile(seen).to_json(),
        "score": profile(trained.oof.select(score="calibrated_score")).to_json(),
    }


def class_names(spec: ModelSpec, found: tuple[str, ...]) -> tuple[str, ...]:
    """Names of the classes as an answer gives them; of a binary label its own values, where it has two."""
    label, source = spec.data.label, spec.data.observations.source
    if spec.train.task != "binary" or label.positive is None or label.column is None or source is None:
        return found
    declared = spec.data.sources[source].columns.get(label.column)
    others = [v for v in (declared.values or ()) if v != label.positive] if declared is not None else []
    return (others[0] if len(others) == 1 else f"not {label.positive}", label.positive)


def training_rows(dataset: pl.DataFrame, label: str, *roles: str) -> pl.DataFrame:
    """Rows of some sides of the split whose label is known."""
    return dataset.filter(dataset["__split"].is_in(roles) & dataset[label].is_not_null())
