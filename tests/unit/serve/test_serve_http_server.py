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


def talk(
    scene: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[Any]], app: Any = echo
) -> Any:
    async def run() -> Any:
        loop = asyncio.get_running_loop()
        config = Config(app, http=Http1, ws="none", lifespan="off", interface="asgi3", log_config=None)
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


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n"


@pytest.mark.parametrize(
    "body", [b"Content-Length: 2\r\n\r\nhi", b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"]
)
@pytest.mark.parametrize("cut", [0, len(POST), len(POST) + 40, -9, -1])
def test_a_client_that_would_rather_speak_http_2_is_answered(body, cut):
    async def scene(reader, writer):
        wished = POST + UPGRADE + body
        writer.write(sized(b"one") + wished[:cut])
        found = [await answer(reader)]
        writer.write(wished[cut:] + POST + UPGRADE + b"\r\n" + sized(b"last"))
        return [*found, *[await answer(reader) for _ in range(3)]]

    assert talk(scene) == [(200, b"one"), (200, b"hi"), (200, b""), (200, b"last")]


@pytest.mark.parametrize(
    ("behind", "closes"),
    [(POST + b"X: " + b"a" * 70_000, False), (POST, True), (b"\x00rubbish", False), (POST + b"X\x00", False)],
)
def test_what_is_amiss_behind_a_request_does_not_take_its_answer(monkeypatch, behind, closes):
    monkeypatch.setattr(http_server, "HEADER_BYTES", 40_000)
    got = asyncio.Event()

    async def slow(scope, receive, send):
        got.set()
        await echo(scope, receive, send)

    async def scene(reader, writer):
        writer.write(sized(b"good"))
        await got.wait()
        writer.write(behind)
        if closes:
            writer.write_eof()
        return await answer(reader), await reader.read()

    assert talk(scene, slow) == ((200, b"good"), b"")


def test_a_body_that_is_none_behind_a_request_is_refused_in_its_turn():
    async def scene(reader, writer):
        writer.write(sized(b"good") + POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n")
        return [await answer(reader), await answer(reader), await reader.read()]

    found = talk(scene)
    assert (found[0], found[1][0], found[2]) == ((200, b"good"), 400, b"")
    assert "chunk size" in json.loads(found[1][1])["error"]["message"]


@pytest.mark.parametrize("fields", [b"x: " + b"y" * 1000, b"x: y\r\n" * 170])
def test_fields_behind_a_body_are_not_taken_in_for_ever(monkeypatch, fields):
    monkeypatch.setattr(http_server, "HEADER_BYTES", 10_000)

    async def scene(reader, writer):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n")
        for _ in range(20):
            writer.write(fields)
            await asyncio.sleep(0)
        return (await answer(reader))[0], await reader.read()

    assert talk(scene) == (431, b"")


@pytest.mark.parametrize(("size", "fields", "more"), [(50_000, b"", True), (50, b"x: y\r\n" * 10_000, False)])
def test_what_comes_of_a_body_that_was_answered_early_is_bounded(monkeypatch, size, fields, more):
    monkeypatch.setattr(http_server, "_UNREAD_BYTES", 20_000)
    monkeypatch.setattr(http_server, "_LINGER_SECONDS", 0)

    async def early(scope, receive, send):
        await send({"type": "http.response.start", "status": 413, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def scene(reader, writer):
        framing = b"Transfer-Encoding: chunked" if fields else b"Content-Length: %d" % size
        writer.write(POST + framing + b"\r\n\r\n")
        first = await answer(reader)
        writer.write(b"0\r\n" + fields if fields else b"a" * size)
        if more:
            writer.write(sized(b""))
            return first, await answer(reader)
        return first, await reader.read()

    assert talk(scene, early) == ((413, b""), (413, b"") if more else b"")


def test_a_long_body_in_small_chunks_is_taken_in(monkeypatch):
    monkeypatch.setattr(http_server, "HEADER_BYTES", 60)

    async def scene(reader, writer):
        writer.write(POST + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(60):
            for piece in (b"1\r\n", b"a\r\n"):
                writer.write(piece)
                await asyncio.sleep(0)
        writer.write(b"0\r\n\r\n")
        return await answer(reader)

    assert talk(scene) == (200, b"a" * 60)


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
