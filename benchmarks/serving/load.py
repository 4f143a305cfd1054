"""Load on a server: closed loops with wrk, an open loop at a steady rate, and the processor time that it all costs."""

from __future__ import annotations

import math
import os
import re
import select
import shutil
import socket
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
    """So many requests a second, evenly, whether answers come or not; latency counts from when each was due.

    It takes little of the processor from the server beside it: plain sockets, and no more Python than it takes.
    """
    place = urlsplit(url)
    head = f"POST {place.path} HTTP/1.1\r\nhost: {place.netloc}\r\ncontent-type: application/json\r\n"
    requests = [f"{head}content-length: {len(body)}\r\n\r\n".encode() + body for body in bodies]
    address = (place.hostname or "", place.port or 80)
    # The longest unused connection is next, so that all workers are asked.
    free = deque(_Link(address) for _ in range(connections))
    links, latencies, errors, asked = {link.socket: link for link in free}, [], 0, 0
    count = round(rate * seconds)
    began = time.perf_counter() + 0.1
    while len(latencies) < count:
        now = time.perf_counter()
        while asked < count and began + asked / rate <= now:
            if not free:
                free.append(_Link(address))
                links[free[0].socket] = free[0]
            free.popleft().ask(requests[asked % len(requests)], began + asked / rate)
            asked += 1
        wait = began + asked / rate - time.perf_counter() if asked < count else 10.0
        # Not epoll, which wakes up on whole milliseconds, half of which would count as the server's.
        for ready in select.select(links, (), (), max(wait, 0.0))[0]:
            link = links[ready]
            if status := link.read():
                latencies.append(time.perf_counter() - link.due)
                errors += status != 200
                free.append(link)
    ended = time.perf_counter()
    for link in links.values():
        link.socket.close()
    latencies.sort()
    p50, p99 = (latencies[math.ceil(q * len(latencies)) - 1] * 1000 for q in (0.5, 0.99))
    return Load(len(latencies), ended - began, p50, p99, errors)


class _Link:
    """A connection with one request at a time."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.socket = socket.create_connection(address, timeout=30)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.due = 0.0
        self._got = b""

    def ask(self, request: bytes, due: float) -> None:
        self.due, self._got = due, b""
        self.socket.sendall(request)

    def read(self) -> int:
        """Take what has come; the status once the answer is whole, 0 until then."""
        more = self.socket.recv(65_536)
        if not more:
            raise SystemExit("the server closed a connection")
        self._got += more
        head, end, body = self._got.partition(b"\r\n\r\n")
        if not end:
            return 0
        length = re.search(rb"content-length: *(\d+)", head.lower())
        return int(head[9:12]) if len(body) >= (int(length[1]) if length else 0) else 0


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
