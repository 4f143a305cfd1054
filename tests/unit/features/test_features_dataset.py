from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from charter.core.errors import DataError
from charter.data.prepare import prepare
from charter.features.dataset import build_dataset, row_ids
from charter.features.featureset import FeatureSet, complete, histories
from charter.features.windows import window_features
from charter.spec.types import ModelSpec

FRAME: dict[str, Any] = {
    "name": "a-model",
    "summary": "s",
    "owner": {"team": "t", "contact": "c"},
    "purpose": {"problem": "p", "objective": "o", "decision": "d", "users": ["u"], "today": {"process": "p"}},
}


def spec(split: dict[str, Any] | None = None, key: tuple[str, ...] = ("id",)) -> ModelSpec:
    columns = {
        "id": {"type": "integer"},
        "part": {"type": "text"},
        "x": {"type": "float"},
        "y": {"type": "integer"},
    }
    return ModelSpec.model_validate(
        FRAME
        | {
            "data": {
                "sources": {"t": {"uri": "t.csv", "columns": columns}},
                "observations": {"source": "t", "key": key},
                "label": {"column": "y", "positive": 1},
            },
            "features": {"rows": {"double": "2 * x"}},
            "train": {"task": "binary", "split": split or {"kind": "random", "test": 0.5}, "learners": ["x"]},
        }
    )


TABLE = pl.DataFrame(
    {"id": range(100), "part": ["a"] * 100, "x": np.arange(100.0), "y": [0, 1] * 49 + [None, 1]}
)


def test_a_data_set_has_ids_sides_features_and_label() -> None:
    frame, features = build_dataset({"t": TABLE}, spec())
    assert frame.columns == ["__row", "__split", "id", "as_of", "part", "x", "label", "double"]
    assert frame["__row"][7] == "7"
    assert frame["__split"][98] == "unused"
    assert set(frame["__split"]) == {"train", "test", "unused"}
    assert features.names == ("x", "double")
    assert frame["double"].to_list() == (TABLE["x"] * 2).to_list()


def test_rows_keep_their_side_when_others_go() -> None:
    frame, _ = build_dataset({"t": TABLE}, spec())
    fewer, _ = build_dataset({"t": TABLE[20:]}, spec())
    assert fewer["__split"].to_list() == frame["__split"][20:].to_list()


def test_a_key_that_repeats_is_refused() -> None:
    with pytest.raises(DataError, match="99 observations repeat the key part"):
        build_dataset({"t": TABLE}, spec(key=("part",)))


def test_a_side_without_rows_is_refused() -> None:
    with pytest.raises(DataError, match="no test rows"):
        build_dataset({"t": TABLE[:1]}, spec({"kind": "random", "test": 0.01}))


def test_ids_of_different_keys_differ() -> None:
    frame = pl.DataFrame({"a": ["x/y", "x", "%2F", None], "b": ["z", "y/z", "", ""]})
    assert row_ids(frame, ["a", "b"]).n_unique() == 4
    dates = pl.DataFrame({"d": [date(2026, 1, 2)]})
    assert row_ids(dates, ["d"]).to_list() == ["2026-01-02T00:00:00"]


# ------------------------------------------------------------------------------------------------ real data


def blueprint(root: Path, name: str) -> ModelSpec:
    return ModelSpec.model_validate(
        yaml.safe_load((root / f"src/charter/blueprints/{name}/model.yaml").read_text())
    )


