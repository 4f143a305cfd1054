"""Thousands of generated requests against a real server; ``benchmarks/serving/hostile.py`` sends a hundred thousand."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD

from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.hostile import FRAMING, KINDS, Hostile, hostile
from charter.serve.io.attack import Findings, attack, judge
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import start

REQUESTS = 2_000
GOODS = {
    "/api/v1/predict/credit-test": GOOD,
    "/invocations": {"dataframe_records": [GOOD]},
    "/v2/models/credit-test/infer": {
        "inputs": [
            {"name": name, "shape": [1], "datatype": datatype, "data": [GOOD[name]]}
            for name, datatype in (
                ("limit", "FP64"),
                ("late", "INT64"),
                ("grade", "BYTES"),
                ("city", "BYTES"),
                ("bill", "FP64"),
                ("online", "BOOL"),
                ("joined", "BYTES"),
            )
        ]
    },
}


@pytest.fixture(scope="module")
def url(credit, tmp_path_factory):
    base = tmp_path_factory.mktemp("hostile")
    signer = Signer("ann", Ed25519PrivateKey.generate())
    build(credit.folder, {}, base / "p", name="credit-test", digests={}, code_version="0", environment={})
    sign(base / "p", signer)
    model = DeployedModel("credit-test", "v1", base / "p", {}, {"ann": signer.public_key})
    write_deployment(base / "d.json", Deployment((model,), base / "log"))
    running = start(base / "d.json", log=base / "server.log")
    yield running.url
    assert running.stop() == 0
    text = Path(base / "server.log").read_text()
    assert "Traceback" not in text, text[-3000:]


def told(findings: Findings) -> str:
    return "\n".join(f"{fault}: {r.kind}: {r.wire[:300]!r}" for r, fault in findings.faults[:10])


def test_no_generated_request_breaks_a_server(url):
    requests = list(hostile(GOODS, seed=20261122, count=REQUESTS))
    before = httpx.post(f"{url}/api/v1/predict/credit-test", json=GOOD).json()
    findings = attack(url, requests)
    assert not findings.faults, told(findings)
    assert sum(findings.outcomes.values()) == REQUESTS
    kinds = Counter(r.kind for r in requests)
    assert {"good", *KINDS, *FRAMING} == set(kinds)
    assert findings.outcomes["good", 200] == kinds["good"] >= REQUESTS // 20
    assert {status for _, status in findings.outcomes} == {200, 400, 413, 415, 422}
    after = httpx.post(f"{url}/api/v1/predict/credit-test", json=GOOD).json()
    assert (after["score"], after["decision"]) == (before["score"], before["decision"])


def test_the_same_seed_gives_the_same_requests():
    first, second = ([r.wire for r in hostile(GOODS, seed, 150)] for seed in (3, 3))
    assert first == second
    assert first != [r.wire for r in hostile(GOODS, 4, 150)]


@pytest.mark.parametrize(
    ("kind", "status", "body", "fault"),
    [
        ("missing", 500, b"", "answered with 500"),
        ("good", 422, b"{}", "answered with 422"),
        ("missing", 0, b"", "closed without an answer"),
        ("missing", 422, b"<html>", "what is no JSON"),
        ("missing", 422, b'{"error": {"message": " "}}', "without a cause"),
        ("missing", 422, b"[]", "without a cause"),
        ("missing", 422, b'{"error": "age is missing"}', ""),
        ("missing", 200, b"[]", ""),
        ("cut connection", 0, b"", ""),
        ("two lengths", 400, b"", ""),
        ("two lengths", 500, b"", "answered with 500"),
    ],
)
def test_answers_are_judged(kind, status, body, fault):
    found = judge(Hostile(kind, "/", (), b"", b""), status, body)
    assert fault in found
    assert bool(found) == bool(fault)


def test_requests_are_what_they_say():
    for request in hostile(GOODS, 5, 400):
        if request.kind == "cut body":
            with pytest.raises(json.JSONDecodeError):
                json.loads(request.body)
        if request.kind == "cut connection":
            assert int(request.framing.split()[1]) > len(request.body)
