from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from charter.core.digest import canonical_json
from charter.core.errors import DataError, PackageError, UsageError
from charter.data.metrics import compute
from charter.evaluate.evaluation import Evaluation, evaluate
from charter.evaluate.threshold import choose
from charter.spec.types import ModelSpec, Threshold
from charter.spec.vocabulary import metrics_for

Rows = tuple[pl.DataFrame, np.ndarray, np.ndarray]
SpecOf = Callable[..., ModelSpec]


def _full(rows: Rows, spec_of: SpecOf, cluster: bool = False) -> Evaluation:
    frame, y, score = rows
    spec = spec_of(slices=["region", "age < 30"], fairness={"by": ["sex"]}, resamples=200)
    rng = np.random.default_rng(0)
    baselines = {
        "prior": {"score": np.full(len(y), 0.3), "decision": None},
        "rule": {"score": None, "decision": score + rng.normal(0, 0.3, len(y)) > 0.5},
        "recency": {"score": 100 * score + rng.normal(0, 30, len(y)), "decision": None},
    }
    return evaluate(
        frame, y, score,
        spec=spec, threshold=choose(y, score, Threshold(maximise="net_value"), spec.value),
        baselines=baselines, cluster=frame["entity"].to_numpy() if cluster else None,
    )  # fmt: skip


@pytest.mark.parametrize("cluster", [False, True])
def test_json_goes_there_and_back_and_is_the_same_twice(rows: Rows, spec_of: SpecOf, cluster: bool) -> None:
    first, again = _full(rows, spec_of, cluster), _full(rows, spec_of, cluster)
    text = canonical_json(first.to_json())
    assert text == canonical_json(again.to_json())
    assert Evaluation.from_json(json.loads(text)) == first


