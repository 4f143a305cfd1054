"""Bodies that come slowly, in pieces, or say something twice."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from serve_models import GOOD, call

from charter.serve import bodies
from charter.serve.app import Application, ServerLimits
from charter.serve.problem import Refused
from charter.serve.served import Served
from charter.serve.strict import may_repeat, refuse_repeated

BODY = json.dumps(GOOD).encode()


def scope(length: int | None = len(BODY)) -> dict[str, Any]:
    fields = [(b"content-type", b"application/json"), (b"host", b"x")]
    if length is not None:
        fields.append((b"content-length", str(length).encode()))
    return {
        "type": "http", "method": "POST", "path": "/api/v1/predict/credit-test", "query_string": b"",
        "headers": fields,
    }  # fmt: skip


async def ask(application: Application, receive, **given) -> tuple[int, dict[bytes, bytes], bytes]:
    sent: list[dict[str, Any]] = []

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await asyncio.create_task(application(scope(**given), receive, send))
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


@pytest.fixture
def quick(credit, monkeypatch) -> Application:
    monkeypatch.setattr(bodies, "_LOOK_SECONDS", 0.02)
    return Application([Served("credit-test", "v1", credit.scorer())], limits=ServerLimits(body_s=0.1))


def test_who_trickles_a_body_is_refused_and_the_others_are_answered(quick):
    async def trickle() -> dict[str, Any]:
        await asyncio.sleep(0.03)
        return {"type": "http.request", "body": b" ", "more_body": True}

    async def whole() -> dict[str, Any]:
        return {"type": "http.request", "body": BODY, "more_body": True}

    async def scenario():
        slow = asyncio.create_task(ask(quick, trickle, length=None))
        silent = asyncio.create_task(ask(quick, asyncio.Event().wait))
        answers = []
        while not slow.done() or not silent.done():
            answers.append(await ask(quick, whole))
        return await slow, await silent, answers

    slow, silent, answers = asyncio.run(scenario())
    for status, fields, content in (slow, silent):
        assert (status, fields[b"connection"]) == (408, b"close")
        assert "was not whole after 0.1 seconds" in json.loads(content)["error"]["message"]
    assert {status for status, _, _ in answers} == {200}
    assert b'charter_errors_total{model="credit-test",rule="slow body"}' in quick.metrics.text()


def test_a_cancelled_request_stays_cancelled(quick):
    async def scenario():
        asked = asyncio.create_task(ask(quick, asyncio.Event().wait))
        await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked

    asyncio.run(scenario())


def test_a_real_server_refuses_what_is_too_large_and_its_workers_end_with_it(credit, tmp_path):
    from test_serve_follow import deploy

    from charter.registry.io.packages import build, sign
    from charter.serve.deployment import DeployedModel
    from charter.serve.io.server import start

    signer = _signer()
    build(credit.folder, {}, tmp_path / "p", name="credit-test", digests={}, code_version="0", environment={})
    sign(tmp_path / "p", signer)
    deploy(
        tmp_path / "d.json",
        DeployedModel("credit-test", "v1", tmp_path / "p", {}, {"ann": signer.public_key}),
    )
    running = start(tmp_path / "d.json", log=tmp_path / "log")
    try:
        host, port = running.url.removeprefix("http://").split(":")
        head = b"POST /api/v1/predict/credit-test HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        with socket.create_connection((host, int(port)), timeout=60) as link:
            link.sendall(head + b"Content-Length: 20000000\r\n\r\n" + b" " * 20_000_000)
            assert link.recv(4000).startswith(b"HTTP/1.1 413")
        with socket.create_connection((host, int(port)), timeout=60) as link:
            link.sendall(head + b"X-Long: " + b"a" * 200_000 + b"\r\n\r\n")
            assert link.recv(100).startswith(b"HTTP/1.1 431")
        with socket.create_connection((host, int(port)), timeout=60) as link:
            for _ in range(3):  # answered as soon as the declared length is there, again and again
                link.sendall(head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY[:10])
                time.sleep(0.05)
                link.sendall(BODY[10:])
                answer = link.recv(4000)
                while not answer.endswith(b"}"):  # head and body may come in two pieces
                    answer += link.recv(4000)
                assert answer.startswith(b"HTTP/1.1 200")
        parent = running.process.pid
        workers = [
            Path(f"/proc/{p}") for p in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        ]
        running.process.kill()
        running.process.wait()
        deadline = time.monotonic() + 30
        while any(map(_runs, workers)) and time.monotonic() < deadline:  # nobody watches over them any more
            time.sleep(0.05)
        assert not any(map(_runs, workers))
    finally:
        running.stop()
    assert "Traceback" not in (tmp_path / "log").read_text()


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def _signer():
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    from charter.registry.signing import Signer

    return Signer("ann", Ed25519PrivateKey.generate())


@pytest.mark.parametrize(
    "body",
    [
        BODY[:-1] + b', "limit": 5}',
        b"[" + BODY + b"," + BODY[:-1] + b', "city": "x", "city": "y"}]',
        json.dumps({k: v for k, v in GOOD.items() if k != "city"}).encode()[:-1] + b', "late": 1}',
        BODY.replace(b'"late"', b'"\\u006cate"')[:-1] + b', "late": 1}',
        json.dumps({**GOOD, "city": "a:b"}).encode().replace(b"a:b", b"a\\u003ab")[:-1] + b', "late": 1}',
        b'{"late": 1, "late": "x"}',
    ],
)
def test_a_key_that_stands_twice_is_named(application, body):
    status, _, content = call(application, body=body)
    error = json.loads(content)["error"]
    assert (status, error["rule"]) == (422, "repeated")
    assert error["message"].startswith(f"{error['field']} stands twice in one object")
    status, _, content = call(
        application, "/invocations", b'{"dataframe_records": [' + body.strip(b"[]") + b"]}"
    )
    assert status in (404, 422)  # several models are served here, so the address names none


def test_keys_that_stand_once_are_read_however_odd_the_values(application):
    for changes in ({"city": ':::: \\ " {'}, {"city": None}, {"bill": None}, {"city": "a: 1, b: 2"}):
        status, _, content = call(application, body=json.dumps({**GOOD, **changes}).encode())
        assert status == 200, content


def test_the_quick_look_never_misses_a_repeated_key():
    chance = random.Random(7)
    names, words = ["a", "b", "c:d", "e"], [":", "x", "\\", "", "a:b:c"]
    for _ in range(3000):
        keys = [chance.choice(names) for _ in range(chance.randint(0, 5))]
        values = [chance.choice([1, None, chance.choice(words)]) for _ in keys]
        text = ",".join(f"{json.dumps(k)}:{json.dumps(v)}" for k, v in zip(keys, values, strict=True))
        last = dict(zip(keys, values, strict=True))
        row = tuple(last.get(name) for name in names)
        body = b"{" + text.encode() + b"}"
        if len(last) < len(keys):
            assert may_repeat(body, [row], range(len(names)))
            with pytest.raises(Refused, match="stands twice"):
                refuse_repeated(body)
        else:
            refuse_repeated(body)
