"""Series without a past, rehearsed on the folds: forecasts of the right size, intervals that hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.stats import binom

from charter.data.grid import on_grid, series_plan
from charter.data.split import origin_folds
from charter.features.dataset import build_dataset
from charter.features.forecasts import fold_origins
from charter.flow import cold_start
from charter.serve.bundle import write_bundle
from charter.serve.scorer import Scorer
from charter.serve.signature import signature
from charter.spec.loader import loads
from charter.spec.types import ModelSpec
from charter.train.cold_start import ColdStart, draw, fit_intervals, units
from charter.train.conformal import EVERYBODY
from charter.train.conformal_fit import fit
from charter.train.run import train
from charter.train.series_methods import judged_forecasts

SPEC = """\
name: packs
summary: Packs that each shop sells of each item in each of the next three weeks
owner: {team: Supply, contact: supply@example.org}
purpose:
  problem: Shelves are empty.
  objective: Order what will be sold.
  decision: How many packs to order.
  users: [planners]
  today: {process: The mean of four weeks}
data:
  sources:
    sales:
      uri: sales.parquet
      columns:
        shop: {type: category}
        item: {type: category}
        week: {type: date}
        packs: {type: float, min: 0}
        price: {type: float}
      time: week
  observations:
    {source: sales, series: [shop, item], time: week, every: week, horizon: 3, known_ahead: [price]}
  label: {column: packs, name: sold}
features:
  windows: {mean: {source: sales, aggregate: "AVG(packs)", over: [4w]}}
train:
  task: forecast
  split: {kind: origins, origins: 2, folds: 4, fold_periods: 3}
  transform: TRANSFORM
  learners: [moving_average]
  search: {trials: 1}
