from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError, PackageError
from charter.serve.bundle import decision_bytes, read_bundle, write_bundle
from charter.serve.scorer import Scorer
from charter.serve.signature import signature


def test_the_request_holds_what_features_and_fallback_need_and_nothing_else(credit, churn):
    assert credit.scorer().signature.names == ("limit", "late", "grade", "city", "bill", "online", "joined")
    by_name = {i.name: i for i in credit.scorer().signature.inputs}
    assert by_name["late"].min == -2
    assert by_name["late"].seen_max == 7
    assert by_name["city"].nullable
    assert by_name["city"].seen_values == ("Ghent", "Köln", "Lille")
    assert by_name["joined"].min == "2000-01-01"
    assert churn.scorer().signature.names == ("who", "as_of")


def test_a_column_that_selection_dropped_is_not_asked_for(credit):
    names = signature(credit.spec, credit.dataset, used=["use", "grade"]).names
    assert names == ("limit", "late", "grade", "bill", "joined")  # what rows and the fallback read, and grade


def test_what_breaks_the_contract_across_columns_is_scored_with_a_warning(credit, tmp_path):
    source = credit.spec.data.sources["accounts"].model_copy(
        update={"rules": {"paid": "spent <= 2 * limit", "hidden": "sex = '1'"}, "where": "late < 9"}
    )
    data = credit.spec.data.model_copy(update={"sources": {"accounts": source}})
    told = signature(credit.spec.model_copy(update={"data": data}), credit.dataset)
    assert [words.split()[-1] for words in told.rules] == [
        "paid",
        "for",
    ]  # sex is not asked for, so cannot be told
    shutil.copytree(credit.folder, tmp_path / "bundle")
    scoring = json.loads((tmp_path / "bundle" / "scoring.json").read_bytes())
    (tmp_path / "bundle" / "scoring.json").write_text(json.dumps(scoring | told.to_json()))
    scorer = Scorer.load(tmp_path / "bundle")
    sound = credit.dataset.filter((pl.col("bill") <= pl.col("limit")) & (pl.col("late") < 7)).head(2)
    broken = sound.with_columns(bill=pl.col("limit") * 3, late=pl.lit(9, dtype=pl.Int64))
    said = scorer.score(pl.concat([sound, broken]))["warnings"].to_list()
    assert not any("request" in text for row in said[:2] for text in row)
    assert all(any("breaks the rule paid" in text for text in row) for row in said[2:])
    assert all(any("outside the rows" in text for text in row) for row in said[2:])


def test_training_batch_and_single_rows_give_one_score(credit):
    scorer = credit.scorer()
    frame = credit.dataset
    batch = scorer.score(frame)["score"].to_numpy()
    logit = np.log(credit.trained_scores) - np.log1p(-credit.trained_scores)
    assert np.abs(batch - 1 / (1 + np.exp(-(0.9 * logit + 0.1)))).max() < 1e-6
    single = np.array([scorer.score(frame[i])["score"].item() for i in range(0, frame.height, 7)])
    assert (single == batch[::7]).all()


def test_entities_score_as_in_training_from_their_history(churn):
    scorer = churn.scorer()
    asked = churn.dataset.select("who", "as_of")
    batch = scorer.score(asked)["score"].to_numpy()
    logit = np.log(churn.trained_scores) - np.log1p(-churn.trained_scores)
    assert np.abs(batch - 1 / (1 + np.exp(-(0.9 * logit + 0.1)))).max() < 1e-6
    single = np.array([scorer.score(asked[i])["score"].item() for i in range(0, asked.height, 5)])
    assert (single == batch[::5]).all()


def test_the_future_changes_nothing(churn):
    cut = datetime.fromisoformat("2025-06-01")
    asked = pl.DataFrame({"who": churn.dataset["who"].unique().sort()}).with_columns(as_of=pl.lit(cut))
    known = {"orders": churn.history["orders"].filter(pl.col("at") < cut)}
    assert Scorer.load(churn.folder, known).score(asked)["score"].equals(churn.scorer().score(asked)["score"])


def test_as_of_is_now_when_left_out_and_old_history_is_named(churn):
    scorer = churn.scorer()
    answer = scorer.score(pl.DataFrame({"who": [0, 999_999]}))
    explicit = scorer.score(pl.DataFrame({"who": [0], "as_of": [datetime.fromisoformat("2026-03-01")]}))
    assert answer["score"][0] == explicit["score"][0]
    first, second = answer["warnings"].to_list()
    assert any("newest event of orders" in w for w in first)
    assert any("who has no events" in w for w in second)


def test_decisions_bands_and_flagged_reasons(credit):
    answers = credit.scorer().score(credit.dataset)
    flagged = answers.filter(pl.col("score") >= 0.5)
    assert set(flagged["decision"]) == {"positive"}
    assert set(flagged["prediction"]) == {"1"}
    assert set(answers.filter(pl.col("score") >= 0.7)["band"]) == {"high"}
    assert set(answers.filter(pl.col("score") < 0.4)["band"]) == {"low"}
    assert flagged["reasons"].list.len().min() == 3
    assert answers.filter(pl.col("score") < 0.5)["reasons"].list.len().max() == 0


