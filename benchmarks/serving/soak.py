"""Minutes of steady load with version swaps and killed workers: few errors, no wrong answer, flat memory.

    python benchmarks/serving/soak.py MODEL_FOLDER [--minutes 10] [--rate 5000] [--swap-s 20] [--kill-s 60]
        [--workers 2] [--connections 64] [--log relaxed]

MODEL_FOLDER holds a released model. It is served in two versions in turn: as released, and with its scores turned
around, so that an answer of one version can never pass for one of the other. Every answer is compared with what the
scorer says in this process. The right answers are known before the load begins; the load is sent at the rate asked for,
whatever the answers take (open loop), by one process beside the server.

Exits with 1 unless: errors (requests without an answer of 200, those of a killed worker's connections included) are
below 0.1 %, no answer is wrong, memory of all the server's processes in the last minute is within 10 % of the second,
and the rate was held.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import signal
import sys
import tempfile
import time
from array import array
from collections import Counter, deque
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from charter.flow.serving import released, sample_requests
from charter.flow.workspace import Workspace
from charter.registry.io.packages import build, sign
from charter.registry.package import MANIFEST, SIGNATURE
from charter.registry.signing import Signer
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.loading import load_model, write_deployment
from charter.serve.io.server import Running, start

REQUESTS = 400
MOST_ERRORS = 0.001
MOST_GROWTH = 0.10
TICK_S = 0.002


class Answer(msgspec.Struct):
    """What of an answer is compared."""

    version: str
    score: float | None
    decision: str | None


@dataclass(slots=True)
class Tally:
    """What became of the requests."""

    sent: int = 0
    right: int = 0
    wrong: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    seconds: array[float] = field(default_factory=lambda: array("f"))
    versions: Counter[str] = field(default_factory=Counter)
    last_seen: dict[str, float] = field(default_factory=dict)


class Link(asyncio.Protocol):
    """One connection: one request at a time."""

    def __init__(self, load: Load) -> None:
        self._load, self._buffer, self._k, self._since = load, b"", -1, 0.0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._load.free.append(self)

    def ask(self, k: int, now: float) -> None:
        self._k, self._since = k, now
        self._transport.write(self._load.wires[k])

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = self._buffer[:end].lower()
        at = head.index(b"content-length:") + 15
        length = int(head[at:].split(b"\r\n", 1)[0])
        if len(self._buffer) < end + 4 + length:
            return
        body, self._buffer = self._buffer[end + 4 :], b""
        k, self._k = self._k, -1
        self._load.answered(k, int(head[9:12]), body, self._since)
        if b"connection: close" not in head:
            self._load.free.append(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self in self._load.free:
            self._load.free.remove(self)
        if self._k >= 0:
            self._load.tally.errors["connection lost"] += 1
            self._k = -1
        if not self._load.over:
            asyncio.get_running_loop().create_task(self._load.connect())


class Load:
    """Sends requests at a rate and compares what comes back."""

    def __init__(self, url: str, wires: list[bytes], expected: dict[str, list[Answer]], rate: float) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self.host, self.port = host, int(port)
        self.wires, self.expected, self.rate = wires, expected, rate
        self.tally, self.free, self.over = Tally(), deque[Link](), False
        self._decode = msgspec.json.Decoder(Answer).decode

    async def connect(self) -> None:
        loop = asyncio.get_running_loop()
        while not self.over:
            try:
                await loop.create_connection(lambda: Link(self), self.host, self.port)
            except OSError:
                await asyncio.sleep(0.01)
            else:
                return

    def answered(self, k: int, status: int, body: bytes, since: float) -> None:
        now = time.monotonic()
        self.tally.seconds.append(now - since)
        if status != 200:
            self.tally.errors[f"status {status}"] += 1
            return
        answer = self._decode(body)
        self.tally.versions[answer.version] += 1
        self.tally.last_seen[answer.version] = now
        right = answer == self.expected[answer.version][k]
        self.tally.right += right
        self.tally.wrong += not right

    async def run(self, seconds: float, connections: int) -> None:
        await asyncio.gather(*(self.connect() for _ in range(connections)))
        began = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            due = int((now - began) * self.rate) - self.tally.sent
            for _ in range(min(due, len(self.free))):
                self.free.popleft().ask(self.tally.sent % len(self.wires), now)
                self.tally.sent += 1
            await asyncio.sleep(TICK_S)
        await asyncio.sleep(1.0)
        self.over = True


# ---------------------------------------------------------------------------------------------------- two versions
def turned_around(model: DeployedModel, folder: Path) -> DeployedModel:
    """The same model as another version, with its scores the other way round; signed by a key of its own."""
    bundle = folder / "bundle"
    bundle.mkdir(parents=True)
    manifest = json.loads((model.package / MANIFEST).read_bytes())
    for file in model.package.iterdir():
        if file.name not in (MANIFEST, SIGNATURE):
            (bundle / file.name).write_bytes(file.read_bytes())
    scoring = json.loads((bundle / "scoring.json").read_bytes())
    if scoring["task"] != "binary":
        raise SystemExit("the soak turns the scores of a binary model around; this one is none")
    scoring["calibration"] = {"kind": "sigmoid", "a": -2.0, "b": 0.3}
    (bundle / "scoring.json").write_text(json.dumps(scoring))
    signer = Signer("soak", Ed25519PrivateKey.generate())
    build(
        bundle,
        {},
        folder / "package",
        name=manifest["name"],
        digests={},
        code_version=manifest["code_version"],
        environment=manifest["environment"],
    )
    sign(folder / "package", signer)
    return replace(
        model,
        version="v-other",
        package=folder / "package",
        trusted_keys={**model.trusted_keys, "soak": signer.public_key},
    )


def wire(name: str, body: bytes) -> bytes:
    head = f"POST /api/v1/predict/{name} HTTP/1.1\r\nHost: soak\r\nContent-Type: application/json\r\n"
    return head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body


# ------------------------------------------------------------------------------------------------------ disturbance
def workers(running: Running) -> list[int]:
    """Workers by age, the oldest first; not what the server has done beside, and what watches its resources."""
    parent = running.process.pid
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return sorted((int(p) for p in found if _is_worker(p)), key=_started)


def _is_worker(pid: str) -> bool:
    with suppress(OSError):  # it has just ended
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
        return b"spawn_main" in arguments or b"charter.serve.io.server" in arguments
    return False


def _started(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19])
    except OSError:
        return sys.maxsize


def megabytes(running: Running) -> float:
    total = 0
    for pid in [running.process.pid, *workers(running)]:
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except OSError:  # it was killed this moment
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


async def swap(path: Path, versions: list[Deployment], every_s: float, load: Load, lags: list[float]) -> None:
    """Let the other version serve, and see how long the former still answers."""
    turn = 0
    await asyncio.sleep(every_s)
    while True:
        old = versions[turn % 2].models[0].version
        turn += 1
        await asyncio.to_thread(write_deployment, path, versions[turn % 2])
        swapped = time.monotonic()
        await asyncio.sleep(every_s - 1.0)
        lags.append(load.tally.last_seen.get(old, swapped) - swapped)
        await asyncio.sleep(max(swapped + every_s - time.monotonic(), 0.0))


async def kill(running: Running, every_s: float, killed: list[int]) -> None:
    while True:
        await asyncio.sleep(every_s)
        oldest = workers(running)[0]
        os.kill(oldest, signal.SIGKILL)
        killed.append(oldest)


async def watch(running: Running, every_s: float, memory: list[tuple[float, float]]) -> None:
    began = time.monotonic()
    while True:
        with suppress(OSError):  # a worker ended between being listed and being looked at
            memory.append((time.monotonic() - began, await asyncio.to_thread(megabytes, running)))
        await asyncio.sleep(every_s)


async def disturbed(
    load: Load, running: Running, path: Path, versions: list[Deployment], given: Any
) -> dict[str, Any]:
    seconds = given.minutes * 60
    memory: list[tuple[float, float]] = []
    killed: list[int] = []
    lags: list[float] = []
    beside = [
        asyncio.create_task(swap(path, versions, given.swap_s, load, lags)),
        asyncio.create_task(kill(running, given.kill_s, killed)),
        asyncio.create_task(watch(running, 1.0, memory)),
    ]
    await load.run(seconds, given.connections)
    broken = [task.exception() for task in beside if task.done()]
    for task in beside:
        task.cancel()
    if broken:
        raise SystemExit(f"the disturbance broke: {broken}")
    window = min(60.0, seconds / 4)
    second = [mb for at, mb in memory if window <= at < 2 * window]
    last = [mb for at, mb in memory if seconds - window <= at < seconds]
    return {"killed": len(killed), "lags": lags, "second": np.mean(second), "last": np.mean(last)}


# ------------------------------------------------------------------------------------------------------------ report
def report(load: Load, seen: dict[str, Any], given: Any) -> bool:
    """Print the table; whether all of it holds."""
    tally, seconds = load.tally, given.minutes * 60
    errors = sum(tally.errors.values()) + (tally.sent - len(tally.seconds) - tally.errors["connection lost"])
    share, growth = errors / max(tally.sent, 1), seen["last"] / seen["second"] - 1
    rate = tally.sent / seconds
    latency = np.array(tally.seconds) * 1e3
    lines = [
        ("requests sent", f"{tally.sent:,}", "", True),
        ("rate, requests/s", f"{rate:,.0f}", f">= {0.98 * given.rate:,.0f}", rate >= 0.98 * given.rate),
        ("right answers", f"{tally.right:,}", "", True),
        ("wrong answers", f"{tally.wrong:,}", "0", tally.wrong == 0),
        ("errors", f"{errors:,} ({share:.4%})", f"< {MOST_ERRORS:.1%}", share < MOST_ERRORS),
        *((f"  {what}", f"{n:,}", "", True) for what, n in sorted(tally.errors.items())),
        ("answers by version", ", ".join(f"{v} {n:,}" for v, n in sorted(tally.versions.items())), "", True),
        ("swaps", f"{len(seen['lags'])}", "", True),
        ("  former version answered for, s", f"{max(seen['lags'], default=0):.2f} at most", "", True),
        ("workers killed", f"{seen['killed']}", "", True),
        ("memory in the second minute, MB", f"{seen['second']:,.0f}", "", True),
        ("memory in the last minute, MB", f"{seen['last']:,.0f} ({growth:+.1%})",
         f"<= {MOST_GROWTH:+.0%}", growth <= MOST_GROWTH),
        ("latency p50, p99, p99.9 ms", ", ".join(f"{np.percentile(latency, q):.1f}" for q in (50, 99, 99.9)), "", True),
    ]  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    print(f"{platform.machine()}, {cores} cores, Python {platform.python_version()}; {given.minutes:g} minutes, "
          f"{given.workers} workers, {given.connections} connections, log {given.log}")  # fmt: skip
    for name, found, wanted, holds in lines:
        print(f"{'  ' if holds else 'NO'} {name:<34} {found:<32} {wanted}")
    return all(holds for *_, holds in lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--swap-s", type=float, default=20)
    parser.add_argument("--kill-s", type=float, default=60)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--log", choices=["relaxed", "durable", "none"], default="relaxed")
    given = parser.parse_args(argv)
    workspace = Workspace.at(given.model)
    loaded = workspace.load()
    requests = [json.dumps(r).encode() for r in sample_requests(workspace, loaded, count=REQUESTS)]
    with tempfile.TemporaryDirectory() as folder:
        base, path = Path(folder), Path(folder) / "deployment.json"
        (first,) = released(workspace, loaded).models
        first = replace(first, log=replace(first.log, mode=given.log))
        models = [first, turned_around(first, base / "other")]
        expected = {}
        for model in models:
            served = load_model(model)
            expected[model.version] = [msgspec.json.decode(served.answer(r), type=Answer) for r in requests]
        versions = [Deployment((model,), base / "log") for model in models]
        write_deployment(path, versions[0])
        running = start(
            path,
            workers=given.workers,
            log=base / "server.log",
            timeout_s=300,
            options=["--compact-every-s", "60"],
        )
        load = Load(running.url, [wire(first.name, r) for r in requests], expected, given.rate)
        try:
            with asyncio.Runner(loop_factory=_loop()) as runner:
                seen = runner.run(disturbed(load, running, path, versions, given))
        finally:
            running.stop()
        holds = report(load, seen, given)
        if "Traceback" in (text := (base / "server.log").read_text()):
            print(text[:4000])
    return 0 if holds else 1


def _loop() -> Any:
    import uvloop

    return uvloop.new_event_loop


if __name__ == "__main__":
    sys.exit(main())
