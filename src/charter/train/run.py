"""The train stage: folds, search, out-of-fold scores, the final model, calibration, export."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.core.progress import NoProgress, Progress
from charter.core.spread import HERE, Spread
from charter.data import metrics
from charter.data.grid import SERIES
from charter.features import preprocess
from charter.features.featureset import FeatureSet
from charter.features.preprocess import Preprocessor
from charter.spec.types import ModelSpec
from charter.train import baseline, calibrate
from charter.train.asked import fixed_parameters, load_learners, monotone_columns, refuse_contradictions
from charter.train.finalists import Finals
from charter.train.folds import Fold, make_fold, say
from charter.train.imbalance import balance
from charter.train.learners.by_block import ByBlock, placed
from charter.train.parity import measure_parity
from charter.train.ports import Fitted, Learner, NoTracker, Tracker
from charter.train.record import Outcome, run_record
from charter.train.search import Candidate, best, search
from charter.train.series_methods import methods_of
from charter.train.types import Trained
from charter.train.units import corrected, learned_task, plain, row_weights, transformed

if TYPE_CHECKING:
    from charter.train.cold_start import Rehearsal

MOST_GROWTH = 1.25
"""However small the folds, the final model grows by no more than the root of this over theirs."""

Cut = Sequence[tuple[np.ndarray, np.ndarray]]
"""Row numbers to fit on and to judge by, per fold."""


def train(
    dataset: pl.DataFrame,
    feature_set: FeatureSet,
    spec: ModelSpec,
    *,
    folds: Cut,
    fitted: np.ndarray | None = None,
    parity_rows: pl.DataFrame | None = None,
    forecasts: pl.DataFrame | None = None,
    rehearsal: Rehearsal | None = None,
    progress: Progress | None = None,
    tracker: Tracker | None = None,
    spread: Spread = HERE,
) -> Trained:
    """Make the model that the specification asks for.

    Parameters
    ----------
    dataset
        Training rows only: ``__row``, the label and the candidate features; n rows.
    folds
        Row numbers into ``dataset``, from `charter.data.split.folds`.
    fitted
        Shape (n,), bool: rows that the final model is fitted on; the others are there for folds to judge. None is all.
    parity_rows
        Held-out rows with the candidate features, on which the exported model is compared with the trained one; nothing
        is learned from them. None takes training rows.
    forecasts
        What the statistical methods among ``train.learners`` say of the rows that folds judge, from
        `charter.train.series_methods.judged_forecasts`.
    rehearsal
        Rows that folds judge, to be forecast as if their series had no past.
    spread
        Fits the folds.

    Raises
    ------
    UsageError
        When a learner does not fit the task or cannot promise the monotone constraints.
    DataError
        When labels are missing, or a fold cannot be learned from.

    Notes
    -----
    Out-of-fold scores come from fits with the final parameters and no early stopping, so that the rows that choose the
    threshold and the calibration had no say in when their model stopped. They are rounded to float32, as served.
    """
    progress = progress if progress is not None else NoProgress()
    plan, label = spec.train, spec.data.label.name
    metric = plan.metric
    task = learned_task(plan.task)
    units, classes = encode_label(dataset[label], task)
    y = transformed(plan.transform, units)
    alone = methods_of(plan.learners)
    searchable = [name for name in plan.learners if name not in alone]
    learners = load_learners(searchable, task=task, monotone=bool(plan.monotone), loss=plan.loss)
    fixed = fixed_parameters(learners, plan, task)
    if plan.step_blocks:
        learners = [ByBlock(one, plan.step_blocks) for one in learners]
    refuse_contradictions(spec)
    groups = _groups(dataset, spec)

    progress.start("preparing folds", len(folds))
    ready, kept = [], []
    for number, (fit_rows, valid_rows) in enumerate(folds):
        fold = _prepare(dataset, y, groups, fit_rows, valid_rows, number, feature_set, spec, rehearsal)
        ready.append(fold.outline())
        kept.append(spread.keep(fold))
        del fold  # its matrices may be kept elsewhere
        progress.advance()
    progress.finish()
    candidates: list[Candidate] = []
    finals = Finals(ready, spec, dataset, y)
    searched: tuple[Learner, Candidate] | None = None
    if learners:
        candidates += search(
            kept, learners, task=task, metric=metric, trials=plan.search.trials, seed=plan.seed,
            value=spec.value, fixed=fixed, progress=progress, spread=spread,
        )  # fmt: skip
        winner = best(candidates, metric)
        learner = next(one for one in learners if one.name == winner.learner)
        progress.start("scoring rows out of fold", len(ready))
        searched, said, as_new = (learner, winner), [], []
        settled = learner.settle(winner.fold_params, 1.0)
        same = map(repeat, (learner, settled, plan.seed, task))
        for rows_said, questions_said in spread.map(say, kept, *same):
            said.append(rows_said)
            if questions_said is not None:
                as_new.append(questions_said)
            progress.advance()
        progress.finish()
        finals.searched(learner.name, said, as_new)
    chosen = finals.settle(forecasts)
    candidates += finals.candidates(len(candidates))
    rows, fold_of, raw = _in_order(
        [
            (fold.rows, np.full(len(fold.rows), number, np.int32), one)
            for number, (fold, one) in enumerate(zip(ready, chosen.said, strict=True))
        ]
    )

    progress.start("fitting the final model")
    comparable = _comparable(raw, y, rows, fold_of, spec)
    if plan.task == "forecast":
        calibration = corrected(plan.transform, comparable, units[rows], metric)
    else:
        calibration = calibrate.fit(plan.calibrate, comparable, y[rows])
    judged = dataset
    if fitted is not None:
        dataset, y = dataset.filter(fitted), y[fitted]
        groups = groups if isinstance(groups, int) else groups[fitted]
    if searched is not None and finals.reads_features:
        learner, winner = searched
        preprocessor, X = preprocess.fit_transform(
            dataset, y, feature_set, spec.features, task, seed=plan.seed, folds=groups
        )
        growth = min(dataset.height / float(np.mean([fold.seen for fold in ready])), MOST_GROWTH)
        fit_X, fit_y, weight = balance(X, y, plan.imbalance, seed=plan.seed, groups=_protected(dataset, spec))
        weight = row_weights(dataset, spec) if plan.weight is not None else weight
        general = placed(learner, preprocessor.names).fit(
            fit_X,
            fit_y,
            weight=weight,
            params=learner.settle(winner.fold_params, max(growth, 1.0)),
            seed=plan.seed,
            monotone=monotone_columns(preprocessor, plan.monotone, feature_set),
            task=task,
        )
        model, preprocessor, X = finals.complete(general, preprocessor, X)
    else:
        model, preprocessor, X = finals.by_methods()
    onnx = model.to_onnx(preprocessor.names)
    compared = X
    if parity_rows is not None and parity_rows.height and finals.methods is None:
        compared = preprocessor.transform(parity_rows)
    parity = measure_parity(model, onnx, compared, task, calibration)
    progress.finish(
        f"{chosen.name}, trained and exported differ by at most {parity['max_abs_difference']:.1e}"
    )

    scored = calibrate.apply(calibration, comparable)
    oof = pl.DataFrame(
        {
            "__row": judged["__row"].gather(rows),
            "fold": fold_of,
            "label": judged[label].gather(rows),
            "score": comparable.tolist() if raw.ndim == 2 else comparable,
            "calibrated_score": scored.tolist() if raw.ndim == 2 else scored,
            "raw_score": raw.tolist() if raw.ndim == 2 else raw,
        }
    )
    outcome = Outcome(
        learner=chosen.name,
        params=model.params,
        metric=metric,
        value=chosen.score,
        fold_values=chosen.fold_scores,
        baselines=_baselines(judged.select(pl.all().gather(rows)), units, rows, metric, spec),
        candidates=tuple(candidates),
        importance=_importance(model, preprocessor),
        parity=parity,
    )
    record = run_record(
        spec, outcome, y=units[rows], score=scored, rows=dataset.height, columns=len(preprocessor.names)
    )
    run = (tracker if tracker is not None else NoTracker()).record(record)
    return Trained(
        model=model,
        onnx=onnx,
        native=model.native(),
        preprocessor=preprocessor,
        calibration=calibration,
        classes=classes,
        learner=outcome.learner,
        params=outcome.params,
        metric=metric,
        value=outcome.value,
        baselines=outcome.baselines,
        candidates=outcome.candidates,
        oof=oof,
        parity=parity,
        importance=outcome.importance,
        methods=finals.methods,
        as_new=finals.as_new(rehearsal) if rehearsal is not None else None,
        run=run,
    )


def encode_label(label: pl.Series, task: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels as numbers, and the classes that the numbers stand for.

    Returns
    -------
    y : ndarray, shape (n,)
        Int64 0/1 (binary) or position among the sorted classes (multiclass); float64 (regression).
    classes
        ``("0", "1")``, the sorted classes as text, or empty.

    Raises
    ------
    DataError
        When a label is missing, is no 0/1 or finite number where the task needs one, or fewer than three classes occur.
    """
    if label.null_count():
        raise DataError(
            f"label {label.name!r}: {label.null_count()} of {len(label)} training rows have none",
            remedy="Only rows whose label is known can be trained on.",
        )
    if task == "multiclass":
        text = label.cast(pl.String)
        classes = tuple(sorted(text.unique().to_list()))
        if len(classes) < 3:
            raise DataError(
                f"label {label.name!r}: the training rows hold {len(classes)} of its classes ({', '.join(classes)}); "
                "several classes are at least three",
                remedy="Write `task: binary` with `positive`, or bring rows of the other classes.",
            )
        return np.searchsorted(np.array(classes), text.to_numpy().astype(str)).astype(np.int64), classes
    y = label.cast(pl.Float64).to_numpy()
    if task == "regression":
        if not np.isfinite(y).all():
            raise DataError(f"label {label.name!r} holds NaN or infinity; a regression needs finite numbers")
        return y, ()
    if not np.isin(y, (0.0, 1.0)).all():
        raise DataError(f"label {label.name!r} holds values other than 0 and 1; a binary task needs these")
    return y.astype(np.int64), ("0", "1")


