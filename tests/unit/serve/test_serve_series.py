"""What the past of series says of rows that are to be forecast."""

from __future__ import annotations

from datetime import date, timedelta

import numpy as np
import polars as pl

from charter.data.grid import SeriesPlan
from charter.serve.scored import Numbers
from charter.serve.series import SeriesPast
from charter.train.calibrate import Calibration
from charter.train.cold_start import ColdStart
from charter.train.conformal_fit import fit
from charter.train.siblings import Likeness

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


def test_series_that_are_hardly_known_lately_are_told() -> None:
    known = [weeks("a", 0, 30), weeks("paused", 0, 12), weeks("young", 28, 30), weeks("late", 26, 30)]
    past = SeriesPast(PLAN, {"sales": pl.concat(known)})
    shops = ("a", "paused", "young", "late", "unseen")
    ahead = pl.concat([weeks(shop, 30, 32).drop("units") for shop in shops])
    rows = past.fill(ahead.with_columns(pl.lit(None, pl.Datetime("us")).alias("as_of")))
    (note,) = past.notes(rows)
    assert note.startswith("2 series have fewer than 4 known weeks among the last 13 before 2024-07-29: ")
    assert "unsure" in note
    told = [text for _, text in past.warn(rows) if "fewer than 4" in text]
    assert [text.split()[1] for text in told] == ["paused"] * 2 + ["young"] * 2
    (note,) = past.notes(rows.filter(pl.col("shop").is_in(["a", "young", "late", "unseen"])))
    assert note.startswith("1 series has fewer than 4")


def test_a_forecast_that_rests_on_hardly_any_past_has_the_interval_of_a_new_series() -> None:
    errors = np.random.default_rng(0).normal(0, 1, 400)
    wide = fit(
        np.expm1(5 + errors),
        np.full(400, 5.0),
        np.ones(400),
        level=0.9,
        transform="log1p",
        symmetric=True,
        horizon=4,
    )
    cold = ColdStart(Likeness(13, ()), "log1p", Calibration("log1p"), wide).to_json()
    known = pl.concat([weeks("a", 0, 30), weeks("young", 28, 30)])
    past = SeriesPast(PLAN, {"sales": known}, cold)
    ahead = pl.concat([weeks("a", 30, 32), weeks("young", 30, 32)]).drop("units")
    rows = past.fill(ahead.with_columns(pl.lit(None, pl.Datetime("us")).alias("as_of")))
    narrow = np.full(4, 90.0), np.full(4, 110.0)
    said = Numbers(np.full(4, 100.0), None, None, np.empty((4, 0), np.float32), past.locate(rows), narrow)
    found = past.settle(said, rows, lambda asked: np.zeros(asked.height))
    assert found.bounds is not None
    lower, upper = found.bounds
    assert (lower[:2].tolist(), upper[:2].tolist()) == ([90.0] * 2, [110.0] * 2)
    assert (lower[2:] < 40).all()
    assert (upper[2:] > 300).all()
    assert found.score.tolist() == [100.0] * 4
    assert [text.rpartition("; ")[2] for _, text in past.warn(rows)] == [
        "its interval is at least as wide as any of a series without a past"
    ] * 2


def test_a_week_that_no_series_has_is_told() -> None:
    sales = pl.concat([weeks("a", 0, 20), weeks("b", 0, 20)])
    holes = [FIRST + timedelta(weeks=n) for n in (3, 18)]  # the fourth week is too long ago to be told
    past = SeriesPast(PLAN, {"sales": sales.filter(~pl.col("week").is_in(holes))})
    ahead = pl.concat([weeks(shop, 20, 22).drop("units") for shop in ("a", "b")])
    rows = past.fill(ahead.with_columns(pl.lit(None, pl.Datetime("us")).alias("as_of")))
    assert list(past.notes(rows)) == ["no series has a known row of 2024-05-06: lags of it are missing"]
