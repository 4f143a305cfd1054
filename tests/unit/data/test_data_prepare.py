# ruff: noqa: DTZ001 - moments inside frames are naive UTC
from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import polars as pl
import pytest

from charter.core.decision import Verdict
from charter.core.errors import DataError
from charter.data.contract import violations
from charter.data.preparation import Preparation
from charter.data.prepare import in_order, prepare
from charter.data.types import REASON, ROW_NUMBER, ContractReport, Prepared
from charter.spec.types import ColumnSpec, SourceSpec

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def source(columns: dict[str, Any], **more: Any) -> SourceSpec:
    return SourceSpec.model_validate({"uri": "a.csv", "columns": columns, **more})


def one(values: list[Any], column: dict[str, Any], dtype: Any = None, **more: Any) -> Prepared:
    frame = pl.DataFrame({"c": pl.Series(values, dtype=dtype, strict=False)})
    return prepare(frame, "t", source({"c": column}, **more), now=NOW)


def broken(result: Prepared) -> list[tuple[str, int]]:
    return [(v.rule, v.count) for v in result.report.violations]


@pytest.mark.parametrize(
    ("declared", "values", "dtype", "expected"),
    [
        ("integer", [13085.0, None, float("nan"), -3.0], None, [13085, None, None, -3]),
        ("integer", ["13085.0", " 7 ", "", None, "1e3", "NaN"], None, [13085, 7, None, None, 1000, None]),
        ("integer", [True, False], None, [1, 0]),
        ("integer", ["9007199254740993"], None, [9007199254740993]),
        ("float", ["1.5", " 2 ", "", "nan"], None, [1.5, 2.0, None, None]),
        ("float", [1, 2], pl.Int8, [1.0, 2.0]),
        ("category", [1, 2, None], pl.Int64, ["1", "2", None]),
        ("category", [1.0, 2.5, float("nan")], None, ["1", "2.5", None]),
        ("category", ["a", "", None], None, ["a", None, None]),
        ("category", [True, None], None, ["true", None]),
        ("category", ["x", "y"], pl.Categorical, ["x", "y"]),
        ("text", ["a", "", None], None, ["a", "", None]),
        ("boolean", ["Yes", "f", "1", "0.0", " TRUE ", None], None, [True, False, True, False, True, None]),
        ("boolean", [1, 0, None], pl.Int64, [True, False, None]),
        (
            "date",
            ["2011-12-09", "2011-12-09T10:00:00Z", ""],
            None,
            [date(2011, 12, 9), date(2011, 12, 9), None],
        ),
        ("date", [datetime(2011, 12, 9, 5)], None, [date(2011, 12, 9)]),
        ("datetime", [date(2011, 12, 9)], None, [datetime(2011, 12, 9)]),
        (
            "datetime",
            [
                "2011-12-09 10:01",
                "2011-12-09T10:01:02.5",
                "2011-12-09T12:00:00+02:00",
                "2011-12-09T10:00:00Z",
                "2011-12-09",
            ],
            None,
            [
                datetime(2011, 12, 9, 10, 1),
                datetime(2011, 12, 9, 10, 1, 2, 500_000),
                datetime(2011, 12, 9, 10),
                datetime(2011, 12, 9, 10),
                datetime(2011, 12, 9),
            ],
        ),
        ("datetime", [None, None], pl.Null, [None, None]),
    ],
)
def test_values_are_read_as_declared(
    declared: str, values: list[Any], dtype: Any, expected: list[Any]
) -> None:
    result = one(values, {"type": declared, "nullable": True}, dtype)
    assert result.frame["c"].to_list() == expected
    assert broken(result) == []


@pytest.mark.parametrize(
    ("declared", "values", "bad"),
    [
        ("integer", [1.5, 2.0], "1.5"),
        ("integer", ["x", "2"], "'x'"),
        ("integer", [1e19, 2.0], "1e+19"),
        ("integer", [date(2020, 1, 1)], "datetime.date(2020, 1, 1)"),
        ("float", ["1,5", "2"], "'1,5'"),
        ("boolean", ["maybe", "no"], "'maybe'"),
        ("date", ["2011-13-01", "2011-01-13"], "'2011-13-01'"),
        ("datetime", ["yesterday", "2011-01-13"], "'yesterday'"),
        ("datetime", [20110113], "20110113"),
        ("text", [[1, 2]], "[1, 2]"),
    ],
)
def test_what_cannot_be_read_is_a_violation_and_not_a_crash(
    declared: str, values: list[Any], bad: str
) -> None:
    result = one(values, {"type": declared})
    (violation,) = result.report.violations
    assert (violation.rule, violation.count, violation.policy) == (declared, 1, "fail")
    assert violation.examples[0].startswith("row 1: ")
    assert bad.strip("'") in violation.examples[0]
    assert result.report.decision().verdict is Verdict.FAIL


