"""Series on a grid: rolled aggregates, lags and seasons are what a plain reading of the rows gives."""

from __future__ import annotations

import json
import sys
from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError, PackageError, UsageError
from charter.data.grid import Grid, SeriesPlan
from charter.features.calendars import PeriodCalendar, calendar_features, public_holidays
from charter.features.featureset import EventWindow, FeatureSet, complete, histories
from charter.features.lags import Lag
from charter.features.layout import Periods
from charter.features.windows import window_features, window_names

START = datetime(2024, 1, 1)  # noqa: DTZ001 - frames hold naive UTC
AGGREGATES = ("SUM(x)", "AVG(x)", "STDDEV(x)", "VARIANCE(x)", "MIN(x)", "MAX(x + p)", "COUNT(x)", "COUNT(*)",
              "TREND(x)", "MIN(age_days)", "MAX(age_days)", "(AVG(LN(p)))")  # fmt: skip


def plan_of(every: str, horizon: int = 4, gap: int = 1) -> SeriesPlan:
    return SeriesPlan(
        "sales", ("shop", "item"), "at", every, "monday", horizon, gap, "leave", "x", ("p", "deal")
    )


def history_of(every: str, seed: int = 0, series: int = 9, periods: int = 40) -> pl.DataFrame:
    """Rows with gaps, of series that begin and end at different times, in no order; some values are missing."""
    rng = np.random.default_rng(seed)
    step = {"day": "1d", "week": "1w", "month": "1mo"}[every]
    times = pl.datetime_range(START, START.replace(year=START.year + 9), step, eager=True)[:periods]
    frames = []
    for i in range(series):
        kept = np.flatnonzero(rng.random(periods) < 0.8)
        kept = kept[(kept >= rng.integers(0, 9)) & (kept < periods - rng.integers(0, 5))]
        x = rng.normal(50, 20, len(kept)).round(2)
        x[rng.random(len(kept)) < 0.1] = np.nan
        frames.append(
            pl.DataFrame(
                {"shop": [f"s{i // 3}"] * len(kept), "item": [i % 3] * len(kept), "at": times.gather(kept),
                 "x": x, "p": rng.uniform(0.5, 3, len(kept)), "deal": rng.integers(0, 2, len(kept))},
                schema_overrides={"item": pl.Int64, "at": pl.Datetime("us")},
            )
        )  # fmt: skip
    return (
        pl.concat(frames).with_columns(pl.col("x").fill_nan(None)).sample(fraction=1, shuffle=True, seed=seed)
    )


def asked_of(history: pl.DataFrame, every: str, plan: SeriesPlan) -> pl.DataFrame:
    """Every series at every period, before its first row and after its last one, too; and a series nobody knows."""
    step = {"day": "1d", "week": "1w", "month": "1mo"}[every]
    keys = pl.concat([history.select("shop", "item").unique(maintain_order=True),
                      pl.DataFrame({"shop": ["new"], "item": [0]})])  # fmt: skip
    times = pl.datetime_range(START, history["at"].max().replace(year=2029), step, eager=True)[:50]
    steps = pl.DataFrame({"step": [1, plan.horizon]}, schema={"step": pl.Int32})
    asked = keys.join(times.alias("as_of").cast(pl.Datetime("us")).to_frame(), how="cross").join(
        steps, how="cross"
    )
    ahead = {"day": "d", "week": "w", "month": "mo"}[every]
    shift = pl.format(f"{{}}{ahead}", pl.col("step") + plan.gap - 1)
    return asked.with_columns(pl.col("as_of").dt.offset_by(shift).alias("at")).with_columns(
        series=pl.concat_str(["shop", "item"], separator="/")
    )


