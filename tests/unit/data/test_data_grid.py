"""Series that stand on a regular grid, and those that do not."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from charter.core.errors import DataError
from charter.data.grid import (
    FILLED,
    Grid,
    SeriesPlan,
    check_future,
    closed_days,
    name_series,
    on_grid,
    regular,
)


def plan(missing: str = "leave", every: str = "week", starts_on: str = "monday") -> SeriesPlan:
    return SeriesPlan("sales", ("shop", "item"), "week", every, starts_on, 4, 0, missing, "units")


def rows(weeks: dict[str, list[int]], **columns: object) -> pl.DataFrame:
    """Rows of shop a, by item and number of the week after 2024-01-01."""
    found = [("a", item, date(2024, 1, 1) + timedelta(weeks=w)) for item, own in weeks.items() for w in own]
    frame = pl.DataFrame(found, schema=["shop", "item", "week"], orient="row")
    values = {"units": 2.0, "price": 1.0} | columns
    frame = frame.with_columns(pl.lit(value).alias(name) for name, value in values.items())
    return frame.with_columns(name_series(("shop", "item")))


@pytest.mark.parametrize("every", ["day", "week", "month"])
@pytest.mark.parametrize("starts_on", ["monday", "thursday", "sunday"])
def test_periods_are_numbered_without_gaps_and_back(every: str, starts_on: str) -> None:
    grid = Grid(every, starts_on)
    days = pl.DataFrame(
        {"at": pl.datetime_range(pl.datetime(1968, 1, 1), pl.datetime(1972, 1, 1), "1d", eager=True)}
    )
    found = days.select("at", number=grid.number(pl.col("at"))).with_columns(
        begins=grid.start(pl.col("number"))
    )
    assert found["number"].diff().drop_nulls().unique().sort().to_list() == (
        [1] if every == "day" else [0, 1]
    )
    assert found.filter(pl.col("begins") > pl.col("at")).is_empty()
    first = found.filter(pl.col("begins") == pl.col("at"))
    if every == "week":
        assert first["at"].dt.strftime("%A").str.to_lowercase().unique().to_list() == [starts_on]
    if every == "month":
        assert first["at"].dt.day().unique().to_list() == [1]
    assert all(grid.count(grid.begin(n)) == n for n in found["number"].unique())


def test_names_of_series_cannot_run_together() -> None:
    frame = pl.DataFrame({"a": ["x/y", "x"], "b": ["z", "y/z"]})
    assert frame.select(name_series(("a", "b"))).to_series().to_list() == ["x%2Fy/z", "x/y%2Fz"]


def test_a_gap_is_left_alone_unless_something_else_is_asked() -> None:
    frame = rows({"x": [0, 1, 3]})
    assert regular(frame, plan())["week"].to_list() == frame["week"].to_list()


def test_a_gap_is_refused_where_it_must_not_be() -> None:
    with pytest.raises(
        DataError, match=r"2 periods of 1 series have no row: series a/x of 2024-01-15"
    ) as told:
        regular(rows({"x": [0, 1, 4], "y": [0, 1]}), plan("fail"))
    assert "missing: zero, last or leave" in str(told.value.remedy)


def test_a_gap_is_filled_with_zeros_up_to_the_last_period_of_the_source() -> None:
    found = regular(rows({"x": [0, 2], "y": [0, 1, 2, 3]}), plan("zero"))
    own = found.filter(series="a/x")
    assert own["units"].to_list() == [2, 0, 2, 0]
    assert own["price"].to_list() == [1, 1, 1, 1]
    assert own[FILLED].to_list() == [False, True, False, True]
    assert own["week"].dtype == pl.Date


def test_a_gap_is_filled_with_what_was_before() -> None:
    frame = rows({"x": [0, 2], "y": [0, 1, 2, 3]}).with_columns(
        units=pl.col("week").dt.day().cast(pl.Float64)
    )
    own = regular(frame, plan("last")).filter(series="a/x")
    assert own["units"].to_list() == [1, 1, 15]


def test_filling_leaves_missing_values_of_real_rows_missing() -> None:
    frame = rows({"x": [0, 1, 3]}).with_columns(price=pl.Series([1.0, None, 3.0]))
    assert regular(frame, plan("zero"))["price"].to_list() == [1, None, 1, 3]


@pytest.mark.parametrize("missing", ["zero", "last", "fail"])
def test_plans_after_the_last_known_label_are_not_filled(missing: str) -> None:
    known = rows({"x": [0, 1, 2], "y": [0, 1, 2]}, units=7.0)
    planned = rows({"x": [4, 5], "y": [3, 5], "z": [4]}, units=None)
    found = regular(pl.concat([known, planned.cast(known.schema)]), plan(missing))
    assert found.height == known.height + planned.height
    assert not found[FILLED].any()
    assert found.filter(pl.col("units").is_null()).height == planned.height


def test_two_rows_of_one_period_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"2 rows share their series and week with another: series a/x of 2024-01-08"
    ):
        regular(rows({"x": [0, 1, 1]}), plan())


def test_a_changed_week_start_is_refused() -> None:
    frame = rows({"x": [0, 1, 2]})
    late = frame.with_columns(
        pl.when(pl.col("week") > date(2024, 1, 8))
        .then(pl.col("week").dt.offset_by("3d"))
        .otherwise("week")
        .alias("week")
    )
    with pytest.raises(
        DataError, match=r"1 rows are not of the beginning of a week, which start on monday.*Thursday"
    ):
        regular(late, plan())


def test_negative_sales_are_refused() -> None:
    with pytest.raises(
        DataError, match=r"units is negative in 1 rows: series a/x of 2024-01-01 \(-3\)"
    ) as told:
        regular(rows({"x": [0]}, units=-3.0), plan())
    assert "quarantine" in str(told.value.remedy)


def test_rows_of_no_series_are_refused() -> None:
    frame = rows({"x": [0]}).with_columns(pl.lit(None, pl.String).alias("item"))
    with pytest.raises(DataError, match="do not say of which series"):
        on_grid({"sales": frame}, plan())


def test_a_promotion_calendar_that_ends_early_is_refused() -> None:
    with pytest.raises(
        DataError, match=r"1 of 2 series end before the others: series a/x of 2024-01-15"
    ) as told:
        check_future(rows({"x": [1, 2], "y": [1, 2, 3]}), plan())
    assert "every series" in str(told.value.remedy)


def test_a_promotion_calendar_with_a_hole_is_refused() -> None:
    with pytest.raises(DataError, match=r"between their first and last: series a/x of 2024-01-15"):
        check_future(rows({"x": [1, 3], "y": [1, 2, 3]}), plan())


def test_days_on_which_shops_close_are_no_holes() -> None:
    """Sundays, of which no series ever has a row; a Saturday that is left out is a hole."""
    daily = plan(every="day")
    week = rows({"x": [0, 1, 2], "y": [0, 1, 2]})  # Mondays
    days = pl.concat([week.with_columns(pl.col("week") + pl.duration(days=n)) for n in range(6)]).sort("week")
    assert closed_days(days, daily) == {7}
    assert closed_days(days, plan("zero", "day")) == frozenset()
    check_future(days, daily, closed_days(days, daily))
    with pytest.raises(DataError, match="leave out a day"):
        check_future(days, daily)
    with pytest.raises(DataError, match=r"between their first and last: series a/x of 2024-01-06"):
        check_future(days.filter(pl.col("week").dt.weekday() != 6), daily, frozenset({7}))


def test_rows_outside_the_horizon_are_named_with_their_step() -> None:
    asked = rows({"x": [3, 4], "y": [3, 4]}).with_columns(as_of=pl.datetime(2024, 1, 22))
    check_future(asked, plan())
    late = pl.concat([asked, asked.head(1).with_columns(pl.lit(date(2031, 1, 6)).alias("week"))])
    with pytest.raises(DataError, match=r"series a/x of 2031-01-06, which is step 364"):
        check_future(late, plan())
    early = pl.concat([asked, asked.head(1).with_columns(pl.lit(date(2024, 1, 15)).alias("week"))])
    with pytest.raises(
        DataError, match=r"1 rows are not among the 4 weeks .* series a/x of 2024-01-15, which is step 0"
    ):
        check_future(early, plan())


def test_a_plan_survives_json() -> None:
    own = plan()
    assert SeriesPlan.from_json(own.to_json()) == own