@pytest.fixture(scope="module")
def churn(root: Path, data_folder: Path) -> tuple[ModelSpec, pl.DataFrame, pl.DataFrame, FeatureSet]:
    path = data_folder / "online_retail_ii" / "online_retail_ii.parquet"
    if not path.is_file():
        pytest.skip("Online Retail II is not in CHARTER_DATA")
    spec = blueprint(root, "customer_churn")
    prepared = prepare(
        pl.read_parquet(path), "lines", spec.data.sources["lines"], now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    frame, features = build_dataset({"lines": prepared.frame}, spec)
    return spec, prepared.frame, frame, features


@pytest.mark.data
def test_churn_has_the_rows_of_the_trial(
    churn: tuple[ModelSpec, pl.DataFrame, pl.DataFrame, FeatureSet],
) -> None:
    _, _, frame, features = churn
    assert frame.filter(pl.col("__split") == "test").height == 10_926
    assert frame["__row"].n_unique() == frame.height
    assert len(features.names) == 24
    assert frame.select(features.names).null_count().sum_horizontal().item() == 0


@pytest.mark.data
@pytest.mark.parametrize("moment", [datetime(2010, 9, 1), datetime(2011, 6, 1)])  # noqa: DTZ001
def test_no_feature_of_a_cutoff_sees_its_future(
    churn: tuple[ModelSpec, pl.DataFrame, pl.DataFrame, FeatureSet], moment: datetime
) -> None:
    _, lines, frame, features = churn
    rng = np.random.default_rng(11)
    future = lines.filter(pl.col("ordered_at") >= moment)
    n = future.height
    noise = future.with_columns(
        amount=pl.Series(rng.normal(size=n) * 1e6),
        customer_id=pl.Series(rng.integers(10_000, 20_000, n)),
        Invoice=pl.Series(rng.integers(0, 9, n)).cast(pl.String),
        StockCode=pl.Series(rng.integers(0, 9, n)).cast(pl.String),
        returned=pl.Series(rng.random(n) < 0.5),
        ordered_at=moment + pl.duration(hours=pl.Series(rng.integers(0, 9000, n))),
    )
    altered = pl.concat([noise, lines.filter(pl.col("ordered_at") < moment)])
    seen = frame.filter(pl.col("as_of") == moment)
    assert seen.height > 2000
    again = complete(seen.select("customer_id", "as_of"), features, {"lines": altered})
    assert again.select(features.names).equals(seen.select(features.names))


@pytest.mark.data
def test_a_served_customer_has_the_features_of_the_training_frame(
    churn: tuple[ModelSpec, pl.DataFrame, pl.DataFrame, FeatureSet],
) -> None:
    _, lines, frame, features = churn
    past = histories({"lines": lines.sample(fraction=1, shuffle=True, seed=5)}, features)
    for row in np.random.default_rng(4).choice(frame.height, 25, replace=False):
        alone = complete(frame[[int(row)]].select("customer_id", "as_of"), features, past)
        assert alone.select(features.names).equals(frame[[int(row)]].select(features.names))


@pytest.mark.data
def test_window_features_agree_with_a_plain_reading(
    churn: tuple[ModelSpec, pl.DataFrame, pl.DataFrame, FeatureSet],
) -> None:
    spec, lines, frame, _ = churn
    seen = frame.filter(pl.col("as_of") == datetime(2011, 3, 1))  # noqa: DTZ001
    ours = window_features(
        seen, {"lines": lines}, spec.features.windows, "customer_id", {"lines": "ordered_at"}
    ).with_columns(seen["customer_id"])
    past = lines.filter(pl.col("ordered_at") < datetime(2011, 3, 1), ~pl.col("returned"))  # noqa: DTZ001
    quarter = past.filter(pl.col("ordered_at") >= datetime(2010, 12, 1))  # noqa: DTZ001
    plain = quarter.group_by("customer_id").agg(
        amount=pl.col("amount").sum(),
        orders=pl.col("Invoice").n_unique().cast(pl.Float64),
    )
    both = ours.join(plain, on="customer_id", how="left").with_columns(
        pl.col("amount", "orders").fill_null(0)
    )
    np.testing.assert_allclose(both["amount_90d"], both["amount"], rtol=1e-12)
    assert both["orders_90d"].equals(both["orders"].alias("orders_90d"))


@pytest.mark.data
def test_credit_risk_is_one_row_per_account(root: Path, data_folder: Path) -> None:
    path = next((data_folder / "taiwan_default").glob("*.parquet"), None)
    if path is None:
        pytest.skip("Taiwan default is not in CHARTER_DATA")
    spec = blueprint(root, "credit_risk")
    prepared = prepare(
        pl.read_parquet(path), "accounts", spec.data.sources["accounts"], now=datetime(2026, 1, 1, tzinfo=UTC)
    )
    frame, features = build_dataset({"accounts": prepared.frame}, spec)
    assert frame.height == 30_000
    assert frame["defaulted"].sum() == 6_636
    assert not {"SEX", "MARRIAGE", "AGE", "ID", "default.payment.next.month"} & set(features.names)
