"""What the specification asks of the learners, held against what they can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from charter.core import plugins
from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.train.ports import Learner

if TYPE_CHECKING:
    from charter.features.featureset import FeatureSet
    from charter.features.preprocess import Preprocessor
    from charter.spec.types import ModelSpec, TrainSpec


def load_learners(names: Sequence[str], *, task: str, monotone: bool, loss: str = "squared") -> list[Learner]:
    """Learners by name, each once, checked against the task and the promise asked of them.

    Raises
    ------
    UsageError
        For an unknown learner, one without the task or the loss, or one that cannot keep monotone constraints.
    """
    found: list[Learner] = []
    for name in dict.fromkeys(names):
        learner: Learner = plugins.load("learners", name)()
        if task not in learner.tasks:
            raise UsageError(
                f"train.learners: {name} cannot do {task}; it does {', '.join(sorted(learner.tasks))}",
                remedy="Remove it from train.learners.",
            )
        if monotone and not learner.monotone:
            raise UsageError(
                f"train.monotone: {name} cannot promise monotone constraints",
                remedy="Remove it from train.learners, or remove the constraints.",
            )
        if loss not in learner.losses:
            raise UsageError(
                f"train.loss: {name} cannot make the {loss} error small; it does {', '.join(sorted(learner.losses))}",
                remedy="Remove it from train.learners, or leave train.loss out.",
            )
        found.append(learner)
    return found


def fixed_parameters(learners: Sequence[Learner], plan: TrainSpec, task: str) -> dict[str, dict[str, Any]]:
    """Parameters that every trial of a learner has: ``train.search.fixed`` and, unless squared, ``train.loss``.

    Raises
    ------
    UsageError
        When a learner has no such parameter, or one that is a whole number is stated as a fraction.
    """
    found: dict[str, dict[str, Any]] = {}
    for learner in learners:
        stated, usual = plan.search.fixed.get(learner.name, {}), learner.defaults(task)
        for name, value in stated.items():
            where = f"train.search.fixed.{learner.name}.{name}"
            if name not in usual:
                raise UsageError(
                    f"{where}: {learner.name} has no such parameter", remedy=did_you_mean(name, usual)
                )
            if isinstance(usual[name], int) and not isinstance(value, int):
                raise UsageError(f"{where} is {value}; it is a whole number", remedy="Round it.")
        found[learner.name] = {**stated, **({"loss": plan.loss} if plan.loss != "squared" else {})}
    return found


def monotone_columns(
    preprocessor: Preprocessor, monotone: Mapping[str, str], feature_set: FeatureSet
) -> tuple[int, ...]:
    """Direction per matrix column: 1 increasing, -1 decreasing, 0 free.

    A constrained feature that selection left out needs no constraint.

    Raises
    ------
    UsageError
        When a constrained feature does not exist, or is not a single column of the matrix.
    """
    for feature in monotone:
        if feature not in feature_set.names:
            raise UsageError(
                f"train.monotone: {feature!r} is not a feature of the model",
                remedy="Name a feature, or remove the constraint.",
            )
        columns = [name for name, source in preprocessor.source_of.items() if source == feature]
        if len(columns) > 1:
            raise UsageError(
                f"train.monotone: {feature!r} becomes {len(columns)} columns, which cannot be ordered",
                remedy=f"Encode it as numeric or ordinal (features.encode.{feature}), or remove the constraint.",
            )
    sign = {"increasing": 1, "decreasing": -1}
    return tuple(sign.get(monotone.get(preprocessor.source_of[name], ""), 0) for name in preprocessor.names)


def refuse_contradictions(spec: ModelSpec) -> None:
    """Refuse what the task leaves no sense in; `charter check` says so, too, before.

    Raises
    ------
    UsageError
    """
    plan = spec.train
    if plan.task != "binary" and plan.calibrate != "none":
        raise UsageError(
            f"train.calibrate: {plan.calibrate} is for binary tasks, this one is {plan.task}",
            remedy="Use 'calibrate: none'.",
        )
    if plan.task == "multiclass" and plan.monotone:
        raise UsageError(
            "train.monotone: with several classes no score can only rise",
            remedy="Remove the constraints.",
        )
    if plan.task in ("regression", "forecast") and plan.imbalance != "none":
        raise UsageError(
            f"train.imbalance: {plan.imbalance} is about classes, a {plan.task} has none",
            remedy="Use 'imbalance: none'.",
        )
