"""What holds for every series: nothing at or after the origin is read, unless it is declared as known ahead."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from charter.data.grid import SeriesPlan
from charter.features.calendars import PeriodCalendar
from charter.features.featureset import EventWindow, FeatureSet, RowFeature, complete
from charter.features.lags import Lag

START = datetime(2024, 1, 1)  # noqa: DTZ001 - frames hold naive UTC
HORIZON, GAP = 3, 1
PLAN = SeriesPlan("sales", ("shop", "item"), "at", "week", "monday", HORIZON, GAP, "leave", "x", ("p",))
OVER = ("2w", "10d", "5w", "all")
WINDOWS = tuple(
    EventWindow(f"w{i}", "sales", text, OVER, where, default, by)
    for i, (text, where, default, by) in enumerate(
        (
            ("SUM(x)", None, 0.0, ()),
            ("AVG(x + p)", "p > 1", None, ()),
            ("STDDEV(x)", None, None, ("shop",)),
            ("TREND(x)", None, None, ()),
            ("MEDIAN(x)", None, None, ("item",)),
            ("MIN(age_days)", "x > 5", None, ()),
            ("MAX(x)", "age_days > 8", None, ()),
            ("COUNT(*)", None, 0.0, ("shop",)),
        )
    )
)
LAGS = (
    Lag("x", "x", (1, 2, 6), (HORIZON + GAP, 8), ()),
    Lag("shop", "AVG(x)", (1, 3), (HORIZON + GAP,), ("shop",)),
    Lag("near", "x", (), (0, 1, 2), ()),
    Lag("p", "p", (2,), (0, 1, 2), (), known_ahead=True),
    Lag("rivals", "AVG(p)", (), (0, 1), ("shop",), known_ahead=True),
)
FEATURES = FeatureSet(
    (), "series", (("sales", "at"),), WINDOWS, (RowFeature("cheap", "p / p_season_1", "number"),), (), "x", PLAN, LAGS,
    PeriodCalendar("at", "week", ("week", "month"), "XX", (19_723, 19_800)),
)  # fmt: skip

weeks = st.integers(0, 14)
numbers = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([0.1, 0.2, 0.3, -0.0]))
cells = st.dictionaries(st.tuples(st.integers(0, 1), st.integers(0, 2), weeks), numbers, max_size=60)


def week(number: int) -> datetime:
    return START + timedelta(weeks=number)


def sales(rows: dict[tuple[int, int, int], float | None]) -> pl.DataFrame:
    return pl.DataFrame(
        [(shop, item, week(w), x, 1 + (shop + 3 * item + w) % 5) for (shop, item, w), x in rows.items()],
        schema={"shop": pl.Int64, "item": pl.Int64, "at": pl.Datetime("us"), "x": pl.Float64, "p": pl.Int64},
        orient="row",
    )


def asked(origin: int) -> pl.DataFrame:
    rows = [
        (
            shop,
            item,
            week(origin),
            step,
            week(origin + GAP + step - 1),
            1 + (shop + 3 * item + origin + step) % 5,
        )
        for shop in range(2)
        for item in range(3)
        for step in range(1, HORIZON + 1)
    ]
    schema = {"shop": pl.Int64, "item": pl.Int64, "as_of": pl.Datetime("us"), "step": pl.Int32,
              "at": pl.Datetime("us"), "p": pl.Int64}  # fmt: skip
    return pl.DataFrame(rows, schema=schema, orient="row")


def bits(frame: pl.DataFrame, leave: tuple[str, ...] = ()) -> bytes:
    made = [
        c for c in frame.columns if c not in ("shop", "item", "as_of", "step", "at", "p", "series", *leave)
    ]
    return frame.select(made).fill_null(float("nan")).to_numpy().tobytes()


@given(cells, cells, weeks)
def test_the_future_changes_no_feature_but_those_known_ahead(
    rows: dict[tuple[int, int, int], float | None],
    other: dict[tuple[int, int, int], float | None],
    origin: int,
) -> None:
    past = {k: x for k, x in rows.items() if k[2] < origin}
    future = {k: x for k, x in rows.items() if k[2] >= origin}
    # The same rows of the future, so that what is known ahead stays; what was sold in them becomes something else.
    changed = past | {k: other.get(k, 7.5) for k in future}
    expected = bits(complete(asked(origin), FEATURES, {"sales": sales(rows)}))
    assert bits(complete(asked(origin), FEATURES, {"sales": sales(changed)})) == expected
    # Without a single row of the future, only what is known ahead is missing.
    ahead = ("p_season_0", "p_season_1", "p_season_2", "rivals_season_0", "rivals_season_1", "cheap")
    whole = bits(complete(asked(origin), FEATURES, {"sales": sales(rows)}), ahead)
    assert bits(complete(asked(origin), FEATURES, {"sales": sales(past)}), ahead) == whole


@given(cells, weeks, st.randoms(use_true_random=False))
def test_features_depend_neither_on_company_nor_on_order(
    rows: dict[tuple[int, int, int], float | None],
    origin: int,
    random: st.random.Random,  # type: ignore[name-defined]
) -> None:
    observations, events = asked(origin), sales(rows)
    together = complete(observations, FEATURES, {"sales": events})
    order = list(range(events.height))
    random.shuffle(order)
    shuffled = complete(observations[::-1], FEATURES, {"sales": events[order]})
    assert bits(shuffled[::-1]) == bits(together)
    for i in (0, observations.height - 1):
        assert bits(complete(observations[[i]], FEATURES, {"sales": events})) == bits(together[[i]])
