"""What a judged forecast is used for: learned out of fold, measured on the test, kept as plain data."""

from __future__ import annotations

import json
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from charter.core.digest import plain
from charter.data.grid import SeriesPlan, on_grid, series_plan
from charter.evaluate.effect import EffectSpread
from charter.evaluate.inventory import DemandShape
from charter.evaluate.levels import LevelPlan
from charter.flow.decide import decide, delivered, past_forecasts, stock_costs
from charter.spec.loader import loads
from charter.spec.types import ModelSpec

SPEC = """\
name: packs
summary: Packs that each shop sells of each item in each of the next four weeks
owner: {team: Supply, contact: supply@example.org}
purpose:
  problem: Shelves are empty after promotions.
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
        packs: {type: integer, min: 0}
        promoted: {type: boolean}
      time: week
  observations:
    {source: sales, series: [shop, item], time: week, every: week, horizon: 4, gap: 1, known_ahead: [promoted]}
  label: {column: packs, name: packs}
train: {task: forecast, split: {kind: origins, origins: 2}, learners: [lightgbm]}
"""
FULL = (
    SPEC
    + "evaluate: {hierarchy: {levels: {shop: [shop], item: [item]}}}\n"
    + "inventory: {currency: EUR, margin: 1, holding_per_period: 0.1}\n"
)
FIRST = date(2023, 1, 2)
WEEKS = 70


def week(number: int) -> date:
    return FIRST + timedelta(weeks=number)


@pytest.fixture(scope="module")
def sold() -> pl.DataFrame:
    rng = np.random.default_rng(0)
    rows = []
    for shop in range(12):
        for item in range(2):
            for n in range(WEEKS):
                promoted = bool(rng.random() < 0.25)
                usual = 20.0 + 5 * shop + 10 * item
                packs = round(usual * (1.8 if promoted else 1.0) * np.exp(rng.normal(0, 0.15)))
                rows.append((f"s{shop}", f"i{item}", week(n), packs, promoted, usual))
    names = ["shop", "item", "week", "packs", "promoted", "usual"]
    return pl.DataFrame(rows, schema=names, orient="row")


def forecasts(sold: pl.DataFrame, origins: range) -> pl.DataFrame:
    """Rows of series, origin and step as the data set has them; the model knows the promotions."""
    parts = []
    for origin in origins:
        for step in range(1, 5):
            target = week(origin + 1 + step - 1)
            part = sold.filter(pl.col("week") == target).with_columns(
                pl.lit(week(origin)).cast(pl.Datetime("us")).alias("as_of"),
                pl.lit(step, pl.Int32).alias("step"),
            )
            parts.append(part)
    return pl.concat(parts).with_columns(
        pl.concat_str("shop", "item", separator="/").alias("series"),
        said=pl.col("usual") * pl.when("promoted").then(1.8).otherwise(1.0),
    )


def frames(sold: pl.DataFrame, plan: SeriesPlan) -> dict[str, pl.DataFrame]:
    return on_grid({"sales": sold.drop("usual")}, plan)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    return loads(FULL).spec


@pytest.fixture(scope="module")
def made(sold: pl.DataFrame, spec: ModelSpec) -> dict[str, Any]:
    plan = series_plan(spec.data)
    assert plan is not None
    known = forecasts(sold, range(30, 50)).with_row_index("__row")
    oof = known.select("__row", label=pl.col("packs").cast(pl.Float64), calibrated_score="said")
    tested = forecasts(sold, range(56, 64)).with_columns(
        actual=pl.col("packs").cast(pl.Float64),
        forecast="said",
        lower=pl.col("said") * 0.75,
        upper=pl.col("said") * 1.3,
    )
    found: dict[str, Any] = json.loads(
        json.dumps(plain(decide(oof, known.drop("said"), tested, plan, frames(sold, plan), spec)))
    )
    return found


def test_all_is_plain_data_that_can_be_read_again(made: dict[str, Any]) -> None:
    assert made["notes"] == []
    assert LevelPlan.from_json(made["levels"]).method == "bottom_up"
    assert EffectSpread.from_json(made["effect"]).sizes[0] == 1
    assert DemandShape.from_json(made["demand"]).periods == 2


