"""What a shadow costs: a server with a candidate that sees every request and one without, by turns.

    python benchmarks/serving/shadow_cost.py [--model FOLDER] [--seconds 5] [--rounds 6]

``FOLDER`` is a model that is released; without one, credit-risk is built as `compare.py` does. The candidate is the
champion's own package under another version, so it takes as much work as the champion. wrk runs beside the servers on
the same processors. Two loads: as many requests as a server answers (throughput), and a steady rate (latency). The two
servers run side by side and take turns under the load, the first of each pair changing, so that a slow minute hits
both; ratios are those of pairs: their median, and the range of their middle half.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import re
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import msgspec
from compare import STEADY_RATE, build, lines, released
from load import Load, closed_loop, processor_seconds, steady

from charter.registry.traffic import Traffic
from charter.serve.deployment import Deployment
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import Running, start

CONNECTIONS = 64
CANDIDATE = "candidate"
SETTINGS = ("alone", "shadow")


def serve(base: Deployment, setting: str, folder: Path, workers: int) -> Running:
    """Start a server, with a candidate that sees every request or without."""
    champion = base.models[0]
    models, traffic = (champion,), dict[str, Traffic]()
    if setting == "shadow":
        models = (champion, dataclasses.replace(champion, version=CANDIDATE))
        traffic = {champion.name: Traffic("shadow", champion.version, CANDIDATE)}
    folder.mkdir()
    write_deployment(folder / "deployment.json", Deployment(models, folder / "log", traffic))
    return start(folder / "deployment.json", workers=workers, log=folder / "server.log")


def counted(server: str) -> dict[str, float]:
    """Rows that the candidate has scored, failed on and not seen so far, and all that were answered."""
    with urlopen(f"{server}/metrics") as answer:
        text = answer.read().decode()
    found = re.findall(r"^charter_((?:shadow_\w+|predictions)_total)\{(.*)\} (\S+)$", text, re.MULTILINE)
    totals: dict[str, float] = {}
    for name, _, value in found:
        totals[name] = totals.get(name, 0.0) + float(value)
    return totals


def wait_for_candidate(server: str, url: str, body: bytes) -> None:
    """Ask until the candidate has seen a request."""
    deadline = time.monotonic() + 120
    while not counted(server).get("shadow_rows_total"):
        if time.monotonic() > deadline:
            raise SystemExit("the candidate does not start")
        with urlopen(Request(url, body, {"content-type": "application/json"})) as answer:
            answer.read()
        time.sleep(0.05)


def spread(values: Sequence[float], form: str) -> str:
    """Median and middle half."""
    low, middle, high = statistics.quantiles(values, n=4, method="inclusive")
    return f"{middle:{form}} ({low:{form}} to {high:{form}})"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        base, requests = released(given.model or build(Path(work)))
        bodies = [msgspec.json.encode(r) for r in requests]
        file = lines(Path(work) / "requests.jsonl", bodies)
        servers = {s: serve(base, s, Path(work) / s, given.workers) for s in SETTINGS}
        urls = {s: f"{running.url}/api/v1/predict/{base.models[0].name}" for s, running in servers.items()}
        try:
            wait_for_candidate(servers["shadow"].url, urls["shadow"], bodies[0])
            for url in urls.values():
                closed_loop(url, file, CONNECTIONS, 2)
            loads: dict[str, Callable[[str], Load]] = {
                f"{CONNECTIONS} connections": lambda url: closed_loop(url, file, CONNECTIONS, given.seconds),
                f"{STEADY_RATE}/s": lambda url: steady(url, bodies, rate=STEADY_RATE, seconds=given.seconds),
            }
            for name, load in loads.items():
                compare(name, load, servers, urls, given.rounds)
        finally:
            for running in servers.values():
                running.stop()


def compare(
    name: str, load: Callable[[str], Load], servers: dict[str, Running], urls: dict[str, str], rounds: int
) -> None:
    """Load the servers by turns, and print what the shadow costs."""
    results: dict[str, list[Load]] = {s: [] for s in SETTINGS}
    cpu_us: dict[str, list[float]] = {s: [] for s in SETTINGS}
    before = counted(servers["shadow"].url)
    for number in range(rounds):
        for setting in SETTINGS if number % 2 else reversed(SETTINGS):
            process = servers[setting].process.pid
            began = processor_seconds(process)
            found = load(urls[setting])
            results[setting].append(found)
            cpu_us[setting].append((processor_seconds(process) - began) / found.requests * 1e6)
            drain(servers["shadow"].url)
    after = counted(servers["shadow"].url)
    print(f"{name}, {rounds} pairs, median (middle half)")
    for setting, found in results.items():
        print(
            f"  {setting:<8}{statistics.median(f.rate for f in found):>9,.0f} requests/s"
            f"{statistics.median(f.p50_ms for f in found):>8.2f} ms p50"
            f"{statistics.median(f.p99_ms for f in found):>8.2f} ms p99"
            f"{statistics.median(cpu_us[setting]):>7.0f} us of processor{sum(f.errors for f in found):>4} errors"
        )
    pairs = list(zip(results["alone"], results["shadow"], strict=True))
    print(f"  throughput with a shadow / without: {spread([b.rate / a.rate for a, b in pairs], '.3f')}")
    print(f"  p99 with - without, ms: {spread([b.p99_ms - a.p99_ms for a, b in pairs], '+.2f')}")
    seen, dropped = (
        after.get(k, 0) - before.get(k, 0) for k in ("shadow_rows_total", "shadow_dropped_total")
    )
    print(
        f"  the candidate scored {seen / max(seen + dropped, 1):.0%} of {seen + dropped:,.0f} requests",
        flush=True,
    )


def drain(server: str) -> None:
    """Let the candidate finish what it has, so that it does not work while the other server is loaded."""
    last, deadline = -1.0, time.monotonic() + 60
    while time.monotonic() < deadline and (now := counted(server).get("shadow_rows_total", 0.0)) != last:
        last = now
        time.sleep(0.3)


if __name__ == "__main__":
    main()
