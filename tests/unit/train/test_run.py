from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError, UsageError
from charter.features.featureset import feature_set
from charter.spec.loader import loads
from charter.testing.learners import score_onnx
from charter.train.asked import load_learners, monotone_columns
from charter.train.ports import RunRecord
from charter.train.run import encode_label, train

SPEC = """
spec_version: 1
name: small
summary: A small model
owner: {{team: t, contact: t@example.org}}
purpose:
  problem: p
  objective: o
  decision: d
  users: [u]
  today: {{process: by hand{rule}}}
data:
  sources:
    rows:
      uri: rows.csv
      columns:
        id: {{type: integer}}
        a: {{type: float, nullable: true}}
        b: {{type: float}}
        colour: {{type: category}}
        target: {{type: {label}}}
  observations: {{source: rows, key: [id]}}
  label: {{column: target, name: label{positive}}}
train:
  task: {task}
  split: {{kind: random, test: 0.2, folds: 3}}
  learners: [{learners}]
  search: {{trials: {trials}, fixed: {fixed}}}
  seed: 5
  {more}
"""


def spec_of(task="binary", learners="logistic_regression, lightgbm", trials=4, more="", fixed="{}"):
    label = {"binary": "integer", "multiclass": "category", "regression": "float"}[task]
    positive = ", positive: 1" if task == "binary" else ""
    rule = ', rule: "a > 1"' if task == "binary" else ""
    text = SPEC.format(
        rule=rule,
        task=task,
        learners=learners,
        trials=trials,
        more=more,
        fixed=fixed,
        label=label,
        positive=positive,
    )
    return loads(text, "model.yaml").spec


def dataset_of(task="binary", n=450, seed=0):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=n), rng.normal(size=n)
    colour = rng.choice(["red", "green", "blue"], n)
    noisy = 1.5 * a - b + (colour == "red") + rng.normal(scale=0.5, size=n)
    label = {
        "binary": pl.Series((noisy > 1).astype(np.int8)),
        "multiclass": pl.Series(np.array(["low", "mid", "high"])[np.digitize(noisy, [-0.5, 1])]),
        "regression": pl.Series(noisy),
    }[task]
    missing = rng.random(n) < 0.05
    return pl.DataFrame(
        {
            "__row": [str(i) for i in range(n)],
            "__split": ["train"] * n,
            "id": np.arange(n),
            "a": pl.Series(np.where(missing, None, a).tolist(), dtype=pl.Float64),
            "b": b,
            "colour": colour,
            "label": label,
        }
    )


def cut_of(n, k=3):
    rows = np.arange(n)
    return [(rows[rows % k != i], rows[rows % k == i]) for i in range(k)]


class Notebook:
    def __init__(self):
        self.runs: list[RunRecord] = []

    def record(self, run):
        self.runs.append(run)
        return "run-1"


def fit(task="binary", frame=None, tracker=None, **changes):
    spec = spec_of(task, **changes)
    frame = dataset_of(task) if frame is None else frame
    return train(frame, feature_set(spec), spec, folds=cut_of(frame.height), tracker=tracker)


@pytest.mark.parametrize("task", ["binary", "multiclass", "regression"])
def test_training_hands_on_a_portable_model_that_learned(task):
    learners = "lightgbm" if task == "regression" else "logistic_regression, lightgbm"
    found = fit(task, learners=learners)
    frame = dataset_of(task, seed=9)
    X = found.preprocessor.transform(frame)
    scores = found.model.predict(X)
    np.testing.assert_allclose(score_onnx(found.onnx, X), scores, atol=1e-6)
    assert found.parity["max_abs_difference"] <= 1e-6
    assert found.oof["__row"].to_list() == [str(i) for i in range(450)]
    assert found.oof["fold"].to_list() == [i % 3 for i in range(450)]
    assert found.oof["label"].equals(dataset_of(task)["label"].alias("label"))
    assert sum(found.importance.values()) == pytest.approx(1)
    assert set(found.importance) == {"a", "b", "colour"}
    better = (lambda x, y: x > y) if task == "binary" else (lambda x, y: x < y)
    assert better(found.value, found.baselines["no model"])
    if task == "multiclass":
        assert found.classes == ("high", "low", "mid")
        assert scores.shape == (450, 3)
    if task == "binary":
        assert found.classes == ("0", "1")
        assert set(found.baselines) == {"no model", "rule today"}


def test_equal_arguments_give_equal_bytes():
    first, second = (fit(trials=6, more="calibrate: isotonic") for _ in range(2))
    assert first.onnx == second.onnx
    assert first.native == second.native
    assert first.calibration == second.calibration
    assert first.oof.equals(second.oof)
    assert first.candidates_json() == second.candidates_json()


def test_each_learners_defaults_come_first_and_are_judged_on_all_folds():
    found = fit(trials=1)
    assert [c.learner for c in found.candidates] == ["logistic_regression", "lightgbm"]
    assert all(len(c.fold_scores) == 3 and not c.pruned for c in found.candidates)


@pytest.mark.parametrize("kind", ["class_weight", "over_sample", "under_sample", "smote"])
def test_imbalance_biases_raw_scores_and_calibration_undoes_it(kind):
    found = fit(learners="logistic_regression", trials=1, more=f"imbalance: {kind}\n  calibrate: sigmoid")
    share = found.oof["label"].mean()
    assert found.oof["score"].mean() > share + 0.02
    assert found.oof["calibrated_score"].mean() == pytest.approx(share, abs=0.01)


