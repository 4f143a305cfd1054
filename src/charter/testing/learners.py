"""What every learner must hold; run by our tests, and by authors of plug-ins on theirs.

>>> from charter.testing.learners import CHECKS  # doctest: +SKIP
>>> for check in CHECKS:  # doctest: +SKIP
...     for task in sorted(MyLearner().tasks):
...         check(MyLearner(), task)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from charter.train.ports import Fitted, Learner, Validation

TOLERANCE = 1e-6
"""Largest difference between trained and exported model: absolute on probabilities, relative to the largest value."""
ROWS, COLUMNS = 600, 5
NAMES = tuple(f"x{j}" for j in range(COLUMNS))
_METRIC = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "root_mean_squared_error"}


class FixedSpace:
    """A `Space` that returns given values and checks that they lie in the range that is asked for."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = values
        self.asked: list[str] = []

    def real(self, name: str, low: float, high: float, *, log: bool = False) -> float:
        """Return the given number."""
        self.asked.append(name)
        assert low <= self._values[name] <= high, (
            f"default {name}={self._values[name]} outside [{low}, {high}]"
        )
        assert not log or low > 0, f"{name}: a logarithmic scale cannot start at {low}"
        return float(self._values[name])

    def integer(self, name: str, low: int, high: int, *, log: bool = False) -> int:
        """Return the given whole number."""
        return int(self.real(name, low, high, log=log))

    def choice(self, name: str, options: Sequence[Any]) -> Any:
        """Return the given option."""
        self.asked.append(name)
        assert self._values[name] in options, f"default {name}={self._values[name]} not among {options}"
        return self._values[name]


def rows(task: str, seed: int = 0, n: int = ROWS) -> tuple[np.ndarray, np.ndarray]:
    """Rows with missing values and a constant column, and their labels."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, COLUMNS)).astype(np.float32)
    X[:, 2] = np.round(X[:, 2])
    X[:, 4] = 3.0
    signal = X[:, 0].astype(np.float64) - 0.5 * X[:, 1] + 0.3 * X[:, 2]
    X[rng.random(X.shape) < 0.05] = np.nan
    noisy = signal + rng.normal(scale=0.5, size=n)
    if task == "regression":
        return X, 100.0 + 10.0 * noisy
    if task == "binary":
        return X, (noisy > 0.5).astype(np.int64)
    return X, np.digitize(noisy, [-0.5, 0.5]).astype(np.int64)


def fit(learner: Learner, task: str, seed: int = 0, **changes: Any) -> Fitted:
    """Fit with default parameters."""
    X, y = rows(task, seed)
    arguments: dict[str, Any] = {
        "weight": None,
        "params": learner.defaults(task),
        "seed": 7,
        "monotone": [0] * COLUMNS,
        "task": task,
    }
    return learner.fit(X, y, **{**arguments, **changes})


def score_onnx(content: bytes, X: np.ndarray) -> np.ndarray:
    """Scores of an exported model, on one thread."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(["score"], {"X": X})[0])


def defaults_lie_in_the_space(learner: Learner, task: str) -> None:
    """The parameters tried first are ones that the search could draw, and name all of them."""
    defaults = learner.defaults(task)
    space = FixedSpace(defaults)
    assert learner.suggest(space, task) == defaults
    assert sorted(space.asked) == sorted(defaults)


def scores_are_what_the_task_says(learner: Learner, task: str) -> None:
    """Shape and range of predictions: probabilities, rows that sum to one, finite numbers."""
    X, _ = rows(task, seed=1)
    score = fit(learner, task).predict(X)
    assert score.dtype == np.float64
    assert np.isfinite(score).all()
    if task == "regression":
        assert score.shape == (ROWS,)
        return
    assert ((score >= 0) & (score <= 1)).all()
    assert score.shape == ((ROWS,) if task == "binary" else (ROWS, 3))
    if task == "multiclass":
        np.testing.assert_allclose(score.sum(axis=1), 1.0, atol=1e-12)


def learns(learner: Learner, task: str) -> None:
    """Beats the answer that ignores the row, on rows that it has not seen."""
    X, y = rows(task, seed=2)
    score = fit(learner, task).predict(X)
    if task == "regression":
        assert np.mean((score - y) ** 2) < 0.7 * np.var(y)
    elif task == "binary":
        assert score[y == 1].mean() > score[y == 0].mean() + 0.2
    else:
        assert np.mean(score.argmax(axis=1) == y) > np.bincount(y).max() / len(y) + 0.1


