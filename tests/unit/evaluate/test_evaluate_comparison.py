"""Two models on the same rows: gains and shift agree with what was built in; nothing is claimed without evidence."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from charter.core.errors import UsageError
from charter.data.metrics import Sample
from charter.evaluate.compare import bootstrap_test, improvement
from charter.evaluate.comparison import Answers, compare_models, primary_change, surely_worse
from charter.evaluate.resample import Draws, Part, replicate
from charter.spec.loader import loads

SPEC = """
spec_version: 1
name: two-models
summary: A test
owner: {team: T, contact: t@example.org}
purpose: {problem: P., objective: O., decision: D., users: [u], today: {process: None}}
data:
  sources:
    rows:
      uri: rows.csv
      columns: {id: {type: integer}, x: {type: float}, y: {type: LABEL}, group: {type: category}}
  observations: {source: rows, key: [id]}
  label: {name: target, column: yPOSITIVE}
train:
  task: TASK
  split: {kind: random, test: 0.3}
  learners: [lightgbm]
evaluate: {slices: [group, "x > 1.5"], min_slice_rows: 100, resamples: 300}
"""


def spec(task: str = "binary") -> Any:
    label, positive = ("category, values: [0, 1]", ", positive: 1") if task == "binary" else ("float", "")
    text = SPEC.replace("TASK", task).replace("LABEL", label).replace("POSITIVE", positive)
    return loads(text).spec


@pytest.fixture(scope="module")
def rows() -> dict[str, Any]:
    """A champion that knows x with much noise, a candidate that knows it with little."""
    rng = np.random.default_rng(4)
    n = 3000
    x = rng.normal(0, 1, n)
    truth = (rng.random(n) < 1 / (1 + np.exp(-2 * x))).astype(float)
    known = [1 / (1 + np.exp(-(2 * x + rng.normal(0, s, n)))) for s in (0.2, 2.0)]
    frame = pl.DataFrame({"x": x, "group": np.where(np.arange(n) < 2950, "many", "few")})
    return {"x": x, "y": truth, "a": known[0], "b": known[1], "frame": frame}


def answers(score: np.ndarray) -> Answers:
    return Answers(score, (score >= 0.5).astype(float))


def test_the_better_model_is_found_better_everywhere(rows: dict[str, Any]) -> None:
    found = compare_models(rows["frame"], rows["y"], answers(rows["a"]), answers(rows["b"]), spec=spec())
    for name in ("roc_auc", "log_loss", "accuracy", "average_precision"):
        change = found.change(name)
        assert change is not None
        assert change.compared.better == "a", name
        assert change.gain.low is not None
        assert change.gain.low > 0, name
        assert not surely_worse(change)
    auc = found.change("roc_auc")
    assert auc is not None
    assert auc.compared.test == "delong"
    assert auc.gain.value == pytest.approx((auc.compared.a - auc.compared.b) / auc.compared.b)
    assert found.decisions is not None
    assert found.decisions.p_value < 0.001
    assert not found.metrics[0].metric.startswith("net_value"), "nothing says what outcomes are worth"
    by = {(s.slice, s.value): s for s in found.slices}
    assert by["group", "many"].change.compared.better == "a"
    assert by["group", "few"].change is None
    assert "too small to judge" in by["group", "few"].note
    assert ("x > 1.5", "true") in by
    document = found.to_json()
    assert document["primary"] == "average_precision"


def test_the_shift_is_what_moved(rows: dict[str, Any]) -> None:
    moved = rows["b"].copy()
    moved[:300] = np.clip(moved[:300] + np.where(moved[:300] < 0.5, 0.2, -0.2), 0, 1)
    found = compare_models(rows["frame"], rows["y"], answers(moved), answers(rows["b"]), spec=spec()).shift
    assert found.share.value == pytest.approx(0.1)
    assert found.share.low < 0.1 < found.share.high
    same = compare_models(rows["frame"], rows["y"], answers(rows["b"]), answers(rows["b"]), spec=spec())
    assert (same.shift.share.value, same.shift.psi, same.shift.mean, same.shift.flipped.value) == (
        0.0,
        0.0,
        0.0,
        0.0,
    )
    assert all(c.compared.better == "neither" for c in same.metrics)


def test_numbers_move_in_standard_deviations(rows: dict[str, Any]) -> None:
    x = rows["x"]
    rng = np.random.default_rng(0)
    a, b = (Answers(10 * x + rng.normal(0, s, len(x))) for s in (1.0, 3.0))
    found = compare_models(rows["frame"], 10 * x, a, b, spec=spec("regression"))
    assert found.shift.by == pytest.approx(0.1 * np.std(b.score))
    assert found.shift.flipped is None
    assert found.decisions is None
    error = found.change("root_mean_squared_error")
    assert error is not None
    assert error.gain.value == pytest.approx(1 - 1 / 3, abs=0.03)


def test_repeated_entities_are_resampled_whole(rows: dict[str, Any]) -> None:
    n = len(rows["y"])
    twice = {k: np.concatenate([v, v]) for k, v in rows.items() if k != "frame"}
    frame = pl.concat([rows["frame"], rows["frame"]])
    cluster = np.concatenate([np.arange(n), np.arange(n)])
    once = primary_change(rows["y"], answers(rows["a"]), answers(rows["b"]), spec=spec())
    whole = compare_models(
        frame, twice["y"], answers(twice["a"]), answers(twice["b"]), spec=spec(), cluster=cluster
    )
    assert whole.clustered
    assert whole.decisions is None, "McNemar's test takes rows as independent"
    found = whole.change("average_precision").compared.difference
    assert (found.high - found.low) == pytest.approx(
        once.compared.difference.high - once.compared.difference.low, rel=0.15
    )


def test_one_metric_alone_agrees_with_the_paired_bootstrap(rows: dict[str, Any]) -> None:
    change = primary_change(rows["y"], answers(rows["a"]), answers(rows["b"]), spec=spec())
    alone = bootstrap_test("average_precision", rows["y"], rows["a"], rows["b"], resamples=300, seed=0)
    assert change.compared == alone


def test_a_share_of_nothing_means_nothing(rows: dict[str, Any]) -> None:
    rng = np.random.default_rng(1)
    noise = Sample(rows["y"], rng.random(len(rows["y"])))
    good = Sample(rows["y"], rows["a"])
    draws = Draws.of(noise.n, resamples=200, seed=0)
    of = replicate([Part(good, ("gini",)), Part(noise, ("gini",))], draws)
    points = [float(s.measure(("gini",), np.ones((1, s.n)))[0, 0]) for s in (good, noise)]
    found = improvement(
        "gini", (points[0], of[0]), (points[1], of[1]), confidence=0.95, n=noise.n, units=noise.n
    )
    assert found.value is None
    assert "not surely different from 0" in found.note


def test_no_rows_are_refused(rows: dict[str, Any]) -> None:
    nothing = Answers(np.empty(0), np.empty(0))
    with pytest.raises(UsageError, match="no rows to compare on"):
        compare_models(rows["frame"].head(0), np.empty(0), nothing, nothing, spec=spec())
