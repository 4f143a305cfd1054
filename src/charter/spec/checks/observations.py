"""Observations and label: what one row is, and what is predicted for it."""

from __future__ import annotations

from datetime import date, timedelta

from charter.core.quantity import parse_duration
from charter.spec.checks.examiner import Examiner, source_kinds
from charter.spec.checks.sources import check_time, is_reserved
from charter.spec.document import Path
from charter.spec.functions import Kind
from charter.spec.moments import cutoff_dates, fixed, moving
from charter.spec.types import Cutoffs, Label, Moment, SourceSpec, days_between

_OBSERVATIONS: Path = ("data", "observations")
_LABEL: Path = ("data", "label")
_NOT_HERE = "which the source does not have"


def check_observations(look: Examiner) -> None:
    """Check that the observed source or entity is there."""
    observations = look.spec.data.observations
    if observations.source is not None:
        source = look.source((*_OBSERVATIONS, "source"), observations.source)
        if source is not None and not observations.series:
            kinds = source_kinds(source)
            for i, name in enumerate(observations.key):
                look.known((*_OBSERVATIONS, "key", i), name, kinds, "is not a column of the source")
            time = observations.time
            if time is not None and look.known(
                (*_OBSERVATIONS, "time"), time, kinds, "is not a column of the source"
            ):
                check_time((*_OBSERVATIONS, "time"), time, kinds, look)
        return
    _check_entities(look)


def _check_entities(look: Examiner) -> None:
    observations = look.spec.data.observations
    cutoffs, population = observations.cutoffs, observations.population
    span = days_between(cutoffs.first, cutoffs.last) if cutoffs is not None else None
    if cutoffs is not None and span is not None and span < timedelta(0):
        look.fault(
            (*_OBSERVATIONS, "cutoffs", "last"), f"is {cutoffs.last}, earlier than first {cutoffs.first}"
        )
    elif cutoffs is not None and not _sensible(cutoffs):
        look.fault((*_OBSERVATIONS, "cutoffs"), "span more than a century", at_key=True)
    if population is None:
        return
    path: Path = (*_OBSERVATIONS, "population")
    source = event_source((*path, "source"), population.source, look)
    if source is None:
        return
    kinds = source_kinds(source)
    if population.where is not None:
        look.expression((*path, "where"), population.where, kinds, nowhere=_NOT_HERE, wants="truth")
    aged: dict[str, Kind] = {**kinds, "age_days": "number"}
    look.expression(
        (*path, "having"), population.having, aged, nowhere=_NOT_HERE, wants="truth", aggregate=True
    )


def event_source(path: Path, name: str | None, look: Examiner) -> SourceSpec | None:
    """The source of an entity's events; notes what it lacks: a time, or the entity's column."""
    source = look.source(path, name)
    if source is None:
        return None
    if source.time is None:
        look.fault(
            path,
            f"{name} has no time, so what was known when cannot be told",
            f"add 'time' to data.sources.{name}",
        )
    entity = look.spec.data.observations.entity
    if entity is not None and entity not in source_kinds(source) and look.names_known:
        look.fault(
            path, f"{name} has no column {entity}, the entity", f"columns: {', '.join(source_kinds(source))}"
        )
    return source


def check_label(look: Examiner) -> None:
    """Check that the label exists, fits the task, and is no feature's name."""
    label = look.spec.data.label
    if is_reserved(label.name):
        look.fault((*_LABEL, "name"), f"{label.name} is a name of Charter's own", "choose another name")
    if label.column is not None:
        _check_label_column(label, look)
    else:
        _check_label_events(label, look)
    if label.known_after is not None and label.over_next is not None:
        known, horizon = parse_duration(label.known_after), parse_duration(label.over_next)
        if known < horizon:
            look.fault((*_LABEL, "known_after"), f"is {label.known_after}, shorter than over_next {label.over_next}",
                       "a label is known when its time is over, not before")  # fmt: skip


def _check_label_column(label: Label, look: Examiner) -> None:
    observations, task = look.spec.data.observations, look.spec.train.task
    if observations.entity is not None:
        look.fault((*_LABEL, "column"), "is for observations of one row each; entities have no column of their own",
                   "use source, over_next and positive_when", at_key=True)  # fmt: skip
        return
    source = look.spec.data.sources.get(observations.source or "")
    if source is None or label.column is None:
        return
    kinds = source_kinds(source)
    if not look.known((*_LABEL, "column"), label.column, kinds, "is not a column of the source"):
        return
    if label.name in kinds and label.name != label.column:
        look.fault(
            (*_LABEL, "name"), f"{label.name} is already a column of the source", "choose another name"
        )
    if label.column in observations.key:
        look.fault((*_LABEL, "column"), f"{label.column} is a key, which cannot be predicted")
    kind = kinds[label.column]
    if label.column in observations.series or label.column in observations.known_ahead:
        look.fault((*_LABEL, "column"), f"{label.column} is known ahead, so there is nothing to predict")
    number = task in ("regression", "forecast")
    if number and kind not in ("number", "any"):
        look.fault((*_LABEL, "column"), f"{label.column} is no number, and the task is {task}")
    if not number and kind == "time":
        look.fault((*_LABEL, "column"), f"{label.column} is a time, and the task is {task}")
    _check_positive(label, source, look)


