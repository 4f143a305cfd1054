"""Trees for each block of a forecast's horizon, in one forest: below a split by the step stand those of its block.

A tree of the forest is made of one tree of each block's booster. Its topmost splits compare the step with the blocks'
ends; whatever reads a forest (LightGBM, the exported graph, the reasons) needs to know nothing of blocks.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np

from charter.core.errors import DataError, UsageError
from charter.train.learners.gbm import FittedBooster
from charter.train.learners.portable import portable_text, split_text
from charter.train.ports import Learner, Params, Space, Validation

_FOREST = "lightgbm.txt"
_DEFAULT_LEFT = "2"
Tree = Mapping[str, list[str]]


class ByBlock:
    """A learner of trees that is fitted to each block of steps by itself.

    Parameters
    ----------
    learner
        What is fitted. Parameters are searched for all blocks together; when to stop, each finds by itself.
    ends
        Last step of each block, ascending.
    step
        Column of the matrix that holds the step; of every fold its own, see `at`.
    """

    def __init__(self, learner: Learner, ends: Sequence[int], step: int | None = None) -> None:
        self.name, self.monotone, self.losses = learner.name, learner.monotone, learner.losses
        self.tasks = learner.tasks & {"regression"}
        self._learner, self._ends, self._step = learner, tuple(ends), step

    def at(self, columns: Sequence[str]) -> ByBlock:
        """The same, for a matrix with these columns.

        Raises
        ------
        UsageError
            When the step is none of them.
        """
        if "step" not in columns:
            raise UsageError(
                "train.step_blocks: the step is not among the model's columns",
                remedy="Take it out of features.exclude.",
            )
        return ByBlock(self._learner, self._ends, list(columns).index("step"))

    def suggest(self, space: Space, task: str) -> dict[str, Any]:
        """Draw parameters, as the learner does."""
        return self._learner.suggest(space, task)

    def defaults(self, task: str) -> dict[str, Any]:
        """The learner's."""
        return self._learner.defaults(task)

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
        """Fit the learner to each block and join the forests; ``trees`` in the parameters is a list, by block.

        Raises
        ------
        DataError
            When a block has no training rows.
        UsageError
            When the learner makes no LightGBM forest.
        """
        memo = {} if memo is None else memo
        texts, counts, trees = [], [], []
        block = self._block(X)
        watched = None if validation is None else self._block(validation.X)
        for number, end in enumerate(self._ends):
            own = np.flatnonzero(block == number)
            if not len(own):
                raise DataError(f"train.step_blocks: no training row has a step of the block up to {end}")
            fitted = self._learner.fit(
                X[own],
                y[own],
                weight=None if weight is None else weight[own],
                params=_of_block(params, number),
                seed=seed,
                monotone=monotone,
                task=task,
                validation=_part(validation, watched, number),
                memo=memo.setdefault(f"block {number}", {}),
            )
            text = fitted.native().get(_FOREST)
            if text is None:
                raise UsageError(
                    f"train.step_blocks: {self.name} makes no forest that could be joined",
                    remedy="Use lightgbm.",
                )
            texts.append(text.decode())
            counts.append(len(own))
            trees.append(fitted.params["trees"])
        assert self._step is not None
        return FittedBooster(
            joined(texts, self._ends, self._step, counts), task, {**fitted.params, "trees": trees}
        )

    def settle(self, fold_params: Sequence[Params], growth: float) -> dict[str, Any]:
        """Settle each block's parameters, as the learner does."""
        found = [
            self._learner.settle([_of_block(one, number) for one in fold_params], growth)
            for number in range(len(self._ends))
        ]
        return {**found[0], "trees": [one["trees"] for one in found]}

    def _block(self, X: np.ndarray) -> np.ndarray:
        assert self._step is not None
        return np.minimum(np.searchsorted(self._ends, X[:, self._step]), len(self._ends) - 1)


def placed(learner: Learner, columns: Sequence[str]) -> Learner:
    """A learner for a matrix with these columns; only one by block needs to know them."""
    return learner.at(columns) if isinstance(learner, ByBlock) else learner


