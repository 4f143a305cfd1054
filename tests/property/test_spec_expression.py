from __future__ import annotations

from datetime import date, timedelta

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from charter.spec.checks.kinds import kind_of
from charter.spec.expression import ExpressionError, parse
from charter.spec.functions import Kind

FRAME = pl.DataFrame(
    {
        "n": [2, 3, 4, 5],
        "x": [0.5, None, -1.5, 2.0],
        "s": ["Ab", "c", "", None],
        "order": ["x", "y", "y", None],
        "p": [True, False, None, True],
        "t": pl.datetime_range(date(2020, 1, 1), date(2020, 1, 4), timedelta(days=1), eager=True),
    },
    schema_overrides={"n": pl.Int64},
)
KINDS: dict[str, Kind] = {
    "n": "number",
    "x": "number",
    "s": "text",
    "order": "text",
    "p": "truth",
    "t": "time",
}

NUMBERS = st.sampled_from(["n", "x", "1", "2.5", "0.1", "1e2"])
TEXTS = st.sampled_from(["s", "order", "'it''s'", "'a'"])
TRUTHS = st.sampled_from(["p", "TRUE", "n > 2", "x IS NULL", "t < DATE '2020-01-03'", "s LIKE 'A%'"])


def _numbers(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    number, truth = inner, TRUTHS
    return st.one_of(
        st.tuples(number, st.sampled_from("+-*/"), number).map(lambda t: f"{t[0]} {t[1]} ({t[2]})"),
        number.map(lambda a: f"ABS({a})"),
        number.map(lambda a: f"-({a})"),
        st.tuples(truth, number, number).map(lambda t: f"CASE WHEN {t[0]} THEN {t[1]} ELSE {t[2]} END"),
        st.tuples(number, number).map(lambda t: f"GREATEST({t[0]}, {t[1]})"),
        TEXTS.map(lambda a: f"LENGTH({a})"),
        number.map(lambda a: f"ROUND({a}, 2)"),
        st.just("EXTRACT(DAY FROM t)"),
    )


NUMBER = st.recursive(NUMBERS, _numbers, max_leaves=6)


def _truths(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(NUMBER, st.sampled_from(["=", "<>", "<", "<=", ">", ">=", "=="]), NUMBER).map(" ".join),
        st.tuples(inner, st.sampled_from(["AND", "OR"]), inner).map(" ".join),
        inner.map(lambda a: f"NOT ({a})"),
        st.tuples(NUMBER, NUMBER, NUMBER).map(lambda t: f"({t[0]}) BETWEEN {t[1]} AND {t[2]}"),
        TEXTS.map(lambda a: f"{a} IN ('a', 'b')"),
    )


TRUTH = st.recursive(TRUTHS, _truths, max_leaves=5)


@given(NUMBER)
def test_every_number_that_we_read_is_one_to_polars(text: str) -> None:
    parsed = parse(text)
    assert kind_of(parsed.root, KINDS) == "number"
    got = FRAME.select(pl.sql_expr(parsed.sql).alias("value"))["value"]
    assert got.dtype.is_numeric()
    assert not got.dtype.is_decimal()


@given(TRUTH)
def test_every_condition_that_we_read_is_one_to_polars(text: str) -> None:
    parsed = parse(text)
    assert kind_of(parsed.root, KINDS) == "truth"
    assert FRAME.select(pl.sql_expr(parsed.sql).alias("value"))["value"].dtype == pl.Boolean


@given(TRUTH)
def test_the_text_for_polars_is_read_back_as_itself(text: str) -> None:
    parsed = parse(text)
    plain = FRAME.select(pl.sql_expr(parsed.sql).alias("value"))["value"]
    again = parse(parsed.sql)
    assert again.sql == parsed.sql
    assert again.names == parsed.names
    assert FRAME.select(pl.sql_expr(again.sql).alias("value"))["value"].equals(plain)


WORDS = """a b 1 .5 'x' "q" ( ) , + - * / % = <> < AND OR NOT IN IS NULL TRUE BETWEEN LIKE CASE WHEN THEN ELSE END
CAST AS DOUBLE DATE EXTRACT YEAR FROM SUM COUNT DISTINCT ABS GREATEST . ; --"""
TOKENS = st.sampled_from(WORDS.split())


@given(st.one_of(st.text(max_size=60), st.lists(TOKENS, max_size=25).map(" ".join)))
def test_any_text_is_read_or_refused_with_a_place(text: str) -> None:
    try:
        parsed = parse(text)
    except ExpressionError as error:
        assert 0 <= error.position <= len(text)  # noqa: PT017
        assert error.message  # noqa: PT017
        return
    for reference in parsed.columns:
        written = text[reference.position : reference.position + reference.width]
        assert written in (reference.name, '"' + reference.name.replace('"', '""') + '"')
    columns = {name: pl.Series(name, [1.0, 2.0]) for name in parsed.names}
    # Polars may refuse the kinds, but it must be able to read the words.
    try:
        pl.DataFrame(columns or {"none": [1.0]}).select(pl.sql_expr(parsed.sql).alias("value"))
    except (pl.exceptions.SQLSyntaxError, pl.exceptions.SQLInterfaceError) as error:
        raise AssertionError(f"{text!r} -> {parsed.sql!r}: {error}") from error
    except pl.exceptions.PolarsError:
        pass