def test_a_format_reads_text_dates_without_leading_zeros() -> None:
    column = {"type": "datetime", "format": "%m/%d/%Y %H:%M"}
    assert one(["12/1/2009 7:45"], column).frame["c"].to_list() == [datetime(2009, 12, 1, 7, 45)]
    assert broken(one(["13/1/2009 7:45"], column)) == [("datetime written as %m/%d/%Y %H:%M", 1)]
    assert one([20091201], {"type": "date", "format": "%Y%m%d"}).frame["c"].to_list() == [date(2009, 12, 1)]
    assert one(["01.12.2009"], {"type": "datetime", "format": "%d.%m.%Y"}).frame["c"].to_list() == [
        datetime(2009, 12, 1)
    ]
    aware = {"type": "datetime", "format": "%Y-%m-%dT%H:%M:%S%z"}
    assert one(["2009-12-01T10:00:00+0200"], aware).frame["c"].to_list() == [datetime(2009, 12, 1, 8)]


def test_a_moment_with_a_zone_becomes_utc() -> None:
    values = pl.Series([datetime(2020, 6, 1, 12)]).dt.replace_time_zone("Europe/Berlin").to_list()
    frame = pl.DataFrame({"c": pl.Series(values, dtype=pl.Datetime("ms", "Europe/Berlin"))})
    result = prepare(frame, "t", source({"c": {"type": "datetime"}}), now=NOW)
    assert result.frame["c"].to_list() == [datetime(2020, 6, 1, 10)]
    assert result.frame.schema["c"] == pl.Datetime("us")


@pytest.mark.parametrize(
    ("column", "values", "expected"),
    [
        ({"type": "float"}, [1.0, None, float("nan")], [("not missing", 2)]),
        ({"type": "float"}, [1.0, float("inf"), float("-inf")], [("finite", 2)]),
        ({"type": "integer", "min": 10, "max": 20}, [9, 10, 20, 21], [("at least 10", 1), ("at most 20", 1)]),
        ({"type": "float", "min": 0.5}, [0.4, 0.5], [("at least 0.5", 1)]),
        ({"type": "category", "values": [1, 2]}, [1, 2, 3], [("one of 1, 2", 1)]),
        ({"type": "integer", "values": [1, 2]}, [1, 2, 3], [("one of 1, 2", 1)]),
        ({"type": "float", "values": [1, "2.5"]}, [1.0, 2.5, 1.7], [("one of 1, 2.5", 1)]),
        ({"type": "text", "unique": True}, ["a", "b", "a"], [("unique", 2)]),
        ({"type": "date", "min": "2020-01-02"}, ["2020-01-01", "2020-01-02"], [("at least 2020-01-02", 1)]),
        (
            {"type": "datetime", "max": "2020-01-02"},
            ["2020-01-02 23:00", "2020-01-03"],
            [("at most 2020-01-02", 1)],
        ),
    ],
)
def test_rules_of_a_column(
    column: dict[str, Any], values: list[Any], expected: list[tuple[str, int]]
) -> None:
    assert broken(one(values, column)) == expected


def test_infinity_leaves_as_missing_when_it_is_only_warned_about() -> None:
    result = one([1.0, float("inf")], {"type": "float"}, on_violation="warn")
    assert result.frame["c"].to_list() == [1.0, None]
    assert result.report.decision().verdict is Verdict.WARN


def test_quarantine_keeps_the_row_with_its_number_and_reasons() -> None:
    frame = pl.DataFrame({"a": ["1", "x", "3", "-4"], "b": [None, "u", "v", None]})
    spec = source({"a": {"type": "integer", "min": 0}, "b": {"type": "text"}}, on_violation="quarantine")
    result = prepare(frame, "t", spec, now=NOW)
    assert result.frame.rows() == [(3, "v")]
    assert result.quarantine.select(ROW_NUMBER, REASON).rows() == [
        (1, "b: not missing"),
        (2, "a: integer"),
        (4, "a: at least 0; b: not missing"),
    ]
    report = result.report
    assert (report.rows_read, report.rows_kept, report.quarantined) == (4, 1, 3)
    assert report.decision().verdict is Verdict.WARN


def test_policy_of_the_column_beats_that_of_the_source() -> None:
    frame = pl.DataFrame({"a": [-1, 1], "b": [-1, 1]})
    spec = source(
        {"a": {"type": "integer", "min": 0, "on_violation": "warn"}, "b": {"type": "integer", "min": 0}}
    )
    policies = [v.policy for v in prepare(frame, "t", spec, now=NOW).report.violations]
    assert policies == ["warn", "fail"]


