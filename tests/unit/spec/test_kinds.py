"""Kinds that do not fit are refused before any data is read, with what to write instead."""

from __future__ import annotations

import pytest

from charter.spec.checks.kinds import kind_of
from charter.spec.expression import ExpressionError, parse
from charter.spec.functions import Kind

COLUMNS: dict[str, Kind] = {"n": "number", "m": "number", "s": "text", "p": "truth", "t": "time"}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("n", "number"),
        ("unknown", "any"),
        ("NULL", "any"),
        ("-(n)", "number"),
        ("n + p", "number"),
        ("p = 1", "truth"),
        ("s LIKE 'a%'", "truth"),
        ("t BETWEEN DATE '2020-01-01' AND DATE '2020-02-01'", "truth"),
        ("CAST(s AS DOUBLE)", "number"),
        ("CAST(t AS DATE)", "time"),
        ("CAST(n AS BOOLEAN)", "truth"),
        ("COALESCE(s, 'none')", "text"),
        ("COALESCE(unknown, 1)", "number"),
        ("CASE WHEN p THEN s END", "text"),
        ("CASE WHEN unknown THEN NULL ELSE n END", "number"),
        ("MAX(t)", "time"),
        ("SUM(n > 1)", "number"),
        ("EXTRACT(EPOCH FROM t) - 1", "number"),
        ("CONCAT(s, n)", "text"),
        ("NOT unknown", "truth"),
    ],
)
def test_the_kind_of_a_value(text: str, kind: Kind) -> None:
    assert kind_of(parse(text).root, COLUMNS) == kind


@pytest.mark.parametrize(
    ("text", "position", "message", "hint"),
    [
        ("s = 2", 4, "2 is a number, but s is text", "'2'"),
        ("2 = s", 4, "s is text, but 2 is a number", "'2'"),
        ("n = '2'", 4, "'2' is text, but n is a number", "without quotes"),
        ("t > '2020-01-01'", 4, "is text, but t is a time", "DATE"),
        ("p = 'true'", 4, "is text, but p is a condition", "stands alone"),
        ("n IN (1, 'x')", 9, "'x' is text", "without quotes"),
        ("n BETWEEN 1 AND 'x'", 16, "'x' is text", ""),
        ("s + 'x'", 0, "s is text", "CONCAT"),
        ("s * 2", 0, "s is text, * needs a number", "CAST"),
        ("-s", 1, "s is text, a sign needs a number", ""),
        ("t - t", 0, "t is a time", "EPOCH"),
        ("n AND p", 0, "n is a number, a condition is needed", "> 0"),
        ("NOT s", 4, "s is text, a condition is needed", "= 'x'"),
        ("CASE WHEN n THEN 1 END", 10, "a condition is needed", ""),
        ("CASE WHEN p THEN 1 ELSE 'x' END", 24, "'x' is text, but 1 is a number", ""),
        ("n LIKE '1%'", 0, "n is a number, LIKE needs text", "VARCHAR"),
        ("ABS(s)", 4, "s is text, ABS needs a number", ""),
        ("LENGTH(n)", 7, "n is a number, LENGTH needs text", ""),
        ("EXTRACT(YEAR FROM s)", 18, "s is text, EXTRACT needs a time", ""),
        ("CAST(s AS DATE)", 5, "not cast to a date", "format"),
        ("CAST(s AS BOOLEAN)", 5, "not cast to a condition", "= 'yes'"),
        ("GREATEST(n, s)", 12, "s is text, but n is a number", ""),
        ("AVG(s)", 4, "AVG needs a number", ""),
        ("(n > 1) + (s = 'a') > t", 22, "t is a time, but the other side is a number", ""),
    ],
)
def test_kinds_that_do_not_fit(text: str, position: int, message: str, hint: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        kind_of(parse(text).root, COLUMNS)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.position == position
