"""Does a server keep the contract that it publishes? Requests made from its OpenAPI document, and what must come back.

Every field of a model is asked with what the document allows and with what it forbids; the answers must have the
promised status and shape, and the document must itself allow and forbid the same. Pure: `charter.flow.verify` sends.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from charter.serve.types import AS_OF

Json = Mapping[str, Any]
_JSON = "application/json"
_ENUM = 8
"""Of a field's allowed values so many are asked."""
UNKNOWN_FIELD = "charter_verify_unknown"
UNKNOWN_VALUE = "charter-verify-no-such-value"


@dataclass(frozen=True, slots=True)
class Case:
    """A request, and what the document promises.

    Attributes
    ----------
    name
        What is asked, in words.
    document
        The request's JSON where it has some; judged by the document's own schema.
    allowed
        Whether that schema must allow ``document``; None where it says nothing about it.
    """

    name: str
    method: str
    path: str
    status: int
    body: bytes | None = None
    content_type: str = _JSON
    document: Any = None
    allowed: bool | None = None
    or_status: int = 0
    """Another status that the document promises for this, too."""


def predict_path(model: str) -> str:
    """Route of predictions.

    Examples
    --------
    >>> predict_path("credit-risk")
    '/api/v1/predict/credit-risk'
    """
    return f"/api/v1/predict/{model}"


def example_row(document: Json, model: str) -> dict[str, Any]:
    """Return the row that the document shows as an example."""
    row: dict[str, Any] = dict(_content(document, model)["examples"]["one"]["value"])
    return row


def goods(document: Json, model: str, metadata: Json) -> dict[str, Any]:
    """Route to a document that is answered with 200 there, for every protocol that the server speaks.

    Parameters
    ----------
    metadata
        What ``GET /v2/models/MODEL`` answers: name and data type of each tensor.
    """
    row = example_row(document, model)
    found = {
        predict_path(model): row,
        f"/v2/models/{model}/infer": {
            "inputs": [
                {"name": t["name"], "shape": [1], "datatype": t["datatype"], "data": [row[t["name"]]]}
                for t in metadata["inputs"]
                if row.get(t["name"]) is not None
            ]
        },
        "/invocations": {"dataframe_records": [row]},
    }
    return {path: good for path, good in found.items() if path in document["paths"]}


def cases(document: Json, model: str, metadata: Json) -> list[Case]:
    """Make the requests of a contract test; the same document gives the same requests.

    Parameters
    ----------
    document
        What ``/openapi.json`` answers.
    metadata
        See `goods`.
    """
    path = predict_path(model)
    row, schema = example_row(document, model), _row_schema(document, model)
    found = [_post(f"good request to {p}", p, good) for p, good in goods(document, model, metadata).items()]
    found += [_post("a list of rows", path, [row, row], allowed=True)]
    found += [_post("asked for reasons", f"{path}?explain=true", row)]
    found += [
        _post(f"pinned to a version: {p}", p, row)
        for p in document["paths"]
        if p.startswith(f"{path}/versions/")
    ]
    found += list(_fields(path, row, schema))
    found += list(_broken(document, path, row))
    found += [
        Case(f"GET {p}", "GET", p, 200)
        for p, said in document["paths"].items()
        if "get" in said and "{" not in p and "200" in said["get"]["responses"]
    ]
    return found


def _post(name: str, path: str, document: Any, status: int = 200, *, allowed: bool | None = None) -> Case:
    return Case(name, "POST", path, status, json.dumps(document).encode(), _JSON, document, allowed)


def _fields(path: str, row: Json, schema: Json) -> Iterator[Case]:
    """Ask every field with what the schema allows and forbids."""

    def good(what: str, name: str, value: Any) -> Case:
        return _post(f"{name} {what}", path, {**row, name: value}, allowed=True)

    def bad(what: str, name: str, value: Any) -> Case:
        return _post(f"{name} {what}", path, {**row, name: value}, 422, allowed=False)

    for name, field in schema["properties"].items():
        kinds = field["type"] if isinstance(field["type"], list) else [field["type"]]
        without = {k: v for k, v in row.items() if k != name}
        needed = name in schema["required"]
        without_it = _post(f"{name} left out", path, without, 422 if needed else 200, allowed=not needed)
        null = good("null", name, None) if "null" in kinds else bad("null", name, None)
        if (
            name == AS_OF
        ):  # without it a request is about now, and what the example asks for may lie in the past
            without_it, null = (replace(case, or_status=422) for case in (without_it, null))
        yield from (without_it, null)
        yield bad("an object", name, {"a": 1})
        whole = "integer" in kinds
        if (low := field.get("minimum")) is not None:
            yield good("at its minimum", name, low)
            yield bad("below its minimum", name, _beyond(low, -1, whole=whole))
        if (high := field.get("maximum")) is not None:
            yield good("at its maximum", name, high)
            yield bad("above its maximum", name, _beyond(high, 1, whole=whole))
        if "enum" in field:
            named = [v for v in field["enum"] if isinstance(v, str)]
            for value in named[:_ENUM]:
                yield good(f"= {value}", name, value)
            yield bad("none of its values", name, UNKNOWN_VALUE)
    yield _post("an unknown field", path, {**row, UNKNOWN_FIELD: 1}, 422, allowed=False)


