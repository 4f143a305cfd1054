from __future__ import annotations

from datetime import UTC, date, datetime

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError
from charter.features import windows as module
from charter.features.history import History, first_at_or_after, ranges
from charter.features.windows import columns_read, window_features, window_names
from charter.spec.types import WindowSpec


def day(n: int, hour: int = 0) -> datetime:
    return datetime(2026, 1, n, hour)  # noqa: DTZ001 - frames hold naive UTC


EVENTS = pl.DataFrame(
    {
        "who": [1, 1, 1, 2, None, 1],
        "at": [day(1), day(9), day(10), day(9, 12), day(5), None],
        "x": [2.0, 3.0, 100.0, 7.0, 50.0, 60.0],
        "kind": ["a", "b", "a", "a", "a", "a"],
        "invoice": ["i", "i", "j", "k", "l", "m"],
    },
    schema_overrides={"at": pl.Datetime("us")},
)
SEEN = pl.DataFrame({"who": [2, 1, 3, 1], "as_of": [day(10), day(10), day(10), day(1)]})


def one(aggregate: str, *over: str, where: str | None = None, default: float | None = None) -> list[object]:
    window = WindowSpec(source="e", aggregate=aggregate, over=over or ("all",), where=where, default=default)
    frame = window_features(SEEN, {"e": EVENTS}, {"f": window}, "who", {"e": "at"})
    return frame.to_series().to_list() if len(over) < 2 else frame.rows()


@pytest.mark.parametrize(
    ("aggregate", "expected"),
    [
        ("SUM(x)", [7.0, 5.0, None, None]),
        ("COUNT(*)", [1.0, 2.0, None, None]),
        ("COUNT(DISTINCT invoice)", [1.0, 1.0, None, None]),
        ("MIN(age_days)", [0.5, 1.0, None, None]),
        ("MAX(age_days)", [0.5, 9.0, None, None]),
        ("AVG(x)", [7.0, 2.5, None, None]),
        ("SUM(CASE WHEN kind = 'b' THEN x ELSE 0 END)", [0.0, 3.0, None, None]),
        ("SUM(x) / COUNT(*)", [7.0, 2.5, None, None]),
        ("STDDEV(x)", [None, pytest.approx(0.5**0.5), None, None]),
        ("SUM(x) / (COUNT(*) - 1)", [None, 5.0, None, None]),
        ("COUNT(*) > 1", [0.0, 1.0, None, None]),
    ],
)
def test_aggregates_read_what_was_known_before_the_moment(aggregate: str, expected: list[object]) -> None:
    assert one(aggregate) == expected


def test_a_window_contains_its_start_and_not_its_end() -> None:
    # Entity 1 at day 10: events at day 1 and 9; that of day 10 itself is not known yet.
    assert one("SUM(x)", "1d", "8d", "9d")[1] == (3.0, 3.0, 5.0)


def test_no_event_in_the_window_gives_the_default_and_an_undefined_aggregate_does_not() -> None:
    assert one("SUM(x)", default=0) == [7.0, 5.0, 0.0, 0.0]
    assert one("STDDEV(x)", default=-1)[0] is None


def test_where_keeps_events_and_may_use_their_age() -> None:
    assert one("SUM(x)", where="kind = 'a'", default=0) == [7.0, 2.0, 0.0, 0.0]
    assert one("SUM(x)", where="age_days > 5", default=0) == [0.0, 2.0, 0.0, 0.0]
    assert one("COUNT(*)", where="x > 1000 / 0") == [None] * 4
    assert one("COUNT(*)", where="1 = 1") == [1.0, 2.0, None, None]


def test_names_stand_in_the_order_of_declaration() -> None:
    specs = {
        "b": WindowSpec(source="e", aggregate="SUM(x)", over=("9d", "1d")),
        "a": WindowSpec(source="e", aggregate="COUNT(*)", over=("all",), where="kind = 'a'"),
        "c": WindowSpec(source="e", aggregate="MAX(x)", over=("9d", "1d")),
    }
    frame = window_features(SEEN, {"e": EVENTS}, specs, "who", {"e": "at"})
    assert tuple(frame.columns) == window_names(specs) == ("b_9d", "b_1d", "a_all", "c_9d", "c_1d")
    assert set(frame.dtypes) == {pl.Float64()}
    assert columns_read(specs, "e") == ("kind", "x")


def test_two_sources_are_two_pasts() -> None:
    specs = {
        "a": WindowSpec(source="e", aggregate="COUNT(*)", over=("all",)),
        "b": WindowSpec(source="f", aggregate="COUNT(*)", over=("all",)),
    }
    other = pl.DataFrame({"who": [3], "on": [date(2026, 1, 2)]})
    frame = window_features(SEEN, {"e": EVENTS, "f": other}, specs, "who", {"e": "at", "f": "on"})
    assert frame["b_all"].to_list() == [None, None, 1.0, None]


def test_no_observation_and_no_event_are_no_trouble() -> None:
    spec = {"f": WindowSpec(source="e", aggregate="SUM(x)", over=("all",), default=0)}
    assert window_features(SEEN.clear(), {"e": EVENTS}, spec, "who", {"e": "at"}).shape == (0, 1)
    assert window_features(SEEN, {"e": EVENTS.clear()}, spec, "who", {"e": "at"})["f_all"].sum() == 0


