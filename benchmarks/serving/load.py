"""Load on a server: closed loops with wrk, an open loop at a steady rate, and the processor time that it all costs."""

from __future__ import annotations

import asyncio
import math
import os
import re
import selectors
import shutil
import subprocess
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True, slots=True)
class Load:
    """What a load found."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    errors: int

    @property
    def rate(self) -> float:
        """Requests a second."""
        return self.requests / self.seconds


def closed_loop(url: str, requests: Path, connections: int, seconds: float) -> Load:
    """Every connection sends its next request when it has the answer to the one before (wrk, one thread).

    Parameters
    ----------
    requests
        File with one JSON body a line.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        raise SystemExit("wrk is not installed")
    script = Path(__file__).with_name("predict.lua")
    argv = [
        wrk,
        "-t1",
        f"-c{connections}",
        f"-d{max(round(seconds), 1)}s",
        "--latency",
        "-s",
        str(script),
        url,
    ]
    told = subprocess.run(argv, env={**os.environ, "REQUESTS": str(requests)}, capture_output=True, text=True)
    found = re.search(r"RESULT (.*)", told.stdout)
    if found is None:
        raise SystemExit(f"wrk failed: {told.stdout}{told.stderr}")
    said = {k: float(v) for k, v in (pair.split("=") for pair in found[1].split())}
    errors = int(said["non2xx"] + said["socket"])
    return Load(int(said["requests"]), said["seconds"], said["p50_ms"], said["p99_ms"], errors)


def steady(url: str, bodies: Sequence[bytes], *, rate: float, seconds: float, connections: int = 32) -> Load:
    """So many requests a second, evenly, whether answers come or not; latency counts from when each was due."""
    # The usual loop wakes up on whole milliseconds, half of which would count as the server's.
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(selectors.SelectSelector())) as runner:
        return runner.run(_steady(url, bodies, rate, seconds, connections))


async def _steady(url: str, bodies: Sequence[bytes], rate: float, seconds: float, connections: int) -> Load:
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
    pairs = [await asyncio.open_connection(place.hostname, place.port) for _ in range(connections)]
    # The longest unused connection is next, so that all workers are asked.
    free = deque(pairs)
    latencies: list[float] = []
    errors = 0

    async def ask(body: bytes, due: float) -> None:
        nonlocal errors
        if not free:
            free.append(await asyncio.open_connection(place.hostname, place.port))
            pairs.append(free[-1])
        reader, writer = free.popleft()
        writer.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        answer = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = re.search(rb"content-length: *(\d+)", answer)
        await reader.readexactly(int(length[1]) if length else 0)
        latencies.append(time.perf_counter() - due)
        errors += not answer.startswith(b"http/1.1 200 ")
        free.append((reader, writer))

    tasks = []
    began = time.perf_counter() + 0.1
    for at in range(round(rate * seconds)):
        due = began + at / rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        tasks.append(asyncio.create_task(ask(bodies[at % len(bodies)], due)))
    await asyncio.gather(*tasks)
    ended = time.perf_counter()
    for _, writer in pairs:
        writer.close()
    latencies.sort()
    p50, p99 = (latencies[math.ceil(q * len(latencies)) - 1] * 1000 for q in (0.5, 0.99))
    return Load(len(latencies), ended - began, p50, p99, errors)


def processor_seconds(process: int) -> float:
    """Processor time of a process and all its descendants; unlike the rate, other programs do not change it much."""
    total, waiting = 0, [process]
    while waiting:
        pid = waiting.pop()
        try:
            stat = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
        total += int(stat[11]) + int(stat[12])
    return total / os.sysconf("SC_CLK_TCK")
