"""Models as ONNX graphs, written operator by operator, so that every rounding in them is known.

A score must not depend on which rows stand beside it in a batch. So the graphs use only operators that treat each
element, or each row of a tree ensemble, by itself: sums over columns are additions of halves (`_sum_columns`), never a
matrix product or a reduction whose order a runtime may choose.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from charter.core.errors import CharterError
from charter.train.learners.portable import ZERO, split_text

OPSET, ML_OPSET, IR_VERSION = 17, 5, 10


class Graph:
    """Collects nodes and constants of one ONNX graph; names are numbered in the order of creation."""

    def __init__(self) -> None:
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: np.ndarray) -> str:
        """Add a constant tensor and return its name."""
        from onnx import numpy_helper

        name = f"c{len(self._constants)}"
        self._constants.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, operator: str, *inputs: str, **attributes: Any) -> str:
        """Add a node with one output and return the output's name."""
        from onnx import helper

        name = f"n{len(self._nodes)}"
        self._nodes.append(
            helper.make_node(operator, list(inputs), [name], name=f"{operator}_{name}", **attributes)
        )
        return name

    def embed(self, inner: bytes, X: str) -> str:
        """Add another graph of input ``X`` and output ``score``, fed by ``X``, and return its output's name."""
        import onnx

        graph, prefix = onnx.load_from_string(inner).graph, f"e{len(self._nodes)}_"
        renamed = {"X": X, "": ""}
        for constant in graph.initializer:
            renamed[constant.name] = constant.name = prefix + constant.name
            self._constants.append(constant)
        for node in graph.node:
            node.name = prefix + node.name
            node.input[:] = [renamed[name] for name in node.input]
            renamed |= {name: prefix + name for name in node.output}
            node.output[:] = [renamed[name] for name in node.output]
            self._nodes.append(node)
        return renamed["score"]

    def columns(self, start: int, stop: int) -> str:
        """Take columns of ``X`` from ``start`` to before ``stop``."""
        ends = (self.constant(np.array([at])) for at in (start, stop))
        return self.node("Slice", "X", *ends, self.constant(np.array([1])))

    def finish(self, output: str, *, columns: Sequence[str], classes: int) -> bytes:
        """Name ``output`` ``score``, check the graph, and serialise it.

        Parameters
        ----------
        columns
            Names of the matrix columns, kept in the model's metadata as ``columns`` (a JSON list).
        classes
            Width of the score; 0 for a score of shape [n].
        """
        import onnx
        from onnx import TensorProto, helper

        shape: list[str | int] = ["n", classes] if classes else ["n"]
        nodes = [*self._nodes, helper.make_node("Identity", [output], ["score"], name="score")]
        graph = helper.make_graph(
            nodes,
            "charter",
            [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["n", len(columns)])],
            [helper.make_tensor_value_info("score", TensorProto.FLOAT, shape)],
            initializer=self._constants,
        )
        model = helper.make_model(
            graph,
            producer_name="charter",
            ir_version=IR_VERSION,
            opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid("ai.onnx.ml", ML_OPSET)],
        )
        helper.set_model_props(model, {"columns": json.dumps(list(columns))})
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))


def link(graph: Graph, raw: str, task: str, classes: int) -> str:
    """Turn raw float32 scores [n, k] into what ``score`` means for ``task``.

    Binary (k = 1): ``1 / (1 + exp(-raw))`` [n]. Multiclass: softmax [n, k]. Regression: the value [n].
    """
    if task == "multiclass":
        largest = graph.node("ReduceMax", raw, axes=[1], keepdims=1)
        powers = graph.node("Exp", graph.node("Sub", raw, largest))
        total = graph.node("Unsqueeze", _sum_columns(graph, powers, classes), graph.constant(np.array([1])))
        return graph.node("Div", powers, total)
    raw = graph.node("Squeeze", raw, graph.constant(np.array([1])))
    if task == "regression":
        return raw
    # Not ONNX `Sigmoid`: ONNX Runtime's is zero below -18, which would tie the safest rows.
    one = graph.constant(np.ones(1, np.float32))
    return graph.node("Div", one, graph.node("Add", one, graph.node("Exp", graph.node("Neg", raw))))


