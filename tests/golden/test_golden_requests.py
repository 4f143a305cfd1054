"""Wrong requests: a status, a field, a value, a rule; and the next good request is answered as before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from golden_support import CSV, golden, plain

from charter.flow.serving import deployment_file
from charter.flow.workspace import Workspace
from charter.serve.app import Application, ServerLimits
from charter.serve.io.loading import load_models, read_deployment

ROUTE = "/api/v1/predict/late-bills"
GOOD: dict[str, Any] = {"income": 2000, "debt": 100, "months_late": 1, "region": "north"}
JSON = {"content-type": "application/json"}


@pytest.fixture(scope="module")
def application(_built: Path) -> Iterator[Application]:
    workspace = Workspace.at(_built / "released")
    models = load_models(read_deployment(deployment_file(workspace, workspace.load())), max_rows=50)
    made = Application(models, limits=ServerLimits(body_bytes=20_000, rows=50), new_id=lambda: "request-1")
    made.ready = True
    yield made
    assert (_built / "released" / CSV).is_file()


def send(application: Application, method: str, path: str, **how: Any) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app=application)
        async with httpx.AsyncClient(transport=transport, base_url="http://charter") as client:
            return await client.request(method, path, **how)

    return asyncio.run(ask())


def but(**values: Any) -> bytes:
    """The good request with other values."""
    return json.dumps(GOOD | values).encode()


def without(name: str) -> bytes:
    return json.dumps({k: v for k, v in GOOD.items() if k != name}).encode()


BODIES: dict[str, tuple[int, bytes]] = {
    "unknown-field": (422, but(incom=1)),
    "missing-field": (422, without("income")),
    "null-where-not-allowed": (422, but(income=None)),
    "unknown-category": (422, but(region="nrth")),
    "text-for-a-number": (422, but(income="much")),
    "number-in-quotes": (422, but(income="2000")),
    "truth-for-a-number": (422, but(months_late=True)),
    "fraction-for-an-integer": (422, but(months_late=1.5)),
    "below-the-minimum": (422, but(income=-1)),
    "above-the-maximum": (422, but(months_late=13)),
    "list-for-a-value": (422, but(income=[2000])),
    "object-for-a-value": (422, but(region={"name": "north"})),
    "integer-too-large": (422, but(months_late=10**30)),
    "number-too-large": (422, b'{"income": 1e999, "debt": 1, "months_late": 1, "region": "north"}'),
    "nan": (400, b'{"income": NaN, "debt": 1, "months_late": 1, "region": "north"}'),
    "infinity": (400, b'{"income": -Infinity, "debt": 1, "months_late": 1, "region": "north"}'),
    "many-faults": (422, but(incom=1, income=None, months_late="x", region="nrth")),
    "repeated-key": (422, but()[:-1] + b', "income": 1}'),
    "empty-body": (400, b""),
    "empty-object": (422, b"{}"),
    "empty-list": (422, b"[]"),
    "only-null": (422, b"null"),
    "only-text": (422, b'"north"'),
    "list-of-numbers": (422, b"[1, 2]"),
    "fault-in-the-second-row": (422, json.dumps([GOOD, GOOD | {"region": "up"}]).encode()),
    "cut-off": (400, but()[:-5]),
    "trailing-comma": (400, b'{"income": 1,}'),
    "two-documents": (400, but() + but()),
    "form-instead-of-json": (400, b"income=2000&debt=100"),
    "deep-nesting": (400, b"[" * 5000 + b"]" * 5000),
    "deep-nesting-in-a-field": (400, b'{"income": ' + b"[" * 5000 + b"]" * 5000 + b"}"),
    "broken-utf-8": (400, b'{"region": "n\xf6rth"}'),
    "utf-16": (400, json.dumps(GOOD).encode("utf-16")),
    "lone-surrogate": (400, b'{"region": "\\ud800"}'),
    "too-many-rows": (413, json.dumps([{"income": 1}] * 51).encode()),
    "huge": (413, b'{"region": "' + b"x" * 20_000 + b'"}'),
    "long-value": (422, but(region="north " * 200)),
    "markup-in-a-field": (422, but(**{"<script>alert(1)</script>": 1})),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
def test_a_wrong_body_is_refused_with_field_value_and_rule(name: str, application: Application) -> None:
    status, body = BODIES[name]
    check(application, name, status, send(application, "POST", ROUTE, content=body, headers=JSON))


CALLS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "wrong-content-type": (415, "POST", ROUTE, {"content": but(), "headers": {"content-type": "text/csv"}}),
    "no-content-type": (415, "POST", ROUTE, {"content": but()}),
    "form": (415, "POST", ROUTE, {"data": {"income": "2000"}}),
    "file": (415, "POST", ROUTE, {"files": {"rows": b"income,debt"}}),
    "wrong-method": (405, "GET", ROUTE, {}),
    "delete": (405, "DELETE", ROUTE, {}),
    "wrong-method-elsewhere": (405, "POST", "/healthz", {"json": {}}),
    "unknown-model": (404, "POST", "/api/v1/predict/late-bill", {"json": GOOD}),
    "no-model": (404, "POST", "/api/v1/predict/", {"json": GOOD}),
    "model-in-a-folder": (404, "POST", "/api/v1/predict/../../etc/passwd", {"json": GOOD}),
    "unknown-path": (404, "GET", "/api/v1/model", {}),
    "unknown-parameter": (422, "POST", f"{ROUTE}?explian=true", {"json": GOOD}),
    "wrong-parameter": (422, "POST", f"{ROUTE}?explain=maybe", {"json": GOOD}),
    "length-that-is-no-number": (
        400, "POST", ROUTE, {"content": but(), "headers": JSON | {"content-length": "many"}}),
    "length-that-is-too-large": (
        413, "POST", ROUTE, {"content": b"{}", "headers": JSON | {"content-length": "9" * 30}}),
    "packed-body": (
        415, "POST", ROUTE, {"content": b"\x1f\x8b\x08\x00abc", "headers": JSON | {"content-encoding": "gzip"}}),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_a_wrong_call_is_refused_with_the_right_status(name: str, application: Application) -> None:
    status, method, path, how = CALLS[name]
    check(application, name, status, send(application, method, path, **how))


def test_a_huge_request_in_pieces_is_not_read_to_its_end(application: Application) -> None:
    sent = []

    async def pieces() -> Any:
        for _ in range(1000):
            sent.append(1)
            yield b"[" + b" " * 1000

    answer = send(application, "POST", ROUTE, content=pieces(), headers=JSON)
    check(application, "huge-in-pieces", 413, answer)


def check(application: Application, name: str, status: int, answer: httpx.Response) -> None:
    """Compare the answer, and see that a good request is answered as ever."""
    text = json.dumps(answer.json(), ensure_ascii=False, indent=2)
    allowed = ", ".join(sorted(answer.headers.get("allow", "").split(", ")))
    allowed = f"\nallow: {allowed}" if allowed else ""
    text = plain(text)
    golden(f"http-{name}", f"HTTP {answer.status_code} {answer.headers['content-type']}{allowed}\n{text}")
    assert answer.status_code == status
    assert "Traceback" not in text
    good = send(application, "POST", ROUTE, content=but(), headers=JSON)
    assert good.status_code == 200
    assert good.json()["model"] == "late-bills"
    assert 0 < good.json()["score"] < 1
