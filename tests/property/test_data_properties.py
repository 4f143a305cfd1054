# ruff: noqa: DTZ001 - moments inside frames are naive UTC
from __future__ import annotations

from datetime import datetime
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from charter.data.contract import violations
from charter.data.prepare import prepare
from charter.data.profile import Profile, merge, profile
from charter.data.sketch import merge_samples, sample
from charter.data.split import ROW, assign_split
from charter.data.types import ROW_NUMBER
from charter.spec.types import ColumnSpec, SourceSpec, Split

QUICK = settings(max_examples=60, deadline=None)
NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6), st.sampled_from([float("nan"), float("inf"), 0.0, -0.0]))
WORDS = st.one_of(st.none(), st.sampled_from("abcdef"), st.text(max_size=3))
MOMENTS = st.one_of(st.none(), st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1)))
ROWS = st.lists(st.tuples(NUMBERS, WORDS, WORDS, MOMENTS), max_size=30)
SCHEMA = {"x": pl.Float64, "s": pl.String, "t": pl.String, "m": pl.Datetime("us")}
REFERENCE = profile(
    pl.DataFrame(
        {
            "x": [-9.0, -1.0, 0.0, 0.5, 3.0, 1e5] * 50,
            "s": list("aabbcd") * 50,
            "t": [f"name {i}" for i in range(300)],
            "m": [datetime(2000, 1, 1 + i % 28) for i in range(300)],
        },
        schema=SCHEMA,
    )
)


def summary(rows: list[tuple[Any, ...]]) -> Profile:
    return profile(pl.DataFrame(rows, schema=SCHEMA, orient="row"), REFERENCE)


LABELS = st.dictionaries(st.integers(0, 3000).map(str), st.integers(1, 9), max_size=600)


@QUICK
@given(LABELS, LABELS, LABELS)
def test_samples_of_distinct_values_add_up(a: dict[str, int], b: dict[str, int], c: dict[str, int]) -> None:
    whole = {v: a.get(v, 0) + b.get(v, 0) + c.get(v, 0) for v in {**a, **b, **c}}
    one, two, three = sample(a), sample(b), sample(c)
    left = merge_samples(merge_samples(one, two), three)
    assert list(left.items()) == list(merge_samples(one, merge_samples(two, three)).items())
    assert list(left.items()) == list(sample(whole).items())


def exact(p: Profile) -> dict[str, Any]:
    out = p.to_json()
    for column in out["columns"].values():
        column.pop("mean", None), column.pop("squares", None)
    return out


@QUICK
@given(ROWS, ROWS, ROWS)
def test_profiles_add_up(a: list[Any], b: list[Any], c: list[Any]) -> None:
    left = merge(merge(summary(a), summary(b)), summary(c))
    right = merge(summary(a), merge(summary(b), summary(c)))
    whole = summary(a + b + c)
    assert exact(left) == exact(right) == exact(whole)
    assert exact(merge(summary(a), summary(b))) == exact(merge(summary(b), summary(a)))
    for one, two in ((left, whole), (right, whole)):
        x, y = one.columns["x"], two.columns["x"]
        assert x.mean == pytest.approx(y.mean, rel=1e-9, abs=1e-6)
        assert x.squares == pytest.approx(y.squares, rel=1e-6, abs=1e-3)


NUMERALS = st.one_of(st.integers(-50, 50), st.floats(-50, 50), st.sampled_from(["nan", "inf"])).map(str)
CELLS = st.one_of(st.none(), NUMERALS, st.text(max_size=5))
TYPES = st.sampled_from(["integer", "float", "boolean", "category", "text", "date", "datetime"])


@QUICK
@given(st.lists(CELLS, max_size=20), TYPES, st.booleans(), st.sampled_from(["fail", "quarantine", "warn"]))
def test_every_row_is_accounted_for(cells: list[str | None], kind: str, nullable: bool, policy: str) -> None:
    limits = {"min": 0} if kind in ("integer", "float") else {}
    column = ColumnSpec.model_validate({"type": kind, "nullable": nullable, **limits})
    source = SourceSpec.model_validate(
        {"uri": "a.csv", "columns": {"c": column}, "duplicates": "drop", "on_violation": policy}
    )
    frame = pl.DataFrame({"c": pl.Series(cells, dtype=pl.String), "n": range(len(cells))})
    result = prepare(frame, "t", source, now=datetime(2026, 1, 1))
    report = result.report
    assert (
        report.rows_read
        == report.rows_kept + report.duplicates + report.filtered + report.quarantined
        == len(cells)
    )
    assert len(set(result.quarantine[ROW_NUMBER])) == result.quarantine.height
    if policy == "quarantine":
        # What is left keeps the contract, and preparing it once more changes nothing.
        again = prepare(
            result.frame, "t", source.model_copy(update={"duplicates": "keep"}), now=datetime(2026, 1, 1)
        )
        assert again.report.violations == ()
        assert again.frame.equals(result.frame)
        # A request that is judged by itself gets the same verdict as the row in the table.
        bad = {v for _, _, mask in violations(frame, {"c": column}) for v in mask.arg_true()}
        assert {n - 1 for n in result.quarantine[ROW_NUMBER]} == bad


@QUICK
@given(
    st.lists(st.text(max_size=8), min_size=20, max_size=60, unique=True), st.integers(0, 2**31 - 1), st.data()
)
def test_a_row_never_changes_sides(rows: list[str], seed: int, data: st.DataObject) -> None:
    split = Split(kind="random", test=0.5)
    frame = pl.DataFrame({ROW: rows, "y": [1] * len(rows)})
    kept = data.draw(st.lists(st.sampled_from(rows), min_size=15, unique=True))
    sides = dict(zip(rows, assign_split(frame, split, "y", seed), strict=True))
    if len({sides[row] for row in kept}) == 2:
        part = pl.DataFrame({ROW: kept, "y": [0] * len(kept)})
        assert assign_split(part, split, "y", seed).to_list() == [sides[row] for row in kept]