def probabilities(raw: np.ndarray, task: str) -> np.ndarray:
    """Do what `link` does, in float64."""
    if task == "regression":
        return np.asarray(raw, dtype=np.float64)
    with np.errstate(over="ignore"):
        if task == "binary":
            return np.asarray(1.0 / (1.0 + np.exp(-raw)))
        powers = np.exp(raw - raw.max(axis=1, keepdims=True))
        return np.asarray(powers / sum_columns(powers)[:, None])


def sum_columns(values: np.ndarray) -> np.ndarray:
    """Sum over axis 1 by adding halves, in the very order of the exported graph.

    Parameters
    ----------
    values : ndarray, shape (n, d) or (n, d, k)
    """
    while values.shape[1] > 1:
        half = values.shape[1] // 2
        head = values[:, :half] + values[:, half : 2 * half]
        values = np.concatenate([head, values[:, 2 * half :]], axis=1) if values.shape[1] % 2 else head
    return np.asarray(values[:, 0])


def _sum_columns(graph: Graph, values: str, width: int) -> str:
    axis = graph.constant(np.array([1]))

    def part(start: int, stop: int) -> str:
        ends = (graph.constant(np.array([i])) for i in (start, stop))
        return graph.node("Slice", values, *ends, axis)

    while width > 1:
        half = width // 2
        head = graph.node("Add", part(0, half), part(half, 2 * half))
        values = graph.node("Concat", head, part(2 * half, width), axis=1) if width % 2 else head
        width = half + width % 2
    return graph.node("Squeeze", values, axis)


def linear_to_onnx(
    *,
    fill: np.ndarray,
    coefficients: np.ndarray,
    intercept: np.ndarray,
    task: str,
    columns: Sequence[str],
) -> bytes:
    """Linear model: replace what is not finite by ``fill``, multiply, add up in float64, link.

    Parameters
    ----------
    fill : ndarray of float64, shape (d,)
        Stands in for missing and infinite values.
    coefficients : ndarray of float64, shape (d, k)
        ``k`` is 1 for binary tasks.
    intercept : ndarray of float64, shape (k,)
    """
    d, k = coefficients.shape
    graph = Graph()
    # x - x is zero for finite x and NaN for NaN and both infinities.
    broken = graph.node("IsNaN", graph.node("Sub", "X", "X"))
    wide = graph.node("Cast", "X", to=11)  # double
    known = graph.node("Where", broken, graph.constant(fill.astype(np.float64)), wide)
    column = graph.node("Unsqueeze", known, graph.constant(np.array([2])))
    terms = graph.node("Mul", column, graph.constant(coefficients.astype(np.float64)))
    total = _sum_columns(graph, terms, d)
    total = graph.node("Add", total, graph.constant(intercept.astype(np.float64)))
    if (
        task == "multiclass"
    ):  # while still in float64: between large numbers float32 would lose the differences
        total = graph.node("Sub", total, graph.node("ReduceMax", total, axes=[1], keepdims=1))
    score = link(graph, graph.node("Cast", total, to=1), task, k)  # float
    return graph.finish(score, columns=columns, classes=k if task == "multiclass" else 0)


@dataclass(slots=True)
class _Ensemble:
    """Attributes of ONNX ``TreeEnsemble``, filled tree by tree."""

    roots: list[int]
    features: list[int]
    splits: list[float]
    true_ids: list[int]
    true_leaf: list[int]
    false_ids: list[int]
    false_leaf: list[int]
    missing_true: list[int]
    leaf_targets: list[int]
    leaf_weights: list[float]