@pytest.mark.parametrize("where", [None, "deal = 1", "x > 50 OR x IS NULL"])
@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_rolled_aggregates_equal_those_of_any_window(every: str, where: str | None) -> None:
    plan, over = (
        plan_of(every),
        {"day": ("3d", "20d", "all"), "week": ("4w", "10d", "all")}.get(every, ("90d", "all")),
    )
    history = history_of(every)
    windows = {f"w{i}": EventWindow(f"w{i}", "sales", text, over, where, -7.0 if i % 2 else None)
               for i, text in enumerate(AGGREGATES)}  # fmt: skip
    asked = asked_of(history, every, plan)
    named = history.with_columns(series=pl.concat_str(["shop", "item"], separator="/"))
    rolled = complete(asked, _features(plan, windows=tuple(windows.values())), {"sales": history})
    rolled = rolled.select(window_names(windows))
    plain = window_features(asked, {"sales": named}, windows, "series", {"sales": "at"})
    for name in rolled.columns:
        np.testing.assert_allclose(rolled[name], plain[name], rtol=1e-9, atol=1e-9, err_msg=name)
    assert np.isfinite(_array(plain)).mean() > 0.5


@pytest.mark.parametrize("aggregate", AGGREGATES)
def test_groups_of_series_are_aggregated_together(aggregate: str) -> None:
    plan, history = plan_of("week"), history_of("week")
    windows = {"w": EventWindow("w", "sales", aggregate, ("6w", "all"), None, None, ("shop",))}
    asked = asked_of(history, "week", plan)
    rolled = complete(asked, _features(plan, windows=tuple(windows.values())), {"sales": history})
    rolled = rolled.select(window_names(windows))
    plain = window_features(asked, {"sales": history}, windows, "shop", {"sales": "at"})
    np.testing.assert_allclose(_array(rolled), _array(plain), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("every", ["day", "week", "month"])
def test_lags_and_seasons_are_the_rows_of_those_periods(every: str) -> None:
    plan, history = plan_of(every), history_of(every)
    asked = asked_of(history, every, plan)
    lags = (
        Lag("x", "x * 2", (1, 3), (5, 7), ()),
        Lag("p", "p", (), (0, 1), (), known_ahead=True),
        Lag("shop", "AVG(x)", (2,), (6,), ("shop",)),
    )
    found = complete(asked, _features(plan, lags=lags), {"sales": history}).select(
        n for lag in lags for n in lag.names
    )
    unit = {"day": "d", "week": "w", "month": "mo"}[every]
    own = {(r["shop"], r["item"], r["at"]): r for r in history.iter_rows(named=True)}
    shops = {(s, t): v for s, t, v in history.group_by("shop", "at").agg(pl.col("x").mean()).iter_rows()}
    for name, origin, back in (("x_lag_1", "as_of", 1), ("x_lag_3", "as_of", 3), ("x_season_5", "at", 5),
                               ("x_season_7", "at", 7), ("p_season_0", "at", 0), ("p_season_1", "at", 1),
                               ("shop_lag_2", "as_of", 2), ("shop_season_6", "at", 6)):  # fmt: skip
        moments = asked[origin].dt.offset_by(f"-{back}{unit}")
        for i, (shop, item, moment) in enumerate(zip(asked["shop"], asked["item"], moments, strict=True)):
            if name.startswith("shop"):
                expected = shops.get((shop, moment))
            else:
                row = own.get((shop, item, moment), {"x": None, "p": None})
                expected = row["p"] if name[0] == "p" else None if row["x"] is None else row["x"] * 2
            assert found[name][i] == (None if expected is None else pytest.approx(expected)), (name, i)


def test_a_season_at_or_after_the_origin_is_missing_unless_it_is_known_ahead() -> None:
    plan, history = plan_of("week"), history_of("week")
    asked = asked_of(history, "week", plan)
    lags = (Lag("x", "x", (), (0, 1), ()),)
    read = complete(asked, _features(plan, lags=lags), {"sales": history})
    assert read["x_season_0"].null_count() == asked.height
    # Step 1 lies a gap of one week after the origin: a week before it is the origin itself.
    assert read["x_season_1"].null_count() == asked.height


def test_one_row_gives_the_bits_of_the_batch() -> None:
    plan, history = plan_of("week"), history_of("week")
    windows = tuple(
        EventWindow(f"w{i}", "sales", text, ("3w", "9w", "all"), None, None, ("item",) if i % 3 == 0 else ())
        for i, text in enumerate(AGGREGATES)
    )
    lags = (Lag("x", "x", (1, 2), (9,), ()), Lag("item", "AVG(x)", (1,), (), ("item",)))
    features = _features(plan, windows=windows, lags=lags, calendar=PeriodCalendar("at", "week", ("week",)))
    asked = asked_of(history, "week", plan)
    sorted_events = histories({"sales": history}, features)
    names = [c for c in complete(asked[:1], features, sorted_events).columns if c not in asked.columns]
    together = complete(asked, features, {"sales": history}).select(names)
    for i in range(0, asked.height, 37):
        assert _array(complete(asked[[i]], features, sorted_events).select(names)).tobytes() == (
            _array(together[[i]]).tobytes()
        )


def test_a_row_off_the_grid_is_refused() -> None:
    plan, history = plan_of("week"), history_of("week")
    moved = history.with_columns(pl.col("at").dt.offset_by("1d"))
    lags = (Lag("x", "x", (1,), (), ()),)
    with pytest.raises(DataError, match="where no week begins"):
        complete(asked_of(history, "week", plan), _features(plan, lags=lags), {"sales": moved})


def test_no_rows_give_no_rows_and_no_past_gives_missing_features() -> None:
    plan, history = plan_of("week"), history_of("week")
    windows = tuple(
        EventWindow(f"w{i}", "sales", text, ("3w", "all"), None, None) for i, text in enumerate(AGGREGATES)
    )
    lags = (Lag("x", "x", (1,), (9,), ()), Lag("shop", "AVG(x)", (1,), (), ("shop",)))
    features = _features(plan, windows=windows, lags=lags, calendar=PeriodCalendar("at", "week", ("week",)))
    asked = asked_of(history, "week", plan)
    assert complete(asked.clear(), features, {"sales": history}).height == 0
    found = complete(asked, features, {"sales": history.clear()})
    assert (
        found.select(window_names({w.name: w for w in windows})).null_count().row(0) == (asked.height,) * 24
    )
    assert found["x_lag_1"].null_count() == asked.height
    unknown = asked.with_columns(pl.lit(None, pl.Datetime("us")).alias("at"))
    with pytest.raises(DataError, match="have no at: which period is forecast"):
        complete(unknown, features, {"sales": history})


def test_a_missing_key_column_and_missing_events_are_named() -> None:
    plan, history = plan_of("week"), history_of("week")
    features = _features(plan, lags=(Lag("x", "x", (1,), (), ()),))
    asked = asked_of(history, "week", plan)
    with pytest.raises(DataError, match="no column 'item'"):
        complete(asked, features, {"sales": history.drop("item")})
    with pytest.raises(DataError, match="'sales', which are not here"):
        complete(asked, features, {})


@pytest.mark.parametrize(
    "grid", [Grid("day"), Grid("week", "monday"), Grid("week", "thursday"), Grid("month")]
)
def test_periods_are_numbered_as_the_grid_begins_them(grid: Grid) -> None:
    periods = Periods.of(grid)
    days = pl.datetime_range(datetime(1969, 6, 1), datetime(1971, 6, 1), "7h", eager=True, time_unit="us")  # noqa: DTZ001
    begun = days.to_frame("t").select(grid.start(grid.number(pl.col("t")))).to_series()
    moments, begins = days.to_physical().to_numpy(), begun.to_physical().to_numpy()
    number = periods.at_or_after(begins)
    assert (periods.begins(number) == begins).all()
    assert (periods.at_or_after(moments) == number + (moments > begins)).all()
    assert len(np.unique(number)) == len(np.unique(begins))


def test_the_calendar_says_week_month_and_holidays() -> None:
    pytest.importorskip("holidays")
    calendar = PeriodCalendar("at", "week", ("week", "month"), "US", public_holidays("US"))
    times = pl.Series([date(1991, 12, 23), date(1992, 6, 29), date(2062, 1, 2), date(1991, 12, 23)])
    found = calendar_features(times, calendar)
    assert found.columns == list(calendar.names)
    assert found.row(0) == found.row(3)
    assert found.row(0)[-3:] == (2, 25, 1)  # Christmas in two days; Thanksgiving was on 28 November
    assert found.row(1)[-3:] == (5, 35, 1)  # Independence Day; Memorial Day was on 25 May
    assert found["holiday_next_days"][2] is None
    assert found["calendar_week"].to_list()[:2] == [52, 27]
    assert found["calendar_month_sin"][1] == pytest.approx(np.sin(2 * np.pi * 5 / 12))


def test_places_without_holidays_are_refused() -> None:
    pytest.importorskip("holidays")
    with pytest.raises(UsageError, match="no holidays are known of XX"):
        public_holidays("XX")
    with pytest.raises(UsageError, match="no holidays are known of ZZ in US"):
        public_holidays("US-ZZ")
    assert set(public_holidays("US")) < set(public_holidays("US-IL"))


def test_the_library_of_holidays_is_named_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "holidays", None)
    with pytest.raises(UsageError, match="not installed") as caught:
        public_holidays("US")
    assert "charter-ml[forecast]" in (caught.value.remedy or "")


