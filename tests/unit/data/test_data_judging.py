# ruff: noqa: DTZ001 - moments inside frames are naive UTC
from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from charter.core.decision import Verdict
from charter.data.leaks import find_leaks, single_feature_auc
from charter.data.lineage import run_event, snapshot_node, source_node
from charter.data.profile import Profile, empty_like, merge, profile
from charter.spec.types import DataSpec, ModelSpec, SourceSpec


def sides(seed: int = 0) -> tuple[pl.DataFrame, pl.DataFrame]:
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame(
        {
            "__row": [f"r{i}" for i in range(400)],
            "y": rng.integers(0, 2, 400),
            "x": rng.normal(size=400),
            "s": rng.choice(["a", "b", "c"], 400),
            "as_of": [datetime(2020, 1, 1) + timedelta(days=int(d)) for d in range(400)],
        }
    )
    return frame.head(300), frame.tail(100)


def names(decision: Any) -> list[tuple[str, str]]:
    return [(c.name, c.verdict.value) for c in decision.checks if c.verdict is not Verdict.PASS]


def test_clean_sides_pass() -> None:
    train, test = sides()
    decision = find_leaks(train, test, "y", ["x", "s"], known_after=timedelta(days=1))
    assert decision.verdict is Verdict.PASS, decision.checks


def test_each_leak_is_named() -> None:
    train, test = sides()
    both = pl.concat([train, test]).with_columns(
        copy=pl.when(pl.col("y") == 1).then(pl.lit("gone")).otherwise(pl.lit("here")),
        hint=pl.col("y") * 10 + pl.col("x") / 10,
        told=pl.concat_str(pl.col("y"), pl.col("s")),
        paid_at=pl.when(pl.col("y") == 1)
        .then(pl.col("as_of").dt.offset_by("900d"))
        .otherwise(pl.col("as_of")),
    )
    train, test = both.head(300), both.tail(150)
    features = ["x", "s", "copy", "hint", "told", "paid_at", "y"]
    assert names(find_leaks(train, test, "y", features, known_after=timedelta(days=30))) == [
        ("same row on both sides", "fail"),
        ("test rows that equal a training row in every feature", "warn"),
        ("label among the features", "fail"),
        ("copy repeats the label", "fail"),
        ("hint tells the label", "warn"),
        ("told tells the label", "warn"),
        ("paid_at tells the label", "warn"),
        ("training labels known before the first test moment", "fail"),
    ]


def test_sides_without_ids_features_or_moments() -> None:
    train, test = sides()
    train, test = train.select("y"), test.select("y")
    assert find_leaks(train, test, "y", []).verdict is Verdict.PASS
    undated = pl.DataFrame({"y": [0, 1], "as_of": pl.Series([None, None], dtype=pl.Datetime("us"))})
    assert find_leaks(undated, undated, "y", [], known_after=timedelta(1)).verdict is Verdict.UNKNOWN


def test_single_feature_auc_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    y, x = rng.integers(0, 2, 500), rng.integers(0, 9, 500)
    assert single_feature_auc(pl.Series(x), pl.Series(y)) == pytest.approx(roc_auc_score(y, x), abs=1e-12)
    assert single_feature_auc(pl.Series([1.0, None]), pl.Series([1, 0])) is None


def test_a_profile_says_what_is_there() -> None:
    frame = pl.DataFrame(
        {
            "x": [1.0, 2.0, float("nan"), float("inf"), None, 4.0],
            "flag": [True, False, True, True, None, True],
            "day": [date(1970, 1, 2)] * 5 + [None],
            "s": ["a", "b", "a", "a", None, "c"],
            "nothing": pl.Series([None] * 6, dtype=pl.Float64),
            "list": [[1]] * 6,
        }
    )
    p = profile(frame)
    assert set(p.columns) == {"x", "flag", "day", "s", "nothing"}
    x = p.columns["x"]
    assert (x.count, x.missing, x.present, x.low, x.high) == (6, 3, 3, 1.0, 4.0)
    assert x.standard_deviation == pytest.approx(np.std([1, 2, 4], ddof=1))
    assert sum(x.counts) == x.present
    assert p.columns["flag"].mean == 0.8
    assert (p.columns["day"].kind, p.columns["day"].mean) == ("moment", 86_400.0)
    assert dict(p.columns["s"].values) == {"a": 3, "b": 1, "c": 1}
    assert (p.columns["nothing"].missing, p.columns["nothing"].standard_deviation) == (6, None)
    assert Profile.from_json(p.to_json()) == p


