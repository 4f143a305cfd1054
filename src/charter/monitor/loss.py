"""Quality of a regression before outcomes are known: its loss, learned from where they are known (DLE). Pure.

Direct loss estimation: a second model learns how large the errors of the first are, from rows that the first was not
trained on; over the rows of a window its mean is the loss to expect (NannyML's DLE; Guillory et al., 2021, give the
idea for classification). It sees what a shift of the inputs does to quality, as far as training saw such inputs. It
cannot see a change of the relation between inputs and outcome: that is what realised quality, held against it, is for.

What it learns from are out-of-fold predictions, so that no error is of a row that its model had learned. Its own error
is measured the same way, out of fold once more, and is in the interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from charter.evaluate.proportion import normal_quantile
from charter.monitor.estimate import MIN_ROWS, Estimated

Floats = npt.NDArray[np.float64]

FEWEST = 300
"""Rows with a known loss, below which nothing is learned."""
_FOLDS, _ROUNDS, _BINS = 5, 80, 10


def row_losses(y: Floats, said: Floats) -> dict[str, Floats]:
    """Loss of each row, by metrics whose value is a mean over rows (or the root of one).

    Examples
    --------
    >>> {name: loss.tolist() for name, loss in row_losses(np.array([4.0]), np.array([3.0])).items()}
    {'mean_absolute_error': [1.0], 'root_mean_squared_error': [1.0], 'mean_absolute_percentage_error': [0.25]}
    """
    error = np.abs(y - said)
    found = {"mean_absolute_error": error, "root_mean_squared_error": error**2}
    return found | ({"mean_absolute_percentage_error": error / np.abs(y)} if (y != 0).all() else {})


@dataclass(frozen=True, slots=True)
class ExpectedLoss:
    """How large one kind of loss is to be expected to be.

    Attributes
    ----------
    model
        LightGBM's text format; empty where a model does not beat the mean out of fold, which then stands for it.
    mean
        Of the losses that it learned from.
    edges, variances
        Variance of a row's loss around what is expected, by how much is expected: bins of ascending expectation.
    error
        Standard error of the mean expectation, from `rows` out-of-fold rows.
    """

    model: str
    mean: float
    edges: tuple[float, ...]
    variances: tuple[float, ...]
    error: float
    rows: int

    @classmethod
    def learn(cls, X: npt.NDArray[np.float32], loss: Floats, *, seed: int) -> ExpectedLoss:
        """Learn from n rows of the design matrix, shape (n, d), whose losses are known, shape (n,)."""
        rng = np.random.default_rng(seed)
        fold = rng.permutation(np.arange(len(loss)) % _FOLDS)
        told = np.empty(len(loss))
        for k in range(_FOLDS):
            told[fold == k] = np.maximum(
                _train(X[fold != k], loss[fold != k], seed).predict(X[fold == k], num_threads=1), 0.0
            )
        mean = float(loss.mean())
        learned = float(((loss - told) ** 2).mean()) < float(((loss - mean) ** 2).mean())
        text = _train(X, loss, seed).model_to_string() if learned else ""
        expected = told if learned else np.full(len(loss), mean)
        residual = loss - expected
        edges = (
            np.unique(np.quantile(expected, np.linspace(0, 1, _BINS + 1)[1:-1])) if learned else np.empty(0)
        )
        place = np.searchsorted(edges, expected)
        everywhere = float(residual.var())
        variances = [
            float((residual[place == b] ** 2).mean()) if (place == b).sum() >= _BINS else everywhere
            for b in range(len(edges) + 1)
        ]
        error = float(residual.std() / np.sqrt(len(loss)))
        return cls(text, mean, tuple(map(float, edges)), tuple(variances), error, len(loss))

    def expect(self, X: npt.NDArray[np.float32]) -> Floats:
        """Expected loss of each row, shape (n,)."""
        if not self.model:
            return np.full(len(X), self.mean)
        import lightgbm

        model = lightgbm.Booster(model_str=self.model)
        return np.maximum(np.asarray(model.predict(X, num_threads=1), dtype=np.float64), 0.0)

    def over(
        self, X: npt.NDArray[np.float32], n: int, confidence: float
    ) -> tuple[float, float | None, float | None]:
        """Mean loss to expect of ``n`` rows, of which X is all or a sample, and its interval.

        Notes
        -----
        Normal, from three variances: of the rows' losses around what is expected of them, over n; of what is expected,
        where X is a sample; and of the estimator's own mean. Losses have long tails, so that of fewer than a few
        hundred rows the upper end is passed somewhat more often than it should be.
        """
        expected = self.expect(X)
        m = len(expected)
        value = float(expected.mean())
        if n < MIN_ROWS:
            return value, None, None
        spread = np.asarray(self.variances)[np.searchsorted(np.asarray(self.edges), expected)].mean()
        sampled = float(expected.var()) / m * (1 - m / n) if n > m else 0.0
        z = normal_quantile(0.5 + confidence / 2)
        half = z * float(np.sqrt(spread / n + sampled + self.error**2))
        return value, max(value - half, 0.0), value + half

    def to_json(self) -> dict[str, Any]:
        """Plain data; the model is text, not a pickle."""
        return {
            "model": self.model,
            "mean": self.mean,
            "edges": list(self.edges),
            "variances": list(self.variances),
            "error": self.error,
            "rows": self.rows,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExpectedLoss:
        """Inverse of `to_json`."""
        return cls(
            data["model"], data["mean"], tuple(data["edges"]), tuple(data["variances"]), data["error"], data["rows"]
        )  # fmt: skip


def learn_losses(
    X: npt.NDArray[np.float32], y: Floats, said: Floats, *, seed: int = 0
) -> dict[str, ExpectedLoss]:
    """Learn every kind of loss of a regression from out-of-fold predictions; nothing from fewer than `FEWEST`.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X = rng.random((2000, 1), dtype=np.float32)
    >>> y = rng.normal(0, X[:, 0])
    >>> learned = learn_losses(X, y, np.zeros(2000))
    >>> found = dle(learned, X[X[:, 0] > 0.8], n=400)
    >>> round(found["mean_absolute_error"].value, 1)
    0.7
    """
    if len(y) < FEWEST:
        return {}
    return {name: ExpectedLoss.learn(X, loss, seed=seed) for name, loss in row_losses(y, said).items()}


def dle(
    learned: Mapping[str, ExpectedLoss], X: npt.NDArray[np.float32], *, n: int, confidence: float = 0.95
) -> dict[str, Estimated]:
    """Estimate the losses of ``n`` rows, of which X (shape (m, d), m <= n) is all or a sample."""
    found = {}
    for name, loss in learned.items() if len(X) else ():
        ends = loss.over(X, n, confidence)
        if name == "root_mean_squared_error":
            ends = tuple(None if end is None else float(np.sqrt(end)) for end in ends)  # type: ignore[assignment]
        found[name] = Estimated(*ends, n)
    return found


def _train(X: npt.NDArray[np.float32], loss: Floats, seed: int) -> Any:
    import lightgbm

    settings = {
        "objective": "regression",
        "num_leaves": 15,
        "learning_rate": 0.05,
        "min_data_in_leaf": max(20, len(loss) // 50),
        "seed": seed,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": 1,
        "verbose": -1,
    }
    rows = lightgbm.Dataset(np.asarray(X, dtype=np.float64), loss, params={"verbose": -1})
    return lightgbm.train(settings, rows, num_boost_round=_ROUNDS)
