"""Exported trees are the trained trees, whatever their thresholds and whatever the rows hold."""

from __future__ import annotations

import lightgbm as lgb
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.testing.learners import score_onnx
from charter.train.learners.export import sum_columns, trees_to_onnx
from charter.train.learners.gbm import FittedBooster
from charter.train.learners.portable import floor_float32, leaf_grid, portable_text, split_text

doubles = st.floats(allow_nan=False, allow_infinity=True, width=64)
singles = st.floats(allow_nan=False, allow_infinity=True, width=32)


@given(st.lists(st.tuples(singles, doubles), min_size=1, max_size=50))
def test_rounding_a_threshold_down_changes_no_branch(pairs):
    x = np.array([p[0] for p in pairs], dtype=np.float32)
    t = np.array([p[1] for p in pairs])
    floored = floor_float32(t)
    assert floored.dtype == np.float32
    assert ((x.astype(np.float64) <= t) == (x <= floored)).all()


@given(doubles)
def test_rounding_down_is_idempotent_and_the_nearest_below(t):
    down = floor_float32(np.array([t]))
    assert float(down[0]) <= t
    assert floor_float32(down.astype(np.float64))[0] == down[0]
    with np.errstate(over="ignore", under="ignore"):
        above = np.nextafter(down, np.float32(np.inf))[0]
    assert float(above) > t or float(down[0]) == t


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=60), st.randoms(use_true_random=False))
def test_sums_on_the_grid_are_exact_in_any_order(largest, random):
    grid = leaf_grid(largest)
    leaves = [np.round(random.uniform(-v, v) / grid) * grid for v in largest]
    exact = np.sum(np.array(leaves, dtype=np.float64))
    random.shuffle(leaves)
    total = np.float32(0)
    for leaf in leaves:
        assert float(np.float32(leaf)) == leaf
        total = np.float32(total + np.float32(leaf))
    assert float(total) == exact


@st.composite
def forests(draw):
    """Text of a random forest in LightGBM's format: random shapes, thresholds, missing types and directions."""
    columns = draw(st.integers(1, 4))
    classes = draw(st.sampled_from([1, 1, 3]))
    # LightGBM gives all columns one kind of missing, or none to those that lacked no value.
    kinds = draw(st.sampled_from([(0,), (2,), (0, 2), (1,)]))
    thresholds = st.one_of(
        st.sampled_from([0.0, -0.0, 1e-35, -1e-35, 1e-36, 0.1, -0.1, 1e300, -1e300, 16777217.0]),
        st.floats(-10, 10, allow_nan=False),
    )
    trees = []
    missing = [draw(st.sampled_from(kinds)) for _ in range(columns)]
    for number in range(classes * draw(st.integers(1, 12))):
        leaves = draw(st.integers(1, 7))
        values = draw(st.lists(st.floats(-5, 5, allow_nan=False), min_size=leaves, max_size=leaves))
        trees.append(_tree(number, leaves, values, columns, missing, thresholds, draw))
    sizes = " ".join(str(len(t)) for t in trees)
    objective = "regression" if classes == 1 else f"multiclass num_class:{classes}"
    head = (
        f"tree\nversion=v4\nnum_class={classes}\nnum_tree_per_iteration={classes}\nlabel_index=0\n"
        f"max_feature_idx={columns - 1}\nobjective={objective}\n"
        f"feature_names={' '.join(f'Column_{j}' for j in range(columns))}\n"
        f"feature_infos={' '.join('[-10:10]' for _ in range(columns))}\ntree_sizes={sizes}\n\n"
    )
    return (
        head + "".join(trees) + "end of trees\n\nfeature_importances:\n\npandas_categorical:null\n",
        columns,
        classes,
    )


