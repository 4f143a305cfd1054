"""The OpenAPI document, from the signatures of the models that are served."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.serve.decode import example
from charter.serve.openapi_protocols import protocol_paths
from charter.serve.served import Served
from charter.serve.types import Input, Signature

_ERRORS = {
    "400": "The body is no JSON, not UTF-8, or cut off",
    "401": "No key, or none of this server's",
    "403": "The key lacks the scope predict",
    "404": "No such model",
    "405": "Another method than POST",
    "408": "The body did not come in time",
    "413": "The body is too large, or has too many rows",
    "415": "Another content type than application/json",
    "422": "A field is missing, unknown, null, of another type or outside its declared limits",
    "429": "More requests than the key's rate allows; Retry-After says when to come back",
    "503": "Too busy (Retry-After says when to come back), or the model failed and declares no fallback",
}


def openapi(models: Sequence[Served], max_rows: int) -> dict[str, Any]:
    """Describe the routes; one prediction path per model, each with its own schema and an example that works."""
    paths: dict[str, Any] = {}
    for model in models:
        paths.setdefault(f"/api/v1/predict/{model.name}", {"post": _predict(model, max_rows)})
        pinned = _predict(model, max_rows)
        pinned["operationId"] += f"_{model.version}"
        paths[f"/api/v1/predict/{model.name}/versions/{model.version}"] = {"post": pinned}
    paths |= protocol_paths(models, _ERRORS)
    for path, summary, kind in (
        ("/healthz", "Whether the process lives", "application/json"),
        ("/readyz", "Whether models are loaded", "application/json"),
        ("/metrics", "Counters for Prometheus", "text/plain"),
        ("/api/v1/models", "What is served", "application/json"),
    ):
        paths[path] = {"get": _get(summary, kind)}
    paths |= {f"/api/v1/models/{m.name}/profile": {"get": _profile(m.name)} for m in models}
    paths["/readyz"]["get"]["responses"]["503"] = {"description": "Not ready"}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Charter", "version": "1", "description": "Predictions of approved models."},
        "paths": paths,
        "components": {
            "schemas": {"Answer": _answer(), "Reason": _reason(), "Problem": _problem()},
            "securitySchemes": {
                "key": {"type": "apiKey", "in": "header", "name": "X-Api-Key"},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
            },
        },
        # Either, or none where the server asks for none.
        "security": [{"key": []}, {"token": []}, {}],
    }


def request_schema(signature: Signature) -> dict[str, Any]:
    """JSON Schema of one row."""
    return {
        "type": "object",
        "properties": {i.name: _field(i) for i in signature.inputs},
        "required": [i.name for i in signature.inputs if not i.nullable],
        "additionalProperties": False,
    }


def _get(summary: str, kind: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": "OK", "content": {kind: {}}}}}


def _profile(name: str) -> dict[str, Any]:
    about = {
        "version": ("Which version; default the one that serves", {"type": "string"}),
        "since": ("First day (UTC)", {"type": "string", "format": "date"}),
        "until": ("Last day (UTC)", {"type": "string", "format": "date"}),
    }
    route = _get(f"What {name} was asked and what it answered, counted over all workers", "application/json")
    route["parameters"] = [
        {"name": key, "in": "query", "description": said, "schema": kind}
        for key, (said, kind) in about.items()
    ]
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    route["responses"]["404"] = {"description": "Nothing is counted here", "content": problem}
    route["responses"]["422"] = {"description": "since or until is no day", "content": problem}
    return route


def _predict(model: Served, max_rows: int) -> dict[str, Any]:
    row = request_schema(model.scorer.signature)
    one = example(model.scorer.signature)
    answer = {"$ref": "#/components/schemas/Answer"}
    problem = {"application/json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        "summary": f"Predict with {model.name} {model.version}",
        "operationId": f"predict_{model.name.replace('-', '_')}",
        "parameters": [
            {
                "name": "explain",
                "in": "query",
                "description": "Ask for reasons",
                "schema": {"type": "boolean", "default": False},
            }
        ],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "oneOf": [row, {"type": "array", "items": row, "minItems": 1, "maxItems": max_rows}]
                    },
                    "examples": {"one": {"value": one}, "many": {"value": [one, one]}},
                }
            },
        },
        "responses": {
            "200": {
                "description": "One answer for an object, a list of answers for a list",
                "content": {
                    "application/json": {"schema": {"oneOf": [answer, {"type": "array", "items": answer}]}}
                },
            },
            **{status: {"description": words, "content": problem} for status, words in _ERRORS.items()},
        },
    }


def _field(field: Input) -> dict[str, Any]:
    schema: dict[str, Any] = {}
    match field.type:
        case "integer" | "float":
            schema["type"] = "integer" if field.type == "integer" else "number"
            if field.min is not None:
                schema["minimum"] = field.min
            if field.max is not None:
                schema["maximum"] = field.max
        case "boolean":
            schema["type"] = "boolean"
        case "category":
            schema["type"] = ["string", "integer"]
            if field.values is not None:
                whole = [int(v) for v in field.values if v.lstrip("-").isdigit() and str(int(v)) == v]
                schema["enum"] = [*field.values, *whole]
        case "date":
            schema |= {"type": "string", "format": "date"}
        case "datetime":
            schema |= {"type": "string", "description": "ISO 8601: a moment, or a day from 00:00 UTC"}
        case _:
            schema["type"] = "string"
    if field.nullable:
        kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        schema["type"] = [*kinds, "null"]
        if "enum" in schema:
            schema["enum"].append(None)
    said = ". ".join(s for s in (field.description, field.unit and f"In {field.unit}", _seen(field)) if s)
    if said:
        schema["description"] = said
    if field.example is not None:
        schema["examples"] = [field.example]
    return schema


def _seen(field: Input) -> str:
    if field.seen_min is None:
        return ""
    return f"Seen in training: {field.seen_min} to {field.seen_max}"


def _answer() -> dict[str, Any]:
    text, number = {"type": ["string", "null"]}, {"type": ["number", "null"]}
    return {
        "type": "object",
        "properties": {
            "id": {"type": "string", "description": "The request's X-Request-Id, or a new one"},
            "prediction": {"type": ["string", "number", "null"], "description": "The class, or the value"},
            "score": number
            | {"description": "Calibrated probability, or the value; null when a fallback rule answered"},
            "decision": text | {"description": "positive or negative at the threshold; the class"},
            "band": text,
            "reasons": {"type": "array", "items": {"$ref": "#/components/schemas/Reason"}},
            "model": {"type": "string"},
            "version": {"type": "string"},
            "warnings": {"type": "array", "items": {"type": "string"}},
            "scores": {"type": "object", "description": "Probability by class; several classes only"},
            "lower": {
                "type": ["number", "null"],
                "description": "Lower end of the interval, null where none is promised; forecasts only",
            },
            "upper": {
                "type": ["number", "null"],
                "description": "Upper end of the interval, null where none is promised; forecasts only",
            },
        },
        "required": [
            "id",
            "prediction",
            "score",
            "decision",
            "band",
            "reasons",
            "model",
            "version",
            "warnings",
        ],
    }


def _reason() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            "feature": {"type": "string"},
            "value": {"type": ["string", "number", "boolean", "null"]},
            "contribution": {
                "type": "number",
                "description": "How far the feature moved the score from the average: in log-odds before calibration "
                "for probabilities, in units of the target for values",
            },
            "text": {"type": "string"},
        },
        "required": ["feature", "value", "contribution", "text"],
    }


def _problem() -> dict[str, Any]:
    fault = {
        "type": "object",
        "properties": {
            "field": {"type": "string"},
            "value": {"type": ["string", "null"], "description": "As it came, in JSON, shortened"},
            "rule": {"type": "string"},
            "message": {"type": "string"},
            "remedy": {"type": "string"},
        },
        "required": ["field", "value", "rule", "message"],
    }
    return {
        "type": "object",
        "properties": {"error": fault, "errors": {"type": "array", "items": fault}},
        "required": ["error"],
    }