def _beyond(limit: float, sign: int, *, whole: bool) -> float:
    """The nearest plain number on the wrong side of a limit."""
    return int(limit) + sign if whole else limit + sign * max(1.0, abs(limit) * 1e-6)


def _broken(document: Json, path: str, row: Json) -> Iterator[Case]:
    """Break the request as a whole."""
    text = json.dumps(row).encode()
    most = document["paths"][path]["post"]["requestBody"]["content"][_JSON]["schema"]["oneOf"][1]["maxItems"]
    yield Case("a cut body", "POST", path, 400, text[:-1])
    yield Case("an empty body", "POST", path, 400, b"")
    yield _post("an empty list", path, [], 422, allowed=False)
    yield _post("a number alone", path, 7, 422, allowed=False)
    yield _post("too many rows", path, [row] * (most + 1), 413, allowed=False)
    yield Case("another content type", "POST", path, 415, text, "text/csv")
    yield Case("no such model", "POST", f"{path}-no-such-model", 404, text)
    yield Case("another method", "GET", path, 405)


class Contract:
    """Judges answers by an OpenAPI document.

    Parameters
    ----------
    document
        What ``/openapi.json`` answers.
    model
        Whose requests are judged.
    """

    def __init__(self, document: Json, model: str) -> None:
        import jsonschema_rs

        self._document = document
        self._make: Any = jsonschema_rs.validator_for
        self._schemas: dict[str, Any] = {}
        self._request = self._validator(_content(document, model)["schema"])

    def judge(self, case: Case, status: int, content_type: str, body: bytes) -> str:
        """Say what is wrong with an answer; empty when nothing is."""
        if case.allowed is not None and self._request.is_valid(case.document) is not case.allowed:
            said = "forbids" if case.allowed else "allows"
            return f"the document {said} what must {'' if case.allowed else 'not '}be answered with 200"
        if status not in (case.status, case.or_status):
            return f"answered with {status}, not {case.status}: {body[:200].decode(errors='replace')}"
        path = case.path.partition("?")[0]
        operation = self._document["paths"].get(path, {}).get(case.method.lower())
        if (
            operation is None
        ):  # asked for what the document does not know: only the shape of the refusal is promised
            return self._mismatch({"$ref": "#/components/schemas/Problem"}, body)
        promised = operation["responses"].get(str(status))
        if promised is None:
            return f"the document does not know the status {status} at {path}"
        content = promised.get("content")
        if content is None:
            return ""
        if content_type not in content:
            return f"answered as {content_type}, promised {', '.join(content)}"
        schema = content[content_type].get("schema")
        return self._mismatch(schema, body) if content_type == _JSON else ""

    def _mismatch(self, schema: Json | None, body: bytes) -> str:
        if schema is None:
            return ""
        try:
            answer = json.loads(body)
        except ValueError:
            return f"answered with what is no JSON: {body[:200]!r}"
        fault = next(iter(self._validator(schema).iter_errors(answer)), None)
        return "" if fault is None else f"the answer is not as promised: {fault.message[:300]}"

    def _validator(self, schema: Json) -> Any:
        key = json.dumps(schema, sort_keys=True)
        if key not in self._schemas:
            self._schemas[key] = self._make({**schema, "components": self._document["components"]})
        return self._schemas[key]


def _content(document: Json, model: str) -> Any:
    return document["paths"][predict_path(model)]["post"]["requestBody"]["content"][_JSON]


def _row_schema(document: Json, model: str) -> Any:
    return _content(document, model)["schema"]["oneOf"][0]
