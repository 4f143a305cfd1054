"""What holds for every past: no look ahead, no dependence on company or order, one reading of a window."""

from __future__ import annotations

from datetime import datetime, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from charter.features.history import History
from charter.features.windows import columns_read, window_features
from charter.spec.types import WindowSpec

START = datetime(2026, 1, 1)  # noqa: DTZ001 - frames hold naive UTC
WINDOWS = {
    name: WindowSpec(source="e", aggregate=aggregate, over=("6h", "2d", "all"), where=where, default=default)
    for name, aggregate, where, default in (
        ("total", "SUM(x)", None, 0),
        ("mean", "AVG(x)", None, None),
        ("spread", "STDDEV(x)", None, None),
        ("kinds", "COUNT(DISTINCT kind)", None, 0),
        ("some", "SUM(CASE WHEN kind = 'a' THEN x * x ELSE 0 END) / COUNT(*)", "kind != 'c'", None),
        ("recent", "MIN(age_days)", "age_days > 0.1", None),
        ("events", "COUNT(*)", "x > 0", 0),
    )
}

hours = st.integers(0, 72)
# Sums of such numbers depend on their order: 1e16 + 1 - 1e16 is not 1 - 1e16 + 1e16.
numbers = st.one_of(st.none(), st.floats(-1e16, 1e16), st.sampled_from([0.1, 0.2, 0.3, 1e16, -1e16, -0.0]))
event = st.tuples(st.integers(0, 3), hours, numbers, st.sampled_from("abc"))
seen = st.tuples(st.integers(0, 4), hours)


def events_of(rows: list[tuple[int, int, float | None, str]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(who, START + timedelta(hours=h), x, kind) for who, h, x, kind in rows],
        schema={"who": pl.Int64, "at": pl.Datetime("us"), "x": pl.Float64, "kind": pl.String},
        orient="row",
    )


def observations_of(rows: list[tuple[int, int]]) -> pl.DataFrame:
    return pl.DataFrame(
        [(who, START + timedelta(hours=h)) for who, h in rows],
        schema={"who": pl.Int64, "as_of": pl.Datetime("us")},
        orient="row",
    )


def features(observations: pl.DataFrame, events: pl.DataFrame | History) -> pl.DataFrame:
    return window_features(observations, {"e": events}, WINDOWS, "who", {"e": "at"})


def bits(frame: pl.DataFrame) -> bytes:
    """Values and gaps; NaN never stands for a value."""
    return frame.fill_null(float("nan")).to_numpy().tobytes()


@given(st.lists(event, max_size=40), st.lists(event, max_size=40), hours, st.integers(0, 3))
def test_the_future_changes_no_feature(
    rows: list[tuple[int, int, float | None, str]],
    other: list[tuple[int, int, float | None, str]],
    cutoff: int,
    who: int,
) -> None:
    observations = observations_of([(who, cutoff), (who, max(cutoff - 5, 0)), (0, cutoff)])
    past = [row for row in rows if row[1] < cutoff]
    future = [(w, cutoff + h, x, kind) for w, h, x, kind in other]
    expected = bits(features(observations, events_of(rows)))
    assert bits(features(observations, events_of([*future, *past]))) == expected
    assert bits(features(observations, events_of(past))) == expected


@given(
    st.lists(event, max_size=60), st.lists(seen, min_size=1, max_size=12), st.randoms(use_true_random=False)
)
def test_features_depend_neither_on_company_nor_on_order(
    rows: list[tuple[int, int, float | None, str]],
    asked: list[tuple[int, int]],
    random: st.random.Random,  # type: ignore[name-defined]
) -> None:
    events, observations = events_of(rows), observations_of(asked)
    together = features(observations, events)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert bits(features(observations, events_of(shuffled))) == bits(together)
    assert bits(features(observations[::-1], events)) == bits(together[::-1])
    history = History.of(events, "who", "at", columns_read(WINDOWS, "e"))
    for i in range(observations.height):
        assert bits(features(observations[[i]], history)) == bits(together[[i]])


@given(st.lists(event, max_size=40), st.lists(seen, min_size=1, max_size=6))
def test_counts_are_those_of_a_plain_reading(
    rows: list[tuple[int, int, float | None, str]], asked: list[tuple[int, int]]
) -> None:
    found = features(observations_of(asked), events_of(rows))
    for i, (who, cutoff) in enumerate(asked):
        for over, reach in (("6h", 6), ("2d", 48), ("all", 1000)):
            within = [r for r in rows if r[0] == who and cutoff - reach <= r[1] < cutoff]
            positive = sum(r[2] is not None and r[2] > 0 for r in within)
            assert found[f"events_{over}"][i] == positive
            assert found[f"kinds_{over}"][i] == len({r[3] for r in within})
            ages = [(cutoff - r[1]) / 24 for r in within if (cutoff - r[1]) / 24 > 0.1]
            assert found[f"recent_{over}"][i] == (min(ages) if ages else None)
