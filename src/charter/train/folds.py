"""Folds ready to fit on: encoded, balanced, and remembered, since none of that depends on a trial."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from charter.core.errors import DataError
from charter.train.calibrate import Calibration, apply
from charter.train.imbalance import balance, class_weights
from charter.train.learners.by_block import placed
from charter.train.ports import Fitted, Learner, Params, Validation


@dataclass(frozen=True, slots=True, eq=False)
class Fold:
    """One fold.

    Attributes
    ----------
    X, y, weight
        Rows to fit on, after balancing.
    X_valid, y_valid
        Rows to judge by, untouched.
    rows : ndarray of int64
        Places of the validation rows among the training rows of the data set.
    seen
        Training rows before balancing.
    watch_weight
        Weights under which early stopping watches the validation rows; as lopsided as the training.
    monotone
        Direction per matrix column.
    calibration
        Turns what a model says into the label's unit, for measuring.
    actual
        Labels of the validation rows, in that unit; ``y_valid`` unless the label was transformed.
    columns
        Names of the matrix columns.
    X_new
        Questions about series without a past that are rehearsed, see `charter.train.cold_start`; None without any.
    memo
        Scratch space of the learners, by name.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray | None
    X_valid: np.ndarray
    y_valid: np.ndarray
    rows: np.ndarray
    seen: int
    watch_weight: np.ndarray | None
    monotone: tuple[int, ...]
    actual: np.ndarray
    calibration: Calibration = field(default_factory=Calibration)
    columns: tuple[str, ...] = ()
    X_new: np.ndarray | None = None
    memo: dict[str, dict[str, Any]] = field(default_factory=dict)

    def fit(
        self, learner: Learner, params: Params, *, seed: int, task: str, watch: str | None = None
    ) -> Fitted:
        """Fit on the fold; with ``watch`` (a metric) the learner may stop early by the validation rows."""
        validation = (
            None if watch is None else Validation(self.X_valid, self.y_valid, self.watch_weight, watch)
        )
        return placed(learner, self.columns).fit(
            self.X,
            self.y,
            weight=self.weight,
            params=params,
            seed=seed,
            monotone=self.monotone,
            task=task,
            validation=validation,
            memo=self.memo.setdefault(learner.name, {}),
        )

    def judge(self, fitted: Fitted) -> np.ndarray:
        """Answers for the validation rows, in the label's unit."""
        return apply(self.calibration, fitted.predict(self.X_valid))

    def outline(self) -> Fold:
        """The fold without its matrices, for whoever knows already what a model says of its rows."""
        none = np.empty((0, self.X.shape[1]), self.X.dtype)
        return replace(self, X=none, y=self.y[:0].copy(), weight=None, X_valid=none, X_new=None, memo={})


def say(
    fold: Fold, learner: Learner, params: Params, seed: int, task: str
) -> tuple[np.ndarray, np.ndarray | None]:
    """Fit on a fold without watching, and answer its validation rows and its questions, where it has any."""
    fitted = fold.fit(learner, params, seed=seed, task=task)
    if fold.X_new is None:
        return fitted.predict(fold.X_valid), None
    return fitted.predict(fold.X_valid), fitted.predict(fold.X_new) if len(fold.X_new) else np.empty(0)


def make_fold(
    X: np.ndarray,
    y: np.ndarray,
    X_valid: np.ndarray,
    y_valid: np.ndarray,
    rows: np.ndarray,
    *,
    number: int,
    task: str,
    imbalance: str,
    monotone: Sequence[int],
    seed: int,
    groups: np.ndarray | None = None,
    weights: tuple[np.ndarray, np.ndarray] | None = None,
    calibration: Calibration | None = None,
    columns: Sequence[str] = (),
) -> Fold:
    """Balance the training rows and check that the fold can be learned from and judged by.

    Parameters
    ----------
    weights
        Of training and validation rows, for tasks without classes.
    calibration
        The way from what is learned, which ``y`` and ``y_valid`` are, to the label's unit.
    columns
        Names of the matrix columns.

    Raises
    ------
    DataError
        When the training or the validation rows lack a class, or there are none.
    """
    if len(y) == 0 or len(y_valid) == 0:
        raise DataError(f"train.split: fold {number} is empty", remedy="Ask for fewer folds.")
    if task != "regression":
        classes = np.unique(y)
        missing_valid = task == "binary" and len(np.unique(y_valid)) < 2
        if len(classes) < 2 or missing_valid or not np.isin(np.unique(y_valid), classes).all():
            raise DataError(
                f"train.split: fold {number} does not hold every class",
                remedy="Ask for fewer folds, or stratify the split.",
            )
    fit_X, fit_y, weight = balance(X, y, imbalance, seed=seed, groups=groups)
    watch = None if imbalance == "none" else class_weights(y_valid)
    if weights is not None:
        weight, watch = weights
    back = calibration if calibration is not None else Calibration()
    actual = apply(back, y_valid) if back.kind != "none" else y_valid
    return Fold(
        fit_X, fit_y, weight, X_valid, y_valid, rows, len(y), watch, tuple(monotone), actual, back, tuple(columns)
    )  # fmt: skip
