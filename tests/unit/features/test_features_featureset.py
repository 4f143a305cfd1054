from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import polars as pl
import pytest

from charter.core.errors import DataError, PackageError, UsageError
from charter.features.featureset import FeatureSet, complete, compute, feature_set, histories
from charter.spec.types import ModelSpec

FRAME: dict[str, Any] = {
    "name": "a-model",
    "summary": "s",
    "owner": {"team": "t", "contact": "c"},
    "purpose": {"problem": "p", "objective": "o", "decision": "d", "users": ["u"], "today": {"process": "p"}},
}


def spec(features: dict[str, Any], **source: Any) -> ModelSpec:
    columns = {
        "id": {"type": "integer"},
        "on": {"type": "date"},
        "a": {"type": "float"},
        "b": {"type": "integer"},
        "flag": {"type": "boolean"},
        "colour": {"type": "category", "values": ["red", "blue"]},
        "note": {"type": "text"},
        "born": {"type": "date"},
        "y": {"type": "category"},
    }
    events = {"uri": "e.csv", "time": "at", "columns": {"id": {"type": "integer"}, "x": {"type": "float"}}}
    return ModelSpec.model_validate(
        FRAME
        | {
            "data": {
                "sources": {"t": {"uri": "t.csv", "columns": columns, **source}, "e": events},
                "observations": {"source": "t", "key": ["id"], "time": "on"},
                "label": {"name": "target", "column": "y", "positive": "1"},
            },
            "features": features,
            "train": {"task": "binary", "split": {"kind": "random", "test": 0.5}, "learners": ["x"]},
        }
    )


TABLE = pl.DataFrame(
    {
        "id": [1, 2],
        "as_of": [datetime(2026, 1, 2)] * 2,  # noqa: DTZ001 - frames hold naive UTC
        "a": [1.0, 4.0],
        "b": [0, 2],
        "flag": [True, None],
        "colour": ["red", None],
    }
)
WINDOW = {"source": "e", "aggregate": "SUM(x)", "over": ["7d"], "default": 0}


def test_candidates_are_what_a_model_may_see() -> None:
    found = feature_set(spec({"rows": {"r": "a / b"}, "windows": {"w": WINDOW}, "exclude": ["flag"]}))
    assert [(f.name, f.kind) for f in found.features] == [
        ("a", "number"),
        ("b", "number"),
        ("colour", "category"),
        ("w_7d", "number"),
        ("r", "number"),
    ]
    assert found.features[2].values == ("red", "blue")
    assert [(i.name, i.type) for i in found.inputs] == [
        ("a", "float"),
        ("b", "integer"),
        ("colour", "category"),
    ]
    assert (found.entity, found.times, found.sources) == ("id", (("e", "at"),), ("e",))


def test_a_text_is_a_feature_only_when_its_encoding_is_named() -> None:
    assert "note" not in feature_set(spec({})).names
    assert "note" in feature_set(spec({"encode": {"note": "hashing"}})).names


def test_an_excluded_column_is_still_read_by_those_made_from_it() -> None:
    found = feature_set(spec({"rows": {"late": "twice > 2", "twice": "2 * a"}, "exclude": ["a", "twice"]}))
    assert [row.name for row in found.rows] == ["twice", "late"]
    assert "a" in [i.name for i in found.inputs]
    assert found.names == ("b", "flag", "colour", "late")
    assert compute(TABLE, found)["late"].to_list() == [False, True]


def test_what_a_source_derives_is_made_again_from_raw_inputs() -> None:
    found = feature_set(spec({"exclude": ["a"]}, derive={"double": "a * 2", "dark": "colour = 'blue'"}))
    assert compute(TABLE, found).select("double", "dark").rows() == [(2.0, False), (8.0, None)]
    assert [(f.name, f.kind) for f in found.features][-2:] == [("double", "number"), ("dark", "truth")]


def test_numbers_without_a_value_are_missing() -> None:
    found = feature_set(spec({"rows": {"ratio": "a / b", "huge": "a * 1e308 * 10", "text": "UPPER(colour)"}}))
    frame = compute(TABLE, found)
    assert frame["ratio"].to_list() == [None, 2.0]
    assert frame["huge"].to_list() == [None, None]
    assert frame["text"].to_list() == ["RED", None]
    assert found.features[-1].kind == "category"


def test_windows_and_rows_complete_an_observation() -> None:
    found = feature_set(spec({"rows": {"share": "w_7d / (a + w_7d)"}, "windows": {"w": WINDOW}}))
    moments = [datetime(2026, 1, d) for d in (1, 2)]  # noqa: DTZ001 - frames hold naive UTC
    events = pl.DataFrame({"id": [1, 1], "at": moments, "x": [3.0, 50.0]})
    expected = [(3.0, 0.75), (0.0, 0.0)]
    assert complete(TABLE, found, {"e": events}).select("w_7d", "share").rows() == expected
    assert complete(TABLE, found, histories({"e": events}, found)).select("w_7d", "share").rows() == expected
    with pytest.raises(DataError, match="source 'e', whose events is not known"):
        complete(TABLE, found)
    with pytest.raises(DataError, match="the events of source 'e', which are not here"):
        histories({}, found)


def test_json_gives_the_same_set_back() -> None:
    found = feature_set(spec({"rows": {"r": "a / b"}, "windows": {"w": WINDOW}}))
    again = FeatureSet.from_json(json.loads(json.dumps(found.to_json())))
    assert again == found
    assert hash(again) == hash(found)
    with pytest.raises(PackageError, match="schema version 9"):
        FeatureSet.from_json(found.to_json() | {"schema_version": 9})
    with pytest.raises(PackageError, match="damaged"):
        FeatureSet.from_json(found.to_json() | {"inputs": [{"nome": 1}]})


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"rows": {"p": "q + 1", "q": "p + 1"}}, "in a circle: p, q"),
        ({"rows": {"p": "a + c"}}, "'p' reads 'c', which no observation has"),
        ({"rows": {"p": "target + 1"}}, "'p' reads 'target', which tells the label"),
        ({"rows": {"a": "b + 1"}}, "two columns bear the name 'a'"),
        ({"rows": {"p": "a + colour"}}, "'p': 'a \\+ colour' cannot be computed"),
    ],
)
def test_features_that_cannot_be_are_refused(features: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        feature_set(spec(features))


def test_a_feature_cannot_read_what_tells_the_label() -> None:
    derive = {"late": "y = '1'", "later": "late AND b > 1", "fine": "b + 1"}
    assert feature_set(spec({}, derive=derive)).names == ("a", "b", "flag", "colour", "fine")
    for column in ("y", "late", "later"):
        with pytest.raises(UsageError, match=f"reads '{column}', which tells the label"):
            feature_set(spec({"rows": {"p": f"{column} IS NULL"}}, derive=derive))


def test_a_missing_input_is_said() -> None:
    found = feature_set(spec({"rows": {"p": "a + b"}}))
    with pytest.raises(DataError, match="row features cannot be computed"):
        compute(TABLE.drop("b"), found)


def test_windows_without_an_entity_are_refused() -> None:
    plain = spec({"windows": {"w": WINDOW}})
    plan = plain.data.observations.model_copy(update={"key": ("id", "a")})
    found = feature_set(
        plain.model_copy(update={"data": plain.data.model_copy(update={"observations": plan})})
    )
    with pytest.raises(DataError, match="window features need an entity"):
        complete(TABLE, found, {})
