from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from charter.spec.expand import expand
from charter.spec.loader import loads
from charter.spec.schema import json_schema
from charter.spec.shape import descriptions, stand_in_at

SAMPLES = Path(__file__).parent / "samples"


@pytest.mark.parametrize("name", ["rows.yaml", "entities.yaml"])
def test_what_is_expanded_loads_to_the_same(name: str) -> None:
    spec = loads((SAMPLES / name).read_text("utf-8")).spec
    text = expand(spec)
    assert loads(text).spec == spec
    assert expand(loads(text).spec) == text
    assert "beat_baseline" in text
    assert "&" not in re.sub(r"'[^']*'", "", text), "no anchors"


def test_categories_that_look_like_numbers_stay_text() -> None:
    text = (
        (SAMPLES / "rows.yaml")
        .read_text("utf-8")
        .replace("[north, NO, on, 1]", "['1e3', '007', 'yes', 'null', '~', ' x']")
    )
    spec = loads(text).spec
    assert spec.data.sources["loans"].columns["region"].values == ("1e3", "007", "yes", "null", "~", " x")
    assert loads(expand(spec)).spec == spec


def refs(node: Any) -> list[str]:
    if isinstance(node, dict):
        own = [node["$ref"]] if "$ref" in node else []
        return own + [ref for entry in node.values() for ref in refs(entry)]
    return [ref for entry in node for ref in refs(entry)] if isinstance(node, list) else []


def test_the_schema_is_whole_and_explains_its_keys() -> None:
    schema = json_schema()
    assert schema["$schema"].endswith("2020-12/schema")
    assert {"name", "summary", "owner", "purpose", "data", "train"} == set(schema["required"])
    for ref in refs(schema):
        assert ref.removeprefix("#/$defs/") in schema["$defs"]
    for definition in (schema, *schema["$defs"].values()):
        assert definition.get("additionalProperties") is False or "properties" not in definition
    assert schema["$defs"]["Today"]["properties"]["rule"]["description"].startswith("Executable")
    assert schema["properties"]["approve"]["anyOf"][0] == {"enum": ["six-stage", "none"]}
    assert schema["$defs"]["TrainSpec"]["properties"]["task"]["enum"] == [
        "binary",
        "multiclass",
        "regression",
        "forecast",
    ]


def check(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON Schema as is needed to see that an editor would not underline a sound file."""
    if "$ref" in schema:
        return check(value, root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    if "anyOf" in schema:
        return any(check(value, option, root) for option in schema["anyOf"])
    if "enum" in schema and value not in schema["enum"]:
        return False
    if "const" in schema:
        return bool(value == schema["const"])
    kinds = {
        "string": str,
        "integer": int,
        "number": int | float,
        "boolean": bool,
        "array": list,
        "object": dict,
    }
    kinds["null"] = type(None)
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(isinstance(value, kinds[kind]) for kind in wanted):
        return False
    if isinstance(value, str) and "pattern" in schema and not re.search(schema["pattern"], value):
        return False
    if isinstance(value, list):
        return all(check(entry, schema.get("items", {}), root) for entry in value)
    if isinstance(value, dict):
        inner = schema.get("properties", {})
        rest = schema.get("additionalProperties", *schema.get("patternProperties", {None: None}).values())
        return all(
            check(entry, inner[key], root)
            if key in inner
            else isinstance(rest, dict) and check(entry, rest, root)
            for key, entry in value.items()
        )
    return True


@pytest.mark.parametrize("name", ["rows.yaml", "entities.yaml"])
def test_the_schema_accepts_sound_files_and_refuses_a_mistyped_key(name: str) -> None:
    text = (SAMPLES / name).read_text("utf-8")
    data = yaml.load(text, Loader=yaml.BaseLoader)  # every scalar is text: only the shape is checked then
    plain = loads(text).spec.model_dump(mode="json", exclude_none=True)
    schema = json_schema()
    assert check(plain, schema, schema)
    assert set(data) <= set(schema["properties"])
    assert not check({**plain, "sumary": "x"}, schema, schema)
    assert not check({**plain, "train": {**plain["train"], "task": "binry"}}, schema, schema)


def test_every_description_belongs_to_a_field() -> None:
    schema = json_schema()
    for (model, field), text in descriptions().items():
        definition = schema if model == "ModelSpec" else schema["$defs"].get(model)
        if definition is not None:
            assert field in definition["properties"], (model, field)
            assert text


def test_required_words_have_a_stand_in_so_that_the_rest_can_be_checked() -> None:
    assert stand_in_at(("name",)) == "x"
    assert stand_in_at(("value", "volume")) == "1 per day"
    assert stand_in_at(("train", "seed")) is None, "it has a default"
    assert stand_in_at(("train", "split")) is None, "a whole part is not made up"
