"""Wrong data: unreadable sources (exit 2) and rows that break their contract (exit 1). Nothing is recorded."""

from __future__ import annotations

import gzip
import sqlite3
from collections.abc import Callable

import polars as pl
import pytest
from golden_support import Bench

URI = "uri: bills.csv"
COLUMNS = "    bills:\n      uri: bills.csv\n"


def parquet(bench: Bench, *, keep_bytes: int | None = None) -> None:
    """Put the rows into a Parquet file, perhaps cut off."""
    path = bench.root / "bills.parquet"
    pl.read_csv(bench.csv, infer_schema=False).write_parquet(path)
    path.write_bytes(path.read_bytes()[:keep_bytes])
    bench.edit(URI, "uri: bills.parquet")


def database(bench: Bench, query: str) -> None:
    """Put the rows into a database and read them by a query."""
    with sqlite3.connect(bench.root / "shop.sqlite") as connection:
        connection.execute("CREATE TABLE bills (id INTEGER)")
    connection.close()
    bench.monkeypatch.setenv("SHOP", f"sqlite:///{bench.root / 'shop.sqlite'}")
    bench.edit(URI, f"sql: {query}\n      url: ${{SHOP}}")


def lines(bench: Bench, count: int) -> None:
    bench.csv.write_text("\n".join(bench.csv.read_text().splitlines()[:count]) + "\n")


def column(bench: Bench, name: str, value: Callable[[int], str]) -> None:
    for number in range(1, len(bench.csv.read_text().splitlines())):
        bench.field(number, name, value(number))


UNREADABLE: dict[str, Callable[[Bench], object]] = {
    "missing-file": lambda b: b.edit(URI, "uri: bill.csv"),
    "missing-folder": lambda b: b.edit(URI, "uri: data/bills.csv"),
    "folder-for-a-file": lambda b: ((b.root / "data").mkdir(), b.edit(URI, "uri: data")),
    "unknown-ending": lambda b: (b.csv.rename(b.root / "bills.xls"), b.edit(URI, "uri: bills.xls")),
    "missing-column": lambda b: b.line(0, lambda f: f.__setitem__(1, "incom")),
    "empty-file": lambda b: b.csv.write_bytes(b""),
    "truncated-parquet": lambda b: parquet(b, keep_bytes=900),
    "csv-named-parquet": lambda b: (b.csv.rename(b.root / "bills.parquet"), b.edit(URI, "uri: bills.parquet")),
    "bad-encoding": lambda b: b.csv.write_bytes(b.csv.read_bytes().replace(b"north", "n\u00f6rth".encode("latin-1"))),
    "too-many-fields": lambda b: b.line(5, lambda f: f.append("7")),
    "open-quote": lambda b: b.field(3, "region", '"north'),
    "damaged-gzip": lambda b: (
        (b.root / "bills.csv.gz").write_bytes(gzip.compress(b.csv.read_bytes())[:500]),
        b.edit(URI, "uri: bills.csv.gz"),
    ),
    "broken-jsonl": lambda b: (
        (b.root / "bills.jsonl").write_text('{"id": 1, "income": 2\n'),
        b.edit(URI, "uri: bills.jsonl"),
    ),
    "unknown-data-set": lambda b: b.edit(URI, "dataset: taiwan-defaults"),
    "missing-variable": lambda b: b.edit(URI, "sql: SELECT * FROM bills\n      url: ${SHOP_DATABASE}"),
    "variable-in-a-path": lambda b: b.edit(URI, "uri: ${BILLS_FOLDER}/bills.csv"),
    "bad-database-address": lambda b: b.edit(URI, "sql: SELECT 1\n      url: shop.example.org"),
    "unknown-database-driver": lambda b: b.edit(URI, "sql: SELECT 1\n      url: oracel://shop/bills"),
    "query-of-a-missing-table": lambda b: database(b, "SELECT * FROM invoices"),
    "query-without-a-column": lambda b: database(b, "SELECT id FROM bills"),
    "unknown-protocol": lambda b: b.edit(URI, "uri: ftps3://bucket/bills.csv"),
    "bad-date-format": lambda b: b.edit("billed_at: {type: date}", 'billed_at: {type: date, format: "%Q"}'),
}  # fmt: skip


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_source_that_cannot_be_read_is_named_with_the_reason(name: str, bench: Bench) -> None:
    UNREADABLE[name](bench)
    ran = bench.refused(f"data-{name}", 2, "apply")
    assert str(bench.root) not in ran.out


