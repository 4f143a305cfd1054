from __future__ import annotations

import lightgbm as lgb
import numpy as np
import polars as pl
import pytest

from charter.serve.contributions import TreeContributions, contributor
from charter.serve.reasons import TopReasons
from charter.serve.treeshap import LookupContributions
from charter.train.learners.portable import portable_text


def forest(
    *, task: str = "binary", leaves: int = 15, trees: int = 30, seed: int = 0
) -> tuple[bytes, np.ndarray]:
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(1500, 8))
    X[:, 1] = rng.integers(0, 4, 1500)
    X[rng.random(X.shape) < 0.1] = np.nan
    X[:, 2] = np.nan_to_num(X[:, 2])  # a column that is never missing while training
    signal = np.nan_to_num(X[:, 0]) * np.nan_to_num(X[:, 1]) + X[:, 2] + rng.normal(size=1500)
    y = signal if task == "regression" else np.digitize(signal, [-1, 1] if task == "multiclass" else [0])
    params = {
        "objective": task,
        "num_leaves": leaves,
        "verbosity": -1,
        "num_threads": 1,
        "min_data_in_leaf": 5,
    }
    if task == "multiclass":
        params["num_class"] = 3
    booster = lgb.train(params, lgb.Dataset(X, y), num_boost_round=trees)
    return portable_text(booster.model_to_string()).encode(), X.astype(np.float32)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_looked_up_contributions_are_those_of_lightgbm(task):
    content, X = forest(task=task)
    rows = X[:200].copy()
    rows[0] = np.nan
    rows[1] = np.inf
    rows[2] = -np.inf
    rows[3] = 0
    looked_up = LookupContributions.build(content)
    assert looked_up is not None
    found = looked_up.contributions(rows)
    expected = TreeContributions(content).contributions(rows)
    assert found.shape == expected.shape == (200, 3 if task == "multiclass" else 1, 8)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


def test_a_rows_contributions_do_not_depend_on_the_rows_beside_it():
    content, X = forest()
    looked_up = LookupContributions.build(content)
    assert looked_up is not None
    alone = np.concatenate([looked_up.contributions(X[i : i + 1]) for i in range(300)])
    assert (alone == looked_up.contributions(X[:300])).all()
    assert looked_up.contributions(X[:0]).shape == (0, 1, 8)


def test_a_forest_too_deep_for_tables_is_explained_by_lightgbm():
    content, _ = forest(leaves=63)
    assert LookupContributions.build(content, max_entries=100) is None
    assert isinstance(contributor({"lightgbm.txt": content}), LookupContributions)
    categorical = content.replace(b"decision_type=", b"decision_type=1 ", 1)
    assert LookupContributions.build(categorical) is None


def test_a_forest_of_stumps_without_splits_moves_nothing():
    X = np.zeros((100, 2))
    booster = lgb.train(
        {"objective": "binary", "verbosity": -1, "num_threads": 1},
        lgb.Dataset(X, np.arange(100) % 2),
        num_boost_round=2,
    )
    content = booster.model_to_string().encode()
    assert LookupContributions.build(content) is None
    assert not TreeContributions(content).contributions(X.astype(np.float32)).any()


def test_reasons_add_up_the_columns_of_a_feature_and_speak_in_words():
    top = TopReasons(
        ["a=1", "a=2", "b", "c"], {"a=1": "a", "a=2": "a"}, count=2, factors={"a": "colour", "c": "calls"}
    )
    frame = pl.DataFrame({"a": ["red", None], "b": [1.5, float("nan")], "c": [12_000, 3]})
    first, second = top.of(np.array([[0.5, -2.0, 0.1, 1.0], [0.0, 0.0, -3.0, 0.0]]), frame, np.array([0, 1]))
    assert [(r.feature, r.value, r.contribution) for r in first] == [("a", "red", -1.5), ("c", 12_000, 1.0)]
    assert [r.text for r in first] == ["colour = red lowers the score", "calls = 12,000 raises the score"]
    assert [(r.feature, r.value, r.text) for r in second] == [
        ("b", None, "b is missing, which lowers the score")
    ]


def test_reasons_of_nothing():
    assert (
        list(
            TopReasons(["a"], {}, count=2, factors={}).of(
                np.zeros((0, 1)), pl.DataFrame(), np.zeros(0, np.intp)
            )
        )
        == []
    )
    gone = TopReasons(["a"], {}, count=2, factors={}).of(
        np.array([[np.nan]]), pl.DataFrame({"b": [1]}), np.array([0])
    )
    assert list(gone) == [[]]
    missing = TopReasons(["a"], {}, count=1, factors={}).of(
        np.array([[2.0]]), pl.DataFrame({"b": [1]}), np.array([0])
    )
    assert [r.text for [r] in missing] == ["a is missing, which raises the score"]


def test_reasons_of_a_number_speak_of_a_prediction():
    top = TopReasons(["a"], {}, count=1, factors={}, moved="prediction")
    [[reason]] = top.of(np.array([[-2.0]]), pl.DataFrame({"a": [60]}), np.array([0]))
    assert reason.text == "a = 60 lowers the prediction"