@pytest.mark.parametrize("learner", ["logistic_regression", "lightgbm"])
def test_monotone_promises_reach_the_model(learner):
    found = fit(learners=learner, trials=2, more="monotone: {a: decreasing, b: increasing}")
    frame = dataset_of().with_columns(a=pl.lit(0.0), b=pl.lit(0.0))
    at = [
        found.model.predict(found.preprocessor.transform(frame.with_columns(a=pl.lit(v))))
        for v in (-2.0, 0.0, 2.0)
    ]
    assert (at[0] >= at[1]).all()
    assert (at[1] >= at[2]).all()


def test_what_cannot_be_promised_is_refused():
    found = fit(learners="lightgbm", trials=1)
    features = feature_set(spec_of())
    with pytest.raises(UsageError, match="'colour' becomes 3 columns"):
        monotone_columns(found.preprocessor, {"colour": "increasing"}, features)
    with pytest.raises(UsageError, match="'price' is not a feature"):
        monotone_columns(found.preprocessor, {"price": "increasing"}, features)
    directions = dict(
        zip(
            found.preprocessor.names,
            monotone_columns(found.preprocessor, {"b": "decreasing"}, features),
            strict=True,
        )
    )
    assert {name: d for name, d in directions.items() if d} == {"b": -1}
    with pytest.raises(UsageError, match="logistic_regression cannot do regression"):
        load_learners(["logistic_regression"], task="regression", monotone=False)
    with pytest.raises(UsageError, match="no learner is called 'forest'"):
        load_learners(["forest"], task="binary", monotone=False)
    with pytest.raises(
        UsageError, match="logistic_regression cannot make the absolute error small; it does squared"
    ):
        load_learners(["logistic_regression"], task="binary", monotone=False, loss="absolute")


def test_stated_parameters_are_not_searched():
    found = fit(
        learners="lightgbm", trials=2, more="", fixed="{lightgbm: {min_data_in_leaf: 60, lambda_l2: 2.5}}"
    )
    assert all(c.params["min_data_in_leaf"] == 60 and c.params["lambda_l2"] == 2.5 for c in found.candidates)
    assert found.candidates[0].params["num_leaves"] != found.candidates[1].params["num_leaves"]
    assert found.params["min_data_in_leaf"] == 60
    for wrong, match in (
        ("{lightgbm: {min_data: 60}}", "fixed.lightgbm.min_data: lightgbm has no such parameter"),
        ("{lightgbm: {num_leaves: 7.5}}", "fixed.lightgbm.num_leaves is 7.5; it is a whole number"),
        ("{lightgbm: {num_leaves: -7}}", "LightGBM refuses what it is asked for"),
    ):
        with pytest.raises(UsageError, match=match):
            fit(learners="lightgbm", trials=1, fixed=wrong)


def test_absolute_errors_ask_for_the_median():
    """Of skewed labels the median, not the mean: most errors are small, and a tenth of the rows moves nothing."""
    frame = dataset_of("regression", n=900)
    rare = np.random.default_rng(1).random(900) < 0.1
    frame = frame.with_columns(label=pl.col("label") + pl.Series(np.where(rare, 30.0, 0.0)))
    error = {}
    for loss in ("squared", "absolute"):
        found = fit("regression", frame, learners="lightgbm", trials=1, more=f"loss: {loss}")
        assert found.params.get("loss", "squared") == loss
        error[loss] = (found.oof["score"] - found.oof["label"]).to_numpy()
    assert np.abs(error["absolute"]).mean() < 0.8 * np.abs(error["squared"]).mean()
    assert np.mean(error["absolute"] ** 2) > np.mean(error["squared"] ** 2)


def test_faulty_labels_are_named():
    with pytest.raises(DataError, match="1 of 2 training rows have none"):
        encode_label(pl.Series("label", [1, None]), "binary")
    with pytest.raises(DataError, match="other than 0 and 1"):
        encode_label(pl.Series("label", [1, 2]), "binary")
    with pytest.raises(DataError, match="NaN or infinity"):
        encode_label(pl.Series("label", [1.0, float("nan")]), "regression")
    with pytest.raises(DataError, match="fold 0 does not hold every class"):
        fit(trials=1, frame=dataset_of().with_columns(label=(pl.col("id") == 1).cast(pl.Int8)))


def test_the_run_is_written_down():
    notebook = Notebook()
    found = fit(trials=3, tracker=notebook)
    (run,) = notebook.runs
    assert found.run == "run-1"
    assert run.params["learner"] == found.learner
    assert run.metrics["cv_average_precision"] == found.value
    assert len(run.children) == 3
    assert set(run.documents) == {
        "environment.json",
        "importance.json",
        "baselines.json",
        "curves.json",
        "confusion_matrix.json",
    }
    assert sum(map(sum, run.documents["confusion_matrix.json"]["counts"])) == 450
    assert run.documents["curves.json"]["roc"]["true_positive_rate"][-1] == 1.0
    assert len(run.series["best_average_precision"]) == 3


def test_time_folds_are_put_on_one_scale():
    spec = spec_of(more="calibrate: sigmoid")
    split = spec.train.split.model_copy(update={"kind": "time"})
    spec = spec.model_copy(update={"train": spec.train.model_copy(update={"split": split})})
    frame = dataset_of(n=600)
    rows = np.arange(600)
    cut = [(rows[:300], rows[300:450]), (rows[:450], rows[450:])]
    found = train(frame, feature_set(spec), spec, folds=cut)
    assert found.oof.height == 300
    by_fold = found.oof.group_by("fold").agg(pl.col("label", "score", "raw_score").mean()).sort("fold")
    assert by_fold["score"].to_list() == pytest.approx(by_fold["label"].to_list(), abs=1e-6)
    assert by_fold["raw_score"].to_list() != pytest.approx(by_fold["label"].to_list(), abs=1e-6)


def test_several_classes_are_at_least_three():
    with pytest.raises(DataError, match=r"hold 2 of its classes \(a, b\)"):
        encode_label(pl.Series("kind", ["a", "b", "a"]), "multiclass")