BROKEN: dict[str, Callable[[Bench], object]] = {
    "text-in-a-number": lambda b: b.field(7, "income", "much"),
    "out-of-range": lambda b: (b.field(7, "income", "-3"), b.field(9, "income", "100001")),
    "unknown-category": lambda b: b.field(7, "region", "nroth"),
    "null-where-not-allowed": lambda b: b.field(7, "income", ""),
    "nan-label": lambda b: b.field(7, "missed", "NaN"),
    "null-label": lambda b: b.field(7, "missed", ""),
    "infinite-number": lambda b: b.field(7, "debt", "inf"),
    "duplicate-keys": lambda b: b.field(7, "id", "6"),
    "date-that-is-none": lambda b: b.field(7, "billed_at", "2024-02-30"),
    "in-the-future": lambda b: b.field(7, "billed_at", "2031-01-01"),
    "not-fresh": lambda b: b.edit("      time: billed_at", "      time: billed_at\n      fresh_within: 30d"),
    "rule-that-does-not-hold": lambda b: b.edit(
        "      time: billed_at", '      time: billed_at\n      rules: {debt_is_paid: "debt < 5000"}'
    ),
    "rows-that-stand-twice": lambda b: (
        b.edit("      time: billed_at", "      time: billed_at\n      duplicates: fail"),
        b.csv.write_text(b.csv.read_text() + b.csv.read_text().splitlines()[-1] + "\n"),
    ),
    "many-things": lambda b: (
        b.field(7, "income", "much"),
        b.field(8, "region", "east"),
        b.field(9, "id", "8"),
        b.field(10, "months_late", "13"),
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rows_that_break_the_contract_are_counted_and_shown(name: str, bench: Bench) -> None:
    BROKEN[name](bench)
    bench.refused(f"rows-{name}", 1, "apply")


UNFIT: dict[str, tuple[int, Callable[[Bench], object]]] = {
    "no-rows": (1, lambda b: lines(b, 1)),
    "one-class-only": (2, lambda b: column(b, "missed", lambda _: "0")),
    "too-few-rows": (2, lambda b: lines(b, 4)),
    "too-few-of-a-class": (2, lambda b: column(b, "missed", lambda n: "1" if n == 5 else "0")),
    "nothing-in-scope": (1, lambda b: b.edit(
        "      time: billed_at", '      time: billed_at\n      where: "income < 0"')),
    "no-row-to-test": (2, lambda b: b.edit(
        "split: {kind: random, stratify: true, test: 0.3, folds: 2}",
        "split: {kind: time, train_until: 2024-06-30, test_from: 2025-06-30, folds: 2}")),
    "no-row-to-train": (2, lambda b: b.edit(
        "split: {kind: random, stratify: true, test: 0.3, folds: 2}",
        "split: {kind: time, train_until: 2023-06-30, test_from: 2024-03-30, folds: 2}")),
    "feature-that-knows-the-label": (1, lambda b: column(
        b, "debt", lambda n: "90" if b.csv.read_text().splitlines()[n].endswith("1") else "10")),
}  # fmt: skip


@pytest.mark.parametrize("name", UNFIT)
def test_rows_that_no_model_can_be_made_of_are_refused(name: str, bench: Bench) -> None:
    code, spoil = UNFIT[name]
    spoil(bench)
    ran = bench.run("apply")
    bench.golden(f"unfit-{name}", ran, ("apply",))
    assert ran.code == code
    # What was read is kept, since it was sound; what serves is what served.
    assert bench.run("predict", "--json", GOOD).code == 0


GOOD = '{"income": 2000, "debt": 100, "months_late": 1, "region": "north"}'


def test_a_plan_tells_of_unreadable_data_and_changes_nothing(bench: Bench) -> None:
    bench.edit(URI, "uri: bill.csv")
    bench.refused("data-plan", 2, "plan")


def test_data_list_names_the_nearest_set(bench: Bench) -> None:
    bench.refused("data-fetch", 2, "data", "fetch", "online-retail-3")