def test_a_reference_gives_edges_and_known_values() -> None:
    reference = profile(pl.DataFrame({"x": list(range(100)), "s": ["a", "b"] * 50}))
    later = profile(pl.DataFrame({"x": [-5, 500], "s": ["z", "a"], "new": [1, 2]}), reference)
    assert set(later.columns) == {"x", "s"}
    assert later.columns["x"].counts[0] == later.columns["x"].counts[-1] == 1
    assert (dict(later.columns["s"].values), later.columns["s"].other) == ({"a": 1, "b": 0}, 1)
    assert merge(reference, empty_like(reference)) == reference
    with pytest.raises(ValueError, match="same reference"):
        merge(reference, profile(pl.DataFrame({"x": [1.5], "s": ["q"]})))
    with pytest.raises(ValueError, match="different columns"):
        merge(reference, profile(pl.DataFrame({"x": [1.5]})))


def test_lineage_follows_columns_through_rename_and_derive() -> None:
    source = SourceSpec.model_validate(
        {
            "uri": "s3://shop/lines.parquet",
            "rename": {"Customer ID": "customer"},
            "columns": {"customer": {"type": "integer"}, "n": {"type": "integer"}, "p": {"type": "float"}},
            "derive": {"amount": "n * p", "twice": "amount * 2"},
        }
    )
    data = DataSpec.model_construct(sources={"lines": source})
    spec = ModelSpec.model_construct(name="churn", data=data)
    origin = source_node("lines", source, fingerprint="ab")
    assert (origin.namespace, origin.name) == ("s3", "shop/lines.parquet")
    snapshot = snapshot_node(spec, "lines", digest="cd")
    event = run_event(
        event="COMPLETE",
        job="churn.snapshot",
        key="k",
        at=datetime(2026, 1, 1, tzinfo=UTC),
        inputs=[origin],
        outputs=[snapshot],
    )
    (made,) = event["outputs"]
    lineage = made["facets"]["columnLineage"]["fields"]
    assert [f["field"] for f in lineage["twice"]["inputFields"]] == ["n", "p"]
    assert [f["field"] for f in lineage["customer"]["inputFields"]] == ["Customer ID"]
    assert event["inputs"][0]["facets"]["dataSource"]["uri"] == "s3://shop/lines.parquet"
    assert made["facets"]["version"]["datasetVersion"] == "cd"
    assert event["eventTime"] == "2026-01-01T00:00:00.000000Z"


def test_lineage_of_other_origins_and_of_failure() -> None:
    columns = {"a": {"type": "text"}}
    query = SourceSpec.model_validate({"sql": "SELECT a FROM t", "url": "${DB}", "columns": columns})
    assert source_node("t", query).uri == "${DB}"
    known = SourceSpec.model_validate({"dataset": "taiwan-default", "columns": columns})
    assert source_node("t", known).namespace == "catalogue"
    file = SourceSpec.model_validate({"uri": "data/a.csv", "columns": columns})
    assert source_node("t", file).namespace == "file"
    event = run_event(event="FAIL", job="j", key="k", at=datetime(2026, 1, 1, tzinfo=UTC), error="no")
    assert event["run"]["facets"]["errorMessage"]["message"] == "no"


@pytest.mark.parametrize(
    ("make", "copy"),
    [
        (lambda y, rng: rng.normal(size=len(y)), False),  # no number repeats, neither here nor there
        (lambda y, rng: [f"id-{i}" for i in range(len(y))], False),
        (lambda y, rng: y + rng.normal(size=len(y)), False),
        (lambda y, rng: 3 * y - 7, True),
        (lambda y, rng: np.exp(-y), True),
    ],
)
def test_of_numbers_that_hardly_repeat_only_what_moves_with_the_label_is_a_copy(make, copy):
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    rows = pl.DataFrame({"y": y, "x": make(y, rng)})
    decision = find_leaks(rows[:200], rows[200:], "y", ["x"])
    assert ("x repeats the label" in [c.name for c in decision.checks]) is copy
