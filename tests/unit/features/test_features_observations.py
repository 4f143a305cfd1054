from __future__ import annotations

from datetime import date, datetime
from typing import Any

import polars as pl
import pytest

from charter.core.errors import DataError
from charter.features.observations import cutoffs, newest_day, observe
from charter.spec.types import Cutoffs, DataSpec


def at(day: int, month: int = 1) -> datetime:
    return datetime(2026, month, day)  # noqa: DTZ001 - frames hold naive UTC


def entities(**changes: Any) -> DataSpec:
    return DataSpec.model_validate(
        {
            "sources": {
                "e": {
                    "uri": "e.csv",
                    "time": "at",
                    "columns": {"who": {"type": "integer"}, "x": {"type": "float"}},
                }
            },
            "observations": {
                "entity": "who",
                "cutoffs": {"first": "2026-01-10", "last": "2026-01-24", "every": "week"},
                "population": {"source": "e", "over": "10d"},
            },
            "label": {"name": "gone", "source": "e", "over_next": "7d", "positive_when": "COUNT(*) = 0"},
        }
        | changes
    )


EVENTS = pl.DataFrame(
    {
        "who": [1, 1, 2, 2, 3],
        "at": [at(5), at(20), at(9), at(10), at(31)],
        "x": [1.0, 5.0, 2.0, 3.0, 4.0],
    }
)


def test_entities_are_observed_while_their_past_qualifies_them() -> None:
    frame = observe({"e": EVENTS}, entities(), "binary")
    assert frame.columns == ["who", "as_of", "gone"]
    assert frame["as_of"].dtype == pl.Datetime("us")
    # Entity 2's event at the cut-off of the 10th is future there, past a week later.
    assert frame.rows() == [
        (1, at(10), 1),
        (2, at(10), 0),
        (2, at(17), 1),
        (1, at(24), 1),
    ]


def test_population_counts_the_events_that_its_where_keeps() -> None:
    plan = entities().observations.model_dump() | {
        "population": {"source": "e", "over": "10d", "where": "x < 5", "having": "SUM(x) > 1"}
    }
    frame = observe({"e": EVENTS}, entities(observations=plan), "binary")
    assert frame.select("who", "as_of").rows() == [(2, at(10)), (2, at(17))]


def test_a_label_whose_horizon_the_data_does_not_cover_is_unknown() -> None:
    frame = observe({"e": EVENTS.filter(pl.col("at") < at(24))}, entities(), "binary")
    assert frame["gone"].to_list() == [1, 0, None, None]  # the last event known is of the 20th


def test_a_condition_on_a_sum_is_not_true_of_no_events() -> None:
    label = entities().label.model_dump() | {"positive_when": "SUM(x) > 2", "where": "x != 5"}
    frame = observe({"e": EVENTS}, entities(label=label), "binary")
    assert frame["gone"].to_list() == [0, 1, 0, 0]


def test_an_entity_that_qualifies_nowhere_is_said() -> None:
    plan = entities().observations.model_dump() | {
        "population": {"source": "e", "over": "1d", "having": "COUNT(*) > 9"}
    }
    with pytest.raises(DataError, match="no entity of source 'e' is in the population"):
        observe({"e": EVENTS}, entities(observations=plan), "binary")


def test_a_population_must_be_a_condition() -> None:
    plan = entities().observations.model_dump() | {
        "population": {"source": "e", "over": "9d", "having": "COUNT(*)"}
    }
    with pytest.raises(DataError, match=r"population.having gives Int64, not true or false"):
        observe({"e": EVENTS}, entities(observations=plan), "binary")


@pytest.mark.parametrize(
    ("every", "first", "last", "expected"),
    [
        ("day", "2024-02-28", "2024-03-01", ["2024-02-28", "2024-02-29", "2024-03-01"]),
        ("week", "2024-02-28", "2024-03-06", ["2024-02-28", "2024-03-06"]),
        (
            "month",
            "2023-12-31",
            "2024-04-30",
            ["2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"],
        ),
        ("quarter", "2023-11-30", "2024-08-31", ["2023-11-30", "2024-02-29", "2024-05-30", "2024-08-30"]),
    ],
)
def test_cutoffs_follow_the_calendar(every: Any, first: str, last: str, expected: list[str]) -> None:
    spec = Cutoffs(first=date.fromisoformat(first), last=date.fromisoformat(last), every=every)
    assert [moment.date().isoformat() for moment in cutoffs(spec)] == expected


def rows(label: dict[str, Any], **observations: Any) -> DataSpec:
    return DataSpec.model_validate(
        {
            "sources": {"a": {"uri": "a.csv", "time": "at", "columns": {"id": {"type": "integer"}}}},
            "observations": {"source": "a", "key": ["id"], **observations},
            "label": label,
        }
    )


