"""Sending hostile requests to a real server over real connections, and judging what comes back."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from charter.serve.hostile import FRAMING, Hostile

_EXCERPT = 200


@dataclass(slots=True)
class Findings:
    """What a server made of hostile requests.

    Attributes
    ----------
    outcomes
        Kind and status to how often; status 0 is a connection closed without an answer.
    faults
        Requests whose answer is none that a sound server gives, with what is wrong with it.
    slowest_s
        Longest time until an answer.
    """

    outcomes: Counter[tuple[str, int]] = field(default_factory=Counter)
    faults: list[tuple[Hostile, str]] = field(default_factory=list)
    slowest_s: float = 0.0


def attack(
    url: str, requests: Iterable[Hostile], *, connections: int = 8, patience_s: float = 60.0
) -> Findings:
    """Send requests and judge every answer.

    A sound server never answers 5xx, never leaves anybody waiting, answers good requests with 200 meanwhile, and says
    with every 4xx what is wrong. Where HTTP itself is broken (`charter.serve.hostile.FRAMING`) it may refuse without
    words or close.
    """
    findings = Findings()
    asyncio.run(_attack(url, iter(requests), findings, connections, patience_s))
    return findings


async def _attack(
    url: str, requests: Iterator[Hostile], findings: Findings, connections: int, patience_s: float
) -> None:
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(_Sender(place.hostname, place.port, findings, patience_s).send_all(requests))


class _Sender:
    """One connection at a time, opened anew whenever it was closed."""

    def __init__(self, host: str, port: int, findings: Findings, patience_s: float) -> None:
        self._host, self._port, self._findings, self._patience_s = host, port, findings, patience_s
        self._link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def send_all(self, requests: Iterator[Hostile]) -> None:
        loop = asyncio.get_running_loop()
        for request in requests:
            began = loop.time()
            try:
                async with asyncio.timeout(self._patience_s):
                    status, body = await self._send(request)
            except TimeoutError:
                self._findings.faults.append((request, f"no answer after {self._patience_s:g} seconds"))
                self._drop()
                continue
            self._findings.slowest_s = max(self._findings.slowest_s, loop.time() - began)
            self._findings.outcomes[request.kind, status] += 1
            if fault := judge(request, status, body):
                self._findings.faults.append((request, fault))
        self._drop()

    async def _send(self, request: Hostile) -> tuple[int, bytes]:
        reused = self._link is not None
        reader, writer = self._link or await asyncio.open_connection(self._host, self._port, limit=1 << 24)
        self._link = reader, writer
        try:
            writer.write(request.wire)
            # A server may refuse and close before it has read everything.
            await writer.drain()
            if request.ends:
                writer.write_eof()
        except OSError:
            if reused:
                self._drop()
                return await self._send(request)
        try:
            status, body, stays = await _answer(reader)
        except (OSError, asyncio.IncompleteReadError):
            self._drop()
            if reused:  # closed by the server before it saw this request
                return await self._send(request)
            return 0, b""
        if request.ends or not stays:
            self._drop()
        return status, body

    def _drop(self) -> None:
        if self._link is not None:
            self._link[1].close()
            self._link = None


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}
    body = await reader.readexactly(int(fields.get("content-length", "0")))
    return int(head[0].split()[1]), body, fields.get("connection", "").lower() != "close"


def judge(request: Hostile, status: int, body: bytes) -> str:
    """Say what is wrong with an answer; empty when nothing is.

    Examples
    --------
    >>> good = Hostile("good", "/predict", (), b"", b"")
    >>> judge(good, 503, b""), judge(good, 200, b"{}")
    ('answered with 503', '')
    """
    if request.kind in FRAMING and (status in (0, 400, 408, 413, 431) and not body):
        return ""
    if status == 0:
        return "closed without an answer"
    if status >= 500 or (request.kind == "good" and status != 200):
        return f"answered with {status}"
    try:
        said: Any = json.loads(body)
    except ValueError:
        return f"answered with {status} and what is no JSON: {body[:_EXCERPT]!r}"
    if status < 400:
        return ""
    error = said.get("error") if isinstance(said, dict) else None
    message = error.get("message") if isinstance(error, dict) else error
    return "" if isinstance(message, str) and message.strip() else f"answered with {status} without a cause"