def _check_positive(label: Label, source: SourceSpec, look: Examiner) -> None:
    task = look.spec.train.task
    column = source.columns.get(label.column or "")
    if task != "binary":
        if label.positive is not None:
            look.fault((*_LABEL, "positive"), f"is for binary tasks, and the task is {task}", at_key=True)
        return
    if label.positive is None:
        if column is None or column.type != "boolean":
            look.fault((*_LABEL, "column"), "needs 'positive': the value that counts as positive")
    elif column is not None and column.values is not None and label.positive not in column.values:
        look.fault((*_LABEL, "positive"), f"{label.positive} is not one of the column's values",
                   f"values: {', '.join(column.values)}")  # fmt: skip


def _check_label_events(label: Label, look: Examiner) -> None:
    task = look.spec.train.task
    if look.spec.data.observations.entity is None:
        look.fault(
            (*_LABEL, "source"), "is for entities; these observations are rows", "use column", at_key=True
        )
        return
    if task != "binary":
        look.fault((*_LABEL, "positive_when"), f"is for binary tasks, and the task is {task}", at_key=True)
    if label.positive is not None:
        look.fault(
            (*_LABEL, "positive"), "is for a label in a column; positive_when says it here", at_key=True
        )
    source = event_source((*_LABEL, "source"), label.source, look)
    if source is None:
        return
    kinds = source_kinds(source)
    if label.where is not None:
        look.expression((*_LABEL, "where"), label.where, kinds, nowhere=_NOT_HERE, wants="truth")
    if label.positive_when is not None:
        look.expression((*_LABEL, "positive_when"), label.positive_when, kinds, nowhere=_NOT_HERE, wants="truth",
                        aggregate=True)  # fmt: skip


def check_split(look: Examiner) -> None:
    """Check that held-out rows are held out in truth: by time, by group, and after their labels are known."""
    split, observations = look.spec.train.split, look.spec.data.observations
    path: Path = ("train", "split")
    if split.stratify and look.spec.train.task == "regression":
        look.fault((*path, "stratify"), "needs classes, and the task is regression")
    if split.kind == "random" and observations.entity is not None:
        look.fault((*path, "kind"), f"is random, so the same {observations.entity} would stand on both sides",
                   f"use kind: time, or kind: grouped with group: {observations.entity}")  # fmt: skip
    if split.kind != "time" or split.train_until is None or split.test_from is None:
        return
    if observations.source is not None and observations.time is None:
        look.fault(
            (*path, "kind"), "is time, but the observations have none", "add 'time' to data.observations"
        )
    _check_known(split.train_until, split.test_from, look)
    if observations.cutoffs is not None and not moving(look.spec):
        _check_cutoffs(observations.cutoffs, look)


def _sensible(cutoffs: Cutoffs) -> bool:
    span = days_between(cutoffs.first, cutoffs.last)
    last = cutoffs.last
    return (span is None or span < timedelta(days=36_525)) and (
        isinstance(last, str) or last.year < date.max.year
    )


def _check_known(train_until: Moment, test_from: Moment, look: Examiner) -> None:
    """The last training label must be known when the first test row is predicted."""
    label = look.spec.data.label
    apart = days_between(train_until, test_from)
    if apart is None or apart >= label.wait:
        return
    if isinstance(test_from, str) or isinstance(train_until, str):
        look.fault(("train", "split", "test_from"),
                   f"is {test_from}, but the labels of {train_until} are known only {label.wait_text} later",
                   f"let {label.wait_text} lie between the two")  # fmt: skip
    else:
        try:
            known = train_until + label.wait
        except OverflowError:  # a calendar ends in the year 9999
            known = date.max
        latest = test_from - label.wait
        look.fault(("train", "split", "test_from"),
                   f"is {test_from}, but the labels of {train_until} are known only on {known} "
                   f"({label.wait_text} later)",
                   f"move test_from to {known}, or train_until to {latest}")  # fmt: skip


def _check_cutoffs(cutoffs: Cutoffs, look: Examiner) -> None:
    """Count the cut-offs on either side, where they are dates."""
    split = look.spec.train.split
    path: Path = ("train", "split")
    if split.train_until is None or split.test_from is None:
        return
    first, end = fixed(cutoffs.first), fixed(cutoffs.last)
    if first > end or not _sensible(cutoffs):
        return
    days = list(cutoff_dates(first, end, cutoffs.every))
    begin, until = fixed(split.train_from or date.min), fixed(split.train_until)
    test_from, last = fixed(split.test_from), fixed(split.test_until or date.max)
    training = sum(begin <= day <= until for day in days)
    if not training:
        look.fault(
            (*path, "train_until"), f"is {split.train_until}, before the first cut-off {cutoffs.first}"
        )
    elif training <= split.folds:
        look.fault((*path, "folds"), f"are {split.folds}, but only {training} cut-offs are for training",
                   f"growing windows need one cut-off more than folds: at most {training - 1}")  # fmt: skip
    if not any(test_from <= day <= last for day in days):
        look.fault(
            (*path, "test_from"), "leaves no cut-off for testing", f"cut-offs: {days[0]} to {days[-1]}"
        )
