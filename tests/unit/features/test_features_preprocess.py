from __future__ import annotations

import json
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import spearmanr

from charter.core.errors import DataError, PackageError, UsageError
from charter.features.featureset import Feature, FeatureSet, kind_of
from charter.features.preprocess import Preprocessor, fit, fit_transform
from charter.features.selection import beyond_top, correlated, relevance, spearman_matrix
from charter.spec.types import FeatureSpec


def features(frame: pl.DataFrame, **values: tuple[str, ...]) -> FeatureSet:
    columns = tuple(Feature(n, kind_of(t), values.get(n)) for n, t in frame.schema.items())
    return FeatureSet((), None, (), (), (), columns, "label")


def fitted(
    frame: pl.DataFrame,
    y: Any = None,
    task: str = "binary",
    values: dict[str, tuple[str, ...]] | None = None,
    **spec: Any,
) -> tuple[Preprocessor, np.ndarray]:
    y = np.arange(frame.height) % 2 if y is None else np.asarray(y)
    return fit_transform(frame, y, features(frame, **(values or {})), FeatureSpec.model_validate(spec), task)


def test_numbers_and_truths_are_columns_and_missing_is_nan() -> None:
    frame = pl.DataFrame({"x": [1.5, None, 3.0], "n": [1, 2, None], "t": [True, False, None]})
    done, X = fitted(frame)
    assert done.names == ("x", "n", "t")
    assert X.dtype == np.float32
    assert X.flags.c_contiguous
    np.testing.assert_array_equal(X, [[1.5, 1, 1], [np.nan, 2, 0], [3, np.nan, np.nan]])


def test_beyond_float32_stands_its_largest() -> None:
    done, _ = fitted(pl.DataFrame({"x": [1.0, 2.0]}))
    X = done.transform(pl.DataFrame({"x": [1e300, -1e300, float("inf"), float("nan")]}))
    largest = np.finfo(np.float32).max
    np.testing.assert_array_equal(X[:, 0], [largest, -largest, largest, np.nan])


def test_scaling_and_imputing_use_training_rows_only() -> None:
    frame = pl.DataFrame({"x": [1.0, 3.0, None, 8.0], "same": [2, 2, 2, 2]})
    done, X = fitted(frame, scale="standard", impute="median")
    filled = np.array([1.0, 3.0, 3.0, 8.0])
    np.testing.assert_allclose(X[:, 0], (filled - filled.mean()) / filled.std(), rtol=1e-6)
    assert (X[:, 1] == 0).all()
    later = done.transform(pl.DataFrame({"x": [None, 1e9], "same": [None, 3]}))
    assert later[0, 0] == X[2, 0]
    assert later[:, 1].tolist() == [0, 1]


