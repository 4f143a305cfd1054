"""The other protocols' part of the OpenAPI document: Open Inference Protocol and MLflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.serve.oip import model_metadata
from charter.serve.served import Served

PROBLEM = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
_OIP_PROBLEM = {"application/json": {"schema": {"type": "object", "required": ["error"]}}}
_DATATYPES = [
    "BOOL", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip


def protocol_paths(models: Sequence[Served], errors: dict[str, str]) -> dict[str, Any]:
    """Paths of ``/v2`` for every model and version, and of MLflow where it is clear which model is meant."""
    paths: dict[str, Any] = {
        "/v2": {"get": _get("What the server speaks")},
        "/v2/health/live": {"get": _get("Whether the process lives")},
        "/v2/health/ready": {"get": _get("Whether models are loaded", "503")},
        "/ping": {"get": _get("Whether models are loaded", "503")},
        "/version": {"get": _get("Version of Charter", kind="text/plain")},
    }
    for model in models:
        for base in (f"/v2/models/{model.name}", f"/v2/models/{model.name}/versions/{model.version}"):
            paths[base] = {"get": _get(f"Tensors of {model.name}")}
            paths[f"{base}/ready"] = {"get": _get(f"Whether {model.name} answers")}
            paths[f"{base}/infer"] = {"post": _infer(model, errors)}
    names = {m.name for m in models}
    if len(names) == 1:
        paths["/invocations"] = {"post": _invocations(models[0], errors)}
    return paths


def _get(summary: str, *other: str, kind: str = "application/json") -> dict[str, Any]:
    answers: dict[str, Any] = {"200": {"description": "OK", "content": {kind: {}}}}
    return {"summary": summary, "responses": answers | {s: {"description": "Not ready"} for s in other}}


def _infer(model: Served, errors: dict[str, str]) -> dict[str, Any]:
    about = model_metadata(model, [model.version])
    tensor = {
        "type": "object",
        "properties": {
            "name": {"enum": [i["name"] for i in about["inputs"]]},
            "datatype": {"enum": _DATATYPES},
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1},
            "data": {"type": "array"},
            "parameters": {"type": "object"},
        },
        "required": ["name", "datatype", "shape"],
    }
    schema = {
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor, "minItems": 1},
            "outputs": {"type": "array", "items": {"type": "object"}},
            "parameters": {"type": "object"},
        },
        "required": ["inputs"],
    }
    return _post(
        f"Infer with {model.name} {model.version} (Open Inference Protocol)", schema, _OIP_PROBLEM, errors
    )


def _invocations(model: Served, errors: dict[str, str]) -> dict[str, Any]:
    split = {
        "type": "object",
        "properties": {"columns": {"type": "array", "items": {"type": "string"}}, "data": {"type": "array"}},
        "required": ["columns", "data"],
    }
    rows = {"type": "array", "items": {"type": "object"}, "minItems": 1}
    forms = {"dataframe_split": split, "dataframe_records": rows, "instances": rows, "inputs": {}}
    schema = {"oneOf": [{"type": "object", "properties": {n: s}, "required": [n]} for n, s in forms.items()]}
    return _post(f"Predict with {model.name} as `mlflow models serve` answers", schema, PROBLEM, errors)


def _post(
    summary: str, schema: dict[str, Any], problem: dict[str, Any], errors: dict[str, str]
) -> dict[str, Any]:
    return {
        "summary": summary,
        "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
        "responses": {
            "200": {"description": "OK", "content": {"application/json": {}, "application/octet-stream": {}}},
            **{status: {"description": words, "content": problem} for status, words in errors.items()},
        },
    }