def test_bytes_do_not_depend_on_the_size_of_blocks(
    rows: Rows, spec_of: SpecOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = canonical_json(_full(rows, spec_of).to_json())
    monkeypatch.setattr("charter.evaluate.resample._BLOCK_CELLS", 7000)
    monkeypatch.setattr("charter.evaluate.calibration._BLOCK_CELLS", 7000)
    assert canonical_json(_full(rows, spec_of).to_json()) == first


def test_every_metric_is_measured_with_an_interval_around_it(rows: Rows, spec_of: SpecOf) -> None:
    result = _full(rows, spec_of)
    _, y, score = rows
    assert set(result.metrics) == set(metrics_for("binary"))
    decision = score >= result.threshold.threshold
    for name, found in result.metrics.items():
        assert found.value == pytest.approx(compute(name, y, score, decision, spec_of().value))
        assert found.low <= found.value <= found.high
    assert sum(result.confusion.values()) == result.n == 1500
    assert result.confusion["tp"] + result.confusion["fn"] == result.positives == y.sum()
    assert result.value.net_value == pytest.approx(result.metrics["net_value"].value)
    assert result.value.net_value_per_month == pytest.approx(result.metrics["net_value_per_month"].value)
    assert len(result.calibration) == 15
    assert len(result.deciles) == 10


def test_entities_that_repeat_are_resampled_whole(rows: Rows, spec_of: SpecOf) -> None:
    result = _full(rows, spec_of, cluster=True)
    assert result.clustered
    assert result.entities == rows[0]["entity"].n_unique()
    assert result.metrics["accuracy"].method == "bca"
    assert not _full(rows, spec_of).clustered


def test_baselines_are_measured_as_far_as_they_go(rows: Rows, spec_of: SpecOf) -> None:
    result = _full(rows, spec_of)
    rule, recency, prior = (result.baselines[n] for n in ("rule", "recency", "prior"))
    assert rule["roc_auc"].value == pytest.approx(rule["balanced_accuracy"].value)
    assert rule["brier_score"].value is None
    assert rule["log_loss"].note == "the baseline decides without a probability"
    assert recency["average_precision"].value > prior["average_precision"].value
    assert recency["f1"].value is None
    assert recency["f1"].note == "the baseline ranks without deciding"
    assert recency["brier_score"].note == "the score is not a probability"
    assert prior["roc_auc"].value == 0.5
    assert prior["brier_score"].value == pytest.approx(compute("brier_score", rows[1], np.full(1500, 0.3)))


def test_the_best_baseline_is_the_one_to_beat(rows: Rows, spec_of: SpecOf) -> None:
    result = _full(rows, spec_of)
    best = result.against_baseline
    assert (best.baseline, best.metric) == ("recency", "average_precision")
    assert best.difference.value == pytest.approx(best.model - best.other)
    assert best.better == (best.difference.low > 0)
    assert {c.baseline for c in result.comparisons} == {"prior", "rule", "recency"}
    assert best in result.comparisons


def test_paired_differences_are_surer_than_their_parts(rows: Rows, spec_of: SpecOf) -> None:
    frame, y, score = rows
    near = {"near": {"score": np.clip(score + 0.001, 0, 1), "decision": None}}
    spec = spec_of(beat_baseline={"metric": "brier_score"})
    fixed = choose(y, score, Threshold(fixed=0.5))
    found = evaluate(frame, y, score, spec=spec, threshold=fixed, baselines=near).against_baseline
    assert found.difference.high - found.difference.low < 1e-3
    assert not found.better


def test_a_lower_loss_is_better(rows: Rows, spec_of: SpecOf) -> None:
    frame, y, score = rows
    spec = spec_of(beat_baseline={"metric": "brier_score"})
    prior = {"prior": {"score": np.full(len(y), 0.3), "decision": None}}
    found = evaluate(
        frame, y, score, spec=spec, threshold=choose(y, score, Threshold(fixed=0.5)), baselines=prior
    )
    assert found.against_baseline.difference.high < 0
    assert found.against_baseline.better


def test_a_baseline_that_cannot_be_compared_is_no_rival(rows: Rows, spec_of: SpecOf) -> None:
    frame, y, score = rows
    spec = spec_of(beat_baseline={"metric": "brier_score"})
    rule = {"rule": {"score": None, "decision": score > 0.5}}
    found = evaluate(
        frame, y, score, spec=spec, threshold=choose(y, score, Threshold(fixed=0.5)), baselines=rule
    )
    assert found.against_baseline is None
    assert found.comparisons[0].difference.note == "the baseline decides without a probability"


def test_without_values_there_is_no_value(rows: Rows, spec_of: SpecOf) -> None:
    frame, y, score = rows
    found = evaluate(
        frame, y, score, spec=spec_of(value=False), threshold=choose(y, score, Threshold(fixed=0.5))
    )
    assert "net_value" not in found.metrics
    assert found.value is None
    assert found.against_baseline is None
    assert found.worst_slice is None
    assert found.slices_note == ""


def test_several_classes(spec_of: SpecOf) -> None:
    rng = np.random.default_rng(1)
    y = rng.integers(0, 3, 600)
    score = rng.dirichlet([1, 1, 1], 600) * 0.5 + 0.5 * np.eye(3)[y]
    frame = pl.DataFrame({"g": rng.choice(["a", "b"], 600)})
    baselines = {
        "most common": {"score": None, "decision": np.zeros(600)},
        "prior": {"score": np.full((600, 3), 1 / 3)},
    }
    spec = spec_of(task="multiclass", value=False, slices=["g"], beat_baseline={"metric": "accuracy"})
    found = evaluate(frame, y, score, spec=spec, baselines=baselines, classes=["x", "y", "z"])
    assert set(found.metrics) == set(metrics_for("multiclass"))
    assert all(m.low <= m.value <= m.high for m in found.metrics.values())
    assert found.classes == ("x", "y", "z")
    assert np.array(found.matrix).sum() == 600
    assert np.trace(np.array(found.matrix)) / 600 == pytest.approx(found.metrics["accuracy"].value)
    assert found.baselines["most common"]["log_loss"].value is None
    assert found.baselines["prior"]["log_loss"].value == pytest.approx(math.log(3))
    assert found.against_baseline.better
    assert (found.positives, found.threshold, found.confusion, found.fairness) == (None, None, None, {})
    assert [s.positives for s in found.slices] == [None, None]
    assert Evaluation.from_json(json.loads(canonical_json(found.to_json()))) == found


def test_numbers(spec_of: SpecOf) -> None:
    rng = np.random.default_rng(2)
    y = rng.normal(10, 3, 500)
    guess = y + rng.normal(0, 1, 500)
    frame = pl.DataFrame({"g": rng.choice(["a", "b"], 500)})
    spec = spec_of(task="regression", value=False, slices=["g"])
    found = evaluate(
        frame, y, guess, spec=spec, baselines={"mean": {"score": np.full(500, 10.0), "decision": None}}
    )
    assert found.metrics["root_mean_squared_error"].low < 1 < found.metrics["root_mean_squared_error"].high
    assert found.against_baseline.metric == "root_mean_squared_error"
    assert found.against_baseline.difference.high < 0
    assert found.against_baseline.better
    assert found.worst_slice is not None
    assert Evaluation.from_json(json.loads(canonical_json(found.to_json()))) == found


def test_wrong_use_is_named(rows: Rows, spec_of: SpecOf) -> None:
    frame, y, score = rows
    spec, fixed = spec_of(), choose(y, score, Threshold(fixed=0.5))
    with pytest.raises(UsageError, match="threshold"):
        evaluate(frame, y, score, spec=spec)
    with pytest.raises(UsageError, match="1500 rows, y 1499"):
        evaluate(frame, y[:-1], score, spec=spec, threshold=fixed)
    with pytest.raises(DataError, match="1 of 1500 test rows have no score"):
        evaluate(frame, y, np.where(np.arange(1500) == 3, np.nan, score), spec=spec, threshold=fixed)
    with pytest.raises(DataError, match="2 of 1500 test rows have no label"):
        evaluate(frame, np.where(np.arange(1500) < 2, np.nan, y), score, spec=spec, threshold=fixed)
    with pytest.raises(UsageError, match="neither a score nor a decision"):
        evaluate(
            frame, y, score, spec=spec, threshold=fixed, baselines={"b": {"score": None, "decision": None}}
        )
    odd = spec_of(beat_baseline={"metric": "roc_auk"})
    with pytest.raises(UsageError, match=r"roc_auk(.|\n)*roc_auc"):
        evaluate(frame, y, score, spec=odd, threshold=fixed, baselines={"b": {"score": score}})


def test_one_class_of_test_rows_is_said_not_hidden(spec_of: SpecOf) -> None:
    score = np.linspace(0, 1, 50)
    found = evaluate(
        pl.DataFrame({"g": ["a"] * 50}), np.zeros(50), score,
        spec=spec_of(slices=["g"], min_slice_rows=10), threshold=choose(np.zeros(50), score, Threshold(fixed=0.5)),
    )  # fmt: skip
    assert found.metrics["roc_auc"].value is None
    assert found.metrics["roc_auc"].note == "the rows hold one class only"
    assert found.curves is None
    assert not found.slices[0].judged
    assert Evaluation.from_json(json.loads(canonical_json(found.to_json()))) == found


def test_foreign_json_is_refused(rows: Rows, spec_of: SpecOf) -> None:
    data = _full(rows, spec_of).to_json()
    with pytest.raises(PackageError, match="schema_version 2"):
        Evaluation.from_json({**data, "schema_version": 2})
    with pytest.raises(PackageError, match="metrics"):
        Evaluation.from_json({**data, "metrics": 3})
