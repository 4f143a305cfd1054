"""Logistic regression that imputes and standardises by itself, as one portable model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from charter.core.digest import canonical_json
from charter.core.errors import UsageError
from charter.train.learners.export import linear_to_onnx, probabilities, sum_columns
from charter.train.ports import Params, Space, Validation

DENSE_COLUMNS = 300
"""Up to so many columns Newton's method with a Cholesky factor is the faster way to the same optimum."""


class LogisticRegressionLearner:
    """Ridge-penalised logistic regression on standardised columns (scikit-learn).

    A column's missing and infinite values are replaced by its median, then it is standardised; both are folded into
    the coefficients, so that the exported model reads raw columns. Minimises
    ``|w|^2 / 2 + C x sum of weighted log losses``. Multiclass is multinomial.
    """

    name = "logistic_regression"
    tasks = frozenset({"binary", "multiclass"})
    monotone = False

    def suggest(self, space: Space, task: str) -> dict[str, Any]:
        """Draw the inverse strength of the penalty."""
        return {"C": space.real("C", 1e-4, 100.0, log=True)}

    def defaults(self, task: str) -> dict[str, Any]:
        """A weak penalty."""
        return {"C": 1.0}

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
    ) -> FittedLinear:
        """Fit; convex, so neither ``seed`` nor ``validation`` has any influence.

        Raises
        ------
        UsageError
            When a monotone constraint is asked for.
        """
        from sklearn.linear_model import LogisticRegression
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if any(monotone):
            raise UsageError(
                "train.monotone: logistic_regression cannot promise monotone constraints",
                remedy="Remove it from train.learners, or remove the constraints.",
            )
        memo = {} if memo is None else memo
        if "linear" not in memo:
            memo["linear"] = _standardise(X)
        Z, fill, mean, scale = memo["linear"]
        solver = "newton-cholesky" if X.shape[1] <= DENSE_COLUMNS else "lbfgs"
        model = LogisticRegression(C=float(params["C"]), solver=solver, max_iter=1000, tol=1e-6)
        with threadpool_limits(1):  # the order of a threaded sum is not ours to know
            model.fit(Z, y.astype(np.int64), sample_weight=weight)
        coefficients = model.coef_.T / scale[:, None]
        intercept = model.intercept_ - sum_columns((mean[:, None] * coefficients)[None])[0]
        return FittedLinear(coefficients, intercept, fill, mean, scale, task, params)

    def settle(self, fold_params: Sequence[Params], growth: float) -> dict[str, Any]:
        """Return the folds' common parameters: nothing was stopped early."""
        return dict(fold_params[0])


class FittedLinear:
    """Linear scores of raw columns.

    Parameters
    ----------
    coefficients : ndarray of float64, shape (d, k)
        Per unit of the raw column; ``k`` is 1 for binary tasks.
    intercept : ndarray of float64, shape (k,)
    fill, mean, scale : ndarray of float64, shape (d,)
        Stand-in for missing values, mean after imputation, and standard deviation (1 where constant).
    """

    def __init__(
        self,
        coefficients: np.ndarray,
        intercept: np.ndarray,
        fill: np.ndarray,
        mean: np.ndarray,
        scale: np.ndarray,
        task: str,
        params: Params,
    ) -> None:
        self._coefficients, self._intercept = coefficients, intercept
        self._fill, self._mean, self._scale = fill, mean, scale
        self._task, self._params = task, dict(params)

    @property
    def params(self) -> Params:
        """Parameters in force."""
        return dict(self._params)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Float64 probabilities for float32 ``X`` (n, d), summed in the order of the exported graph."""
        wide = np.asarray(X, dtype=np.float32).astype(np.float64)
        known = np.where(np.isfinite(wide), wide, self._fill)
        raw = sum_columns(known[:, :, None] * self._coefficients) + self._intercept
        return probabilities(raw if self._task == "multiclass" else raw[:, 0], self._task)

    def to_onnx(self, names: Sequence[str]) -> bytes:
        """Export through `linear_to_onnx`."""
        return linear_to_onnx(
            fill=self._fill,
            coefficients=self._coefficients,
            intercept=self._intercept,
            task=self._task,
            columns=names,
        )

    def native(self) -> dict[str, bytes]:
        """``linear.json``: a reason is ``coefficient x (value - mean)``; lists are [d] or, multiclass, [k][d]."""
        binary = self._task != "multiclass"
        content = {
            "schema_version": 1,
            "coefficients": (self._coefficients[:, 0] if binary else self._coefficients.T).tolist(),
            "intercept": float(self._intercept[0]) if binary else self._intercept.tolist(),
            "means": self._mean.tolist(),
            "fill": self._fill.tolist(),
        }
        return {"linear.json": canonical_json(content)}

    def importance(self) -> np.ndarray:
        """Absolute effect of one standard deviation, the mean over classes."""
        effect: np.ndarray = np.abs(self._coefficients * self._scale[:, None]).mean(axis=1)
        return effect


def _standardise(X: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Impute by the median of the finite values (0 where there is none), then centre and scale."""
    wide = X.astype(np.float64)
    finite = np.isfinite(wide)
    fill = np.zeros(X.shape[1])
    for j in range(X.shape[1]):
        if finite[:, j].any():
            fill[j] = np.median(wide[finite[:, j], j])
    wide = np.where(finite, wide, fill)
    mean, scale = wide.mean(axis=0), wide.std(axis=0)
    scale = np.where(scale > 1e-12 * np.maximum(np.abs(mean), 1e-12), scale, 1.0)
    return (wide - mean) / scale, fill, mean, scale
