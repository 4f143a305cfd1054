from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from charter.spec.expression import AGGREGATE_FUNCTIONS, ROW_FUNCTIONS, ExpressionError, parse
from charter.spec.functions import CAST_TYPES, EXTRACT_PARTS, OTHER_NAMES, Function

NOON = datetime(2020, 1, 2, 3, 4, 5)  # noqa: DTZ001 - frames hold naive UTC
FRAME = pl.DataFrame(
    {
        "x": [1.5, -2.0, None],
        "n": [2, 3, 4],
        "s": ["Abc", "de", None],
        "p": [True, False, None],
        "t": [NOON] * 3,
        "d": [date(2020, 1, 2)] * 3,
        "order": [1, 2, 3],
        "a.b": [1, 2, 3],
        "age_days": [3.0, 2.0, 1.0],
    }
)


def value(text: str) -> list[object]:
    return FRAME.select(pl.sql_expr(parse(text).sql).alias("value"))["value"].to_list()


def arguments(function: Function, count: int) -> str:
    words = []
    for i in range(count):
        kind = function.takes[min(i, len(function.takes) - 1)]
        if i in function.fixed:
            words.append("'e'" if kind == "text" else "1")
        else:
            words.append({"number": "n", "text": "s", "any": "n", "truth": "p", "time": "t"}[kind])
    return ", ".join(words)


@pytest.mark.parametrize("name", [*ROW_FUNCTIONS, *AGGREGATE_FUNCTIONS])
def test_each_allowed_function_is_evaluated_by_polars(name: str) -> None:
    function = ROW_FUNCTIONS.get(name) or AGGREGATE_FUNCTIONS[name]
    high = function.high if function.high is not None else function.low + 2
    for count in range(function.low, high + 1):
        got = FRAME.select(pl.sql_expr(parse(f"{name}({arguments(function, count)})").sql).alias("value"))[
            "value"
        ]
        kind = function.gives
        if kind == "number":
            assert got.dtype.is_numeric()
        elif kind == "text":
            assert got.dtype == pl.String
        elif kind == "truth":
            assert got.dtype == pl.Boolean
        assert len(got) == (1 if name in AGGREGATE_FUNCTIONS or name == "PI" else 3)
    if function.distinct:
        assert value(f"{name}(DISTINCT n)") == [
            len({2, 3, 4}) if name == "COUNT" else {"SUM": 9, "AVG": 3.0}[name]
        ]


@pytest.mark.parametrize("part", EXTRACT_PARTS)
def test_each_part_of_a_time_is_extracted(part: str) -> None:
    expected = {"YEAR": 2020, "QUARTER": 1, "MONTH": 1, "WEEK": 1, "DAY": 2, "DOW": 4, "ISODOW": 4, "DOY": 2}
    expected |= {"HOUR": 3, "MINUTE": 4, "SECOND": 5, "EPOCH": NOON.replace(tzinfo=UTC).timestamp()}
    got = value(f"EXTRACT({part} FROM t)")[0]
    assert got == expected[part]


@pytest.mark.parametrize("name", CAST_TYPES)
def test_each_type_is_cast(name: str) -> None:
    expected = {"DATE": date(2020, 1, 2), "VARCHAR": "2", "BOOLEAN": True}.get(name, 2)
    assert value(f"CAST({'t' if name == 'DATE' else 'n'} AS {name})")[0] == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n * 0.1", [0.2, 0.30000000000000004, 0.4]),
        ("1.0 / n", [0.5, 1 / 3, 0.25]),
        (".5 + n", [2.5, 3.5, 4.5]),
        ("1. + n", [3.0, 4.0, 5.0]),
        ("1e3 + n", [1002.0, 1003.0, 1004.0]),
        ("7 - 2 - n", [3, 2, 1]),
        ("-x * 2", [-3.0, 4.0, None]),
        ("order + 1", [2, 3, 4]),
        ('"a.b" + 1', [2, 3, 4]),
        ("n == 2 AND NOT p OR x IS NULL", [False, False, True]),
        ("n != 2", [False, True, True]),
        ("n IN (2, -3)", [True, False, False]),
        ("s NOT IN ('de', 'it''s')", [True, False, None]),
        ("n BETWEEN 2 AND 3 AND p", [True, False, False]),
        ("n NOT BETWEEN 2 AND 3", [False, False, True]),
        ("s LIKE 'A%'", [True, False, None]),
        ("s NOT ILIKE 'a%'", [False, True, None]),
        ("CASE WHEN n > 3 THEN 'big' WHEN n > 2 THEN 'some' ELSE NULL END", [None, "some", "big"]),
        ("t >= DATE '2020-01-02'", [True] * 3),
        ("t < TIMESTAMP '2020-01-02 03:04:06'", [True] * 3),
        ("SUM(n * 2) / COUNT(*)", [6.0]),
        ("COUNT(DISTINCT s) + 0", [2]),
        ("QUANTILE_CONT(n, 0.5)", [3.0]),
    ],
)
def test_the_language_means_what_sql_means(text: str, expected: list[object]) -> None:
    got = value(text)
    assert got == expected or got == pytest.approx(expected)


