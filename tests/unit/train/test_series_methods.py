"""Statistical methods, averages and second stages as models of a forecast."""

from __future__ import annotations

import sys
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from charter.core.errors import UsageError
from charter.core.spread import HERE
from charter.data.grid import on_grid, series_plan
from charter.data.split import origin_folds
from charter.features.dataset import build_dataset
from charter.features.featureset import FeatureSet
from charter.features.forecasts import fold_origins
from charter.flow import judge_forecast
from charter.flow.whatif import what_if
from charter.serve.bundle import read_bundle, write_bundle
from charter.serve.scorer import Scorer
from charter.serve.signature import signature
from charter.spec.loader import loads
from charter.spec.types import ModelSpec
from charter.spec.vocabulary import SERIES_METHODS
from charter.train import conformal_fit
from charter.train.run import train
from charter.train.search import Candidate
from charter.train.series_methods import SeriesForecasts, SeriesMethods, judged_forecasts
from charter.train.statistical import METHODS, statistical_forecasts
from charter.train.types import Trained

SPEC = """\
name: packs
summary: Packs that each shop sells of each item in each of the next three weeks
owner: {{team: Supply, contact: supply@example.org}}
purpose:
  problem: Shelves are empty.
  objective: Order what will be sold.
  decision: How many packs to order.
  users: [planners]
  today: {{process: The mean of four weeks}}
data:
  sources:
    sales:
      uri: sales.parquet
      columns:
        shop: {{type: category}}
        item: {{type: category}}
        week: {{type: date}}
        packs: {{type: float, min: 0}}
        price: {{type: float}}
      time: week
  observations:
    {{source: sales, series: [shop, item], time: week, every: week, horizon: 3, known_ahead: [price]}}
  label: {{column: packs, name: sold}}
features:
  windows: {{mean: {{source: sales, aggregate: "AVG(packs)", over: [4w]}}}}
train:
  task: forecast
  split: {{kind: origins, origins: 2, folds: 3, fold_periods: 3}}
  transform: log1p
  search: {{trials: 1}}
  {more}
"""
FIRST = date(2024, 1, 1)
WEEKS = 36


def spec_of(more: str) -> ModelSpec:
    return loads(SPEC.format(more=more), "model.yaml").spec


@pytest.fixture(scope="module")
def sold() -> pl.DataFrame:
    """Two items sold in twelve shops: item b halves where it is dear, item a hardly answers."""
    rng = np.random.default_rng(4)
    rows = []
    for shop in range(12):
        level = rng.uniform(20, 60)
        for item, answer in (("a", 0.1), ("b", 2.0)):
            for week in range(WEEKS):
                price = float(rng.choice([1.0, 1.4]))
                packs = level * price**-answer * np.exp(rng.normal(0, 0.05))
                rows.append((f"s{shop}", item, FIRST + timedelta(weeks=week), round(packs, 1), price))
    return pl.DataFrame(rows, schema=["shop", "item", "week", "packs", "price"], orient="row")


def trained(sold: pl.DataFrame, spec: ModelSpec) -> tuple[Trained, pl.DataFrame, FeatureSet]:
    dataset, features = build_dataset({"sales": sold}, spec)
    plan = series_plan(spec.data)
    assert plan is not None
    rows = dataset.filter(pl.col("__split").is_in(["train", "fold"]) & pl.col("sold").is_not_null())
    fitted = (rows["__split"] == "train").to_numpy()
    number = plan.grid.number
    origin = rows.select(number(pl.col("as_of"))).to_series().to_numpy()
    target = rows.select(number(pl.col("week"))).to_series().to_numpy()
    judged = fold_origins(plan, spec.train.split, int(target.max()))
    folds = origin_folds(origin, target, fitted, judged)
    history = on_grid({"sales": sold}, plan)["sales"]
    said = judged_forecasts(rows, folds, history, plan, spec)
    return train(rows, features, spec, folds=folds, fitted=fitted, forecasts=said), dataset, features


def packed(
    found: Trained, dataset: pl.DataFrame, features: FeatureSet, spec: ModelSpec, folder: Path
) -> Path:
    oof = found.oof.join(dataset.select("__row", "step"), on="__row", how="left", maintain_order="left")
    intervals = conformal_fit.fit(
        oof["label"].to_numpy(), oof["raw_score"].to_numpy(), oof["step"].to_numpy(),
        level=spec.train.interval, transform=spec.train.transform, symmetric=True,
    )  # fmt: skip
    write_bundle(
        folder, name=spec.name, task="forecast", signature=signature(spec, dataset), featureset=features.to_json(),
        preprocessor=found.preprocessor.to_json(), calibration=found.calibration.to_json(), classes=(),
        model_onnx=found.onnx, native=found.native, profile=None, intervals=intervals.to_json(),
        methods=found.methods.to_json() if found.methods is not None else None,
    )  # fmt: skip
    return folder