def test_duplicates_are_alike_in_every_column_also_undeclared_ones() -> None:
    frame = pl.DataFrame({"a": [1, 1, 1, 1], "note": ["x", "x", "y", "x"]})
    dropped = prepare(frame, "t", source({"a": {"type": "integer"}}, duplicates="drop"), now=NOW)
    assert (dropped.frame.height, dropped.report.duplicates) == (2, 2)
    refused = prepare(
        frame, "t", source({"a": {"type": "integer"}}, duplicates="fail", on_violation="warn"), now=NOW
    )
    assert [(v.rule, v.policy, v.count) for v in refused.report.violations] == [
        ("no duplicate rows", "fail", 3)
    ]
    assert prepare(frame, "t", source({"a": {"type": "integer"}}), now=NOW).report.rows_kept == 4


def test_rename_derive_where_rules_and_key() -> None:
    frame = pl.DataFrame(
        {
            "Customer ID": [1.0, 2.0, None, 2.0],
            "Qty": [1, -2, 5, 3],
            "Inv": ["A1", "C2", "A3", "A4"],
            "extra": [0] * 4,
        }
    )
    spec = source(
        {
            "customer": {"type": "integer", "nullable": True},
            "Qty": {"type": "integer"},
            "Inv": {"type": "text"},
        },
        rename={"Customer ID": "customer"},
        derive={"returned": "Inv LIKE 'C%'", "double": "Qty * 2", "four": "double * 2"},
        where="customer IS NOT NULL",
        rules={"sign": "Qty > 0 OR returned"},
        key=["customer"],
    )
    result = prepare(frame, "t", spec, now=NOW)
    assert result.frame.columns == ["customer", "Qty", "Inv", "returned", "double", "four"]
    assert result.frame["four"].to_list() == [4, -8, 12]
    assert result.report.filtered == 1
    assert broken(result) == [("customer unique, as the key", 2)]
    assert result.report.violations[0].examples == ("row 2", "row 4")


def test_a_value_that_was_filtered_away_breaks_no_rule() -> None:
    frame = pl.DataFrame({"a": ["x", "1"], "keep": [0, 1]})
    spec = source({"a": {"type": "integer"}, "keep": {"type": "integer"}}, where="keep = 1")
    assert prepare(frame, "t", spec, now=NOW).report.violations == ()


def test_a_rule_that_is_unknown_is_not_true() -> None:
    frame = pl.DataFrame({"a": [1, 2], "b": [0, 1]})
    spec = source({"a": {"type": "integer"}, "b": {"type": "integer"}}, rules={"ratio": "a / b < 9"})
    assert broken(prepare(frame, "t", spec, now=NOW)) == [("ratio: a / b < 9", 1)]


def test_a_contract_may_stand_on_a_derived_column() -> None:
    frame = pl.DataFrame({"a": [1, 5]})
    spec = source({"a": {"type": "integer"}, "b": {"type": "float", "max": 6}}, derive={"b": "a * 2"})
    result = prepare(frame, "t", spec, now=NOW)
    assert broken(result) == [("at most 6", 1)]
    assert result.frame.schema["b"] == pl.Float64


def test_the_future_and_the_stale() -> None:
    columns = {"at": {"type": "datetime"}}
    frame = pl.DataFrame({"at": ["2025-12-31 23:59", "2026-01-01 00:00", "2026-01-01 00:01"]})
    result = prepare(frame, "t", source(columns, time="at"), now=NOW)
    assert broken(result) == [("not in the future when the data was read", 1)]
    assert result.report.violations[0].examples == ("row 3: '2026-01-01 00:01'",)

    old = pl.DataFrame({"at": ["2025-11-01"]})
    assert broken(prepare(old, "t", source(columns, time="at", fresh_within="90d"), now=NOW)) == []
    late = prepare(
        old, "t", source(columns, time="at", fresh_within="30d", on_violation="quarantine"), now=NOW
    )
    assert [(v.policy, v.examples) for v in late.report.violations] == [
        ("fail", ("the newest is of 2025-11-01 00:00",))
    ]


def test_what_is_planned_may_be_of_the_future() -> None:
    columns = {"at": {"type": "date"}, "units": {"type": "integer", "nullable": True}}
    frame = pl.DataFrame({"at": ["2025-12-30", "2026-01-05", "2026-01-06"], "units": [3, None, 4]})
    work = Preparation("t", source(columns, time="at", fresh_within="1d"), now=NOW, result="units")
    found = work.finish(work.add(frame.head(2)).lazy()).collect().report.violations
    assert [(v.rule, v.examples) for v in found] == [
        ("newest row not older than 1d when the data was read", ("the newest is of 2025-12-30 00:00",))
    ]
    work = Preparation("t", source(columns, time="at"), now=NOW, result="units")
    found = work.finish(work.add(frame).lazy()).collect().report.violations
    assert [(v.rule, v.count, v.examples) for v in found] == [
        ("not in the future when the data was read, where units is known", 1, ("row 3: '2026-01-06'",))
    ]


