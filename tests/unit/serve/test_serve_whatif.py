"""What-if: the language, the change, the difference with its interval, and warnings."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import polars as pl
import pytest

from charter.core.errors import UsageError
from charter.evaluate.effect import EffectSpread
from charter.flow.whatif import refuse_groups
from charter.serve.question import Change, read_change
from charter.serve.whatif import change_rows, effects, unseen

AT = datetime(2024, 1, 1)  # noqa: DTZ001
KNOWN = ["price", "deal", "kind of day"]
COLUMNS = ["store", "brand", "size", *KNOWN]


def read(text: str) -> Change:
    return read_change(text, known_ahead=KNOWN, columns=COLUMNS, every="week", horizon=12)


@pytest.mark.parametrize(
    ("text", "column", "of", "expression", "steps"),
    [
        ("price of brand 3 = 1.99 in weeks 2..3", "price", (("brand", "3"),), "1.99", (2, 3)),
        ("deal=1", "deal", (), "1", (None, None)),
        ("price of brand 3 and store 12 = price * 0.9", "price", (("brand", "3"), ("store", "12")), "price * 0.9",
         (None, None)),
        ("price of store 'Main = East', brand b-1 = 2 in week 4", "price", (("store", "Main = East"), ("brand", "b-1")),
         "2", (4, 4)),
        ("\"kind of day\" = 'holiday' in steps 1 .. 2", "kind of day", (), "'holiday'", (1, 2)),
        ("deal = CASE WHEN price IN (1, 2) THEN 1 ELSE 0 END", "deal", (),
         "CASE WHEN price IN (1, 2) THEN 1 ELSE 0 END", (None, None)),
    ],
)  # fmt: skip
def test_what_can_be_asked(
    text: str,
    column: str,
    of: tuple[tuple[str, str], ...],
    expression: str,
    steps: tuple[int | None, int | None],
) -> None:
    change = read(text)
    assert (change.column, change.of, change.expression) == (column, of, expression)
    assert (change.first, change.last) == steps


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price", "is not a change"),
        ("= 3", "is not a change"),
        ("price =", "is not a change"),
        ("prize = 2", "no column 'prize'.*Did you mean price"),
        ("size = 2", "size is not known ahead of time.*What can be set: price, deal, kind of day"),
        ("price of brnd 3 = 2", "no column 'brnd'.*Did you mean brand"),
        ("price of brand = 2", "cannot read 'brand' after 'of'"),
        ("price = cost * 2", "no column 'cost'"),
        ("price = 2 in days 1..3", "by the week, not by the day.*in weeks 1..3"),
        ("price = 2 in weeks 3..1", "runs backwards"),
        ("price = 2 in weeks 11..13", "week 13 is not forecast.*1 to 12"),
        ("price = 2 in week 0", "week 0 is not forecast"),
        ("price = MAX(price)", "sums over rows"),
        ("price = 2 +", "price = 2"),
    ],
)
def test_what_cannot(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=f"(?s){message}"):
        read(text)


def rows() -> pl.DataFrame:
    return pl.DataFrame(
        [
            {
                "series": f"{s}/{b}",
                "store": s,
                "brand": b,
                "as_of": AT,
                "step": h,
                "price": 2.0 + b,
                "deal": 0,
            }
            for s in (1, 2)
            for b in (3, 4)
            for h in (1, 2, 3)
        ]
    )


def test_a_change_meets_the_rows_it_names_and_no_others() -> None:
    before = rows()
    after = change_rows(before, [read("price of brand 3 = price * 0.5 in weeks 2..3"), read("deal = 1")])
    changed = after.filter(after["price"] != before["price"])
    assert sorted(changed.select("store", "brand", "step").iter_rows()) == [
        (s, 3, h) for s in (1, 2) for h in (2, 3)
    ]
    assert changed["price"].unique().to_list() == [2.5]
    assert after["deal"].to_list() == [1] * 12
    assert after.schema == before.schema


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("price of brand 9 = 1", "no row has brand = '9'"),
        ("price = 'cheap'", r"no value of price, which holds numbers\n  Give numbers, or an expression"),
        ("deal = 0.5", "whole numbers|no value of deal"),
        ("price = NULL", "no value in some rows"),
    ],
)
def test_a_change_that_no_row_can_take(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        change_rows(rows(), [read(text)])


@pytest.mark.parametrize(
    ("periods", "message"),
    [
        ("9..10", "weeks 9 to 10 are not"),
        ("8..9", "week 9 is not"),
        ("0..10", "week 0 and weeks 9 to 10 are not"),
    ],
)
def test_every_period_that_is_not_forecast_is_named(periods: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_change(
            f"price = 1 in weeks {periods}", known_ahead=["price"], columns=["price"], every="week", horizon=8
        )


def test_sums_by_what_names_a_row_anyway() -> None:
    before = rows().with_columns(forecast=pl.lit(10.0))
    spread = EffectSpread(0.9, (1.0,), (0.2,), (99,))
    names = [e.name for e in effects(before, before, spread, by=["step", "series", "brand", "brand"])]
    assert names == [
        "total",
        "step 1",
        "step 2",
        "step 3",
        *(f"series {s}/{b}" for s in (1, 2) for b in (3, 4)),
        "brand 3",
        "brand 4",
    ]


def test_sums_by_no_column_name_those_there_are() -> None:
    names = [*"abcdefghij", "as_of", "forecast", "new"]
    with pytest.raises(UsageError, match=r"Allowed: a, b, c, d, e, f, g, h, i, j\.$"):
        refuse_groups(["nope"], names)
    refuse_groups(["a", "j"], names)


def test_the_difference_and_its_interval() -> None:
    before = rows().with_columns(forecast=pl.lit(100.0))
    after = before.with_columns(forecast=pl.when(pl.col("brand") == 3).then(150.0).otherwise("forecast"))
    found = {
        e.name: e for e in effects(before, after, EffectSpread(0.9, (1.0,), (0.2,), (99,)), by=["brand"])
    }
    total = found["total"]
    assert (total.before, total.after, total.difference, total.series) == (1200.0, 1500.0, 300.0, 2)
    np.testing.assert_allclose([total.low, total.high], [900 * np.exp(-0.2) - 600, 900 * np.exp(0.2) - 600])
    assert (found["brand 4"].low, found["brand 4"].high) == (0.0, 0.0)
    assert found["step 2"].difference == 100.0
    assert list(found) == ["total", "step 1", "step 2", "step 3", "brand 3", "brand 4"]


def test_a_promotion_at_a_price_that_it_never_had_is_told() -> None:
    before = rows()
    weeks = [
        before.with_columns(
            price=pl.col("price") * (0.75 if d % 3 == 0 else 1) + d / 100, deal=pl.lit(int(d % 3 == 0))
        )
        for d in range(15)
    ]
    history = pl.concat(weeks)
    reduced = change_rows(before, [read("price = price * 0.76"), read("deal = 1")])
    assert list(unseen(before, reduced, history, KNOWN)) == []
    full = change_rows(before, [read("deal of brand 3 = 1")])
    assert list(unseen(before, full, history, KNOWN)) == [
        "deal = 1 never occurred together with price near 5 in 2 of 2 series (series 1/3: with price 3.75 to 3.87)"
    ]
    cheap = change_rows(before, [read("price of brand 4 = price * 0.76 in week 1")])
    (said,) = unseen(before, cheap, history, KNOWN)
    assert said.startswith("deal = 0 never occurred together with price near 4.56 in 2 of 2 series")


def test_what_the_history_does_not_hold_is_told() -> None:
    before = rows()
    history = pl.concat([before.with_columns(price=pl.col("price") + d / 10) for d in range(14)])
    inside = change_rows(before, [read("price of brand 3 = 5.5 in week 1")])
    assert list(unseen(before, inside, history, KNOWN)) == []
    outside = change_rows(before, [read("price of brand 3 = 9.5 in week 1"), read("deal of brand 4 = 1")])
    found = list(unseen(before, outside, history, KNOWN))
    assert found == [
        "price = 9.5 is beyond what 2 of 2 series have seen (series 1/3: 5 to 6.3)",
        "deal = 1 never occurred: the model was taught nothing about it",
    ]
