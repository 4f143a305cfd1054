from __future__ import annotations

import asyncio
import json

import numpy as np
import polars as pl
from serve_models import GOOD, acall, accounts, make_other, serve


def test_several_classes(tmp_path):
    example = make_other(tmp_path, "multiclass")
    scorer = example.scorer()
    answers = scorer.score(example.dataset)
    matrix = np.array(answers["scores"].to_list())
    assert np.abs(matrix - example.trained_scores).max() < 1e-6
    assert (answers["score"].to_numpy() == matrix.max(axis=1)).all()
    assert answers["decision"].to_list() == [scorer.bundle.classes[i] for i in matrix.argmax(axis=1)]
    assert set(answers["reasons"].list.len()) == {2}
    body = json.dumps({k: v for k, v in GOOD.items() if k in scorer.signature.names}).encode()
    status, _, content = asyncio.run(acall(serve(example), "/api/v1/predict/multiclass-test", body))
    answer = json.loads(content)
    assert status == 200
    assert sorted(answer["scores"]) == ["1", "2", "3"]
    assert answer["prediction"] == max(answer["scores"], key=answer["scores"].get)


def test_a_number(tmp_path):
    example = make_other(tmp_path, "regression")
    scorer = example.scorer()
    answers = scorer.score(example.dataset)
    expected = example.trained_scores
    assert np.abs(answers["score"].to_numpy() / expected - 1).max() < 1e-6
    assert answers["prediction"].equals(answers["score"].rename("prediction"))
    assert answers["decision"].null_count() == answers.height
    body = json.dumps({k: v for k, v in GOOD.items() if k in scorer.signature.names}).encode()
    status, _, content = asyncio.run(acall(serve(example), "/api/v1/predict/regression-test", body))
    assert status == 200
    assert json.loads(content)["prediction"] == json.loads(content)["score"]


def test_a_failing_row_takes_no_scores_from_its_neighbours(tmp_path, monkeypatch):
    scorer = make_other(tmp_path, "multiclass").scorer()
    frame = accounts().filter(pl.col("bill").is_not_null()).head(6)
    late = frame["late"][0]
    real = scorer._model.predict

    def poisoned(X):
        if (X[:, scorer.preprocessor.names.index("late")] == late).any():
            raise RuntimeError
        return real(X)

    monkeypatch.setattr(scorer._model, "predict", poisoned)
    scored = scorer.run(frame, soft=True)
    assert scored.fallback == (frame["late"] == late).to_list()
    assert np.isnan(scored.scores[scored.fallback]).all()
    kept = [not f for f in scored.fallback]
    assert np.isfinite(scored.scores[kept]).all()