def _groups(dataset: pl.DataFrame, spec: ModelSpec) -> np.ndarray | int:
    """Folds for target encoding inside training rows: rows of one entity or group stay together."""
    name = spec.train.split.group or spec.data.observations.entity
    if spec.data.observations.series:
        name = SERIES
    if name is None or name not in dataset.columns:
        return 5
    _, codes = np.unique(
        dataset[name].cast(pl.String).fill_null("").to_numpy().astype(str), return_inverse=True
    )
    order = np.random.default_rng(spec.train.seed).permutation(int(codes.max(initial=0)) + 1)
    return np.asarray(order[codes] % 5)


def _prepare(
    dataset: pl.DataFrame,
    y: np.ndarray,
    groups: np.ndarray | int,
    fit_rows: np.ndarray,
    valid_rows: np.ndarray,
    number: int,
    feature_set: FeatureSet,
    spec: ModelSpec,
    rehearsal: Rehearsal | None,
) -> Fold:
    plan, task = spec.train, learned_task(spec.train.task)
    weighed = row_weights(dataset[fit_rows], spec), row_weights(dataset[valid_rows], spec)
    preprocessor, X = preprocess.fit_transform(
        dataset[fit_rows],
        y[fit_rows],
        feature_set,
        spec.features,
        task,
        seed=plan.seed + number,
        folds=groups if isinstance(groups, int) else groups[fit_rows],
    )
    fold = make_fold(
        X,
        y[fit_rows],
        preprocessor.transform(dataset[valid_rows]),
        y[valid_rows],
        np.asarray(valid_rows),
        number=number,
        task=task,
        imbalance=plan.imbalance,
        monotone=monotone_columns(preprocessor, plan.monotone, feature_set),
        seed=plan.seed + number,
        groups=_protected(dataset[fit_rows], spec),
        weights=None if weighed[0] is None or weighed[1] is None else (weighed[0], weighed[1]),
        calibration=plain(plan.transform, plan.task),
        columns=preprocessor.names,
    )
    if rehearsal is None:
        return fold
    return replace(fold, X_new=preprocessor.transform(rehearsal.of_fold(number)))