def _tree(number, leaves, values, columns, missing, thresholds, draw):
    left, right, feature = [], [], []
    place: dict[int, tuple[list[int], int]] = {}  # leaf -> where it hangs
    for node in range(leaves - 1):
        if node:
            split = draw(st.integers(0, node))
            side, at = place[split]
            side[at] = node
        else:
            split = 0
        left.append(~split)
        right.append(~(node + 1))
        place[split], place[node + 1] = (left, node), (right, node)
        feature.append(draw(st.integers(0, columns - 1)))
    decision = [(missing[f] << 2) | (2 if draw(st.booleans()) else 0) for f in feature]
    lines = [f"Tree={number}", f"num_leaves={leaves}", "num_cat=0"]
    if leaves > 1:
        lines += [
            f"split_feature={_join(feature)}",
            f"split_gain={_join([1] * len(feature))}",
            f"threshold={_join(format(draw(thresholds), '.17g') for _ in feature)}",
            f"decision_type={_join(decision)}",
            f"left_child={_join(left)}",
            f"right_child={_join(right)}",
        ]
    lines += [f"leaf_value={_join(format(v, '.17g') for v in values)}"]
    if leaves > 1:
        lines += [f"leaf_weight={_join([1] * leaves)}", f"leaf_count={_join([1] * leaves)}"]
        lines += [f"internal_{what}={_join([1] * (leaves - 1))}" for what in ("value", "weight", "count")]
    return "\n".join([*lines, "is_linear=0", "shrinkage=1", "", "", ""])


def _join(values):
    return " ".join(str(v) for v in values)


@settings(max_examples=120, deadline=None)
@given(forests(), st.integers(0, 2**32 - 1))
def test_exported_forests_give_the_trained_scores(forest, seed):
    text, columns, classes = forest
    task = "regression" if classes == 1 else "multiclass"
    portable = portable_text(text)
    assert portable_text(portable) == portable
    fitted = FittedBooster(portable, task, {})
    onnx = trees_to_onnx(portable, task=task, columns=[f"c{j}" for j in range(columns)])

    rng = np.random.default_rng(seed)
    _, trees, _ = split_text(portable)
    exact = [
        float(t)
        for lines in trees
        for line in lines
        if line.startswith("threshold=")
        for t in line[10:].split()
    ]
    special = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-35, -1e-35, 1e-36, 2e-35, 1e-45]
    pool = np.array(exact + special, dtype=np.float32)
    with np.errstate(over="ignore", under="ignore"):
        pool = np.concatenate(
            [pool, np.nextafter(pool, np.float32(np.inf)), np.nextafter(pool, np.float32(-np.inf))]
        )
    X = rng.choice(pool, size=(64, columns)).astype(np.float32)
    X[48:] = rng.normal(scale=3, size=(16, columns))

    trained, exported = fitted.predict(X), score_onnx(onnx, X)
    if task == "regression":
        # Leaf sums are exact in float32, so nothing at all may differ.
        np.testing.assert_array_equal(exported.astype(np.float64), trained)
    else:
        assert float(np.abs(exported - trained).max()) <= 1e-6
    alone = np.concatenate([score_onnx(onnx, X[i : i + 1]) for i in range(8)])
    np.testing.assert_array_equal(alone, exported[:8])


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.booleans(), st.sampled_from([2, 8, 31]))
def test_trained_boosters_survive_the_rewriting(seed, zero_as_missing, leaves):
    rng = np.random.default_rng(seed)
    X = rng.choice([0.0, 0.1, 0.2, 0.3, 1e-20, 7.0, np.nan], size=(300, 3)).astype(np.float32)
    y = np.nan_to_num(X[:, 0]) + rng.normal(size=300)
    params = {
        "objective": "regression", "num_leaves": leaves, "min_data_in_leaf": 3, "verbosity": -1, "seed": seed,
        "zero_as_missing": zero_as_missing, "num_threads": 1,
    }  # fmt: skip
    booster = lgb.train(params, lgb.Dataset(X, y), 20)
    portable = portable_text(booster.model_to_string())
    fitted = FittedBooster(portable, "regression", {})
    original = booster.predict(X)
    assert float(np.abs(fitted.predict(X) - original).max()) <= 1e-5 * max(1.0, float(np.abs(original).max()))
    onnx = trees_to_onnx(portable, task="regression", columns=["a", "b", "c"])
    np.testing.assert_array_equal(score_onnx(onnx, X).astype(np.float64), fitted.predict(X))


@given(st.integers(1, 40), st.integers(0, 1000))
def test_adding_halves_adds_everything(width, seed):
    values = np.random.default_rng(seed).integers(-100, 100, size=(3, width)).astype(np.float64)
    np.testing.assert_array_equal(sum_columns(values), values.sum(axis=1))