def test_a_trend_is_the_change_per_day() -> None:
    plan, days = plan_of("day"), 20
    times = pl.datetime_range(START, START.replace(day=days), "1d", eager=True, time_unit="us")
    history = pl.DataFrame(
        {"shop": ["a"] * days, "item": [1] * days, "at": times, "x": [3.0 + 2.5 * i for i in range(days)]}
    )
    windows = (EventWindow("trend", "sales", "TREND(x)", ("1d", "2d", "14d", "all"), None, None),)
    asked = history.tail(1).select("shop", "item", "at", pl.col("at").alias("as_of"))
    found = complete(asked, _features(plan, windows=windows), {"sales": history})
    assert found["trend_1d"][0] is None
    for name in ("trend_2d", "trend_14d", "trend_all"):
        assert found[name][0] == pytest.approx(2.5, rel=1e-12)


def test_a_large_level_costs_no_digits_of_the_spread() -> None:
    plan, days = plan_of("day"), 30
    times = pl.datetime_range(START, START.replace(day=days), "1d", eager=True, time_unit="us")
    values = 1e6 + np.random.default_rng(0).normal(0, 1, days)
    history = pl.DataFrame({"shop": ["a"] * days, "item": [1] * days, "at": times, "x": values})
    windows = (EventWindow("spread", "sales", "STDDEV(x)", ("20d",), None, None),)
    asked = history.tail(1).select("shop", "item", "at", pl.col("at").alias("as_of"))
    found = complete(asked, _features(plan, windows=windows), {"sales": history})
    assert found["spread_20d"][0] == pytest.approx(np.std(values[-21:-1], ddof=1), rel=1e-9)


