"""Units get arms evenly, independently between salts, and the same everywhere."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from itertools import combinations, pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from charter.core.errors import UsageError
from charter.registry.allocation import BUCKETS, Allocation, Segment, bucket, buckets
from charter.registry.assignment import Assignment, Slot

MILLION = pl.Series("unit", range(1_000_000))


@pytest.fixture(scope="module")
def places() -> np.ndarray:
    """Buckets of a million units under 20 salts."""
    return np.stack([buckets(f"salt-{n}", MILLION) for n in range(20)])


def test_a_million_units_are_dealt_evenly_under_each_of_20_salts(places: np.ndarray) -> None:
    n = places.shape[1]
    for share in (0.5, 0.1, 0.01):
        deviation = ((places < share * BUCKETS).sum(axis=1) - n * share) / np.sqrt(n * share * (1 - share))
        assert np.abs(deviation).max() < 4
    tenths = np.stack([np.bincount(row // (BUCKETS // 10), minlength=10) for row in places])
    assert (np.abs(tenths - n / 10) / np.sqrt(n * 0.09)).max() < 4
    thousandths = np.stack([np.bincount(row // (BUCKETS // 1000), minlength=1000) for row in places])
    statistic = ((thousandths - n / 1000) ** 2 / (n / 1000)).sum(axis=1)
    assert chi2.sf(statistic, 999).min() > 1e-4


def test_buckets_are_independent_between_salts(places: np.ndarray) -> None:
    tenths, n = places // (BUCKETS // 10), places.shape[1]
    p_values = []
    for a, b in combinations(range(len(tenths)), 2):
        table = np.bincount(tenths[a] * 10 + tenths[b], minlength=100).reshape(10, 10)
        expected = np.outer(table.sum(axis=1), table.sum(axis=0)) / n
        p_values.append(chi2.sf(((table - expected) ** 2 / expected).sum(), 81))
    assert min(p_values) > 0.01 / len(p_values)
    assert 0.3 < np.mean(p_values) < 0.7, "too even is not independent either"


def test_similar_salts_and_units_are_dealt_as_any_others() -> None:
    units = pl.Series([f"customer-{n:09d}" for n in range(100_000)])
    a, b = buckets("promo-1", units), buckets("promo-2", units)
    both = ((a < BUCKETS / 2) & (b < BUCKETS / 2)).sum()
    assert abs(both - 25_000) < 4 * np.sqrt(100_000 * 0.25 * 0.75)


def test_the_bucket_is_what_the_documentation_says() -> None:
    first = int.from_bytes(hashlib.sha256("checkout:Zoë".encode()).digest()[:4], "big")
    assert bucket("checkout", "Zoë") == first * 1_000_000 // 2**32


def test_the_published_vectors_are_replayed(root: Path) -> None:
    published = json.loads((root / "docs" / "assignment-vectors.json").read_text(encoding="utf-8"))
    for salt, unit, expected in published["buckets"]:
        assert bucket(salt, unit) == expected
    reasons = set()
    for one in published["assignments"]:
        rule = Assignment.from_json(one["assignment"])
        cases = pl.DataFrame(one["cases"], schema=["unit", "stratum", "arm", "why"], orient="row",
                             infer_schema_length=None)  # fmt: skip
        found = rule.assign_all(cases["unit"], cases["stratum"].cast(pl.String))
        assert found.rows() == cases.select(pl.col("arm", "why").cast(pl.String)).rows()
        assert [list(rule.assign(u, s)) for u, s, _, _ in one["cases"]] == [c[2:] for c in one["cases"]]
        reasons |= set(cases["why"])
        assert rule.to_json() == one["assignment"]
    assert reasons == {"arm", "outside", "excluded", "holdout", "layer"}


def test_the_vectors_are_current(root: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-c", "import json, vectors; print(json.dumps(vectors.vectors()))"],
        cwd=root / "docs", env={"PYTHONHASHSEED": "77", "PYTHONPATH": f"{root / 'src'}:."},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    published = json.loads((root / "docs" / "assignment-vectors.json").read_text(encoding="utf-8"))
    assert json.loads(run.stdout) == published, (
        "run `python docs/vectors.py`; another process assigns otherwise"
    )


@given(
    st.lists(st.tuples(st.text(), st.sampled_from([None, "EU", "US"])), max_size=30),
    st.integers(0, 10**6), st.integers(0, 10**6),
)  # fmt: skip
def test_a_column_gets_what_each_unit_gets(rows: list[tuple[str, str | None]], a: int, b: int) -> None:
    shares = {"a": a / 2e6, "b": b / 2e6}
    rule = Assignment(
        "both", Allocation.of(shares), {"EU": Allocation.of({"b": 1.0})}, frozenset({"0", "1"}),
        Slot("held", 10, 200_000), Slot("lane", 0, 700_000),
    )  # fmt: skip
    frame = pl.DataFrame(rows, schema={"unit": pl.String, "stratum": pl.String}, orient="row")
    found = rule.assign_all(frame["unit"], frame["stratum"]).rows()
    assert found == [rule.assign(u, s) if u else (None, None) for u, s in rows]


_shares = st.dictionaries(st.sampled_from("abcde"), st.integers(0, 200_000), max_size=5)


@given(st.lists(_shares, min_size=1, max_size=6))
def test_ramps_move_nobody_who_need_not_move(steps: list[dict[str, int]]) -> None:
    allocation = Allocation(())
    for step in steps:
        before = allocation
        allocation = before.with_shares({arm: size / BUCKETS for arm, size in step.items()})
        sizes = {arm: round(share * BUCKETS) for arm, share in allocation.shares.items()}
        assert sizes == {arm: size for arm, size in step.items() if size}
        edges = sorted({e for x in (before, allocation) for s in x.segments for e in (s.start, s.stop)})
        for start, stop in pairwise(edges):
            was, now = before.arm_at(start), allocation.arm_at(start)
            if was is not None and was != now:
                assert step.get(was, 0) < round(before.shares[was] * BUCKETS), (
                    "an arm that does not shrink lost units"
                )
            assert was == before.arm_at(stop - 1)


def test_a_canary_keeps_its_units_through_every_step() -> None:
    allocation, seen = Allocation.of({"candidate": 0.01, "champion": 0.99}), set()
    units = [f"u{n}" for n in range(5000)]
    for share in (0.01, 0.05, 0.2, 0.5, 1.0):
        allocation = allocation.with_shares({"candidate": share, "champion": 1 - share})
        rule = Assignment("canary", allocation)
        exposed = {u for u in units if rule.assign(u)[0] == "candidate"}
        assert seen <= exposed
        assert abs(len(exposed) - 5000 * share) < 4 * np.sqrt(5000 * share * (1 - share)) + 1
        seen = exposed


def test_layers_keep_experiments_apart_and_a_holdout_out_of_both() -> None:
    half = Allocation.of({"a": 0.5, "b": 0.5})
    holdout = Slot("holdout", 0, 100_000)
    first = Assignment("x1", half, holdout=holdout, layer=Slot("lane", 0, 400_000))
    second = Assignment("x2", half, holdout=holdout, layer=Slot("lane", 400_000, 1_000_000))
    units = pl.Series([f"u{n}" for n in range(20_000)])
    a, b = first.assign_all(units), second.assign_all(units)
    assert not (a["arm"].is_not_null() & b["arm"].is_not_null()).any()
    assert ((a["why"] == "holdout") == (b["why"] == "holdout")).all()
    assert abs((a["arm"].is_not_null() | b["arm"].is_not_null()).mean() - 0.9) < 0.01


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda: bucket("", "u"), "is not a salt"),
        (lambda: bucket("a:b", "u"), "is not a salt"),
        (lambda: bucket("a", ""), "is not a unit"),
        (lambda: bucket("a", 7.0), "is not a unit"),
        (lambda: bucket("a", True), "is not a unit"),
        (lambda: buckets("a", pl.Series([1.5])), "no one way to be written"),
        (lambda: Allocation.of({"a": 0.7, "b": 0.4}), "add up to 1.1"),
        (lambda: Allocation.of({"a": -0.1}), "has the share -0.1"),
        (lambda: Allocation.of({"a": float("nan")}), "has the share nan"),
        (lambda: Allocation((Segment("a", 5, 9), Segment("b", 8, 12))), "not overlap"),
        (lambda: Allocation((Segment("a", 0, BUCKETS + 1),)), "between 0 and"),
        (lambda: Slot("a", 5, 5), "is not empty"),
        (lambda: Assignment("a", Allocation(()), layer=Slot("a", 0, 5)), "is used twice"),
    ],
)
def test_what_cannot_be_an_assignment_is_refused(wrong: object, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        wrong()  # type: ignore[operator]
