"""A steady load: requests at fixed moments, whatever the server makes of those before.

Each request is due at its moment, and its time counts from then. A generator that sends the next request only when the
last one was answered would slow down with the server and not see how long others would have waited (coordinated
omission: G. Tene, *How NOT to Measure Latency*, 2013).
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

PATIENCE_S = 10.0
_TICK_S = 0.01


@dataclass(slots=True)
class Load:
    """What came of a load.

    Attributes
    ----------
    milliseconds
        Of each answered request, from the moment it was due, in the order of the answers.
    statuses
        Status to how often; 0 is no answer.
    seconds
        From the first request due to the last answer.
    offered
        Requests that were due.
    """

    offered: int = 0
    seconds: float = 0.0
    milliseconds: list[float] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    bodies: list[tuple[float, bytes]] = field(default_factory=list)
    """Seconds since the start and the answer, where they are kept."""
    late_share: float = 0.0
    """Share of its time by which a clock beside the sender woke later than it asked: the machine was that crowded."""
    stalled_s: float = 0.0
    """Longest time for which nothing of this process ran at all."""

    @property
    def errors(self) -> int:
        """Requests that were not answered with 200."""
        return self.offered - self.statuses[200]

    def quantile_ms(self, share: float) -> float:
        """Time within which a share of the requests was answered (nearest rank); not a number when none was.

        Examples
        --------
        >>> Load(milliseconds=[1.0, 2.0, 3.0, 4.0]).quantile_ms(0.5)
        2.0
        """
        if not self.milliseconds:
            return float("nan")
        ranked = sorted(self.milliseconds)
        return ranked[max(0, math.ceil(len(ranked) * share) - 1)]


def steady(
    url: str,
    path: str,
    bodies: Sequence[bytes],
    *,
    per_second: float,
    seconds: float,
    connections: int = 16,
    keep: bool = False,
    until: Callable[[], bool] = lambda: False,
) -> Load:
    """Send requests at a steady rate.

    Parameters
    ----------
    bodies
        Taken in turn.
    connections
        At most so many requests are under way; when all are, the next one waits, and its time runs.
    keep
        Keep the answers.
    until
        Asked before each request; true ends the load early.
    """
    place = urlsplit(url)
    assert place.hostname is not None
    assert place.port is not None
    wires = [_wire(path, body) for body in bodies]
    load = Load()
    asyncio.run(
        _steady(place.hostname, place.port, wires, load, per_second, seconds, connections, keep, until)
    )
    return load


def _wire(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: charter\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


async def _steady(
    host: str,
    port: int,
    wires: Sequence[bytes],
    load: Load,
    per_second: float,
    seconds: float,
    connections: int,
    keep: bool,
    until: Callable[[], bool],
) -> None:
    loop = asyncio.get_running_loop()
    began, total = loop.time(), max(1, round(per_second * seconds))
    numbers = iter(range(total))

    async def sender() -> None:
        link: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        for number in numbers:
            due = began + number / per_second
            await asyncio.sleep(max(0.0, due - loop.time()))
            if until():
                break
            load.offered += 1
            try:
                async with asyncio.timeout(PATIENCE_S):
                    if link is None:
                        link = await asyncio.open_connection(host, port)
                    status, body = await _exchange(link, wires[number % len(wires)])
            except (OSError, ValueError, asyncio.IncompleteReadError):  # a timeout is an OSError
                status, body = 0, b""
            load.statuses[status] += 1
            if status:
                load.milliseconds.append((loop.time() - due) * 1000)
                if keep:
                    load.bodies.append((loop.time() - began, body))
            elif link is not None:
                link[1].close()
                link = None
        if link is not None:
            link[1].close()

    async def witness() -> None:
        lost = 0.0
        while True:
            wanted = loop.time() + _TICK_S
            await asyncio.sleep(_TICK_S)
            late = loop.time() - wanted
            lost += late
            load.stalled_s = max(load.stalled_s, late)
            load.late_share = lost / max(loop.time() - began, _TICK_S)

    beside = asyncio.create_task(witness())
    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(connections):
                group.create_task(sender())
    finally:
        beside.cancel()
    load.seconds = loop.time() - began


async def _exchange(
    link: tuple[asyncio.StreamReader, asyncio.StreamWriter], wire: bytes
) -> tuple[int, bytes]:
    reader, writer = link
    writer.write(wire)
    await writer.drain()
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
    return int(head[0].split()[1]), await reader.readexactly(int(fields.get("content-length", "0")))
