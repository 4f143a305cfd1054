"""Bayesian search over learners and their parameters, judged by cross-validation."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import repeat
from typing import TYPE_CHECKING, Any

import numpy as np

from charter.core.errors import DataError
from charter.core.progress import NoProgress, Progress
from charter.core.spread import HERE, Spread
from charter.data import metrics
from charter.train.folds import Fold
from charter.train.ports import Learner, Params

if TYPE_CHECKING:
    from charter.spec.types import Value

UNPRUNED = 5
"""So many finished trials before the first may be stopped half-way."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One trial.

    Attributes
    ----------
    number
        Order of trial, from 0.
    params
        As drawn.
    fold_params
        In force after each fold, for `Learner.settle`.
    fold_scores
        The search metric per fold; fewer than there are folds when the trial was pruned.
    score
        Mean of ``fold_scores``.
    seconds
        Wall clock; not part of `to_json`, which is reproducible.
    """

    number: int
    learner: str
    params: Mapping[str, Any]
    fold_params: tuple[Mapping[str, Any], ...]
    fold_scores: tuple[float, ...]
    score: float
    pruned: bool
    seconds: float = field(default=0.0, compare=False)

    def to_json(self) -> dict[str, Any]:
        """Plain data that is equal for equal searches."""
        return {
            "number": self.number,
            "learner": self.learner,
            "params": dict(self.params),
            "fold_scores": list(self.fold_scores),
            "score": self.score,
            "pruned": self.pruned,
        }


class TrialSpace:
    """An Optuna trial as a `Space`: names are prefixed by the learner's."""

    def __init__(self, trial: Any, prefix: str) -> None:
        self._trial = trial
        self._prefix = prefix

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return a number from ``[low, high]``."""
        return float(self._trial.suggest_float(f"{self._prefix}.{name}", low, high, log=log))

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return a whole number from ``[low, high]``."""
        return int(self._trial.suggest_int(f"{self._prefix}.{name}", low, high, log=log))

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Return one of ``options``."""
        return self._trial.suggest_categorical(f"{self._prefix}.{name}", list(options))


def search(
    folds: Sequence[Fold],
    learners: Sequence[Learner],
    *,
    task: str,
    metric: str,
    trials: int,
    seed: int,
    value: Value | None = None,
    fixed: Mapping[str, Params] | None = None,
    progress: Progress | None = None,
    spread: Spread = HERE,
) -> list[Candidate]:
    """Try parameters one after another and return every trial in order.

    The learner is itself a parameter of one study (Tree-structured Parzen Estimator; Bergstra et al., 2011), so trials
    flow to the learner that promises more: an even split would spend half of them on the one knob of a linear model.
    First come the learners' own defaults, in the order of ``learners`` and never pruned, so each is judged on all
    folds; should ``trials`` be fewer than learners, the defaults are still tried.

    A trial whose mean over the folds so far is worse than the median of earlier trials at that fold is stopped.
    Trials run one at a time, since each learns from those before; what is spread is the folds of a trial. A trial is
    stopped by what its folds say in their order, so equal arguments give equal trials, whoever fits them.

    Parameters
    ----------
    folds
        As ``spread`` keeps them.
    metric
        Word of `charter.spec.vocabulary`; metrics of decisions decide at 0.5.
    trials
        Over all learners together.
    value
        What outcomes are worth, for value metrics.
    fixed
        Parameters that are not searched, by learner; every trial has them.

    Raises
    ------
    DataError
        When the metric has no value on a fold.
    """
    import optuna

    progress, stated = progress if progress is not None else NoProgress(), fixed or {}
    sign = "maximize" if metrics.direction(metric) == "up" else "minimize"
    logged = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            direction=sign,
            sampler=optuna.samplers.TPESampler(seed=seed),
            pruner=optuna.pruners.MedianPruner(n_startup_trials=max(UNPRUNED, len(learners))),
        )
        named = {learner.name: learner for learner in learners}
        for learner in learners:
            study.enqueue_trial(_queued(learner, task))
        progress.start("searching", max(trials, len(learners)))
        found: list[Candidate] = []
        for number in range(max(trials, len(learners))):
            trial = study.ask()
            learner = named[trial.suggest_categorical("learner", list(named))]
            params = {
                **learner.suggest(TrialSpace(trial, learner.name), task),
                **stated.get(learner.name, {}),
            }
            candidate = _try(trial, number, learner, params, folds, task, metric, seed, value, spread)
            state = optuna.trial.TrialState.PRUNED if candidate.pruned else None
            study.tell(trial, None if candidate.pruned else candidate.score, state=state)
            found.append(candidate)
            score = f"{candidate.learner} {metric} {candidate.score:.4f}"
            progress.advance(1, f"{score}, best {best(found, metric).score:.4f}")
        winner = best(found, metric)
        progress.finish(f"{winner.learner} {metric} {winner.score:.4f}")
        return found
    finally:
        optuna.logging.set_verbosity(logged)


def best(candidates: Sequence[Candidate], metric: str) -> Candidate:
    """Return the best of the trials that were not pruned; of equals the earliest."""
    sign = 1.0 if metrics.direction(metric) == "up" else -1.0
    finished = [c for c in candidates if not c.pruned]
    return max(finished, key=lambda c: (sign * c.score, -c.number))


def measure(metric: str, y: np.ndarray, score: np.ndarray, value: Value | None, where: str) -> float:
    """Compute a metric that must have a value.

    Raises
    ------
    DataError
        When it has none, saying why.
    """
    found = metrics.compute(metric, y, score, None, value)
    if not math.isfinite(found):
        why = metrics.why_undefined(metric, y, score)
        raise DataError(
            f"train.search.metric: {metric} has no value on {where}: {why}",
            remedy="Choose another metric, or fewer folds.",
        )
    return found


def _queued(learner: Learner, task: str) -> dict[str, Any]:
    defaults = learner.defaults(task)
    return {"learner": learner.name, **{f"{learner.name}.{key}": v for key, v in defaults.items()}}


def _try(
    trial: Any,
    number: int,
    learner: Learner,
    params: Params,
    folds: Sequence[Fold],
    task: str,
    metric: str,
    seed: int,
    value: Value | None,
    spread: Spread,
) -> Candidate:
    started = time.perf_counter()
    scores: list[float] = []
    in_force: list[Params] = []
    pruned = False
    same = map(repeat, (learner, params, task, metric, seed, value))
    with closing(spread.map(_judged, folds, range(len(folds)), *same)) as outcomes:
        for step, (score, fitted) in enumerate(outcomes):
            scores.append(score)
            in_force.append(fitted)
            trial.report(_mean(scores), step)
            if step + 1 < len(folds) and trial.should_prune():
                pruned = True
                break
    seconds = time.perf_counter() - started
    return Candidate(
        number, learner.name, params, tuple(in_force), tuple(scores), _mean(scores), pruned, seconds
    )


def _judged(
    fold: Fold,
    step: int,
    learner: Learner,
    params: Params,
    task: str,
    metric: str,
    seed: int,
    value: Value | None,
) -> tuple[float, Params]:
    """Fit on a fold, and say how good that is and by which parameters."""
    fitted = fold.fit(learner, params, seed=seed, task=task, watch=metric)
    return measure(metric, fold.actual, fold.judge(fitted), value, f"fold {step}"), fitted.params


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)