def joined(texts: Sequence[str], ends: Sequence[int], step: int, rows: Sequence[int]) -> str:
    """Join forests into one that sends each row to the forest of its block.

    Parameters
    ----------
    texts
        LightGBM models of one output, without categorical splits.
    ends
        Last step of each block, ascending.
    step
        Column that holds the step.
    rows
        Training rows of each block, for the covers that reasons rest on.

    Returns
    -------
    A LightGBM model, portable. A forest with fewer trees than others adds nothing in the rest of them.
    """
    parts = [split_text(text) for text in texts]
    trees = zip_longest(*([_tree(lines) for lines in part[1]] for part in parts), fillvalue=_leaf("0"))
    bodies = [_text(number, _join(forest, ends, step, rows)) for number, forest in enumerate(trees)]
    head = "\n".join(parts[0][0])
    return portable_text(head + "\n" + "".join(bodies) + parts[0][2])


def _of_block(params: Params, number: int) -> dict[str, Any]:
    trees = params.get("trees")
    return {**params, "trees": trees[number]} if isinstance(trees, list) else dict(params)


def _part(validation: Validation | None, block: np.ndarray | None, number: int) -> Validation | None:
    """What is watched of a block; None where the fold has no row of it."""
    if validation is None or block is None or not (own := block == number).any():
        return None
    weight = validation.weight
    return Validation(
        validation.X[own], validation.y[own], None if weight is None else weight[own], validation.metric
    )


_NODES = ("split_feature", "split_gain", "threshold", "decision_type", "left_child", "right_child",
          "internal_value", "internal_weight", "internal_count")  # fmt: skip
_LEAVES = ("leaf_value", "leaf_weight", "leaf_count")


def _leaf(value: str) -> Tree:
    return {**{name: [] for name in _NODES}, "leaf_value": [value], "shrinkage": ["1"]}


def _tree(lines: Sequence[str]) -> Tree:
    found = {name: words.split() for name, _, words in (line.partition("=") for line in lines if "=" in line)}
    if int(found["num_leaves"][0]) == 1:
        return _leaf(found["leaf_value"][0])
    if found["num_cat"] != ["0"]:
        raise UsageError("train.step_blocks: trees with categorical splits cannot be joined")
    return found


def _join(trees: Sequence[Tree], ends: Sequence[int], step: int, rows: Sequence[int]) -> Tree:
    """One tree: as many switches as there are ends but the last, then the blocks' nodes and leaves in order."""
    switches = len(trees) - 1
    made: dict[str, list[str]] = {name: [] for name in (*_NODES, *_LEAVES)}
    roots, covers, node, leaf = [], [], switches, 0
    for tree, count in zip(trees, rows, strict=True):
        alone = not tree["split_feature"]
        roots.append(~leaf if alone else node)
        cover = count if alone else int(tree["internal_count"][0])
        covers.append(cover)
        for name in _NODES:
            if name.endswith("_child"):
                made[name] += [_moved(int(child), node, leaf) for child in tree[name]]
            else:
                made[name] += tree[name]
        made["leaf_value"] += tree["leaf_value"]
        made["leaf_weight"] += [str(cover)] if alone else tree["leaf_weight"]
        made["leaf_count"] += [str(cover)] if alone else tree["leaf_count"]
        node, leaf = node + len(tree["split_feature"]), leaf + len(tree["leaf_value"])
    later = [str(sum(covers[at:])) for at in range(switches)]
    first = {
        "split_feature": [str(step)] * switches,
        "split_gain": ["0"] * switches,
        "threshold": [str(end + 0.5) for end in ends[:-1]],
        "decision_type": [_DEFAULT_LEFT] * switches,
        "left_child": [str(root) for root in roots[:-1]],
        "right_child": [*(str(at) for at in range(1, switches)), str(roots[-1])],
        "internal_value": ["0"] * switches,
        "internal_weight": later,
        "internal_count": later,
    }
    for name, words in first.items():
        made[name] = words + made[name]
    return {**made, "shrinkage": trees[0]["shrinkage"]}


def _moved(child: int, node: int, leaf: int) -> str:
    return str(child + node if child >= 0 else ~(~child + leaf))


def _text(number: int, tree: Tree) -> str:
    names = (*_NODES[:6], *_LEAVES, *_NODES[6:])
    return "\n".join(
        [
            f"Tree={number}",
            f"num_leaves={len(tree['leaf_value'])}",
            "num_cat=0",
            *(f"{name}={' '.join(tree[name])}" for name in names),
            "is_linear=0",
            f"shrinkage={tree['shrinkage'][0]}",
            "\n\n",
        ]
    )