def test_reasons_are_in_words_sorted_and_add_up(credit):
    scorer = credit.scorer()
    frame = credit.dataset[:50]
    scored = scorer.run(frame, explain=True)
    for reasons in scored.reasons:
        sizes = [abs(r.contribution) for r in reasons]
        assert sizes == sorted(sizes, reverse=True)
    X = scorer.preprocessor.transform(scorer.features(frame))
    total = scorer._contributor.contributions(X)[:, 0].sum(axis=1)
    raw = credit.trained_scores[:50]
    logit = np.log(raw) - np.log1p(-raw)
    assert np.ptp(logit - total) < 1e-4  # they differ by the average alone
    texts = {r.feature: r.text for row in scored.reasons for r in row}
    assert texts["late"].startswith("months late = ")
    assert texts["late"].endswith(("raises the score", "lowers the score"))


def test_tree_contributions_are_those_of_lightgbm(churn):
    import lightgbm

    scorer = churn.scorer()
    X = scorer.preprocessor.transform(scorer.features(churn.dataset.select("who", "as_of")))
    booster = lightgbm.Booster(model_str=(churn.folder / "lightgbm.txt").read_text())
    expected = booster.predict(X, pred_contrib=True)
    found = scorer._contributor.contributions(X)[:, 0]
    np.testing.assert_allclose(found, expected[:, :-1], rtol=0, atol=1e-12)
    asked = scorer.run(churn.dataset.select("who", "as_of")[:3], explain=True)
    assert [len(r) for r in asked.reasons] == [2, 2, 2]
    assert [len(r) for r in scorer.run(churn.dataset.select("who", "as_of")[:3]).reasons] == [0, 0, 0]


def test_outside_the_training_range_is_scored_with_a_warning(credit):
    frame = credit.dataset[:2].with_columns(limit=pl.lit(1e9), city=pl.Series(["Paris", "Ghent"]))
    first, second = credit.scorer().score(frame)["warnings"].to_list()
    assert [w.split(" is ")[0] for w in second] == ["limit = 1000000000"]
    assert any('city = "Paris" did not occur in training' in w for w in first)


def test_a_failing_model_is_answered_by_the_fallback_row_by_row(credit, monkeypatch):
    scorer = credit.scorer()
    real = scorer._model.predict

    def poisoned(X):
        if (X == 6).any():
            raise RuntimeError("broken")
        return real(X)

    monkeypatch.setattr(scorer._model, "predict", poisoned)
    frame = credit.dataset.head(40)
    late_six = frame["late"] == 6
    assert 0 < late_six.sum() < 40
    with pytest.raises(RuntimeError, match="broken"):
        scorer.score(frame)
    scored = scorer.run(frame, soft=True)
    assert scored.fallback == late_six.to_list()
    at = scored.fallback.index(True)
    assert np.isnan(scored.score[at])
    assert scored.decision[at] == "positive"  # very_late, a derived column
    assert scored.warnings[at][-1] == "the model failed (RuntimeError); the fallback rule answered"
    fine = scored.fallback.index(False)
    assert scored.score[fine] == credit.scorer().run(frame).score[fine]


def test_no_rows_give_no_answers(credit):
    assert credit.scorer().score(credit.dataset[:0]).height == 0


def test_a_frame_without_a_required_column_is_refused(credit):
    with pytest.raises(DataError, match="'limit' is missing"):
        credit.scorer().score(credit.dataset.drop("limit"))
    without = credit.scorer().score(credit.dataset.drop("city"))
    assert without["score"].null_count() == 0


def test_a_bundle_reads_back_and_writes_the_same_bytes(credit, tmp_path):
    bundle = read_bundle(credit.folder)
    assert bundle.signature == credit.scorer().signature
    write_bundle(
        tmp_path,
        name=bundle.name,
        task=bundle.task,
        signature=bundle.signature,
        featureset=bundle.featureset,
        preprocessor=bundle.preprocessor,
        calibration=bundle.calibration,
        classes=bundle.classes,
        model_onnx=bundle.model_onnx,
        native=bundle.native,
        profile=None,
    )
    (tmp_path / "decision.json").write_bytes(decision_bytes(bundle.decision))
    for file in credit.folder.iterdir():
        assert (tmp_path / file.name).read_bytes() == file.read_bytes()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("scoring.json", b"{", "not JSON"),
        ("scoring.json", b'{"schema_version": 9}', "schema_version 9"),
        ("scoring.json", b'{"schema_version": 1}', "lacks or garbles"),
        ("model.onnx", b"nonsense", "cannot be loaded"),
        ("decision.json", b"[]", "schema_version None"),
    ],
)
def test_a_broken_bundle_is_refused_by_name(credit, tmp_path: Path, file, content, message):
    for f in credit.folder.iterdir():
        (tmp_path / f.name).write_bytes(f.read_bytes())
    (tmp_path / file).write_bytes(content)
    with pytest.raises(PackageError, match=message):
        Scorer.load(tmp_path)


def test_a_missing_history_is_refused(churn):
    with pytest.raises(DataError, match="orders"):
        Scorer.load(churn.folder)


def test_scoring_needs_no_training_library(credit):
    code = (
        "import sys, polars as pl; from datetime import date; from pathlib import Path\n"
        "from charter.serve.scorer import Scorer\n"
        f"s = Scorer.load(Path({str(credit.folder)!r}))\n"
        "s.score(pl.DataFrame({'limit': [2000.0], 'late': [5], 'grade': ['1'], 'online': [True],"
        " 'joined': [date(2015, 1, 1)]}), explain=True)\n"
        "import charter.serve.app\n"
        "print([m for m in ('sklearn','pandas','mlflow','sqlalchemy','onnx','optuna','scipy','lightgbm')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
