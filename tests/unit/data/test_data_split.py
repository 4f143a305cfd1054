# ruff: noqa: DTZ001 - moments inside frames are naive UTC
from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from charter.core.errors import DataError
from charter.data.split import ROW, assign_split, folds
from charter.spec.types import Split

N = 2000
ROWS = pl.DataFrame(
    {
        ROW: [f"id={i}" for i in range(N)],
        "g": [f"g{i % 97}" for i in range(N)],
        "y": [int(i % 10 == 0) for i in range(N)],
    }
)
MONTHS = [date(2010 + m // 12, m % 12 + 1, 1) for m in range(5, 21)]


def monthly(months: list[date], each: int = 3) -> pl.DataFrame:
    moments = [datetime(d.year, d.month, d.day) for d in months for _ in range(each)]
    return pl.DataFrame(
        {"as_of": moments, "y": [0, 1, 0] * (len(moments) // 3)},
        schema_overrides={"as_of": pl.Datetime("us")},
    )


def test_a_row_keeps_its_side_when_rows_come_and_go() -> None:
    split = Split(kind="random", test=0.3)
    before = assign_split(ROWS, split, "y", 1)
    shuffled = ROWS.sample(fraction=0.5, shuffle=True, seed=3)
    after = assign_split(shuffled, split, "y", 1)
    sides = dict(zip(ROWS[ROW], before, strict=True))
    assert all(sides[row] == side for row, side in zip(shuffled[ROW], after, strict=True))
    assert abs((before == "test").mean() - 0.3) < 0.04
    assert (before != assign_split(ROWS, split, "y", 2)).any()


def test_the_hash_is_the_same_for_ever() -> None:
    side = assign_split(ROWS.head(12), Split(kind="random", test=0.5), "y", 0)
    assert "".join(s[1] for s in side) == "reerrrrerree"


def test_a_group_is_never_cut() -> None:
    split = Split(kind="grouped", test=0.3, group="g", folds=4)
    frame = ROWS.with_columns(assign_split(ROWS, split, "y", 1).alias("side"))
    assert frame.group_by("g").agg(pl.col("side").n_unique())["side"].max() == 1
    train = frame.filter(side="train")
    for fit, judge in folds(train, split, train["y"].to_numpy(), 1):
        assert not set(train["g"].gather(fit)) & set(train["g"].gather(judge))


def test_rows_without_a_label_are_unused() -> None:
    frame = ROWS.with_columns(pl.when(pl.int_range(pl.len()) < 50).then(None).otherwise("y").alias("y"))
    side = assign_split(frame, Split(kind="random", test=0.3), "y", 1)
    assert (side.head(50) == "unused").all()
    assert not (side.tail(-50) == "unused").any()


def test_time_sides_include_their_last_day() -> None:
    moments = [
        datetime(2020, 1, 1),
        datetime(2020, 1, 2, 23),
        datetime(2020, 1, 3),
        datetime(2020, 1, 5),
        datetime(2020, 1, 6, 9),
        datetime(2020, 1, 7),
    ]
    frame = pl.DataFrame({"as_of": moments, "y": [0] * 6})
    split = Split(
        kind="time", train_until=date(2020, 1, 2), test_from=date(2020, 1, 5), test_until=date(2020, 1, 6)
    )
    assert assign_split(frame, split, "y", 0).to_list() == [
        "train",
        "train",
        "unused",
        "test",
        "test",
        "unused",
    ]


@pytest.mark.parametrize(
    ("split", "frame", "message"),
    [
        ({"kind": "random", "test": 0.2}, ROWS.drop(ROW), "'__row'"),
        ({"kind": "grouped", "test": 0.2, "group": "h"}, ROWS, "'h'"),
        ({"kind": "random", "test": 0.2}, ROWS.drop("y"), "'y'"),
        ({"kind": "time", "train_until": "2020-01-01", "test_from": "2020-02-01"}, ROWS, "'as_of'"),
        ({"kind": "random", "test": 0.0001}, ROWS.head(3), "no test rows out of 3"),
        (
            {"kind": "random", "test": 0.2},
            ROWS.with_columns(y=pl.lit(None)),
            r"no train rows .*\(0 with a known label\)",
        ),
    ],
)
def test_splits_that_cannot_work(split: dict[str, Any], frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError, match=message):
        assign_split(frame, Split.model_validate(split), "y", 1)


@pytest.mark.parametrize("stratify", [True, False])
def test_random_folds_partition_and_stratify(stratify: bool) -> None:
    split = Split(kind="random", test=0.2, folds=7, stratify=stratify)
    y = ROWS["y"].to_numpy()
    cut = folds(ROWS, split, y, 5)
    judged = np.concatenate([judge for _, judge in cut])
    assert sorted(judged) == list(range(N))
    for fit, judge in cut:
        assert len(set(fit) & set(judge)) == 0
        assert len(fit) + len(judge) == N
    sizes = [len(judge) for _, judge in cut]
    assert max(sizes) - min(sizes) <= 1
    if stratify:
        positives = [int(y[judge].sum()) for _, judge in cut]
        assert max(positives) - min(positives) <= 1


def test_folds_do_not_depend_on_the_order_of_rows() -> None:
    split = Split(kind="random", test=0.2, folds=4, stratify=True)
    backwards = ROWS.reverse()
    there = folds(ROWS, split, ROWS["y"].to_numpy(), 5)
    back = folds(backwards, split, backwards["y"].to_numpy(), 5)
    for (_, a), (_, b) in zip(there, back, strict=True):
        assert set(ROWS[ROW].gather(a)) == set(backwards[ROW].gather(b))


def test_time_folds_know_only_labels_that_had_matured() -> None:
    frame = monthly(MONTHS[:10])  # 2010-06 .. 2011-03, as in customer-churn
    split = Split(kind="time", train_until=date(2011, 3, 1), test_from=date(2011, 6, 1), folds=4)
    cut = folds(frame, split, frame["y"].to_numpy(), 0, known_after=timedelta(days=90))
    at = frame["as_of"].to_list()
    assert len(cut) == 4
    previous = datetime(1970, 1, 1)
    for fit, judge in cut:
        first = min(at[i] for i in judge)
        assert len(fit) > 0
        assert all(at[i] + timedelta(days=90) <= first for i in fit)
        assert first > previous
        previous = max(at[i] for i in judge)
    assert previous == datetime(2011, 3, 1)
    assert len(cut[0][0]) >= frame.height // 5  # the first model sees a fair part of the rows
    sizes = [len(fit) for fit, _ in cut]
    assert sizes == sorted(sizes)


def test_a_short_period_gives_what_there_is() -> None:
    frame = monthly(MONTHS[:6])
    split = Split(kind="time", train_until=date(2010, 11, 1), test_from=date(2011, 3, 1), folds=3)
    cut = folds(frame, split, frame["y"].to_numpy(), 0, known_after=timedelta(days=90))
    assert [len(fit) for fit, _ in cut] == [3, 6, 9]
    with pytest.raises(DataError, match=r"4 folds need 4 moments .* 3 of 6 are 90 days after"):
        folds(
            frame,
            split.model_copy(update={"folds": 4}),
            frame["y"].to_numpy(),
            0,
            known_after=timedelta(days=90),
        )


def test_too_few_rows_or_groups() -> None:
    few = ROWS.head(3)
    y = few["y"].to_numpy()
    with pytest.raises(DataError, match="5 folds need as many rows"):
        folds(few, Split(kind="random", test=0.2), y, 0)
    with pytest.raises(DataError, match="5 folds need as many groups, and g has 3"):
        folds(few, Split(kind="grouped", test=0.2, group="g"), y, 0)