def by_name(found: Trained) -> dict[str, Candidate]:
    return {one.learner: one for one in found.candidates}


def test_the_specification_knows_the_methods_that_training_knows() -> None:
    assert SERIES_METHODS == METHODS


@pytest.fixture(scope="module")
def simple(sold: pl.DataFrame) -> tuple[Trained, pl.DataFrame, FeatureSet, ModelSpec]:
    spec = spec_of("learners: [naive, moving_average]")
    return (*trained(sold, spec), spec)


class TestMethodAsModel:
    def test_the_better_one_on_the_folds_is_the_model(self, simple: Any) -> None:
        found = simple[0]
        assert found.learner == "moving_average"
        assert by_name(found)["moving_average"].score < by_name(found)["naive"].score
        assert found.value == by_name(found)["moving_average"].score
        assert found.preprocessor.names == ("forecast by moving_average",)
        assert found.importance == {"forecast by moving_average": 1.0}

    def test_the_package_says_what_the_method_says_with_intervals(
        self, simple: Any, sold: pl.DataFrame, tmp_path: Path
    ) -> None:
        found, dataset, features, spec = simple
        scorer = Scorer.load(packed(found, dataset, features, spec, tmp_path / "b"), {"sales": sold})
        rows = dataset.filter(pl.col("__split") == "test")
        scored = scorer.score(rows, decide=False)
        plan = series_plan(spec.data)
        assert plan is not None
        history = on_grid({"sales": sold}, plan)["sales"].select(
            "series", pl.col("week").cast(pl.Datetime("us")).alias("time"), pl.col("packs").alias("actual")
        )
        expected = rows.join(
            statistical_forecasts(
                history, rows["as_of"].unique().to_list(), grid=plan.grid, horizon=3, methods=["moving_average"]
            ),
            on=["series", "as_of", "step"], how="left", maintain_order="left",
        )["moving_average"]  # fmt: skip
        # The bias is corrected as that of any forecast is.
        corrected = found.calibration.apply(np.log1p(expected.to_numpy()))
        np.testing.assert_allclose(scored["score"].to_numpy(), corrected, rtol=1e-6)
        np.testing.assert_allclose(corrected, expected.to_numpy(), rtol=0.02)
        assert (scored["lower"] < scored["score"]).all()
        assert (scored["score"] < scored["upper"]).all()
        assert scorer.bundle.method == "moving_average"
        asked = SimpleNamespace(
            name="packs", version="v1", scorer=scorer, plan=plan, spec=spec, known_ahead=("price",)
        )
        with pytest.raises(UsageError, match="it reads no price") as caught:
            what_if(cast(Any, asked), rows, ["price = 2"])
        assert "lightgbm" in (caught.value.remedy or "")

    def test_it_is_no_baseline_of_itself(self, simple: Any, sold: pl.DataFrame) -> None:
        _, dataset, _, spec = simple
        plan = series_plan(spec.data)
        assert plan is not None
        rows = dataset.filter(pl.col("__split") == "test").head(6)
        said = pl.DataFrame({"score": [1.0] * 6, "lower": [0.0] * 6, "upper": [2.0] * 6})
        history = on_grid({"sales": sold}, plan)
        frame = judge_forecast.tested_frame(rows, said, plan, history, "sold", "ets", HERE)
        assert judge_forecast.names_of(frame) == ("naive", "moving_average", "seasonal_naive")

    def test_a_row_alone_is_answered_as_among_others(
        self, simple: Any, sold: pl.DataFrame, tmp_path: Path
    ) -> None:
        found, dataset, features, spec = simple
        scorer = Scorer.load(packed(found, dataset, features, spec, tmp_path / "b"), {"sales": sold})
        rows = dataset.filter(pl.col("__split") == "test")
        together = scorer.score(rows, decide=False)
        for at in (0, 31, rows.height - 1):
            assert scorer.score(rows[at], decide=False).equals(together[at])

    def test_equal_inputs_give_equal_bytes(self, simple: Any, sold: pl.DataFrame) -> None:
        again, *_ = trained(sold, simple[3])
        assert again.onnx == simple[0].onnx
        assert again.native == simple[0].native
        assert again.oof.equals(simple[0].oof)
        assert again.candidates_json() == simple[0].candidates_json()

    def test_a_future_that_changes_changes_nothing_that_was_said_out_of_fold(
        self, simple: Any, sold: pl.DataFrame
    ) -> None:
        found, dataset, _, spec = simple
        last = dataset.filter(pl.col("__split") == "test")["as_of"].min()
        future = pl.col("week").cast(pl.Datetime("us")) >= last
        other, *_ = trained(
            sold.with_columns(pl.when(future).then(9.0).otherwise(pl.col("packs")).alias("packs")), spec
        )
        assert other.oof.equals(found.oof)

    def test_a_series_without_a_past_gets_the_mean_of_the_others(self, sold: pl.DataFrame) -> None:
        spec = spec_of("learners: [moving_average]")
        plan = series_plan(spec.data)
        assert plan is not None
        history = on_grid({"sales": sold}, plan)["sales"]
        methods = SeriesMethods.of(["moving_average"], "none", "week")
        origin = FIRST + timedelta(weeks=30)
        rows = pl.DataFrame({"series": ["new/a"], "as_of": [origin], "step": [1]})
        said = SeriesForecasts(methods, history, plan).columns(rows)[0][0]
        before = sold.filter(pl.col("week") == origin - timedelta(weeks=1))["packs"]
        assert said == pytest.approx(before.mean())

    def test_what_statsforecast_computes_needs_it_where_it_scores(
        self, sold: pl.DataFrame, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        plan = series_plan(spec_of("learners: [ets]").data)
        assert plan is not None
        history = on_grid({"sales": sold}, plan)["sales"]
        monkeypatch.setitem(sys.modules, "statsforecast", None)
        with pytest.raises(UsageError, match="'ets' needs statsforecast") as caught:
            SeriesForecasts(SeriesMethods.of(["ets"], "none", "week"), history, plan)
        assert "charter-ml[forecast]" in (caught.value.remedy or "")


@pytest.fixture(scope="module")
def rich(sold: pl.DataFrame) -> tuple[Trained, pl.DataFrame, FeatureSet, ModelSpec]:
    spec = spec_of("learners: [lightgbm, moving_average]\n  ensemble: true\n  two_stage: item")
    return (*trained(sold, spec), spec)


def test_all_candidates_are_judged_on_every_fold(rich: Any) -> None:
    found = by_name(rich[0])
    assert list(found) == ["lightgbm", "two_stage", "moving_average", "ensemble"]
    assert {len(one.fold_scores) for one in found.values()} == {3}
    assert found["ensemble"].params == {"members": ["lightgbm", "moving_average"]}
    assert found["two_stage"].params == {"category": "item"}
    assert rich[0].value == min(rich[0].value, *(found[n].score for n in list(found)[1:]))


@pytest.mark.parametrize("name", ["ensemble", "two_stage"])
def test_a_combination_is_one_package_like_any_other(
    name: str, sold: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from charter.train.finalists import Finals

    asked = {"ensemble": "ensemble: true", "two_stage": "two_stage: item"}[name]
    spec = spec_of(f"learners: [lightgbm, moving_average]\n  {asked}")
    settle = Finals.settle

    def chosen(self: Finals, forecasts: pl.DataFrame | None) -> Any:
        settle(self, forecasts)
        self._chosen = next(one for one in self._found if one.name == name)
        return self._chosen

    monkeypatch.setattr(Finals, "settle", chosen)
    found, dataset, features = trained(sold, spec)
    assert found.learner == name
    assert found.params["learner"] == "lightgbm"
    assert found.parity["max_abs_difference"] < 1e-6
    assert sum(found.importance.values()) == pytest.approx(1)
    scorer = Scorer.load(packed(found, dataset, features, spec, tmp_path / "b"), {"sales": sold})
    rows = dataset.filter(pl.col("__split") == "test")
    scored = scorer.score(rows, decide=False)
    assert np.isfinite(scored["score"].to_numpy()).all()
    assert scorer.score(rows[5], decide=False).equals(scored[5])
    assert not scorer.bundle.reads_past_alone
    assert (read_bundle(tmp_path / "b").methods is not None) == (name == "ensemble")
    dearer = rows.with_columns(pl.col("price") * 1.4)
    assert not scorer.score(dearer, decide=False)["score"].equals(scored["score"])


class TestWords:
    @pytest.mark.parametrize(
        ("more", "message"),
        [
            ("learners: [lightgbm]\n  ensemble: true", "has nothing to average"),
            ("learners: [ets]\n  two_stage: item", "has no general model to correct"),
            ("learners: [lightgbm]\n  two_stage: price", "price is no category"),
            ("learners: [lightgbm]\n  two_stage: colour", "is not a column of the observations"),
            (
                "learners: [lightgbm]\n  two_stage: item\nserve: {reasons: 2}",
                "cannot give the reasons that serve.reasons asks for",
            ),
            ("learners: [etz]", "etz is not a learner"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, more: str, message: str) -> None:
        from charter.core.errors import CharterError

        with pytest.raises(CharterError) as caught:
            spec_of(more)
        assert message in str(caught.value) + str(getattr(caught.value, "faults", ""))
