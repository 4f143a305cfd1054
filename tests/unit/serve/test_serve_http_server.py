from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from charter.serve.io import http_server
from charter.serve.io.http_server import Http1

POST = b"POST /x HTTP/1.1\r\nHost: x\r\n"


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body; of one that ends before it is whole, with nothing."""
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message["body"]
        more = message["more_body"]
    await asyncio.sleep(0.02)
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(body)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": body})


def talk(scene: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        loop = asyncio.get_running_loop()
        config = Config(echo, http=Http1, ws="none", lifespan="off", interface="asgi3", log_config=None)
        config.load()
        state = ServerState()
        server = await loop.create_server(lambda: Http1(config, state, {}, loop), "127.0.0.1", 0)
        async with server, asyncio.timeout(20):
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            try:
                return await scene(reader, writer)
            finally:
                writer.close()

    return asyncio.run(run())


async def answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:] if line)
    return int(head.split()[1]), await reader.readexactly(int(fields.get(b"content-length", b"0")))


def sized(body: bytes) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_many_large_requests_go_over_one_connection():
    async def scene(reader, writer):
        found = []
        for size in (10, 300_000, 70_000, 0, 200_000):
            writer.write(sized(b"a" * size))
            found.append(await answer(reader))
        return [(status, len(body)) for status, body in found]

    assert talk(scene) == [(200, 10), (200, 300_000), (200, 70_000), (200, 0), (200, 200_000)]


def test_requests_that_follow_at_once_are_answered_in_their_order():
    async def scene(reader, writer):
        writer.write(sized(b"one") + sized(b"two") + sized(b"three"))
        return [(await answer(reader))[1] for _ in range(3)]

    assert talk(scene) == [b"one", b"two", b"three"]


@pytest.mark.parametrize(
    ("sent", "status", "said"),
    [
        (b"GARBAGE\x00\r\n\r\n", 400, "not HTTP/1.1"),
        (POST + b"Content-Length: x\r\n\r\n", 400, "Content-Length"),
        (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n", 400, "Content-Length"),
        (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "Transfer-Encoding"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400, "chunk size"),
        (POST + b"X: " + b"a" * 400_000, 431, "longer than 65536 bytes"),
    ],
)
def test_what_is_no_http_is_refused_with_its_cause(sent, status, said):
    async def scene(reader, writer):
        writer.write(sent)
        found = await answer(reader)
        assert await reader.read() == b""  # closed, and not reset
        return found

    code, body = talk(scene)
    assert code == status
    assert said in json.loads(body)["error"]["message"]


def test_who_closes_the_sending_side_still_gets_an_answer():
    async def scene(reader, writer):
        writer.write(sized(b"whole"))
        writer.write_eof()
        return await answer(reader), await reader.read()

    assert talk(scene) == ((200, b"whole"), b"")


@pytest.mark.parametrize(
    ("sent", "said"), [(sized(b"12345")[:-2], "the body ended"), (POST, "its headers were whole")]
)
def test_a_request_that_is_cut_off_is_refused(sent, said):
    async def scene(reader, writer):
        writer.write(sent)
        writer.write_eof()
        return await answer(reader)

    status, body = talk(scene)
    assert (status, said in json.loads(body)["error"]["message"]) == (400, True)


def test_rubbish_behind_a_request_does_not_take_its_answer():
    async def scene(reader, writer):
        writer.write(sized(b"good") + b"\x00rubbish")
        return await answer(reader), await reader.read()

    assert talk(scene) == ((200, b"good"), b"")


def test_a_client_that_would_rather_speak_http_2_is_answered():
    async def scene(reader, writer):
        upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"
        writer.write(POST + upgrade + b"Content-Length: 2\r\n\r\nhi")
        return await answer(reader)

    assert talk(scene) == (200, b"hi")


@pytest.mark.parametrize("sent", [b"", POST + b"X-Slow: "])
def test_headers_that_never_end_are_not_waited_for(monkeypatch, sent):
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.2)

    async def scene(reader, writer):
        writer.write(sent)
        return await reader.read()

    assert talk(scene) == b""


def test_an_idle_connection_is_closed_only_when_it_was_idle_for_so_long(monkeypatch):
    monkeypatch.setattr(http_server, "HEADER_SECONDS", 0.3)

    async def scene(reader, writer):
        for _ in range(5):
            await asyncio.sleep(0.1)
            writer.write(sized(b"again"))
            assert await answer(reader) == (200, b"again")
        return await reader.read()

    assert talk(scene) == b""
