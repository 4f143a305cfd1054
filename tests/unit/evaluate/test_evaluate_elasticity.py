"""Price elasticities against statsmodels and against the truth of simulated sales."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError
from charter.evaluate.elasticity import elasticities, model_elasticity

TRUE = {"1": -1.2, "2": -3.0}


def sales(stores: int = 40, weeks: int = 80, seed: int = 0) -> pl.DataFrame:
    """Log-log demand; promotions go with low prices; a store's weeks share shocks."""
    rng = np.random.default_rng(seed)
    rows = []
    for brand, beta in TRUE.items():
        level = rng.normal(4, 0.5, (stores, 1))
        deal = rng.random((stores, weeks)) < 0.3
        price = np.exp(rng.normal(0.7, 0.1, (stores, weeks)) - 0.15 * deal)
        persistent = np.cumsum(rng.normal(0, 0.03, (stores, weeks)), axis=1)
        units = np.exp(
            level + beta * np.log(price) + 0.6 * deal + persistent + rng.normal(0, 0.2, (stores, weeks))
        )
        i, _ = (index.ravel() for index in np.indices((stores, weeks)))
        rows.append(
            pl.DataFrame(
                {
                    "series": [f"{s}/{brand}" for s in i], "store": i, "brand": brand, "price": price.ravel(),
                    "deal": deal.ravel(), "flat": 1.0, "actual": units.ravel(),
                }
            )
        )  # fmt: skip
    return pl.concat(rows)


def test_equals_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    frame = sales()
    for found in elasticities(frame, by="brand", price="price", cluster="store", controls=["deal", "flat"]):
        own = frame.filter(pl.col("brand") == found.group).to_pandas()
        own["y"], own["x"], own["deal"] = (
            np.log(own["actual"]),
            np.log(own["price"]),
            own["deal"].astype(float),
        )
        within = own[["y", "x", "deal"]] - own.groupby("series")[["y", "x", "deal"]].transform("mean")
        fit = api.OLS(within["y"], within[["x", "deal"]]).fit(
            cov_type="cluster", cov_kwds={"groups": own["store"]}
        )
        assert found.value == pytest.approx(fit.params["x"], rel=1e-9)
        assert found.error == pytest.approx(fit.bse["x"], rel=1e-9)


def test_the_interval_holds_the_truth() -> None:
    hits = 0
    for seed in range(40):
        for found in elasticities(
            sales(20, 40, seed), by="brand", price="price", cluster="store", controls=["deal"]
        ):
            assert found.low is not None
            assert found.high is not None
            hits += found.low <= TRUE[found.group] <= found.high
    assert 70 <= hits <= 80  # 95 % of 80 is 76


def test_leaving_the_promotion_out_overstates_the_elasticity() -> None:
    """Which is why it is a control: low prices come with promotions."""
    with_it, without = (
        elasticities(sales(), by="brand", price="price", cluster="store", controls=c)[0].value
        for c in (["deal"], [])
    )
    assert without is not None
    assert with_it is not None
    assert without < with_it - 0.3


def test_what_cannot_be_told_is_not_told() -> None:
    frame = sales(12, 10)
    still = elasticities(frame.with_columns(price=pl.lit(2.0)), by="brand", price="price", cluster="store")[0]
    assert still.value is None
    assert "never moves" in still.note
    tied = frame.with_columns(price=pl.when("deal").then(1.5).otherwise(2.0))
    found = elasticities(tied, by="brand", price="price", cluster="store", controls=["deal"])[0]
    assert found.value is None
    assert "cannot be told apart" in found.note
    few = elasticities(sales(5, 30), by="brand", price="price", cluster="store", controls=["deal"])[0]
    assert few.value is not None
    assert few.low is None
    assert "too few" in few.note
    with pytest.raises(DataError, match="no row"):
        elasticities(frame.with_columns(price=pl.lit(0.0)), by="brand", price="price", cluster="store")


def test_a_models_elasticity() -> None:
    rows = pl.DataFrame({"brand": [1, 1, 2], "price": [2.0, 3.0, 4.0]})
    raised, lowered = (
        rows.with_columns(forecast=100 * (pl.col("price") * f) ** pl.Series([-2.0, -2.0, -0.5]))
        for f in (1.1, 0.9)
    )
    found = model_elasticity(raised, lowered, by="brand", ratio=1.1 / 0.9)
    assert found["1"] == pytest.approx(-2.0)
    assert found["2"] == pytest.approx(-0.5)