@pytest.mark.parametrize(
    "nest", ["({})", "ABS({})", "CASE WHEN p THEN {} END", "NOT ({})", "-({})", "GREATEST(1, 2 * {})"]
)
def test_what_we_accept_polars_accepts_to_the_deepest_level(nest: str) -> None:
    text = "p" if "NOT" in nest else "n"
    deepest = text
    while True:
        text = nest.format(text)
        try:
            parse(text)
        except ExpressionError as error:
            assert "nested" in error.message or "operators" in error.message  # noqa: PT017
            break
        deepest = text
    assert len(value(deepest)) == 3


def test_mentions_keep_their_place() -> None:
    parsed = parse('a + "b c" * a')
    assert [(r.name, r.position, r.width) for r in parsed.columns] == [
        ("a", 0, 1),
        ("b c", 4, 5),
        ("a", 12, 1),
    ]
    assert parsed.names == ("a", "b c")
    assert parsed.column is None
    assert parse('"b c"').column == "b c"
    assert parse("SUM(a) > 1").aggregates


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("", 0, "is empty", ""),
        ("  ", 0, "is empty", ""),
        ("a +", 3, "expected a value, found the end", ""),
        ("a b", 2, "expected an operator", ""),
        ("(a", 2, "expected )", ""),
        ("a == ", 5, "expected a value", ""),
        ("a = NULL", 4, "always missing", "IS NULL"),
        ("a IN (1, NULL)", 9, "IN takes literals", "IS NULL"),
        ("a IN (b)", 6, "IN takes literals", ""),
        ("a IN ()", 6, "expected a value", ""),
        ("MEAN(a)", 0, "MEAN is not a function", "write AVG"),
        ("ABSS(a)", 0, "is not a function", "did you mean ABS?"),
        ("exec(a)", 0, "is not a function", ""),
        ("ABS(a, b)", 0, "takes 1 argument, not 2", ""),
        ("MIN(a, b)", 0, "takes 1 argument", "LEAST"),
        ("SUM(*)", 4, "no meaning", "COUNT(*)"),
        ("MEDIAN(DISTINCT a)", 7, "does not take DISTINCT", ""),
        ("SUM(AVG(a))", 4, "stands inside SUM", "nest"),
        ("SUM(a) / b", 9, "b stands outside an aggregate", "MAX(b)"),
        ("a.b + 1", 1, "dots", '"a.b"'),
        ("a -- b", 2, "cannot read '--'", "comments"),
        ("a && b", 2, "cannot read '&'", "AND"),
        ("a ^ 2", 2, "cannot read '^'", "POWER"),
        ("a || b", 2, "cannot read '|'", "CONCAT"),
        ("a::int", 1, "cannot read ':'", "CAST"),
        ("a; b", 1, "cannot read ';'", "statements"),
        ("s = 'open", 4, 'cannot read "\'"', "closed"),
        ("2x + 1", 0, "cannot read '2x'", '"2x"'),
        ("end + 1", 0, "expected a value", '"end"'),
        ("99999999999999999999", 0, "does not fit 64 bits", "1e20"),
        ("1e999", 0, "not finite", ""),
        ("CAST(a AS TEXTT)", 10, "is not a type", "VARCHAR"),
        ("EXTRACT(CENTURY FROM a)", 8, "is not a part", "YEAR"),
        ("EXTRACT(YEAR a)", 13, "expected FROM", ""),
        ("DATE '2020-02-30'", 5, "not a moment", "DATE '"),
        ("time '10:00'", 5, "expected an operator", ""),
        ("CASE a WHEN 1 THEN 2 END", 5, "expected WHEN", ""),
        ("CASE WHEN a THEN 1", 18, "expected END", ""),
        ("a IS NOT TRUE", 9, "IS takes NULL", "COALESCE"),
        ("a IS 1", 5, "expected NULL", ""),
        ("a NOT 1", 6, "after NOT", ""),
        ("a LIKE b", 7, "pattern", ""),
        ("a BETWEEN 1", 11, "expected AND", ""),
        ("a = NOT b", 4, "NOT stands behind", "brackets"),
        ("- - a", 2, "two signs", "brackets"),
        ("NOT NOT a", 4, "NOT stands twice", ""),
        ("ROUND(a, b)", 9, "plain number", ""),
        ("REPLACE(a, b, 'x')", 11, "plain text in quotes", ""),
        ("ROUND(a, 1.5)", 9, "0 to 15", ""),
        ("QUANTILE_CONT(a, 2)", 17, "between 0 and 1", ""),
        ("+".join("a" * 200), 0, "too many operators", "split"),
        ("(" * 50 + "a" + ")" * 50, 16, "nested too deeply", "split"),
        ("a" * 2001, 2000, "longer than 2000", "split"),
    ],
)
def test_faults_say_where_and_what_instead(text: str, position: int, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.position == position
    assert caught.value.width >= 1


def test_words_of_other_dialects_lead_to_ours() -> None:
    for word in OTHER_NAMES:
        assert word not in ROW_FUNCTIONS
        assert word not in AGGREGATE_FUNCTIONS
