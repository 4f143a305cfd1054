"""Training, evaluation, value and serving: metrics that fit the task, requirements that can be met."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

from charter.core import plugins
from charter.core.quantity import Requirement, parse_duration, parse_volume
from charter.spec.checks.examiner import Examiner
from charter.spec.checks.features import check_feature_name, nowhere, unusable
from charter.spec.document import Path
from charter.spec.faults import suggest
from charter.spec.functions import Kind
from charter.spec.newness import kind_words, kinds
from charter.spec.scope import Scope
from charter.spec.types import Fairness, Threshold
from charter.spec.vocabulary import METRICS, SERIES_METHODS, metrics_for

_FAIRNESS = (
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "false_positive_rate_difference",
    "disparate_impact_ratio",
)


def check_training(look: Examiner, scope: Scope) -> None:
    """Check learners, search and what depends on the task."""
    train = look.spec.train
    learners = [*plugins.names("learners"), *(SERIES_METHODS if train.task == "forecast" else ())]
    for i, name in enumerate(train.learners):
        path: Path = ("train", "learners", i)
        if name not in learners:
            look.fault(path, f"{name} is not a learner", suggest(name, learners, "learners"))
        elif name in train.learners[:i]:
            look.fault(path, f"{name} stands twice", "leave one out")
    if train.search.metric is not None:
        path = ("train", "search", "metric")
        if _metric(path, train.search.metric, look) and _orders(path, train.search.metric, look):
            word = METRICS.get(train.search.metric)
            if train.task == "binary" and word is not None and word.needs != "score":
                look.fault(path, f"{word.name} needs a threshold, which is chosen after the search",
                           f"search by one of: {', '.join(_score_metrics())}")  # fmt: skip
    if train.task in ("regression", "forecast") and train.imbalance != "none":
        look.fault(("train", "imbalance"), f"is {train.imbalance}, but a {train.task} has no classes")
    for name in train.search.fixed:
        if name not in train.learners:
            look.fault(("train", "search", "fixed", name), f"{name} is not among train.learners",
                       suggest(name, train.learners, "learners"), at_key=True)  # fmt: skip
    if train.task not in ("regression", "forecast") and train.loss != "squared":
        look.fault(
            ("train", "loss"), f"is {train.loss}, and the task is {train.task}, whose labels are classes"
        )
    if train.task != "binary" and train.calibrate != "none":
        look.fault(("train", "calibrate"), f"is {train.calibrate}, but the task is {train.task}, not binary")
    for i, column in enumerate(train.reweigh):
        _reweighable(("train", "reweigh", i), column, look, scope)
    if train.split.group is not None:
        look.known(
            ("train", "split", "group"),
            train.split.group,
            scope.columns,
            "is not a column of the observations",
        )


def _reweighable(path: Path, column: str, look: Examiner, scope: Scope) -> None:
    train = look.spec.train
    if train.task != "binary":
        look.fault(path, f"weighs groups by a binary label, and the task is {train.task}")
    elif train.imbalance not in ("none", "class_weight"):
        look.fault(
            path, f"weighs rows, and imbalance: {train.imbalance} draws them", "use none or class_weight"
        )
    else:
        _protected(path, column, look, scope)


def _score_metrics() -> list[str]:
    return sorted(name for name, word in METRICS.items() if "binary" in word.tasks and word.needs == "score")


def check_judging(look: Examiner, scope: Scope) -> None:
    """Check what is measured and required."""
    evaluate, task = look.spec.evaluate, look.spec.train.task
    for name, text in evaluate.require.items():
        path: Path = ("evaluate", "require", name)
        if _metric(path, name, look, at_key=True):
            _possible(path, name, text, look)
    _check_new_series(evaluate.require_new_series, look)
    if evaluate.beat_baseline.metric is not None:
        path = ("evaluate", "beat_baseline", "metric")
        if _metric(path, evaluate.beat_baseline.metric, look):
            _orders(path, evaluate.beat_baseline.metric, look)
    for i, text in enumerate(evaluate.slices):
        _check_slice(("evaluate", "slices", i), text, look, scope)
    if evaluate.fairness is not None:
        _check_fairness(evaluate.fairness, look, scope)
    if evaluate.threshold is not None:
        if task != "binary":
            look.fault(("evaluate", "threshold"), f"is for binary tasks, and the task is {task}", at_key=True)
        else:
            _check_threshold(evaluate.threshold, look)
    _check_framing(look, scope)


def _check_new_series(required: Mapping[str, Mapping[str, str]], look: Examiner) -> None:
    """Note what cannot be required of series without a past."""
    place: Path = ("evaluate", "require_new_series")
    keys = look.spec.data.observations.series
    task = look.spec.train.task
    if required and task != "forecast":
        look.fault(place, f"is for forecasts, and the task is {task}", "leave it out", at_key=True)
        return
    known = [kind_words(keys, code) for code in kinds(keys)] if keys else []
    for kind, metrics in required.items():
        if keys and kind not in known:
            hint = f"what is new: {'; '.join(known)}"
            look.fault((*place, kind), "is nothing that a series can be new by", hint, at_key=True)
        for name, text in metrics.items():
            path = (*place, kind, name)
            if name not in METRICS and name in metrics_for(task):  # a plug-in's
                look.fault(path, "is not measured of series without a past", "require it of all", at_key=True)
            elif _metric(path, name, look, at_key=True):
                _possible(path, name, text, look)


def _metric(path: Path, name: str, look: Examiner, *, at_key: bool = False) -> bool:
    """Note a fault unless the metric is one of the task, and ``value`` is there where it needs one."""
    task = look.spec.train.task
    known = metrics_for(task)
    if name not in known:
        hint = suggest(name, known, f"{task} metrics")
        if name in METRICS:
            others = " and ".join(sorted(METRICS[name].tasks))
            hint = f"{name} is for {others}; {task} metrics: {', '.join(known)}"
        article = "is not a metric of a" if at_key else f"{name} is not a metric of a"
        look.fault(path, f"{article} {task} task", hint, at_key=at_key)
        return False
    word = METRICS.get(name)
    if word is not None and word.needs == "value" and look.spec.value is None:
        message = "needs 'value': what each outcome is worth"
        look.fault(path, message if at_key else f"{name} {message}", "add value.per_decision", at_key=at_key)
        return False
    return True


def _orders(path: Path, name: str, look: Examiner) -> bool:
    """Note a fault unless models and baselines can be put in order by the metric."""
    word = METRICS.get(name)
    if word is not None and word.better == "zero":
        look.fault(
            path, f"{name} is best at 0, so neither more nor less of it is better", f"use absolute_{name}"
        )
        return False
    if word is not None and word.needs == "interval":
        message = f"{name} measures intervals, which a search does not make and baselines do not have"
        look.fault(path, message, "require it under evaluate.require")
        return False
    return True


def _possible(path: Path, name: str, text: str, look: Examiner) -> None:
    """Note a requirement that no value of the metric can meet."""
    word = METRICS.get(name)
    if word is not None:
        _within(path, text, word.low, word.high, look)


def _within(path: Path, text: str, low: float | None, high: float | None, look: Examiner) -> None:
    limit = Requirement.parse(text)
    above = high is not None and (limit.limit > high or (limit.limit == high and limit.operator == ">"))
    below = low is not None and (limit.limit < low or (limit.limit == low and limit.operator == "<"))
    impossible = {">=": above, ">": above, "<=": below, "<": below, "==": above or below}[limit.operator]
    if impossible:
        span = f"{low if low is not None else '-inf'} to {high if high is not None else 'inf'}"
        look.fault(path, f"{text} can never be met", f"values lie between {span.replace(' to ', ' and ')}")


def _check_slice(path: Path, text: str, look: Examiner, scope: Scope) -> None:
    parsed = look.parsed(path, text)
    if parsed is None:
        return
    forbidden = unusable(scope)
    column = parsed.column
    if column is not None and column in scope.columns and column not in forbidden:
        kind = scope.columns[column]
        source = look.spec.data.sources.get(look.spec.data.observations.source or "")
        contract = source.columns.get(column) if source is not None else None
        if kind == "time" or (contract is not None and contract.type == "float"):
            look.fault(
                path, f"{column} has too many values for a slice each", f"write a condition: {column} > ..."
            )
        return
    wants: Kind = "any" if column is not None else "truth"
    look.expression(path, text, scope.columns, nowhere=nowhere(look), wants=wants, forbidden=forbidden)


def _check_fairness(fairness: Fairness, look: Examiner, scope: Scope) -> None:
    path: Path = ("evaluate", "fairness")
    if look.spec.train.task != "binary":
        look.fault(path, f"is for binary tasks, and the task is {look.spec.train.task}", at_key=True)
    for i, name in enumerate(fairness.by):
        _protected((*path, "by", i), name, look, scope)
    for metric in _FAIRNESS:
        text = getattr(fairness, metric)
        if text is not None:
            _within((*path, metric), text, 0, 1, look)


def _protected(path: Path, name: str, look: Examiner, scope: Scope) -> None:
    source = look.spec.data.sources.get(look.spec.data.observations.source or "")
    columns = source.columns if source is not None else {}
    protected = [known for known, column in columns.items() if column.sensitivity == "protected"]
    if name in protected:
        return
    if name in columns:
        hint = f"add `sensitivity: protected` to the column {name}"
        look.fault(path, f"{name} is not declared as protected", hint)
    elif look.names_known:
        hint = suggest(name, protected, "protected columns")
        derived = " derived," if name in scope.columns else ""
        look.fault(path, f"{name} is{derived} not a protected column of the observed source", hint)


def _check_threshold(threshold: Threshold, look: Examiner) -> None:
    path: Path = ("evaluate", "threshold")
    if threshold.maximise is not None and _metric((*path, "maximise"), threshold.maximise, look):
        _moves((*path, "maximise"), threshold.maximise, look)
    for name, text in threshold.subject_to.items():
        at = (*path, "subject_to", name)
        if _metric(at, name, look, at_key=True) and _moves(at, name, look, at_key=True):
            _possible(at, name, text, look)


def _moves(path: Path, name: str, look: Examiner, *, at_key: bool = False) -> bool:
    word = METRICS.get(name)
    if word is None or word.needs in ("decision", "value"):
        return True
    options = sorted(
        n for n, w in METRICS.items() if "binary" in w.tasks and w.needs in ("decision", "value")
    )
    message = "is the same at every threshold"
    hint = f"metrics of a decision: {', '.join(options)}"
    look.fault(path, message if at_key else f"{name} {message}", hint, at_key=at_key)
    return False


def _check_framing(look: Examiner, scope: Scope) -> None:
    spec, task = look.spec, look.spec.train.task
    for name, kpi in spec.kpis.items():
        path: Path = ("kpis", name)
        if kpi.metric is not None and _metric((*path, "metric"), kpi.metric, look):
            _possible((*path, "require"), kpi.metric, kpi.require, look)
    if spec.value is not None:
        if task != "binary":
            look.fault(
                ("value",), f"is per binary decision, and the task is {task}", "leave it out", at_key=True
            )
        if parse_volume(spec.value.volume) <= 0:
            look.fault(("value", "volume"), "is nothing", "write for example 30000 per month")
    today = spec.purpose.today
    for word, text in (("rule", today.rule), ("score", today.score)):
        if text is None:
            continue
        path = ("purpose", "today", word)
        if task != "binary":
            hint = "leave it out: only a binary decision is held against what decides today"
            look.fault(path, f"is for binary tasks, and the task is {task}", hint, at_key=True)
            continue
        if word == "score" and today.rule is None:
            look.fault(path, "ranks the rows of a rule, and there is none", "add 'rule'", at_key=True)
        wants: Kind = "truth" if word == "rule" else "number"
        look.expression(
            path, text, scope.columns, nowhere=nowhere(look), wants=wants, forbidden=unusable(scope)
        )


def check_serving(look: Examiner, scope: Scope) -> None:
    """Check approval stages, bands, fallback and the words for features."""
    spec = look.spec
    stages = [stage.stage for stage in spec.approve.stages]
    for i, stage in enumerate(stages):
        if stage in stages[:i]:
            look.fault(
                ("approve", "stages", i, "stage"), f"{stage} stands twice", "each stage is signed once"
            )
    if not parse_duration(spec.approve.valid_for):
        look.fault(
            ("approve", "valid_for"), "is nothing, so every approval has lapsed", "write for example 365d"
        )
    _check_bands(spec.serve.bands, look)
    fallback = spec.serve.fallback
    if fallback is not None and spec.train.task != "binary":
        look.fault(
            ("serve", "fallback"), f"is for binary tasks, and the task is {spec.train.task}", at_key=True
        )
    if fallback is not None and fallback.rule is not None:
        path: Path = ("serve", "fallback", "rule")
        look.expression(
            path,
            fallback.rule,
            scope.columns,
            nowhere=nowhere(look),
            wants="truth",
            forbidden=unusable(scope),
        )
    _check_store(look)
    _check_durations(look)
    _check_explore(look, scope)
    for name in spec.serve.factors:
        check_feature_name(("serve", "factors", name), name, look, scope)
    if spec.train.task != "binary" and spec.serve.reasons_for == "flagged":
        look.fault(
            ("serve", "reasons_for"), "is flagged, but only a binary task flags", "use always or asked"
        )


def _check_store(look: Examiner) -> None:
    declared = look.spec.serve.features
    path: Path = ("serve", "features")
    if declared.store == "history":
        if declared.url is not None:
            look.fault((*path, "url"), "is for a store, and features come from the history",
                       "add store: redis or sqlite, or leave the url out")  # fmt: skip
        return
    if look.spec.data.observations.series:
        look.fault(
            (*path, "store"),
            f"is {declared.store}, but forecasts read the past of their series themselves",
            "leave serve.features out",
        )
    elif not look.spec.features.windows:
        look.fault(
            (*path, "store"),
            f"is {declared.store}, but the model has no windows to look up",
            "leave serve.features out",
        )
    if declared.store == "redis" and declared.url is None:
        look.fault((*path, "store"), "is redis, whose address is missing", "add url: ${REDIS_URL}")


def _check_explore(look: Examiner, scope: Scope) -> None:
    serve, path = look.spec.serve, ("serve", "explore")
    if serve.explore is None:
        return
    if look.spec.train.task != "binary":
        look.fault(path, f"is for binary tasks, and the task is {look.spec.train.task}", at_key=True)
    if serve.log.mode == "none":
        look.fault(
            path,
            "teaches nothing where answers are not logged",
            "log the answers, or leave explore out",
            at_key=True,
        )
    if serve.reasons and serve.reasons_for == "flagged" and serve.explore.turn != "positive":
        look.fault(
            (*path, "turn"),
            f"is {serve.explore.turn}: who is made positive by chance would get no reasons",
            "use turn: positive, or reasons_for: always",
        )
    unit = serve.explore.unit
    if (
        unit is not None
        and look.known((*path, "unit"), unit, scope.columns, "is not a column of the observations")
        and scope.columns[unit] == "time"
    ):
        look.fault((*path, "unit"), f"{unit} is a moment, not somebody", "name whom a request is about")


def _check_durations(look: Examiner) -> None:
    serve = look.spec.serve
    if serve.deadline is not None and not parse_duration(serve.deadline):
        look.fault(("serve", "deadline"), "is nothing, so no model could answer", "write for example 50ms")
    if serve.log.keep is not None and parse_duration(serve.log.keep) < timedelta(days=1):
        look.fault(("serve", "log", "keep"), "is less than a day, and whole days are deleted",
                   "write for example 400d")  # fmt: skip


def _check_bands(bands: Mapping[str, float], look: Examiner) -> None:
    if not bands:
        return
    path: Path = ("serve", "bands")
    if look.spec.train.task != "binary":
        look.fault(path, f"are for binary tasks, and the task is {look.spec.train.task}", at_key=True)
    names = list(bands)
    for above, below in pairwise(names):
        if bands[below] >= bands[above]:
            look.fault((*path, below), f"begins at {bands[below]:g}, not below {above} at {bands[above]:g}",
                       "list the bands from high to low")  # fmt: skip
            return
    if bands[names[-1]] > 0:
        look.fault((*path, names[-1]), f"begins at {bands[names[-1]]:g}, so lower scores have no band",
                   "the last band begins at 0")  # fmt: skip
