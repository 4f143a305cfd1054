"""The contract test: a sound server passes it, and every lie of document or server is found."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from serve_models import Example

from charter.serve.contract import Case, Contract, cases, goods, predict_path
from charter.serve.oip import model_metadata
from charter.serve.openapi import openapi
from charter.serve.problem import Refused
from charter.serve.served import Served

MOST = 20
NAME = "credit-test"


@pytest.fixture(scope="module")
def served(credit: Example) -> Served:
    return Served(NAME, "v1", credit.scorer(), max_rows=MOST)


@pytest.fixture(scope="module")
def document(served: Served) -> dict[str, Any]:
    return json.loads(json.dumps(openapi([served], MOST)))


def asked(document: dict[str, Any], served: Served) -> list[Case]:
    """Cases of the prediction route that a model answers without a server."""
    made = cases(document, NAME, model_metadata(served, ["v1"]))
    path = predict_path(NAME)
    return [
        c for c in made if c.path.partition("?")[0] == path and c.body and c.content_type.endswith("json")
    ]


def reply(served: Served, case: Case) -> tuple[int, bytes]:
    assert case.body is not None
    try:
        return 200, served.answer(case.body, explain="explain" in case.path, request_id="r")
    except Refused as error:
        return error.status, json.dumps(error.to_json()).encode()


def faults(document: dict[str, Any], served: Served, change: Callable[[bytes], bytes] = bytes) -> list[str]:
    judge = Contract(document, NAME)
    told = []
    for case in asked(document, served):
        status, body = reply(served, case)
        if fault := judge.judge(case, status, "application/json", change(body)):
            told.append(f"{case.name}: {fault}")
    return told


def test_a_sound_model_keeps_its_contract(document: dict[str, Any], served: Served) -> None:
    made = asked(document, served)
    assert len(made) > 35
    assert {200, 400, 413, 422} == {case.status for case in made}
    assert faults(document, served) == []


def test_every_protocol_gets_a_good_request(document: dict[str, Any], served: Served) -> None:
    assert len(goods(document, NAME, model_metadata(served, ["v1"]))) == 3


@pytest.mark.parametrize(
    ("field", "change", "named"),
    [
        ("late", {"maximum": 5}, "late above its maximum: answered with 200, not 422"),
        ("late", {"minimum": -9}, "late at its minimum: answered with 422, not 200"),
        ("grade", {"enum": ["1", "2", "3", "4"]}, "grade = 4: answered with 422, not 200"),
        ("limit", {"type": ["number", "null"]}, "limit null: answered with 422, not 200"),
    ],
)
def test_a_document_that_promises_something_else_is_found(
    document: dict[str, Any], served: Served, field: str, change: dict[str, Any], named: str
) -> None:
    lying = copy.deepcopy(document)
    content = lying["paths"][predict_path(NAME)]["post"]["requestBody"]["content"]["application/json"]
    for schema in (content["schema"]["oneOf"][0], content["schema"]["oneOf"][1]["items"]):
        schema["properties"][field] |= change
    assert any(fault.startswith(named) for fault in faults(lying, served))


def test_answers_of_another_shape_are_found(document: dict[str, Any], served: Served) -> None:
    found = faults(document, served, lambda body: body.replace(b'"version"', b'"edition"'))
    assert any("the answer is not as promised" in fault for fault in found)
    found = faults(document, served, lambda body: body.replace(b'"message"', b'"text"'))
    assert any("below its minimum" in fault for fault in found)
    assert any("no JSON" in fault for fault in faults(document, served, lambda body: b"<html>"))


def test_a_status_or_a_type_that_nobody_promised_is_found(document: dict[str, Any]) -> None:
    judge, path = Contract(document, NAME), predict_path(NAME)
    assert "does not know the status 418" in judge.judge(Case("x", "POST", path, 418), 418, "text/html", b"")
    assert "answered as text/html" in judge.judge(Case("x", "POST", path, 200), 200, "text/html", b"")