def test_levels_are_measured_on_the_test_origins(made: dict[str, Any]) -> None:
    by_level = {str(row["level"]): row for row in made["measured"]["levels"]}
    assert list(by_level) == ["total", "shop", "item", "series"]
    assert by_level["total"]["rows"] == 8 * 4
    assert by_level["total"]["wmape"] < by_level["item"]["wmape"] < by_level["series"]["wmape"] < 0.15
    assert 0.8 <= by_level["shop"]["coverage"] <= 0.97
    assert made["measured"]["incoherence"] < 1e-12


def test_what_is_judged_is_what_is_delivered(sold: pl.DataFrame) -> None:
    """Reconciling moves the series, too: errors are those of the moved forecasts, which lie in their intervals."""
    spec = loads(FULL.replace("hierarchy: {", "hierarchy: {reconcile: wls_struct, ")).spec
    plan = series_plan(spec.data)
    assert plan is not None
    known = forecasts(sold, range(30, 50)).with_row_index("__row")
    oof = known.select("__row", label=pl.col("packs").cast(pl.Float64), calibrated_score="said")
    said = pl.when(pl.col("shop") == "s3").then(0.0).otherwise(pl.col("said"))
    tested = forecasts(sold, range(56, 64)).with_columns(
        actual=pl.col("packs").cast(pl.Float64), forecast=said, lower=said * 0.75, upper=said * 1.3 + 0.1,
        moving_average="usual",
    )  # fmt: skip
    made = decide(oof, known.drop("said"), tested, plan, frames(sold, plan), spec)
    found = delivered(tested, made, plan, frames(sold, plan))
    wmape = float((found["forecast"] - found["actual"]).abs().sum() / found["actual"].sum())
    (series,) = (row for row in made["measured"]["levels"] if row["level"] == "series")
    assert wmape == pytest.approx(series["wmape"])
    assert wmape != pytest.approx(series["wmape_bottom_up"])
    assert found["forecast"].is_between(found["lower"], found["upper"]).all()
    assert delivered(tested, {"levels": None}, plan, {}) is tested


def test_orders_are_worth_more_than_by_the_moving_average(made: dict[str, Any]) -> None:
    found = made["measured"]["inventory"]
    assert found["series"] == 24
    assert found["gain"]["low"] > 0
    assert found["forecast"]["in_stock"] > found["moving_average"]["in_stock"]


def test_past_forecasts_bring_the_moving_average(sold: pl.DataFrame, spec: ModelSpec) -> None:
    plan = series_plan(spec.data)
    assert plan is not None
    known = forecasts(sold, range(30, 31)).with_row_index("__row")
    oof = known.select("__row", label=pl.col("packs").cast(pl.Float64), calibrated_score="said")
    past = past_forecasts(oof, known.drop("said"), plan, frames(sold, plan))
    row = past.filter((pl.col("series") == "s3/i1") & (pl.col("step") == 4)).row(0, named=True)
    mean = sold.filter(
        (pl.col("shop") == "s3") & (pl.col("item") == "i1") & pl.col("week").is_between(week(26), week(29))
    )["packs"].mean()
    assert row["moving_average"] == pytest.approx(mean)


def test_what_the_data_does_not_allow_is_noted(sold: pl.DataFrame, spec: ModelSpec) -> None:
    plan = series_plan(spec.data)
    assert plan is not None
    known = forecasts(sold, range(30, 31)).filter(pl.col("step") == 1).with_row_index("__row")
    oof = known.select("__row", label=pl.col("packs").cast(pl.Float64), calibrated_score="said")
    tested = forecasts(sold, range(56, 58)).with_columns(
        actual=pl.col("packs").cast(pl.Float64), forecast="said", lower="said", upper="said"
    )
    made = decide(oof, known.drop("said"), tested, plan, frames(sold, plan), spec)
    assert made["effect"] is None
    assert made["demand"] is None
    assert len(made["notes"]) == 2


def test_a_specification_without_them_gets_the_effect_alone(sold: pl.DataFrame) -> None:
    plain_spec = loads(SPEC).spec
    assert stock_costs(plain_spec) is None
    plan = series_plan(plain_spec.data)
    assert plan is not None
    known = forecasts(sold, range(30, 34)).with_row_index("__row")
    oof = known.select("__row", label=pl.col("packs").cast(pl.Float64), calibrated_score="said")
    tested = forecasts(sold, range(56, 58)).with_columns(
        actual=pl.col("packs").cast(pl.Float64), forecast="said"
    )
    made = decide(oof, known.drop("said"), tested, plan, frames(sold, plan), plain_spec)
    assert made["effect"] is not None
    assert "levels" not in made
    assert made["measured"] == {}