def test_a_feature_set_of_series_survives_json() -> None:
    plan = SeriesPlan("s", ("a", "b"), "t", "week", "friday", 3, 0, "zero", "y", ("p",), (("more", "a"),))
    windows = (EventWindow("w", "s", "SUM(x)", ("1w",), None, None, ("a",)),)
    calendar = PeriodCalendar("t", "week", ("month",), "FR", (4, 5))
    features = _features(
        plan, windows=windows, lags=(Lag("l", "x", (1,), (4,), ("b",), True),), calendar=calendar
    )
    assert FeatureSet.from_json(json.loads(json.dumps(features.to_json()))) == features
    damaged = {**features.to_json(), "lags": [{"name": "l"}]}
    with pytest.raises(PackageError, match="feature set is damaged"):
        FeatureSet.from_json(damaged)
    with pytest.raises(PackageError, match="schema version 9, this Charter reads 1 to 2"):
        FeatureSet.from_json({**features.to_json(), "schema_version": 9})


def test_a_feature_set_from_before_series_is_read() -> None:
    old = _features(None).to_json() | {"schema_version": 1, "entity": None}
    for name in ("series", "lags", "calendar"):
        del old[name]
    assert FeatureSet.from_json(old).series is None


def _features(
    plan: SeriesPlan | None,
    *,
    windows: tuple[EventWindow, ...] = (),
    lags: tuple[Lag, ...] = (),
    calendar: PeriodCalendar | None = None,
) -> FeatureSet:
    return FeatureSet((), "series", (("sales", "at"),), windows, (), (), "x", plan, lags, calendar)


def _array(frame: pl.DataFrame) -> np.ndarray:
    return frame.fill_null(float("nan")).to_numpy()