def equal_arguments_give_equal_bytes(learner: Learner, task: str) -> None:
    """A second fit, with or without remembered rows, exports and keeps the same bytes."""
    memo: dict[str, Any] = {}
    first, second, third = fit(learner, task), fit(learner, task, memo=memo), fit(learner, task, memo=memo)
    for other in (second, third):
        assert first.to_onnx(NAMES) == other.to_onnx(NAMES)
        assert first.native() == other.native()
    assert first.to_onnx(NAMES) == first.to_onnx(NAMES)


def export_keeps_the_scores(learner: Learner, task: str) -> None:
    """Trained and exported model agree on ordinary, missing, infinite and extreme values."""
    X, _ = rows(task, seed=3)
    extreme = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-38, -1e-38, 3.4e38, -3.4e38], dtype=np.float32)
    odd = np.random.default_rng(4).choice(extreme, size=(200, COLUMNS)).astype(np.float32)
    X = np.vstack([X, odd])
    fitted = fit(learner, task)
    trained, exported = fitted.predict(X), score_onnx(fitted.to_onnx(NAMES), X)
    assert exported.dtype == np.float32
    assert exported.shape == trained.shape
    scale = max(1.0, float(np.abs(trained).max())) if task == "regression" else 1.0
    assert float(np.abs(exported - trained).max()) / scale <= TOLERANCE


def rows_do_not_depend_on_each_other(learner: Learner, task: str) -> None:
    """The exported model gives a row the same bits alone and in any batch."""
    X, _ = rows(task, seed=5, n=300)
    content = fit(learner, task).to_onnx(NAMES)
    together = score_onnx(content, X)
    for size in (1, 2, 7, 64):
        parts = [score_onnx(content, X[i : i + size]) for i in range(0, 130, size)]
        np.testing.assert_array_equal(np.concatenate(parts)[:130], together[:130])


def stops_early_and_settles(learner: Learner, task: str) -> None:
    """Parameters in force after watching validation rows settle into parameters for a fit without."""
    X, y = rows(task, seed=6)
    watched = fit(learner, task, validation=Validation(X, y, None, _METRIC[task]))
    settled = learner.settle([watched.params, watched.params], 1.0)
    fit(learner, task, params=settled)
    assert set(learner.defaults(task)) <= set(settled)


def monotone_promise_is_kept(learner: Learner, task: str) -> None:
    """With a constraint the score never falls (or rises) along the column; skipped where nothing is promised."""
    if not learner.monotone or task == "multiclass":
        return
    fitted = fit(learner, task, monotone=[-1, 0, 1, 0, 0])
    X, _ = rows(task, seed=7, n=50)
    for column, sign in ((0, -1.0), (2, 1.0)):
        steps = []
        for value in np.linspace(-4, 4, 41, dtype=np.float32):
            moved = X.copy()
            moved[:, column] = value
            steps.append(fitted.predict(moved))
        assert (sign * np.diff(np.stack(steps), axis=0) >= 0).all()


def an_absolute_loss_gives_the_median(learner: Learner, task: str) -> None:
    """Where it is known: a tenth of wild labels moves answers little; skipped where it is not."""
    if task != "regression" or "absolute" not in learner.losses:
        return
    X, y = rows(task, seed=8)
    wild = np.random.default_rng(8).random(len(y)) < 0.1
    moved = []
    for loss in ("squared", "absolute"):
        params = {**learner.defaults(task), **({"loss": loss} if loss != "squared" else {})}
        fitted = learner.fit(
            X,
            np.where(wild, y + 1000.0, y),
            weight=None,
            params=params,
            seed=7,
            monotone=[0] * COLUMNS,
            task=task,
        )
        moved.append(float(np.abs(fitted.predict(X) - y)[~wild].mean()))
    assert moved[1] < 0.5 * moved[0]


def importance_names_the_signal(learner: Learner, task: str) -> None:
    """Importance is one non-negative number per column, none for a constant, most for the strongest."""
    importance = fit(learner, task).importance()
    assert importance.shape == (COLUMNS,)
    assert (importance >= 0).all()
    assert importance.argmax() == 0


CHECKS: tuple[Callable[[Learner, str], None], ...] = (
    defaults_lie_in_the_space,
    scores_are_what_the_task_says,
    learns,
    equal_arguments_give_equal_bytes,
    export_keeps_the_scores,
    rows_do_not_depend_on_each_other,
    stops_early_and_settles,
    monotone_promise_is_kept,
    an_absolute_loss_gives_the_median,
    importance_names_the_signal,
)
