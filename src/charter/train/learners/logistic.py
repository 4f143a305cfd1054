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
    ``|w|^2 / 2 + C x sum of weighted log losses``. Multiclass is multinomial. A monotone constraint is a bound of zero
    on the sign of a coefficient (binary only); the optimum within bounds is found by L-BFGS-B (Byrd et al., 1995).
    """

    name = "logistic_regression"
    tasks = frozenset({"binary", "multiclass"})
    monotone = True
    losses = frozenset({"squared"})

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
            When a monotone constraint is asked for with several classes.
        """
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

        if any(monotone) and task != "binary":
            raise UsageError(
                "train.monotone: with several classes logistic_regression cannot promise monotone constraints",
                remedy="Remove it from train.learners, or remove the constraints.",
            )
        memo = {} if memo is None else memo
        if "linear" not in memo:
            memo["linear"] = _standardise(X)
        Z, fill, mean, scale = memo["linear"]
        codes, C = y.astype(np.int64), float(params["C"])
        with threadpool_limits(1):  # the order of a threaded sum is not ours to know
            if any(monotone):
                slopes, intercept = _bounded(Z, codes, weight, C, monotone)
            else:
                slopes, intercept = _free(Z, codes, weight, C)
        coefficients = slopes / scale[:, None]
        intercept = intercept - sum_columns((mean[:, None] * coefficients)[None])[0]
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


def _free(Z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, C: float) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (d, k) and intercepts (k,) without constraints."""
    from sklearn.linear_model import LogisticRegression

    solver = "newton-cholesky" if Z.shape[1] <= DENSE_COLUMNS else "lbfgs"
    model = LogisticRegression(C=C, solver=solver, max_iter=1000, tol=1e-6)
    model.fit(Z, y, sample_weight=weight)
    return np.asarray(model.coef_.T), np.asarray(model.intercept_)


def _bounded(
    Z: np.ndarray, y: np.ndarray, weight: np.ndarray | None, C: float, monotone: Sequence[int]
) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients (d, 1) and intercept (1,) whose signs are as ``monotone`` says; binary."""
    from scipy.optimize import minimize

    each = np.ones(len(y)) if weight is None else np.asarray(weight, dtype=np.float64)
    strength = C * each.sum()
    each = each / each.sum()

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        z = Z @ w[:-1] + w[-1]
        wrong = each * (probabilities(z, "binary") - y)
        value = float(np.sum(each * (np.logaddexp(0, z) - y * z)) + w[:-1] @ w[:-1] / (2 * strength))
        return value, np.append(Z.T @ wrong + w[:-1] / strength, wrong.sum())

    bounds = [(0.0 if m > 0 else None, 0.0 if m < 0 else None) for m in monotone]
    share = float(np.sum(each * y))
    start = np.append(np.zeros(Z.shape[1]), np.log(share / (1 - share)))
    found = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=[*bounds, (None, None)],
        options={"maxiter": 1000, "ftol": 1e-12, "gtol": 1e-7},
    )  # fmt: skip
    return found.x[:-1, None], found.x[-1:]
