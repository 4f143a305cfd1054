"""Forecasts: series that can be told apart, periods that are known when they are read, and a split by origins."""

from __future__ import annotations

from charter.spec.checks.examiner import Examiner, source_kinds
from charter.spec.checks.sources import check_time
from charter.spec.document import Path
from charter.spec.functions import Kind
from charter.spec.scope import SERIES_COLUMNS, Scope, derived_from, known_columns
from charter.spec.types import SourceSpec
from charter.spec.vocabulary import SERIES_METHODS

_OBSERVATIONS: Path = ("data", "observations")
_TRAIN: Path = ("train",)


def check_series(look: Examiner, scope: Scope) -> None:
    """Check observations of series, and what only forecasts have."""
    plan, train = look.spec.data.observations, look.spec.train
    forecast = train.task == "forecast"
    if bool(plan.series) != forecast:
        if forecast:
            look.fault((*_TRAIN, "task"), "is forecast, but the observations are no series",
                       "name the columns of a series in data.observations.series")  # fmt: skip
        else:
            look.fault((*_OBSERVATIONS, "series"), f"is for forecasts, and the task is {train.task}",
                       "use task: forecast", at_key=True)  # fmt: skip
    _check_words(look, scope, forecast=forecast)
    source = look.spec.data.sources.get(plan.source or "")
    if not plan.series or source is None:
        return
    kinds = source_kinds(source)
    for word in ("series", "known_ahead"):
        for i, name in enumerate(getattr(plan, word)):
            look.known((*_OBSERVATIONS, word, i), name, kinds, "is not a column of the source")
    if plan.time is not None and look.known(
        (*_OBSERVATIONS, "time"), plan.time, kinds, "is not a column of the source"
    ):
        check_time((*_OBSERVATIONS, "time"), plan.time, kinds, look)
    for name in SERIES_COLUMNS:
        if name in kinds:
            place = "columns" if name in source.columns else "derive"
            look.fault(("data", "sources", plan.source or "", place, name), "is a name that forecasts need themselves",
                       "rename the column", at_key=True)  # fmt: skip
    _check_known_ahead(source, look)
    _check_attributes(look)


def _check_known_ahead(source: SourceSpec, look: Examiner) -> None:
    plan, label = look.spec.data.observations, look.spec.data.label
    tainted = derived_from(source, label.column) if label.column is not None else set()
    for i, name in enumerate(plan.known_ahead):
        path: Path = (*_OBSERVATIONS, "known_ahead", i)
        if name in plan.known_ahead[:i]:
            look.fault(path, f"{name} stands twice", "leave one out")
        elif name in tainted:
            look.fault(path, f"{name} is the label or made from it", "a label is not known ahead")
        elif name in (*plan.series, plan.time):
            look.fault(path, f"{name} is known of every row", "leave it out")
        elif (
            name in source.derive
            and name not in source.columns
            and name not in known_columns(look.spec.data).derived
        ):
            look.fault(path, f"{name} is derived, so its type is not stated",
                       f"add {name} to columns, or name what it is derived from")  # fmt: skip


def _check_attributes(look: Examiner) -> None:
    plan = look.spec.data.observations
    taken = dict.fromkeys((*known_columns(look.spec.data).columns, *SERIES_COLUMNS), plan.source or "")
    for name, key in plan.attributes.items():
        path: Path = (*_OBSERVATIONS, "attributes", name)
        source = look.source(path, name)
        if key not in plan.series:
            look.fault(
                path, f"{key} is not one of the columns of 'series'", f"one of: {', '.join(plan.series)}"
            )
        if source is None:
            continue
        own = source_kinds(source)
        if not look.known(path, key, own, f"is not a column of {name}"):
            continue
        for column in own:
            if column in taken and column != key:
                look.fault(path, f"{column} is a column of {taken[column]}, too", "rename one of them")
            taken.setdefault(column, name)