def test_values_of_personal_columns_are_not_shown() -> None:
    result = one([5], {"type": "integer", "max": 3, "sensitivity": "personal"})
    assert result.report.violations[0].examples == ("row 1: (personal)",)


def test_at_most_five_examples_and_long_values_are_cut() -> None:
    result = one(["z" * 99] * 9, {"type": "integer"})
    (violation,) = result.report.violations
    assert violation.count == 9
    assert len(violation.examples) == 5
    assert len(violation.examples[0]) < 60


def test_nothing_left_fails() -> None:
    empty = one([], {"type": "integer"}, pl.Int64)
    assert empty.report.decision().verdict is Verdict.FAIL
    assert [c.name for c in empty.report.decision().reasons] == ["t rows kept"]


def test_the_decision_points_at_the_rule() -> None:
    result = one([5], {"type": "integer", "max": 3})
    (check,) = result.report.decision(lambda path: "/".join(path)).reasons
    assert check.where == "data/sources/t/columns/c/max"
    assert check.observed == "1 of 1 rows (row 1: 5)"


def test_the_report_survives_json() -> None:
    report = one([5], {"type": "integer", "max": 3}).report
    assert ContractReport.from_json(report.to_json()) == report


def test_foreign_keys() -> None:
    orders = source(
        {"order": {"type": "integer"}, "customer": {"type": "integer", "nullable": True}},
        foreign_keys=[{"column": "customer", "references": "customers.id"}],
    )
    customers = source({"id": {"type": "integer"}})
    frames = {
        "orders": pl.DataFrame({"order": [1, 2, 3], "customer": [7.0, 8.0, None]}),
        "customers": pl.DataFrame({"id": ["7"]}),
    }
    assert in_order({"orders": orders, "customers": customers}) == ["customers", "orders"]
    references = {"customers": prepare(frames["customers"], "customers", customers, now=NOW).frame}
    done = prepare(frames["orders"], "orders", orders, now=NOW, references=references)
    assert [(v.rule, v.examples) for v in done.report.violations] == [
        ("stands in customers.id", ("row 2: 8.0",))
    ]
    with pytest.raises(DataError, match=r"customers\.id, which is not there"):
        prepare(frames["orders"], "orders", orders, now=NOW)
    round_about = source(
        {"id": {"type": "integer"}}, foreign_keys=[{"column": "id", "references": "orders.customer"}]
    )
    with pytest.raises(DataError, match="circle"):
        in_order({"orders": orders, "customers": round_about})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"columns": {"b": {"type": "text"}}}, r"column 'b' is not there"),
        ({"rename": {"A": "x"}}, r"column 'A' is not there"),
        ({"where": "a + 1"}, r"where 'a \+ 1' is not true or false"),
        ({"derive": {"d": "nothing + 1"}}, r"derive\.d 'nothing \+ 1' cannot be evaluated"),
        ({"rules": {"r": "a LIKE 'x'"}}, r"rules\.r .* cannot be evaluated"),
        ({"columns": {"a": {"type": "date", "format": "%Y %Q"}}}, r"column a: format '%Y %Q'"),
    ],
)
def test_what_does_not_fit_the_data_is_said(change: dict[str, Any], message: str) -> None:
    spec = source(**{"columns": {"a": {"type": "integer"}}, **change})
    with pytest.raises(DataError, match=message):
        prepare(pl.DataFrame({"a": [1]}), "t", spec, now=NOW)


def test_requests_are_judged_row_by_row() -> None:
    columns = {
        "AGE": ColumnSpec(type="integer", min=18),
        "SEX": ColumnSpec(type="category", values=("1", "2")),
        "ID": ColumnSpec(type="integer", unique=True, nullable=True),
    }
    rows = pl.DataFrame({"AGE": ["17", "old", "40", None], "SEX": [1, 2, 3, 1], "ID": [1, 1, 1, 1]})
    found = [(column, rule, mask.to_list()) for column, rule, mask in violations(rows, columns)]
    assert found == [
        ("AGE", "integer", [False, True, False, False]),
        ("AGE", "not missing", [False, False, False, True]),
        ("AGE", "at least 18", [True, False, False, False]),
        ("SEX", "one of 1, 2", [False, False, True, False]),
    ]
    assert ("AGE", "not missing") in [(c, r) for c, r, _ in violations(rows.drop("AGE"), columns)]
    assert violations(rows.head(0), columns) == []
