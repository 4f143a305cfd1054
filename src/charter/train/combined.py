"""Models made of a general one and of columns beside its own: an average with statistical methods, a second stage.

Both read one matrix, the general model's columns first, and are one exported graph like any other model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from charter.train.learners.export import Graph
from charter.train.learners.logistic import FittedLinear
from charter.train.ports import Fitted, Params
from charter.train.second_stage import Corrections

_DOUBLE, _FLOAT = 11, 1


def average(X: np.ndarray, params: Mapping[str, Any]) -> FittedLinear:
    """Mean of the columns of a matrix [n, d], of which each is a forecast; of one column it is that."""
    wide = X.astype(np.float64)
    width = X.shape[1]
    scale = wide.std(axis=0)
    mean = wide.mean(axis=0)
    share = np.full((width, 1), 1.0 / width)
    return FittedLinear(
        share, np.zeros(1), mean, mean, np.where(scale > 0, scale, 1.0), "regression", dict(params)
    )


class Blend:
    """Mean of what a general model says and of forecasts that stand in further columns, each counting the same.

    Parameters
    ----------
    general
        Reads the first ``width`` columns.
    others
        How many columns of forecasts follow.
    """

    def __init__(self, general: Fitted, width: int, others: int, params: Params) -> None:
        self._general, self._width, self._others = general, width, others
        self._params = {**params, **{f"general.{name}": value for name, value in general.params.items()}}

    @property
    def params(self) -> Params:
        """What is averaged, and the general model's parameters."""
        return dict(self._params)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Float64 [n], added up in the order of the exported graph."""
        total = _served(self._general, X[:, : self._width])
        for at in range(self._width, self._width + self._others):
            total = total + X[:, at].astype(np.float64)
        return np.asarray(total / (self._others + 1))

    def to_onnx(self, names: Sequence[str]) -> bytes:
        """Serialise, the general model's graph inside."""
        graph, total = _begin(self._general, self._width)
        for at in range(self._width, self._width + self._others):
            column = graph.node("Squeeze", graph.columns(at, at + 1), graph.constant(np.array([1])))
            total = graph.node("Add", total, graph.node("Cast", column, to=_DOUBLE))
        mean = graph.node("Div", total, graph.constant(np.array([self._others + 1.0])))
        return graph.finish(graph.node("Cast", mean, to=_FLOAT), columns=names, classes=0)

    def native(self) -> dict[str, bytes]:
        """Nothing: an average with trees has no exact reasons of one kind."""
        return {}

    def importance(self) -> np.ndarray:
        """Each member counts the same; the general model's share is split as it says itself."""
        return np.append(_shares(self._general), np.ones(self._others)) / (self._others + 1)


class SecondStage:
    """A general model, corrected by category; see `charter.train.second_stage`.

    Parameters
    ----------
    general
        Reads the first ``width`` columns; the categories' indicators follow.
    """

    def __init__(self, general: Fitted, width: int, corrections: Corrections, params: Params) -> None:
        self._general, self._width, self._corrections = general, width, corrections
        self._params = {**params, **{f"general.{name}": value for name, value in general.params.items()}}

    @property
    def params(self) -> Params:
        """The category, and the general model's parameters."""
        return dict(self._params)

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Float64 [n]."""
        return self._corrections.apply(_served(self._general, X[:, : self._width]), X[:, self._width :])

    def to_onnx(self, names: Sequence[str]) -> bytes:
        """Serialise, the general model's graph inside; of each row at most one term of the sums is not zero."""
        graph, said = _begin(self._general, self._width)
        found, axis = self._corrections, graph.constant(np.array([1]))
        flags = graph.node("Cast", graph.columns(self._width, len(names)), to=_DOUBLE)
        base, slope = (
            graph.node("ReduceSum", graph.node("Mul", flags, graph.constant(each[None, :])), axis, keepdims=0)
            for each in (found.level - found.slope * found.centre, found.slope)
        )
        total = graph.node("Add", graph.node("Add", said, base), graph.node("Mul", said, slope))
        return graph.finish(graph.node("Cast", total, to=_FLOAT), columns=names, classes=0)

    def native(self) -> dict[str, bytes]:
        """Nothing: a correction that multiplies has no exact reasons of the trees' kind."""
        return {}

    def importance(self) -> np.ndarray:
        """The general model's; the corrections are small beside it."""
        return np.append(_shares(self._general), np.zeros(len(self._corrections.level)))


def _served(general: Fitted, X: np.ndarray) -> np.ndarray:
    """What the exported model says, float32, as float64."""
    return general.predict(np.ascontiguousarray(X)).astype(np.float32).astype(np.float64)


def _begin(general: Fitted, width: int) -> tuple[Graph, str]:
    graph = Graph()
    inner = general.to_onnx([str(at) for at in range(width)])
    said = graph.embed(inner, graph.columns(0, width))
    return graph, graph.node("Cast", said, to=_DOUBLE)


def _shares(general: Fitted) -> np.ndarray:
    amounts = general.importance()
    return np.asarray(amounts / max(float(amounts.sum()), 1e-300))