"""
FIRST = date(2024, 1, 1)
WEEKS = 30
SHOPS, NEW = 30, 60
ITEMS = {"tea": 2_000.0, "rice": 15_000.0, "wine": 100_000.0}


def shop(name: str, rng: np.random.Generator, *, dead: str = "") -> list[tuple[Any, ...]]:
    """A shop, strong or weak: what it sells of each item in each week, and what ``dead`` never did."""
    strength = rng.normal(0, 0.4)
    rows = []
    for item, level in ITEMS.items():
        own = level * np.exp(strength + rng.normal(0, 0.2)) * (item != dead)
        weeks = [FIRST + timedelta(weeks=week) for week in range(WEEKS)]
        rows += [(name, item, week, own * np.exp(rng.normal(0, 0.1)), 1.0) for week in weeks]
    return rows


def sold(shops: int = SHOPS, seed: int = 1, dead: str = "") -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [row for s in range(shops) for row in shop(f"s{s}", rng, dead=dead if s == 1 else "")]
    return pl.DataFrame(rows, schema=["shop", "item", "week", "packs", "price"], orient="row")


def packed(
    sales: pl.DataFrame, folder: Path, transform: str = "log1p"
) -> tuple[Scorer, ModelSpec, pl.DataFrame]:
    """Train and load a forecast by moving average; what new series need is learned as `charter apply` learns it."""
    spec = loads(SPEC.replace("TRANSFORM", transform), "model.yaml").spec
    dataset, features = build_dataset({"sales": sales}, spec)
    plan = series_plan(spec.data)
    assert plan is not None
    rows = dataset.filter(pl.col("__split").is_in(["train", "fold"]) & pl.col("sold").is_not_null())
    number = plan.grid.number
    origin, target = (rows.select(number(pl.col(name))).to_series().to_numpy() for name in ("as_of", "week"))
    fitted = (rows["__split"] == "train").to_numpy()
    folds = origin_folds(origin, target, fitted, fold_origins(plan, spec.train.split, int(target.max())))
    sources = on_grid({"sales": sales}, plan)
    said = judged_forecasts(rows, folds, sources["sales"], plan, spec)
    rehearsal, families = cold_start.rehearse(rows, folds, sources, features, plan, spec)
    found = train(rows, features, spec, folds=folds, fitted=fitted, forecasts=said, rehearsal=rehearsal)
    cold = cold_start.learned(rehearsal, families, found, spec)
    assert ColdStart.from_json(cold.to_json()) == cold
    oof = found.oof.join(rows.select("__row", "step"), on="__row", how="left", maintain_order="left")
    intervals = fit(
        oof["label"].to_numpy(), oof["raw_score"].to_numpy(), oof["step"].to_numpy(),
        level=spec.train.interval, transform=transform, symmetric=True,
    )  # fmt: skip
    asked = cold_start.with_traits(signature(spec, dataset), cold)
    write_bundle(
        folder, name=spec.name, task="forecast", signature=asked, featureset=features.to_json(),
        preprocessor=found.preprocessor.to_json(), calibration=found.calibration.to_json(), classes=(),
        model_onnx=found.onnx, native=found.native, profile=None, intervals=intervals.to_json(),
        methods=found.methods.to_json() if found.methods is not None else None, cold_start=cold.to_json(),
    )  # fmt: skip
    return Scorer.load(folder, {"sales": sales}), spec, dataset


def ahead(shops: list[str], items: list[str]) -> pl.DataFrame:
    rows = [(s, i, FIRST + timedelta(weeks=WEEKS), 1.0) for s in shops for i in items]
    return pl.DataFrame(rows, schema=["shop", "item", "week", "price"], orient="row")


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scorer, ModelSpec, pl.DataFrame]:
    return packed(sold(), tmp_path_factory.mktemp("cold") / "bundle")


def test_new_shops_are_forecast_near_what_they_come_to_sell(scorer: Any) -> None:
    """Of sixty shops that nobody knew, one week each: as many inside as promised, within binomial limits."""
    rng = np.random.default_rng(99)
    came = pl.DataFrame(
        [row for s in range(NEW) for row in shop(f"n{s}", rng)],
        schema=["shop", "item", "week", "packs", "price"], orient="row",
    ).filter(pl.col("week") == FIRST)  # fmt: skip
    asked = ahead([f"n{s}" for s in range(NEW)], list(ITEMS))
    said = scorer[0].score(asked)
    truth = asked.join(came.drop("week", "price"), on=["shop", "item"], how="left", maintain_order="left")
    for item, level in ITEMS.items():
        own = (asked["item"] == item).to_numpy()
        # The middle of thirty shops, whose strength varies by 0.45: within three standard errors.
        assert abs(np.log(said["score"].to_numpy()[own] / level)).max() < 0.3
        inside = truth["packs"].is_between(said["lower"], said["upper"]).to_numpy()[own].sum()
        assert binom.ppf(0.001, NEW, 0.9) <= inside
    width = np.log(said["upper"].to_numpy() / said["lower"].to_numpy())
    assert width.max() < 2 * 1.645 * 0.47 * 1.6
    assert "has no past; it is forecast as series like it" in said["warnings"][0][-1]


def test_a_product_new_to_a_known_shop_has_a_narrower_interval(scorer: Any, tmp_path: Path) -> None:
    sales = sold().filter(~((pl.col("shop") == "s3") & (pl.col("item") == "wine")))
    truth = sold().filter((pl.col("shop") == "s3") & (pl.col("item") == "wine"))["packs"].mean()
    known = Scorer(scorer[0].bundle, {"sales": sales})
    said = known.score(pl.concat([ahead(["s3"], ["wine"]), ahead(["new"], ["wine"])]))
    assert said["lower"][0] < truth < said["upper"][0]
    width = np.log(said["upper"] / said["lower"])
    assert width[0] < 0.8 * width[1]


def test_series_with_a_past_are_answered_as_before(scorer: Any) -> None:
    rows = pl.concat([ahead(["s0", "s1"], list(ITEMS)), ahead(["new"], ["tea", "port"])])
    together = scorer[0].score(rows)
    for at in range(rows.height):
        assert scorer[0].score(rows[at]).equals(together[at])
    assert together["lower"].null_count() == 0
    assert together["warnings"].list.len().to_list()[:6] == [0] * 6


def test_a_product_that_never_sold_anywhere_else_does_not_spoil_the_others(tmp_path: Path) -> None:
    scorer, spec, dataset = packed(sold(8, seed=3, dead="wine"), tmp_path / "b", transform="none")
    said = scorer.score(ahead(["new"], list(ITEMS)))
    assert (np.abs(np.log(said["score"].to_numpy() / np.array(list(ITEMS.values())))) < 0.7).all()
    assert (said["upper"] < 12 * said["score"]).all()
    assert (said["lower"] > 0).all()
    # On the test origins the same is measured, each series' own past hidden.
    tested = dataset.filter(pl.col("__split") == "test").with_columns(actual=pl.col("sold"))
    tested = tested.with_columns(moving_average=pl.col("sold"))
    parts = {p.value: p for p in cold_start.measured(scorer, tested, spec)}
    assert set(parts) == {
        "new shop and item together", "new shop", "new item", "new shop, new item",
    }  # fmt: skip
    assert parts["new shop"].series == 8
    assert parts["new shop"].metrics["wmape"].value < 1.0
    assert [a.baseline for a in parts["new shop"].added] == [
        "moving average of siblings", "moving average of all",
    ]  # fmt: skip
    assert (
        parts["new shop and item together"].metrics["wmape"].value < parts["new item"].metrics["wmape"].value
    )


@pytest.mark.parametrize("items", [["tea"], ["tea", "rice"]])
def test_where_nothing_can_be_rehearsed_there_is_a_forecast_without_an_interval(
    items: list[str], tmp_path: Path
) -> None:
    sales = sold(1).filter(pl.col("item").is_in(items))
    scorer, spec, dataset = packed(sales, tmp_path / "b")
    said = scorer.score(ahead(["new"], ["tea"]))
    assert said["score"][0] == pytest.approx(ITEMS["tea"], rel=0.8)
    assert said["lower"].null_count() == 1
    assert "forecast as series like it, and no interval can be promised" in said["warnings"][0][-1]
    tested = dataset.filter(pl.col("__split") == "test").with_columns(actual=pl.col("sold"))
    parts = cold_start.measured(scorer, tested, spec)
    assert bool(parts) == (len(items) > 1)  # one series has nobody to be like
    assert all(part.metrics["wmape"].value is not None for part in parts)


def test_a_package_without_a_cold_start_promises_no_interval(scorer: Any) -> None:
    old = Scorer(replace(scorer[0].bundle, cold_start=None), {"sales": sold()})
    said = old.score(ahead(["new"], ["tea"]))
    assert said["score"].is_not_null().all()
    assert said["lower"].null_count() == 1
    assert "no interval can be promised" in said["warnings"][0][-1]


@pytest.mark.parametrize("count", [5, 8, 12, 30])
def test_intervals_hold_for_a_shop_to_come_however_few_there_were(count: int) -> None:
    """Each of 400 times one shop more: what is shared by its series is what is covered."""
    rng = np.random.default_rng(count)
    inside = []
    for _ in range(400):
        shops = rng.normal(0, 0.5, count + 1)[:, None] + rng.normal(0, 0.2, (count + 1, 4))
        known = shops[:count].ravel()
        unit = np.repeat(np.arange(count), 4).astype(str)
        found = fit_intervals(known, np.ones(len(known), np.int64), unit, level=0.9, horizon=1)
        assert found is not None
        inside.append(np.mean(np.abs(shops[count]) <= found.cells[0].upper))
    assert np.mean(inside) > 0.9 - 3.1 * np.std(inside) / np.sqrt(400)


@pytest.mark.parametrize(("cases", "level"), [(15, 0.99), (20, 0.98), (30, 0.99), (60, 0.95)])
def test_high_levels_hold_where_the_largest_error_would_not_do(cases: int, level: float) -> None:
    rng = np.random.default_rng(cases)
    inside = []
    for _ in range(150):
        shops = rng.normal(0, 0.5, (cases + 40, 1)) + rng.normal(0, 0.2, (cases + 40, 4))
        unit = np.repeat(np.arange(cases), 4).astype(str)
        found = fit_intervals(
            shops[:cases].ravel(), np.ones(len(unit), np.int64), unit, level=level, horizon=1
        )
        assert found is not None
        inside.append(np.mean(np.abs(shops[cases:]) <= found.cells[0].upper))
    assert np.mean(inside) > level - 3.1 * np.std(inside) / np.sqrt(150)


def test_pairs_of_one_new_store_share_its_surprise() -> None:
    """Five stores with thirty new products each are five cases, not a hundred and fifty."""
    rng = np.random.default_rng(3)
    unit = np.array([f"{i}/{j}" for i in range(5) for j in range(30)])
    inside = []
    for _ in range(100):
        shops = rng.normal(0, 0.5, (15, 1)) + rng.normal(0, 0.2, (15, 30))
        found = fit_intervals(shops[:5].ravel(), np.full(150, 3), unit, level=0.9, horizon=1)
        assert found is not None
        inside.append(np.mean(np.abs(shops[5:]) <= found.cells[0].upper))
    assert np.mean(inside) > 0.9 - 3.1 * np.std(inside) / 10


def test_names_of_units_cannot_run_together() -> None:
    rows = pl.DataFrame({"series": ["x", "y"], "shop": ["a/b", "a"], "item": ["c", "b/c"]})
    named = units(rows, ["shop", "item"], np.array([3, 3]))
    assert named.tolist() == ["a%2Fb/c", "a/b%2Fc"]


def test_a_kind_of_too_few_cases_takes_the_widest_interval_or_none() -> None:
    rng = np.random.default_rng(0)
    kind = np.repeat([0, 1, 2], [40, 40, 3])
    unit = np.array([f"{k}-{i % 10}" for i, k in enumerate(kind)])
    residual = rng.normal(0, 1, 83) * np.repeat([0.1, 0.5, 9.0], [40, 40, 3])
    found = fit_intervals(residual, kind, unit, level=0.9, horizon=3)
    assert found is not None
    assert found.groups == ("0", "1")
    bound = {cell.group: cell.upper for cell in found.cells}
    assert bound[EVERYBODY] == bound["1"] > bound["0"]
    assert fit_intervals(residual[80:], kind[80:], unit[80:], level=0.9, horizon=3) is None


def test_rows_are_drawn_by_the_seed_alone() -> None:
    spec = loads(SPEC.replace("TRANSFORM", "none"), "model.yaml").spec
    plan = series_plan(spec.data)
    assert plan is not None
    rows = build_dataset({"sales": sold(6)}, spec)[0].filter(pl.col("__split") == "test")
    place, hidden = draw(rows, plan, 7, series=5, steps=2)
    again = draw(rows, plan, 7, series=5, steps=2)
    assert np.array_equal(place, again[0])
    chosen = rows[place].with_columns(hidden=pl.Series(hidden))
    counts = chosen.group_by("as_of", "hidden").agg(pl.col("series").n_unique(), pl.len())
    assert counts["hidden"].n_unique() == 4
    assert counts["series"].to_list() == [5] * counts.height
    assert counts["len"].to_list() == [10] * counts.height
    named = units(chosen, plan.keys, hidden)
    assert set(named[hidden == 1]) <= {f"s{i}" for i in range(6)}
    assert all("/" in one for one in named[hidden == 3])