def trees_to_onnx(text: str, *, task: str, columns: Sequence[str]) -> bytes:
    """LightGBM model text, made portable by `portable_text`, as an ONNX tree ensemble in float32.

    How LightGBM sends a value down a split ``x <= t`` and how the graph says the same:

    - missing type *none*: NaN is taken as zero, so it goes left exactly when ``0 <= t``;
    - missing type *NaN*: NaN goes in the split's default direction;
    - missing type *zero*: zero and NaN go in the default direction; the graph first turns zeros into NaN.

    Raises
    ------
    CharterError
        For what `charter.train` never makes: categorical splits, linear leaves, averaged forests, or a column that is
        split with missing type zero in one place and another in the next.
    """
    head, trees, _ = split_text(text)
    header = dict(line.split("=", 1) for line in head if "=" in line)
    classes = int(header["num_tree_per_iteration"])
    if "average_output" in head:
        raise CharterError(
            "tree export: averaged forests cannot be exported", remedy="Use boosting_type gbdt."
        )
    ensemble = _Ensemble([], [], [], [], [], [], [], [], [], [])
    zero_columns: set[int] = set()
    other_columns: set[int] = set()
    for number, lines in enumerate(trees):
        tree = dict(line.split("=", 1) for line in lines if "=" in line)
        _add_tree(ensemble, tree, number % classes, zero_columns, other_columns)
    if zero_columns & other_columns:
        raise CharterError("tree export: a column is split both with zero as missing and without")

    graph = Graph()
    values = _zeros_to_nan(graph, sorted(zero_columns), len(columns)) if zero_columns else "X"
    raw = graph.node("TreeEnsemble", values, domain="ai.onnx.ml", **_attributes(ensemble, classes))
    score = link(graph, raw, task, classes)
    return graph.finish(score, columns=columns, classes=classes if task == "multiclass" else 0)


def _add_tree(e: _Ensemble, tree: dict[str, str], target: int, zero: set[int], other: set[int]) -> None:
    if tree.get("num_cat", "0") != "0" or tree.get("is_linear", "0") != "0":
        raise CharterError(
            "tree export: categorical splits and linear leaves cannot be exported",
            remedy="Encode categories as numbers before the learner.",
        )
    node0, leaf0 = len(e.features), len(e.leaf_weights)
    weights = [float(w) for w in tree["leaf_value"].split()]
    e.roots.append(node0)
    constant = int(tree["num_leaves"]) == 1
    if constant:  # ONNX has no tree without a split: one whose two leaves are the same
        weights = weights * 2
        tree = {
            "split_feature": "0",
            "threshold": "0",
            "decision_type": "0",
            "left_child": "-1",
            "right_child": "-2",
        }
    e.leaf_weights.extend(weights)
    e.leaf_targets.extend([target] * len(weights))
    rows = zip(*(tree[k].split() for k in ("split_feature", "threshold", "decision_type")), strict=True)
    for feature, threshold, decision in rows:
        kind = int(decision)
        default_left, missing = bool(kind & 2), (kind >> 2) & 3
        e.features.append(int(feature))
        e.splits.append(float(threshold))
        e.missing_true.append(int(float(threshold) >= 0 if missing == 0 else default_left))
        if not constant:
            (zero if missing == 1 else other).add(int(feature))
    for side, ids, leaf in (
        ("left_child", e.true_ids, e.true_leaf),
        ("right_child", e.false_ids, e.false_leaf),
    ):
        for child in map(int, tree[side].split()):
            ids.append(child + node0 if child >= 0 else ~child + leaf0)
            leaf.append(int(child < 0))


def _attributes(e: _Ensemble, classes: int) -> dict[str, Any]:
    from onnx import numpy_helper

    def tensor(values: Sequence[float], dtype: type[np.generic], name: str) -> Any:
        return numpy_helper.from_array(np.array(values, dtype=dtype), name)

    return {
        "n_targets": classes,
        "aggregate_function": 1,  # sum
        "post_transform": 0,
        "tree_roots": e.roots,
        "nodes_featureids": e.features,
        "nodes_splits": tensor(e.splits, np.float32, "splits"),
        "nodes_modes": tensor([0] * len(e.splits), np.uint8, "modes"),  # x <= split
        "nodes_truenodeids": e.true_ids,
        "nodes_trueleafs": e.true_leaf,
        "nodes_falsenodeids": e.false_ids,
        "nodes_falseleafs": e.false_leaf,
        "nodes_missing_value_tracks_true": e.missing_true,
        "leaf_targetids": e.leaf_targets,
        "leaf_weights": tensor(e.leaf_weights, np.float32, "weights"),
    }


def _zeros_to_nan(graph: Graph, zero_columns: list[int], width: int) -> str:
    chosen = np.zeros(width, dtype=bool)
    chosen[zero_columns] = True
    small = graph.node("LessOrEqual", graph.node("Abs", "X"), graph.constant(np.array([ZERO], np.float32)))
    missing = graph.node("And", small, graph.constant(chosen))
    return graph.node("Where", missing, graph.constant(np.array([np.nan], np.float32)), "X")
