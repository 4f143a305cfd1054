from __future__ import annotations

import lightgbm as lgb
import numpy as np
import onnxruntime as ort
import pytest

from charter.core.errors import DataError, UsageError
from charter.serve.treeshap import LookupContributions
from charter.train.learners.by_block import ByBlock
from charter.train.learners.gbm import FittedBooster, LightGBMLearner
from charter.train.ports import Validation

COLUMNS, ENDS = ("a", "b", "step", "c"), (2, 4, 6)
LEARNER = LightGBMLearner()
DEFAULTS = LEARNER.defaults("regression")


def _panel(seed: int, n: int = 2400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Each block of steps has a law of its own: a, then -2 b, then 3; a tenth of a and b is missing."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, 4)).astype(np.float32)
    X[:, 2] = rng.integers(1, 7, n)
    block = np.searchsorted(ENDS, X[:, 2])
    y = np.choose(block, [X[:, 0], -2 * X[:, 1], np.full(n, 3.0)]) + 0.1 * rng.normal(size=n)
    X[:, :2][rng.random((n, 2)) < 0.1] = np.nan
    return X, y, block


def _fit(X: np.ndarray, y: np.ndarray, trees: object, *, blocks: bool, **given: object) -> FittedBooster:
    learner = ByBlock(LEARNER, ENDS).at(COLUMNS) if blocks else LEARNER
    params = {**DEFAULTS, "trees": trees}
    return learner.fit(
        X, y, weight=None, params=params, seed=1, monotone=(0,) * 4, task="regression", **given
    )  # type: ignore[arg-type, return-value]


@pytest.fixture(scope="module")
def fitted() -> FittedBooster:
    X, y, _ = _panel(0)
    return _fit(X, y, [20, 60, 5], blocks=True)


def test_each_block_is_forecast_by_trees_of_its_own(fitted: FittedBooster) -> None:
    X, y, block = _panel(0)
    fresh, _, other = _panel(1)
    for number, trees in enumerate((20, 60, 5)):
        alone = _fit(X[block == number], y[block == number], trees, blocks=False)
        rows = fresh[other == number]
        assert fitted.predict(rows) == pytest.approx(alone.predict(rows), abs=1e-5)  # rounded to one grid
    assert fitted.params["trees"] == [20, 60, 5]
    late = np.array([[0, 0, 9, 0]], np.float32)
    assert fitted.predict(late) == pytest.approx(fitted.predict(np.where(late == 9, np.float32(6), late)))


def test_the_joined_forest_is_exported_and_explained_like_any_other(fitted: FittedBooster) -> None:
    X, _, _ = _panel(2, 300)
    session = ort.InferenceSession(fitted.to_onnx(COLUMNS))
    said = fitted.predict(X)
    assert np.array_equal(session.run(None, {"X": X})[0].astype(np.float64), said)
    text = fitted.native()["lightgbm.txt"]
    lookup = LookupContributions.build(text)
    assert lookup is not None
    own = lgb.Booster(model_str=text.decode()).predict(X, pred_contrib=True)
    assert lookup.contributions(X)[:, 0] == pytest.approx(own[:, :-1], abs=1e-12)
    assert own.sum(axis=1) == pytest.approx(said, abs=1e-9)
    assert np.abs(own[:, 2]).max() > 1, "the step says which law holds"


def test_equal_arguments_give_equal_bytes(fitted: FittedBooster) -> None:
    X, y, _ = _panel(0)
    assert _fit(X, y, [20, 60, 5], blocks=True).native() == fitted.native()


def test_each_block_stops_when_it_knows_no_more_and_settles_by_itself() -> None:
    X, y, block = _panel(3)
    y = np.where(block == 2, np.random.default_rng(0).normal(size=len(y)), y)
    watch = Validation(X[:800], y[:800], None, "wmape")
    found = _fit(X[800:], y[800:], 200, blocks=True, validation=watch).params["trees"]
    assert found[2] < min(found[:2]), "noise teaches little"
    learner = ByBlock(LEARNER, ENDS)
    settled = learner.settle([{**DEFAULTS, "trees": [10, 20, 30]}, {**DEFAULTS, "trees": [20, 40, 30]}], 1.0)
    assert settled == {**DEFAULTS, "trees": [15, 30, 30]}


def test_a_block_whose_label_never_varies_is_a_constant() -> None:
    X, y, block = _panel(4)
    y = np.where(block == 1, 7.0, y)
    assert _fit(X, y, 10, blocks=True).predict(X[block == 1]) == pytest.approx(7.0, abs=1e-5)


def test_what_cannot_be_is_refused() -> None:
    X, y, block = _panel(5)
    with pytest.raises(DataError, match="no training row has a step of the block up to 4"):
        _fit(X[block != 1], y[block != 1], 5, blocks=True)
    with pytest.raises(UsageError, match="the step is not among"):
        ByBlock(LEARNER, ENDS).at(["a", "b"])
    assert ByBlock(LEARNER, ENDS).tasks == {"regression"}