TABLE = pl.DataFrame(
    {"x": [1.5, 2.5, None], "id": [7, 8, 9], "y": ["1", "0", None], "on": [date(2026, 1, 2)] * 3}
)


def test_rows_keep_their_columns_and_lose_the_raw_label() -> None:
    frame = observe({"a": TABLE}, rows({"column": "y", "positive": 1}), "binary")
    assert frame.columns == ["id", "as_of", "x", "on", "label"]
    assert frame["label"].to_list() == [1, 0, None]
    assert frame.schema["label"] == pl.Int8
    assert frame["as_of"].null_count() == 3
    timed = observe({"a": TABLE}, rows({"column": "y", "positive": 1}, time="on"), "binary")
    assert timed["as_of"].to_list() == [at(2)] * 3


@pytest.mark.parametrize(
    ("values", "positive", "task", "expected"),
    [
        ([1, 2, None], "2", "binary", [0, 1, None]),
        ([1.0, 0.0, 1.0], "1", "binary", [1, 0, 1]),
        ([True, False, None], "true", "binary", [1, 0, None]),
        ([True, False, None], None, "binary", [1, 0, None]),
        ([0, 1, None], None, "binary", [0, 1, None]),
        (["yes", "no", "yes"], "yes", "binary", [1, 0, 1]),
        ([3, 4, None], None, "multiclass", ["3", "4", None]),
        ([3, 4, None], None, "regression", [3.0, 4.0, None]),
        ([3, 4, None], None, None, [3, 4, None]),
    ],
)
def test_labels_are_what_the_task_needs(
    values: list[Any], positive: str | None, task: str | None, expected: list[Any]
) -> None:
    table = TABLE.with_columns(y=pl.Series(values))
    frame = observe({"a": table}, rows({"column": "y", "name": "y", "positive": positive}), task)
    assert frame["y"].to_list() == expected


@pytest.mark.parametrize(
    ("label", "task", "message"),
    [
        ({"column": "y"}, "binary", "holds 0, 1: a binary task needs 0 and 1"),
        ({"column": "y"}, "regression", "is String; a regression needs a number"),
        ({"column": "z"}, "binary", "source 'a' has no column 'z'"),
        (
            {"column": "id", "positive": "yes"},
            "binary",
            "positive is 'yes', but the label's values are numbers",
        ),
        ({"column": "y", "name": "x"}, "binary", "has a column 'x', a name that the observations need"),
    ],
)
def test_labels_that_do_not_fit_are_refused(label: dict[str, Any], task: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        observe({"a": TABLE}, rows(label), task)


def test_rows_may_have_their_label_in_events() -> None:
    spec = DataSpec.model_validate(
        {
            "sources": {
                "a": {"uri": "a.csv", "columns": {"who": {"type": "integer"}}},
                "e": {"uri": "e.csv", "time": "at", "columns": {"who": {"type": "integer"}}},
            },
            "observations": {"source": "a", "key": ["who"], "time": "on"},
            "label": {"source": "e", "over_next": "7d", "positive_when": "COUNT(*) > 0"},
        }
    )
    people = pl.DataFrame({"who": [1, 2, 4], "on": [date(2026, 1, 14), date(2026, 1, 10), date(2026, 1, 1)]})
    assert observe({"a": people, "e": EVENTS}, spec, "binary")["label"].to_list() == [1, 1, 0]
    untimed = spec.model_copy(update={"observations": spec.observations.model_copy(update={"time": None})})
    with pytest.raises(DataError, match="observations have no time"):
        observe({"a": people, "e": EVENTS}, untimed, "binary")


def test_a_missing_source_is_said() -> None:
    with pytest.raises(DataError, match="there is no source 'e'"):
        observe({}, entities(), "binary")


def test_an_event_label_needs_an_entity_and_a_time() -> None:
    label = entities().label
    plan = rows({"column": "y"}).observations.model_copy(update={"key": ("id", "x"), "time": "on"})
    spec = entities().model_copy(update={"observations": plan, "label": label})
    with pytest.raises(DataError, match="no entity is named"):
        observe({"a": TABLE, "e": EVENTS}, spec, "binary")
    timeless = entities().sources["e"].model_copy(update={"time": None})
    with pytest.raises(DataError, match="source 'e' names no time column"):
        observe({"e": EVENTS}, entities().model_copy(update={"sources": {"e": timeless}}), "binary")


def test_dates_count_back_from_the_source_that_lags_behind() -> None:
    data = entities().model_dump()
    data["sources"]["late"] = data["sources"]["e"]
    two = DataSpec.model_validate(data | {"label": data["label"] | {"source": "late"}})
    assert newest_day({"e": EVENTS}, entities()) == date(2026, 1, 31)
    assert newest_day({"e": EVENTS, "late": EVENTS.filter(pl.col("at") < at(20))}, two) == date(2026, 1, 10)
    with pytest.raises(DataError, match="has no row with a time"):
        newest_day({"e": EVENTS.head(0)}, entities())