@pytest.mark.parametrize("kind", [pl.Int32, pl.String])
def test_entities_of_any_type_are_found(kind: type[pl.DataType]) -> None:
    events, seen = EVENTS.with_columns(pl.col("who").cast(kind)), SEEN.with_columns(pl.col("who").cast(kind))
    spec = {"f": WindowSpec(source="e", aggregate="SUM(x)", over=("all",))}
    expected = window_features(SEEN, {"e": EVENTS}, spec, "who", {"e": "at"})
    assert window_features(seen, {"e": events}, spec, "who", {"e": "at"}).equals(expected)
    assert window_features(SEEN, {"e": events}, spec, "who", {"e": "at"}).equals(expected)


def test_an_unknown_entity_has_no_past() -> None:
    seen = pl.DataFrame({"who": [None, 99], "as_of": [day(10)] * 2}, schema_overrides={"who": pl.Int64})
    spec = {"f": WindowSpec(source="e", aggregate="SUM(x)", over=("all",), default=0)}
    assert window_features(seen, {"e": EVENTS}, spec, "who", {"e": "at"})["f_all"].to_list() == [0.0, 0.0]


@pytest.mark.parametrize("n", range(1, 8))
def test_as_many_observations_as_features_are_not_turned_about(n: int) -> None:
    over = tuple(f"{d}d" for d in range(1, n + 1))
    spec = {"f": WindowSpec(source="e", aggregate="SUM(x)", over=over, default=0)}
    events = pl.DataFrame(
        {"who": [1] * 8, "at": [day(d) for d in range(1, 9)], "x": [2.0**d for d in range(8)]}
    )
    seen = pl.DataFrame({"who": [1] * n, "as_of": [day(2 + i) for i in range(n)]})
    frame = window_features(seen, {"e": events}, spec, "who", {"e": "at"})
    expected = [
        [sum(2.0**d for d in range(max(1 + i - w, 0), 1 + i)) for w in range(1, n + 1)] for i in range(n)
    ]
    assert frame.to_numpy().tolist() == expected


def test_chunks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = {"f": WindowSpec(source="e", aggregate="SUM(x)", over=("all", "9d"))}
    whole = window_features(SEEN, {"e": EVENTS}, spec, "who", {"e": "at"})
    monkeypatch.setattr(module, "_CHUNK_ROWS", 1)
    assert window_features(SEEN, {"e": EVENTS}, spec, "who", {"e": "at"}).equals(whole)


@pytest.mark.parametrize(
    ("seen", "events", "aggregate", "message"),
    [
        (SEEN.drop("as_of"), EVENTS, "SUM(x)", "observations have no column 'as_of'"),
        (SEEN.with_columns(as_of=pl.lit(None, pl.Date)), EVENTS, "SUM(x)", "4 observations have no as_of"),
        (SEEN, EVENTS.drop("x"), "SUM(x)", "source 'e' has no column 'x'"),
        (SEEN, EVENTS.with_columns(at=pl.lit("2026")), "SUM(x)", "column 'at' of source 'e' is String"),
        (SEEN, EVENTS, "MAX(invoice)", "windows f over source 'e'"),
        (SEEN, EVENTS, "x", "window f: 'x' gives a value per event"),
        (SEEN.with_columns(who=pl.lit("x")), EVENTS, "SUM(x)", "who is String in the observations and Int64"),
    ],
)
def test_what_cannot_be_computed_is_said(
    seen: pl.DataFrame, events: pl.DataFrame, aggregate: str, message: str
) -> None:
    spec = {"f": WindowSpec(source="e", aggregate=aggregate, over=("all",))}
    with pytest.raises(DataError, match=message):
        window_features(seen, {"e": events}, spec, "who", {"e": "at"})


def test_a_source_without_a_time_is_refused() -> None:
    spec = {"f": WindowSpec(source="e", aggregate="SUM(x)", over=("all",))}
    with pytest.raises(DataError, match="time column is not known"):
        window_features(SEEN, {"e": EVENTS}, spec, "who", {})


def test_a_history_is_cut_and_filtered_without_losing_its_place() -> None:
    history = History.of(EVENTS, "who", "at")
    assert history.entities.to_list() == [1, 2]
    assert history.end == EVENTS["at"].max().replace(tzinfo=UTC).timestamp() * 1e6
    few, places = history.among(pl.Series([2, 2, 7]))
    assert few.frame["x"].to_list() == [7.0]
    assert places.tolist() == [0, 0, -1]
    kept = history.where(pl.col("kind") == "b")
    assert kept.starts.tolist() == [0, 1, 1]
    assert kept.spans(kept.positions(pl.Series([2, 1])))[1].tolist() == [1, 1]
    assert History.of(EVENTS.clear(), "who", "at").end is None


def test_binary_search_agrees_with_counting() -> None:
    rng = np.random.default_rng(1)
    times = np.sort(rng.integers(0, 20, 50))
    low = rng.integers(0, 50, 200)
    high = np.minimum(low + rng.integers(0, 30, 200), 50)
    moments = rng.integers(-2, 23, 200)
    found = first_at_or_after(times, low, high, moments)
    expected = [a + int((times[a:b] < m).sum()) for a, b, m in zip(low, high, moments, strict=True)]
    assert found.tolist() == expected
    assert ranges(low, high).tolist() == [i for a, b in zip(low, high, strict=True) for i in range(a, b)]
