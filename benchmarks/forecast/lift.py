"""What price, advertisement and the other brands' prices do to sales: the coefficients of ``lift`` in ``model.yaml``.

    python benchmarks/forecast/lift.py

Least squares by brand within stores, on weeks up to 110: before the first round that features were chosen on. Printed
are the elasticity of the own price, what an advertisement adds to the logarithm of sales (with the deal that comes
with it), and the elasticity of the mean price of the other brands. ``model.yaml`` has them rounded; large ones of the
last kind are drawn down, to 3.5 at most, and a negative one is 0.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from orange_juice import PRICES, sales

LAST_WEEK = 110
EXPLAINS = ("own", "feat", "deal", "others", "lowest", "feat_before", "own_before")


def main() -> None:
    """Print a line per brand."""
    mean, series = pl.mean_horizontal(PRICES), ["store", "brand"]
    frame = (
        sales()
        .filter(pl.col("week") <= LAST_WEEK)
        .sort(*series, "week")
        .with_columns(
            own=pl.col("price").log(),
            others=((mean * 11 - pl.col("price")) / 10).log(),
            lowest=pl.min_horizontal(PRICES).log(),
        )
        .with_columns(
            feat_before=pl.col("feat").shift(1).over(series), own_before=pl.col("own").shift(1).over(series)
        )
        .drop_nulls(EXPLAINS)
        .with_columns(pl.col(*EXPLAINS, "logmove") - pl.col(*EXPLAINS, "logmove").mean().over(series))
    )
    print("brand    own price  advertisement  others' price")
    for brand in sorted(frame["brand"].unique(), key=int):
        rows = frame.filter(pl.col("brand") == brand)
        X, y = rows.select(EXPLAINS).to_numpy(), rows["logmove"].to_numpy()
        beta = dict(zip(EXPLAINS, np.linalg.solve(X.T @ X + np.eye(len(EXPLAINS)), X.T @ y), strict=True))
        print(f"{brand:>5s} {beta['own']:12.1f} {beta['feat']:14.2f} {beta['others']:14.1f}")


if __name__ == "__main__":
    main()
