"""Decisions left to chance: which, how often, and that the log knows it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from log_models import logged, post, requests
from serve_models import Example

from charter.registry.allocation import buckets
from charter.serve.explore import TURNED, turn_around
from charter.serve.io.secret import load_secret
from charter.serve.log_reader import scan
from charter.serve.policy import LogPolicy
from charter.serve.scored import Scored
from charter.serve.types import DecisionRules, Exploration

SECRET = bytes(range(32))


def batch(score: np.ndarray, threshold: float = 0.5, fallback: list[bool] | None = None) -> Scored:
    known = np.isfinite(score)
    said = [
        ("positive" if s >= threshold else "negative") if k else None
        for s, k in zip(score, known, strict=True)
    ]
    predicted = [{"positive": "1", "negative": "0", None: None}[d] for d in said]
    n = len(score)
    return Scored(
        score, None, list(predicted), said, [None] * n, [[] for _ in range(n)], [[] for _ in range(n)],
        fallback or [False] * n,
    )  # fmt: skip


def explored(score: np.ndarray, policy: Exploration, units: list[str] | None = None, **options) -> Scored:
    scored = batch(score, **options)
    names = units or [f"r{i}/0" for i in range(len(score))]
    turn_around(scored, names, policy, model="loans", threshold=0.5, classes=(), secret=SECRET)
    return scored


def test_the_share_that_is_asked_for_is_turned_and_its_probability_noted():
    score = np.random.default_rng(0).random(50_000)
    found = explored(score, Exploration(0.02))
    greedy = batch(score)
    turned = np.array(found.decision) != np.array(greedy.decision)
    assert abs(turned.mean() - 0.02) < 4 * (0.02 * 0.98 / len(score)) ** 0.5
    assert found.propensity is not None
    assert np.array_equal(found.propensity, np.where(turned, 0.02, 0.98))
    assert [TURNED in w for w in found.warnings] == turned.tolist()
    assert all((p == "1") == (d == "positive") for p, d in zip(found.prediction, found.decision, strict=True))
    assert abs(np.corrcoef(turned, score)[0, 1]) < 0.02


def test_chance_is_a_hash_that_who_holds_the_secret_can_work_out_again():
    score = np.full(200, 0.6)
    units = [f"customer-{i}" for i in range(200)]
    found = explored(score, Exploration(0.1), units)
    names = pl.Series([f"loans/{u}" for u in units])
    expected = (buckets("explore", names, secret=SECRET) < 100_000).tolist()
    assert [d == "negative" for d in found.decision] == expected
    again = explored(score, Exploration(0.1), units)
    assert again.decision == found.decision
    assert any(expected)
    assert (buckets("explore", names) < 100_000).tolist() != expected, "whoever asks cannot tell"


def test_clear_cases_other_decisions_fallbacks_and_the_undecided_are_left_alone():
    score = np.array([0.55, 0.95, 0.45, 0.05, np.nan, 0.55])
    policy = Exploration(0.499, within=0.1, turn="positive")
    found = explored(score, policy, fallback=[False] * 5 + [True])
    p = 0.499 if found.decision[0] == "negative" else 0.501
    assert found.decision[1:4] == ["positive", "negative", "negative"]
    assert found.propensity is not None
    np.testing.assert_array_equal(found.propensity, [p, 1, 1, 1, np.nan, 1])
    assert found.decision[4:] == [None, "positive"]


@pytest.mark.parametrize("by_unit", [False, True])
def test_the_server_explores_what_it_logs(credit: Example, tmp_path, by_unit):
    application, _, _ = logged(credit, tmp_path, LogPolicy())
    (served,) = application.models
    rules = served.scorer.rules
    unit = next(i.name for i in served.scorer.signature.inputs if i.type == "integer") if by_unit else None
    try:
        served.scorer.rules = replace(rules, explore=Exploration(0.3, unit=unit))
        application.replace(())
        application.replace([served])
        answers = post(application, requests(credit, 200))
    finally:
        served.scorer.rules = rules
    rows = scan(tmp_path).collect()
    by_id = {answer["id"]: answer for _, answer in answers}
    assert rows["propensity"].is_in([0.3, 0.7]).all()
    assert rules.threshold is not None
    greedy = pl.when(rows["score"] >= rules.threshold).then(pl.lit("positive")).otherwise(pl.lit("negative"))
    turned = rows.select(pl.col("decision") != greedy).to_series()
    assert (rows["propensity"] == 0.3).equals(turned, null_equal=True)
    assert turned.any()
    if unit is not None:
        names = "credit-test/" + rows[f"input_{unit}"].cast(pl.String)
        chosen = buckets("explore", names, secret=load_secret(tmp_path)) < 300_000
        assert turned.to_list() == chosen.tolist()
    for row, was in zip(rows.iter_rows(named=True), turned, strict=True):
        assert by_id[row["id"]]["decision"] == row["decision"]
        assert (TURNED in by_id[row["id"]]["warnings"]) == was


def test_rules_that_explore_survive_being_written_and_others_stay_the_bytes_they_were():
    rules = DecisionRules(0.5, explore=Exploration(0.02, 0.2, "positive", "client"))
    assert DecisionRules.from_json(rules.to_json()) == rules
    assert "explore" not in DecisionRules(0.5).to_json()
