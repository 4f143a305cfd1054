"""What the past of series says of rows that are to be forecast."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl

from charter.data.grid import SeriesPlan
from charter.serve.series import SeriesPast

PLAN = SeriesPlan("sales", ("shop",), "week", "week", "monday", 4, 0, "leave", "units")
FIRST = date(2024, 1, 1)


def weeks(shop: str, first: int, last: int) -> pl.DataFrame:
    days = [FIRST + timedelta(weeks=n) for n in range(first, last)]
    return pl.DataFrame({"shop": shop, "week": days, "units": [5.0] * len(days)})


def test_series_that_were_forgotten_are_told() -> None:
    past = SeriesPast(PLAN, {"sales": pl.concat([weeks("a", 0, 9), weeks("b", 0, 9), weeks("closed", 0, 6)])})
    ahead = pl.concat([weeks(shop, 9, 11).drop("units") for shop in ("a", "b")])
    ahead = ahead.with_columns(pl.lit(None, pl.Datetime("us")).alias("as_of"))
    assert list(past.notes(past.fill(ahead))) == []
    (note,) = past.notes(past.fill(ahead.filter(pl.col("shop") == "a")))
    assert (
        note == "1 of the 2 series that are known up to 2024-02-26 are not asked about; sums are without them"
    )
