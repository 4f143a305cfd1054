"""Rows of forecasts: which there are, and that none of them knows the future."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from charter.core.errors import DataError
from charter.data.grid import on_grid, series_plan
from charter.features.dataset import build_dataset
from charter.features.forecasts import fold_origins, forecast_rows, last_origins, locate
from charter.spec.types import ModelSpec, Split

SPEC = """
spec_version: 1
name: sales
summary: Sales
owner: {team: t, contact: t@example.org}
purpose: {problem: p, objective: o, decision: d, users: [u], today: {process: By hand}}
data:
  sources:
    sales:
      uri: sales.parquet
      columns:
        shop: {type: category}
        week: {type: date}
        units: {type: float, nullable: true}
        returned: {type: float, nullable: true}
        price: {type: float}
      derive: {log_units: "LOG1P(units)", cheap: "price < 1"}
      time: week
    shops: {uri: shops.csv, columns: {shop: {type: category}, size: {type: float}}}
  observations:
    {source: sales, series: [shop], time: week, every: week, horizon: 4, known_ahead: [price],
     attributes: {shops: shop}}
  label: {name: sold, column: units}
features:
  lags:
    units: {value: units, back: [1, 2], season: [5]}
    price: {value: price, back: [1], season: [0, 1]}
  windows:
    mean: {source: sales, aggregate: "AVG(log_units)", over: [4w, all]}
    returned: {source: sales, aggregate: "SUM(returned)", over: [3w]}
    all_shops: {source: sales, aggregate: "AVG(units)", over: [4w], by: [shop]}
  rows: {dearer: "price / price_lag_1"}
train:
  task: forecast
  split: {kind: origins, origins: 3, folds: 2, fold_periods: 2}
  learners: [lightgbm]
  steps_per_target: 2
  seed: 1
