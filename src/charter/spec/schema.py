"""JSON Schema of the specification, for editors."""

from __future__ import annotations

from typing import Any

from charter.spec.shape import descriptions
from charter.spec.types import SPEC_VERSION, ModelSpec


def json_schema() -> dict[str, Any]:
    """Schema of ``model.yaml`` (JSON Schema 2020-12), with what each key means.

    It tells shape, words and ranges; that names exist and fit together is told by ``charter check`` alone.
    """
    schema = ModelSpec.model_json_schema()
    texts = descriptions()
    for name, definition in {"ModelSpec": schema, **schema["$defs"]}.items():
        for field, entry in definition.get("properties", {}).items():
            text = texts.get((name, field))
            if text is not None:
                entry["description"] = " ".join(text.replace("``", "`").split())
            entry.pop("title", None)
    approve = schema["properties"]["approve"]
    approve["anyOf"] = [{"enum": ["six-stage", "none"]}, {"$ref": approve.pop("$ref")}]
    approve["default"] = "six-stage"
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "title": "Charter model specification",
        "description": f"One model, from objective to production (spec_version {SPEC_VERSION}).",
    }