def test_one_hot_knows_unknown_from_missing() -> None:
    frame = pl.DataFrame({"c": ["b", "a", None, "b"]})
    done, X = fitted(frame)
    assert done.names == ("c=a", "c=b", "c is missing")
    assert set(done.source_of.values()) == {"c"}
    np.testing.assert_array_equal(X, [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert done.transform(pl.DataFrame({"c": ["z", None]})).tolist() == [[0, 0, 0], [0, 0, 1]]
    bare, _ = fitted(frame.drop_nulls())
    assert bare.transform(pl.DataFrame({"c": [None, "z"]}, schema={"c": pl.String})).tolist() == [
        [0, 0],
        [0, 0],
    ]


def test_missing_is_a_column_only_where_training_had_it() -> None:
    done, X = fitted(pl.DataFrame({"c": ["x", None, "x"], "d": ["a", "b", "a"]}))
    assert done.names == ("c=x", "c is missing", "d=a", "d=b")
    assert X[1].tolist() == [0, 1, 0, 1]


def test_ordinal_follows_the_declared_order() -> None:
    frame = pl.DataFrame({"size": ["L", "S", None, "M"]})
    declared = {"size": ("S", "M", "L")}
    done, X = fitted(frame, values=declared, encode={"size": "ordinal"})
    np.testing.assert_array_equal(X[:, 0], [2, 0, np.nan, 1])
    done, X = fitted(frame, values=declared, encode={"size": "ordinal"}, impute="median")
    assert X[:, 0].tolist() == [2, 0, 1, 1]
    assert done.transform(pl.DataFrame({"size": ["XL"]}))[0, 0] == 1


def test_target_encoding_is_smoothed_and_out_of_fold() -> None:
    rng = np.random.default_rng(3)
    frame = pl.DataFrame({"c": [f"v{i % 50}" for i in range(500)]})
    y = rng.integers(0, 2, 500)
    done, X = fitted(frame, y)
    assert done.encoders[0].kind == "target"  # more than 32 values
    prior, of_v0 = y.mean(), y[::50]
    expected = (of_v0.sum() + 20 * prior) / (len(of_v0) + 20)
    values = done.transform(pl.DataFrame({"c": ["v0", "new", None]}))
    np.testing.assert_allclose(values[:, 0], [expected, prior, prior], rtol=1e-6)
    assert not np.array_equal(X, done.transform(frame))
    # A label of noise: what a row sees must not tell its own label, as the plain encoding does.
    assert np.corrcoef(done.transform(frame)[:, 0], y)[0, 1] > 0.15
    assert np.corrcoef(X[:, 0], y)[0, 1] < 0.1


def test_no_training_row_sees_its_own_label() -> None:
    frame = pl.DataFrame({"c": ["a", "b"] * 20})
    y = np.arange(40) % 3 % 2
    _, X = fitted(frame, y, encode={"c": "target"})
    for row in range(40):
        flipped = y.copy()
        flipped[row] = 1 - flipped[row]
        _, other = fitted(frame, flipped, encode={"c": "target"})
        assert other[row, 0] == X[row, 0]


def test_folds_may_be_given() -> None:
    frame, y = pl.DataFrame({"c": ["a"] * 4}), np.array([1, 1, 0, 0])
    given = fit_transform(
        frame, y, features(frame), FeatureSpec(encode={"c": "target"}), "binary", folds=np.array([0, 0, 1, 1])
    )[1]
    assert given[:, 0].tolist() == [0, 0, 1, 1]
    alone = fit_transform(
        frame, y, features(frame), FeatureSpec(encode={"c": "target"}), "binary", folds=np.zeros(4, int)
    )[1]
    assert alone[:, 0].tolist() == [0.5] * 4


def test_multiclass_targets_have_a_column_per_class() -> None:
    frame = pl.DataFrame({"c": ["a", "b", "a", "b", "a", "b"]})
    done, _ = fitted(frame, ["x", "y", "z", "y", "x", "y"], "multiclass", encode={"c": "target"})
    assert done.names == ("c~x", "c~y", "c~z")
    np.testing.assert_allclose(done.transform(frame).sum(axis=1), 1, rtol=1e-6)


def test_hashing_needs_no_training() -> None:
    frame = pl.DataFrame({"c": ["a", "b", None]})
    done, X = fitted(frame, encode={"c": "hashing"})
    assert X.shape == (3, 32)
    assert X.sum(axis=1).tolist() == [1, 1, 0]
    # blake2b of "a" and "b": the same on every machine.
    assert X[:2].argmax(axis=1).tolist() == [15, 21]
    assert done.transform(pl.DataFrame({"c": ["never seen"]})).sum() == 1


def test_dropped_and_mixed_columns_keep_their_places() -> None:
    frame = pl.DataFrame({"c": ["a", "b"], "x": [1.0, 2.0], "d": ["q", "q"], "z": [5, 6], "h": ["u", "v"]})
    done, X = fitted(frame, encode={"d": "drop", "h": "hashing"})
    assert done.features == ("c", "x", "z", "h")
    assert X[:, 2:4].tolist() == [[1, 5], [2, 6]]
    np.testing.assert_array_equal(done.transform(frame[:, ::-1]), X)
    assert done.transform(frame.clear()).shape == (0, X.shape[1])


def test_twins_lose_the_one_that_says_less() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 400)
    good = y + rng.normal(size=400)
    frame = pl.DataFrame(
        {"good": good, "twin": good + rng.normal(size=400) * 0.3, "other": rng.normal(size=400)}
    )
    done, X = fitted(frame, y, select={"drop_correlated_above": 0.8})
    assert done.features == ("good", "other")
    assert done.dropped[0][0] == "twin"
    assert "with good, which says more about the label" in done.dropped[0][1]
    assert X.shape == (400, 2)
    top, _ = fitted(frame, y, select={"drop_correlated_above": 0.8, "top": 1})
    assert top.features == ("good",)
    assert dict(top.dropped)["other"].startswith("rank 2 of 2 by correlation with the label")


def test_ties_are_settled_by_name() -> None:
    frame = pl.DataFrame({"b": [1, 2, 3, 4], "a": [1, 2, 3, 4], "c": [4, 3, 2, 1]})
    done, _ = fitted(frame, select={"drop_correlated_above": 0.9})
    assert done.features == ("a",)
    assert fitted(frame, select={"top": 2})[0].features == ("b", "a")
    assert beyond_top(["b", "a"], np.array([0.5, 0.5]), 1).keys() == {"b"}
    assert correlated(["b", "a"], np.ones((2, 2)), np.array([0.5, 0.5]), 0.9).keys() == {"b"}


def test_spearman_agrees_with_scipy_and_bears_missing_values() -> None:
    rng = np.random.default_rng(5)
    values = np.round(rng.normal(size=(60, 4)), 1)
    np.testing.assert_allclose(spearman_matrix(values), spearmanr(values).statistic, atol=1e-8)
    few = values[:4]  # as many rows as columns
    np.testing.assert_allclose(spearman_matrix(np.asfortranarray(few)), spearmanr(few).statistic, atol=1e-8)
    values[:, 3] = np.nan
    values[:30, 2] = np.nan
    found = spearman_matrix(values)
    assert np.isfinite(found).all()
    assert found[3].tolist() == [0, 0, 0, 1]
    assert relevance(values, values[:, :1])[0] == 1


def test_json_gives_equal_matrices() -> None:
    rng = np.random.default_rng(2)
    frame = pl.DataFrame(
        {
            "x": rng.normal(size=90),
            "c": rng.choice(["ä", "b", "c"], 90),
            "t": [f"v{i % 40}" for i in range(90)],
        }
    ).with_columns(x=pl.when(pl.col("x") > 1).then(None).otherwise("x"))
    done, _ = fitted(
        frame, rng.integers(0, 2, 90), scale="standard", impute="median", encode={"c": "ordinal"}
    )
    again = Preprocessor.from_json(json.loads(json.dumps(done.to_json())))
    assert again == done
    assert again.transform(frame).tobytes() == done.transform(frame).tobytes()
    with pytest.raises(PackageError, match="schema version None"):
        Preprocessor.from_json({})
    with pytest.raises(PackageError, match="damaged"):
        Preprocessor.from_json(done.to_json() | {"encoders": [{}]})


def test_what_does_not_fit_is_refused() -> None:
    frame = pl.DataFrame({"c": ["a", "b"], "x": [1.0, 2.0]})
    with pytest.raises(UsageError, match="'c' is String and cannot be encoded as a number"):
        fitted(frame, encode={"c": "numeric"})
    with pytest.raises(UsageError, match="no feature is left"):
        fitted(frame, encode={"c": "drop", "x": "drop"})
    with pytest.raises(UsageError, match="2 rows of features, but 3 labels"):
        fitted(frame, [0, 1, 0])
    with pytest.raises(UsageError, match="2 rows, but 3 fold numbers"):
        fit_transform(frame, np.array([0, 1]), features(frame), FeatureSpec(), "binary", folds=np.arange(3))
    with pytest.raises(DataError, match="no training rows"):
        fitted(frame.clear())
    done = fit(frame, np.array([0, 1]), features(frame), FeatureSpec(), "binary")
    with pytest.raises(DataError, match="feature 'c' is missing, and 1 more"):
        done.transform(pl.DataFrame({"y": [1]}))
    with pytest.raises(DataError, match="features cannot be encoded"):
        done.transform(pl.DataFrame({"c": ["a"], "x": ["one"]}))


def test_a_column_of_nulls_is_no_trouble() -> None:
    frame = pl.DataFrame(
        {"c": [None, None], "x": [None, None], "z": [1, 2]},
        schema_overrides={"c": pl.String, "x": pl.Float64},
    )
    done, X = fitted(frame, scale="standard", impute="median", select={"drop_correlated_above": 0.9})
    assert done.names == ("c is missing", "x", "z")
    assert np.isfinite(X).all()