def _protected(dataset: pl.DataFrame, spec: ModelSpec) -> np.ndarray | None:
    """Code of each row's combination of the attributes that ``train.reweigh`` names."""
    if not spec.train.reweigh:
        return None
    columns = [pl.col(name).cast(pl.String).fill_null("") for name in spec.train.reweigh]
    return dataset.select(pl.struct(columns).rank("dense")).to_series().to_numpy()


def _comparable(
    raw: np.ndarray, y: np.ndarray, rows: np.ndarray, fold_of: np.ndarray, spec: ModelSpec
) -> np.ndarray:
    """Out-of-fold scores on the final model's scale: in time splits without the drift between folds."""
    if spec.train.task != "binary" or spec.train.split.kind != "time":
        return raw
    positive = float(np.mean(y))
    balanced = spec.train.imbalance != "none"
    return calibrate.align(
        raw, y[rows], fold_of, offset=math.log((1 - positive) / positive) if balanced else 0.0
    )


def _in_order(
    parts: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rows, fold_of, raw = (np.concatenate(column) for column in zip(*parts, strict=True))
    order = np.argsort(rows, kind="stable")
    return rows[order], fold_of[order], raw[order]


def _baselines(
    judged: pl.DataFrame, y: np.ndarray, rows: np.ndarray, metric: str, spec: ModelSpec
) -> dict[str, float | None]:
    answers = {"no model": baseline.share(y, len(rows), task=learned_task(spec.train.task))}
    today = spec.purpose.today
    if today.rule is not None and spec.train.task == "binary":
        answers["rule today"] = baseline.rule(judged, today.rule, today.score)
    found: dict[str, float | None] = {}
    for name, answer in answers.items():
        score = answer["score"]
        if score is None:
            continue
        value = metrics.compute(metric, y[rows], score, answer["decision"], spec.value)
        found[name] = value if math.isfinite(value) else None
    return found


def _importance(model: Fitted, preprocessor: Preprocessor) -> dict[str, float]:
    by_column = model.importance()
    total = float(by_column.sum())
    found = dict.fromkeys(preprocessor.features, 0.0)
    for name, amount in zip(preprocessor.names, by_column, strict=True):
        found[preprocessor.source_of[name]] += float(amount) / total if total > 0 else 0.0
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))