def _check_words(look: Examiner, scope: Scope, *, forecast: bool) -> None:
    """What stands in ``train`` and ``evaluate`` for forecasts only."""
    train, evaluate, split = look.spec.train, look.spec.evaluate, look.spec.train.split
    if forecast != (split.kind == "origins"):
        hint = "use kind: origins" if forecast else "use random, grouped or time"
        look.fault((*_TRAIN, "split", "kind"), f"is {split.kind}, and the task is {train.task}", hint)
    if not forecast:
        usual = type(train).model_fields["steps_per_target"].default
        alone = {
            "transform": train.transform != "none",
            "weight": train.weight is not None,
            "interval_scale": train.interval_scale is not None,
            "step_blocks": bool(train.step_blocks),
            "ensemble": train.ensemble,
            "two_stage": train.two_stage is not None,
            "steps_per_target": train.steps_per_target != usual,
        }
        for word, stated in alone.items():
            if stated:
                look.fault(
                    (*_TRAIN, word),
                    f"is for forecasts, and the task is {train.task}",
                    "leave it out",
                    at_key=True,
                )
        if evaluate.horizon_blocks:
            look.fault(("evaluate", "horizon_blocks"), f"are for forecasts, and the task is {train.task}",
                       "leave it out", at_key=True)  # fmt: skip
        return
    horizon = look.spec.data.observations.horizon or 0
    usual = type(train).model_fields["steps_per_target"].default
    if train.steps_per_target > horizon > 0 and train.steps_per_target != usual:
        # The default is lowered to the horizon where rows are drawn, so nobody has to know of it.
        look.fault(
            (*_TRAIN, "steps_per_target"), f"is {train.steps_per_target}, more than the horizon of {horizon}",
            f"at most {horizon}, or leave it out",
        )  # fmt: skip
    label = look.spec.data.label.name
    if train.weight is not None:
        forbidden = dict.fromkeys(scope.keys, "which only identifies a row")
        columns: dict[str, Kind] = {**scope.columns, label: "number"}
        look.expression((*_TRAIN, "weight"), train.weight, columns, nowhere="which no observation has", wants="number",
                        forbidden=forbidden)  # fmt: skip
    if train.interval_scale is not None:
        seen = {
            name: kind for name, kind in scope.candidates.items() if name not in look.spec.features.exclude
        }
        look.expression((*_TRAIN, "interval_scale"), train.interval_scale, seen, wants="number",
                        nowhere="which is no feature of the model")  # fmt: skip
    _check_candidates(look, scope)
    if split.hold_out is not None:
        look.known((*_TRAIN, "split", "hold_out", "column"), split.hold_out.column, look.spec.data.observations.series,
                   "is not one of the columns of data.observations.series")  # fmt: skip
    for path, blocks in (
        (("evaluate", "horizon_blocks"), evaluate.horizon_blocks),
        ((*_TRAIN, "step_blocks"), train.step_blocks),
    ):
        if blocks and (list(blocks) != sorted(set(blocks)) or blocks[-1] != horizon):
            look.fault(path, f"must rise to the horizon, {horizon}", "such as [4, 8, 12]")
    if train.step_blocks and "step" in look.spec.features.exclude:
        look.fault((*_TRAIN, "step_blocks"), "tells steps apart, and the step is excluded from the features",
                   "take step out of features.exclude", at_key=True)  # fmt: skip


def _check_candidates(look: Examiner, scope: Scope) -> None:
    """What stands beside the searched learners."""
    train = look.spec.train
    methods = [name for name in train.learners if name in SERIES_METHODS]
    searched = [name for name in train.learners if name not in SERIES_METHODS]
    if train.ensemble and len(methods) + bool(searched) < 2:
        look.fault((*_TRAIN, "ensemble"), "has nothing to average",
                   "name a method such as ets beside the learner in train.learners", at_key=True)  # fmt: skip
    column = train.two_stage
    if column is not None:
        path: Path = (*_TRAIN, "two_stage")
        if not searched:
            look.fault(
                path, "has no general model to correct", "name a learner such as lightgbm in train.learners"
            )
        if train.monotone:
            look.fault(path, "could break what train.monotone promises", "leave one of them out")
        known = look.known(path, column, scope.columns, "is not a column of the observations")
        if known and scope.columns[column] not in ("text", "truth"):
            look.fault(path, f"{column} is no category", "name a column of type category, such as a brand")
    if (train.ensemble or column is not None) and look.spec.serve.reasons:
        word = "ensemble" if train.ensemble else "two_stage"
        look.fault((*_TRAIN, word), "cannot give the reasons that serve.reasons asks for",
                   "leave one of them out", at_key=True)  # fmt: skip
