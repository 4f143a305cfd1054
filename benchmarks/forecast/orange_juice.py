"""Dominick's orange juice, as a frame: weekly sales of 11 brands in 83 stores."""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import polars as pl

PRICES = [f"price{i}" for i in range(1, 12)]
FIRST_WEEK = datetime(1989, 9, 14)  # noqa: DTZ001 - frames hold naive UTC
"""Week 1 began on this Thursday."""


def folder() -> Path:
    """Folder of the data set; ``CHARTER_DATA`` names the one that holds all."""
    return Path(os.environ.get("CHARTER_DATA", "data")) / "dominicks_orange_juice"


def sales() -> pl.DataFrame:
    """One row per store, brand and week, with the brand's own price and when the week starts."""
    own = pl.coalesce(pl.when(pl.col("brand") == i + 1).then(pl.col(name)) for i, name in enumerate(PRICES))
    starts = pl.lit(FIRST_WEEK, pl.Datetime("us")) + pl.duration(weeks=pl.col("week") - 1)
    return pl.read_parquet(folder() / "yx.parquet").with_columns(
        starts.cast(pl.Datetime("us")).alias("starts"),
        pl.col("logmove").exp().alias("units"),
        own.alias("price"),
        pl.col("store", "brand").cast(pl.String),
    )


def stores() -> pl.DataFrame:
    """One row per store: who lives around it, and who competes with it."""
    return (
        pl.read_parquet(folder() / "storedemo.parquet")
        .rename({"STORE": "store"})
        .with_columns(pl.col("store").cast(pl.String))
    )