"""


def spec(**observations: Any) -> ModelSpec:
    document = yaml.safe_load(SPEC)
    document["data"]["observations"] |= observations
    return ModelSpec.model_validate(document)


def sources(weeks: int = 30, shops: int = 4, seed: int = 0) -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    start = datetime.fromisoformat("2024-01-01")
    found = [
        (f"s{shop}", (start + timedelta(weeks=w)).date(), *map(float, rng.poisson((20, 2))), rng.uniform(0.5, 2))
        for shop in range(shops)
        for w in range(weeks)
    ]  # fmt: skip
    frame = pl.DataFrame(found, schema=["shop", "week", "units", "returned", "price"], orient="row")
    frame = frame.with_columns(log_units=pl.col("units").log1p(), cheap=pl.col("price") < 1)
    return {
        "sales": frame,
        "shops": pl.DataFrame({"shop": [f"s{i}" for i in range(shops)], "size": np.arange(shops) * 1.0}),
    }


def made(frames: dict[str, pl.DataFrame], of: ModelSpec) -> pl.DataFrame:
    plan = series_plan(of.data)
    assert plan is not None
    return forecast_rows(on_grid(frames, plan), of)


def test_test_rows_are_all_steps_of_the_last_origins_whose_horizon_is_known() -> None:
    found = made(sources(), spec()).filter(pl.col("__split") == "test")
    assert found.height == 4 * 3 * 4
    assert [str(d.date()) for d in found["as_of"].unique().sort()] == [
        "2024-06-17",
        "2024-06-24",
        "2024-07-01",
    ]
    assert found["week"].max() == sources()["sales"]["week"].max()


def test_training_ends_before_the_first_test_origin() -> None:
    found = made(sources(), spec())
    first = found.filter(pl.col("__split") == "test")["as_of"].min()
    known = found.filter(pl.col("__split") != "test")
    assert known.filter(pl.col("week").cast(pl.Datetime("us")) >= first).is_empty()


@pytest.mark.parametrize("gap", [0, 2])
def test_the_target_lies_a_gap_and_its_step_after_the_origin(gap: int) -> None:
    found = made(sources(), spec(gap=gap))
    weeks = (found["week"].cast(pl.Datetime("us")) - found["as_of"]).dt.total_days() // 7
    assert (weeks == found["step"] + gap - 1).all()


def test_each_target_is_trained_on_from_so_many_origins_as_asked() -> None:
    found = made(sources(), spec()).filter(pl.col("__split") == "train")
    counts = found.group_by("series", "week").len()
    first = sources()["sales"]["week"].min()
    assert counts.filter(pl.col("week") > first + timedelta(weeks=2))["len"].unique().to_list() == [2]
    assert found["step"].unique().sort().to_list() == [1, 2, 3, 4]
    assert found.select("series", "as_of", "step").is_unique().all()


def test_a_new_week_leaves_the_draw_of_the_others_as_it_was() -> None:
    key = ["series", "as_of", "step"]
    before = made(sources(), spec()).filter(pl.col("__split") == "train").select(key)
    more = sources(31)
    after = made(more, spec()).filter(pl.col("__split") == "train").select(key)
    assert before.join(after, on=key, how="anti").is_empty()


def test_folds_are_judged_on_all_steps_of_their_origins() -> None:
    of = spec()
    plan = series_plan(of.data)
    assert plan is not None
    found = made(sources(), of).filter(pl.col("__split") != "test")
    last = int(found.select(plan.grid.number(pl.col("week")).max()).item())
    for origin in fold_origins(plan, of.train.split, last):
        own = found.filter(plan.grid.number(pl.col("as_of")) == origin)
        assert own.select("series", "step").unique().height == 4 * 4


def test_held_out_series_are_tested_and_never_trained_on() -> None:
    of = spec()
    split = of.train.split.model_copy(update={"hold_out": None})
    apart = Split.model_validate(
        split.model_dump(exclude_none=True) | {"hold_out": {"column": "shop", "share": 0.25}}
    )
    of = of.model_copy(update={"train": of.train.model_copy(update={"split": apart})})
    found = made(sources(), of)
    held = found.filter("__held_out")
    assert held["shop"].n_unique() == 1
    assert held["__split"].unique().to_list() == ["test"]


def test_too_few_periods_for_the_test_are_refused() -> None:
    with pytest.raises(
        DataError, match="6 weeks are known; 3 test origins with 4 weeks after each leave nothing"
    ):
        made(sources(6), spec())


def test_origins_lie_as_far_apart_as_asked() -> None:
    plan = series_plan(spec().data)
    assert plan is not None
    assert last_origins(plan, Split(kind="origins", origins=2, spacing=3), 0, 100) == [94, 97]


def test_a_series_takes_part_from_its_second_period_on() -> None:
    frames = sources()
    young = frames["sales"].filter((pl.col("shop") != "s3") | (pl.col("week") >= pl.date(2024, 5, 6)))
    found = made({**frames, "sales": young}, spec())
    own = found.filter(pl.col("shop") == "s3")
    assert own.filter(pl.col("as_of") <= datetime.fromisoformat("2024-05-06")).is_empty()
    assert own.filter(pl.col("__split") == "train").height


def test_a_product_with_only_zeros_is_forecast_like_any_other() -> None:
    frames = sources()
    nothing = frames["sales"].with_columns(
        units=pl.when(pl.col("shop") == "s3").then(0.0).otherwise("units"),
        log_units=pl.when(pl.col("shop") == "s3").then(0.0).otherwise("log_units"),
    )
    found, features = build_dataset({**frames, "sales": nothing}, spec())
    own = found.filter(pl.col("shop") == "s3")
    assert own["sold"].unique().to_list() == [0]
    assert own["__split"].unique().sort().to_list() == ["fold", "test", "train"]
    numbers = own.select(f.name for f in features.features if f.kind == "number")
    assert not numbers.select(pl.any_horizontal(pl.all().is_infinite().any())).item()


def test_a_series_shorter_than_the_longest_lag_has_that_lag_missing() -> None:
    frames = sources()
    young = frames["sales"].filter((pl.col("shop") != "s3") | (pl.col("week") >= pl.date(2024, 6, 24)))
    found, _ = build_dataset({**frames, "sales": young}, spec())
    own = found.filter(pl.col("shop") == "s3")
    assert own.height
    assert own["units_season_5"].null_count() == own.height
    assert own["units_lag_1"].null_count() == 0


def test_attributes_have_one_row_each() -> None:
    frames = sources()
    frames["shops"] = pl.concat([frames["shops"], frames["shops"].head(1)])
    with pytest.raises(DataError, match="shop s0 has 2 rows; attributes have one"):
        made(frames, spec())


def test_a_request_is_located() -> None:
    plan = series_plan(spec(gap=1).data)
    assert plan is not None
    asked = pl.DataFrame(
        {
            "shop": ["s1", "new"],
            "week": [datetime.fromisoformat("2024-01-29").date()] * 2,
            "as_of": [datetime.fromisoformat("2024-01-15")] * 2,
        }
    )
    found = locate(asked, plan, sources())
    assert found.select("series", "step", "size").rows() == [("s1", 2, 1.0), ("new", 2, None)]


@pytest.mark.parametrize("size", [1, 7, 50])
def test_parts_of_any_size_give_the_bits_of_the_whole(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, features = build_dataset(sources(), spec())
    assert {by for w in features.windows for by in w.by} | {by for lag in features.lags for by in lag.by}
    monkeypatch.setattr("charter.features.dataset.PART_ROWS", size)
    monkeypatch.setattr("charter.features.dataset._MOST_PARTS", whole.height)
    found, _ = build_dataset(sources(), spec())
    assert found.schema == whole.schema
    assert found.equals(whole)


@pytest.mark.parametrize("seed", range(3))
def test_no_feature_moves_when_the_future_is_another_one(seed: int) -> None:
    """Everything but what is known ahead is drawn anew from an origin on: features of that origin stay as they are."""
    of, frames = spec(), sources()
    before, features = build_dataset(frames, of)
    origin = before.filter(pl.col("__split") == "test")["as_of"].unique().sort()[1]
    rng = np.random.default_rng(seed)
    sales = frames["sales"]
    later = sales["week"].cast(pl.Datetime("us")) >= origin
    changed = sales.with_columns(
        units=pl.when(later).then(pl.Series(rng.uniform(0, 1e6, sales.height))).otherwise("units"),
        returned=pl.when(later).then(pl.Series(rng.uniform(0, 1e6, sales.height))).otherwise("returned"),
    ).with_columns(log_units=pl.col("units").log1p())
    after, _ = build_dataset({**frames, "sales": changed}, of)
    key = ["series", "as_of", "step"]
    rows = before["as_of"] <= origin
    seen = list(dict.fromkeys((*key, *features.names)))
    unknown = before.filter(rows & (pl.col("week").cast(pl.Datetime("us")) >= origin))
    assert unknown["sold"].sum() != after.join(unknown.select(key), on=key, how="semi")["sold"].sum()
    assert (
        before.filter(rows)
        .select(seen)
        .sort(key)
        .equals(after.join(before.filter(rows).select(key), on=key, how="semi").select(seen).sort(key))
    )


def test_made_features_are_narrow_and_inputs_are_not() -> None:
    found, features = build_dataset(sources(), spec())
    assert found.schema["units_lag_1"] == found.schema["dearer"] == pl.Float32
    assert found.schema["price"] == pl.Float64
    assert {"price", "size", "shop", "step", "cheap", "units_season_5"} <= set(features.names)
    assert not {"units", "returned", "log_units", "sold", "week", "series"} & set(features.names)


def test_rows_of_weeks_are_refused_where_days_are_counted() -> None:
    for missing in ("leave", "zero"):
        with pytest.raises(
            DataError, match=r"observations.every is day.*174 of the 204 days.*85%.*7 days"
        ) as told:
            made(sources(), spec(every="day", missing=missing))
        assert "every: week" in str(told.value.remedy)


def test_rows_of_months_are_refused_where_days_or_weeks_are_counted() -> None:
    months = [datetime(2022 + n // 12, n % 12 + 1, 1) for n in range(30)]  # noqa: DTZ001 - days of the series
    for every, shift in (("day", 0), ("week", 1)):
        days = [m - timedelta(days=m.weekday() * shift) for m in months]
        found = sources() | {"sales": sources()["sales"].filter(pl.col("shop") == "s0")}
        found["sales"] = found["sales"].with_columns(pl.Series("week", [d.date() for d in days]))
        with pytest.raises(DataError, match=f"observations.every is {every}") as told:
            made(found, spec(every=every))
        assert "every: month" in str(told.value.remedy)


def test_days_without_a_sale_are_not_taken_for_longer_periods() -> None:
    rng = np.random.default_rng(3)
    found = sources(weeks=300, shops=1)
    found["sales"] = found["sales"].filter(pl.Series(rng.uniform(size=300) < 0.2))
    assert made(found, spec(missing="zero")).height > 0
