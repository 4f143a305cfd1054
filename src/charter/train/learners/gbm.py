"""Gradient boosted trees: LightGBM, made deterministic and portable."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from charter.core.errors import UsageError
from charter.train.learners.export import probabilities, trees_to_onnx
from charter.train.learners.portable import portable_text, split_text
from charter.train.ports import Params, Space, Validation

MAX_TREES = 400
ROWS_PER_THREAD = 4000
"""Below so many rows another thread costs more than it gives."""
PATIENCE = 30
"""Rounds without a better validation score after which boosting stops."""

_OBJECTIVE = {"binary": "binary", "multiclass": "multiclass", "regression": "regression"}
_ABSOLUTE = {"regression": "regression_l1"}
"""What stands instead where errors are to count by their size, not by its square."""
_WATCH = {
    "roc_auc": "auc",
    "gini": "auc",
    "average_precision": "average_precision",
    "mean_absolute_error": "l1",
    "mean_absolute_percentage_error": "mape",
    "root_mean_squared_error": "l2",
    "wmape": "l1",
    "mape": "l1",
}
_WATCH_TASK = {"binary": "binary_logloss", "multiclass": "multi_logloss", "regression": "l2"}


class LightGBMLearner:
    """LightGBM (Ke et al., 2017, "LightGBM: A Highly Efficient Gradient Boosting Decision Tree").

    Deterministic: one seed, ``deterministic`` and ``force_col_wise``, so that neither the number of threads nor the
    machine's load changes a bit. The booster is rewritten by `portable_text` and loaded again.

    Notes
    -----
    ``trees`` is not searched: with validation rows boosting stops by itself, and `settle` takes the median over folds.
    """

    name = "lightgbm"
    tasks = frozenset(_OBJECTIVE)
    monotone = True
    losses = frozenset({"squared", "absolute"})

    def suggest(self, space: Space, task: str) -> dict[str, Any]:
        """Draw parameters: a space in which a fit on 25,000 rows takes well under a second."""
        return {
            "learning_rate": space.real("learning_rate", 0.03, 0.2, log=True),
            "num_leaves": space.integer("num_leaves", 4, 63, log=True),
            "min_data_in_leaf": space.integer("min_data_in_leaf", 5, 200, log=True),
            "feature_fraction": space.real("feature_fraction", 0.3, 1.0),
            "bagging_fraction": space.real("bagging_fraction", 0.5, 1.0),
            "lambda_l2": space.real("lambda_l2", 0.001, 30.0, log=True),
            "min_sum_hessian_in_leaf": space.real("min_sum_hessian_in_leaf", 0.001, 10.0, log=True),
        }

    def defaults(self, task: str) -> dict[str, Any]:
        """Moderate parameters that do well on most tables of some ten thousand rows."""
        return {
            "learning_rate": 0.05,
            "num_leaves": 15,
            "min_data_in_leaf": 40,
            "feature_fraction": 0.7,
            "bagging_fraction": 0.8,
            "lambda_l2": 1.0,
            "min_sum_hessian_in_leaf": 0.01,
        }

    def fit(
        self,
        X: np.ndarray,
        y: np.ndarray,
        *,
        weight: np.ndarray | None,
        params: Params,
        seed: int,
        monotone: Sequence[int],
        task: str,
        validation: Validation | None = None,
        memo: dict[str, Any] | None = None,
    ) -> FittedBooster:
        """Boost until the validation score stops rising, or for ``params["trees"]`` rounds.

        ``params["loss"]`` is ``squared`` unless it says ``absolute``. ``memo`` keeps the binned rows: they do not
        depend on the parameters that are searched.

        Raises
        ------
        UsageError
            When LightGBM refuses a parameter.
        """
        import lightgbm as lgb

        own = {key: value for key, value in params.items() if key not in ("trees", "loss")}
        absolute = params.get("loss") == "absolute"
        rounds = int(params.get("trees", MAX_TREES))
        fixed = {
            "objective": (_ABSOLUTE if absolute else _OBJECTIVE)[task],
            "metric": "None",
            "seed": seed,
            "deterministic": True,
            "force_col_wise": True,
            "num_threads": threads(len(X)),
            "verbosity": -1,
            "feature_pre_filter": False,
            "bagging_freq": 1,
        }
        if task == "multiclass":
            fixed["num_class"] = int(np.max(y)) + 1
        if any(monotone):
            fixed["monotone_constraints"] = list(monotone)
        callbacks = []
        memo = {} if memo is None else memo
        train, valid = _binned(lgb, memo, X, y, weight, validation, {**fixed, **own})
        if valid is not None and validation is not None:
            fixed["metric"] = _WATCH.get(validation.metric, _WATCH_TASK[task])
            callbacks.append(lgb.early_stopping(PATIENCE, verbose=False))
        try:
            booster = lgb.train(
                {**fixed, **own},
                train,
                num_boost_round=rounds,
                valid_sets=[valid] if valid is not None else None,
                callbacks=callbacks,
            )
        except lgb.basic.LightGBMError as error:
            raise UsageError(
                f"LightGBM refuses what it is asked for: {error}",
                remedy="Correct train.search.fixed.lightgbm, or leave it out.",
            ) from error
        best = booster.best_iteration if valid is not None else -1
        text = portable_text(booster.model_to_string(num_iteration=best))
        trees = best if best > 0 else booster.current_iteration()
        return FittedBooster(text, task, {**params, "trees": trees})

    def settle(self, fold_params: Sequence[Params], growth: float) -> dict[str, Any]:
        """Median number of trees over folds, times the root of ``growth``: more rows bear a few more trees."""
        trees = float(np.median([p["trees"] for p in fold_params])) * float(np.sqrt(growth))
        return {**fold_params[0], "trees": int(min(max(round(trees), 1), MAX_TREES))}


class FittedBooster:
    """A portable LightGBM forest.

    Parameters
    ----------
    text
        Model text that `portable_text` has rewritten.
    task
        ``binary``, ``multiclass`` or ``regression``.
    params
        Parameters in force.
    """

    def __init__(self, text: str, task: str, params: Params) -> None:
        import lightgbm as lgb

        self._text = text
        self._task = task
        self._params = dict(params)
        self._booster = lgb.Booster(model_str=text)

    @property
    def params(self) -> Params:
        """Parameters in force after fitting; ``trees`` is the number of boosting rounds kept."""
        return dict(self._params)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Float64 probabilities or values for float32 ``X`` (n, d)."""
        matrix = np.ascontiguousarray(X, dtype=np.float32)
        raw = self._booster.predict(matrix, raw_score=True, num_threads=threads(len(matrix)))
        return probabilities(np.asarray(raw, dtype=np.float64), self._task)

    def to_onnx(self, names: Sequence[str]) -> bytes:
        """Export through `trees_to_onnx`."""
        return trees_to_onnx(self._text, task=self._task, columns=names)

    def native(self) -> dict[str, bytes]:
        """LightGBM's text format, from which SHAP values are computed."""
        return {"lightgbm.txt": self._text.encode()}

    def importance(self) -> np.ndarray:
        """Total gain of the splits on each column."""
        head, trees, _ = split_text(self._text)
        header = dict(line.split("=", 1) for line in head if "=" in line)
        gain = np.zeros(int(header["max_feature_idx"]) + 1)
        for lines in trees:
            tree = dict(line.split("=", 1) for line in lines if "=" in line)
            if int(tree["num_leaves"]) > 1:
                np.add.at(
                    gain,
                    np.array(tree["split_feature"].split(), dtype=np.int64),
                    np.maximum(np.array(tree["split_gain"].split(), dtype=np.float64), 0),
                )
        return gain


def threads(rows: int) -> int:
    """Processors to use for so many rows, of those that this process may use. Results do not depend on it."""
    affinity = getattr(os, "sched_getaffinity", None)
    available = len(affinity(0)) if affinity is not None else os.cpu_count() or 1
    return max(min(available, rows // ROWS_PER_THREAD, 16), 1)


def _binned(
    lgb: Any,
    memo: dict[str, Any],
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray | None,
    validation: Validation | None,
    params: dict[str, Any],
) -> tuple[Any, Any]:
    if "lightgbm.train" not in memo:
        # Only what shapes the bins may be given here: a data set remembers its parameters.
        shaping = {k: params[k] for k in ("verbosity", "num_threads", "feature_pre_filter", "deterministic")}
        train = lgb.Dataset(X, y, weight=weight, params=shaping, free_raw_data=False)
        memo["lightgbm.train"] = train.construct()
    train = memo["lightgbm.train"]
    if validation is None:
        return train, None
    if "lightgbm.valid" not in memo:
        memo["lightgbm.valid"] = train.create_valid(
            validation.X, label=validation.y, weight=validation.weight, params=train.get_params()
        ).construct()
    return train, memo["lightgbm.valid"]
