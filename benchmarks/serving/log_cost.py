"""What the prediction log and the profile counters cost: one server, four settings, by turns.

    python benchmarks/serving/log_cost.py .charter/deployment.json requests.jsonl

``deployment.json`` is written by ``charter serve``; ``requests.jsonl`` holds one request a line. Needs wrk, which runs
beside the server on the same processors. The settings take turns, so that a slow minute of the machine hits them all.
``rate`` and ``cpu`` (processor time of the server per request) are ratios to the server that neither logs nor counts.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import statistics
import tempfile
from pathlib import Path

from load import Load, closed_loop, processor_seconds

from charter.serve.deployment import Deployment
from charter.serve.io.loading import read_deployment, write_deployment
from charter.serve.io.server import start
from charter.serve.log_reader import scan
from charter.serve.policy import LogPolicy

SETTINGS = {
    "neither": None,
    "counters alone": LogPolicy("none"),
    "counters and relaxed log": LogPolicy("relaxed"),
    "counters and durable log": LogPolicy("durable"),
}


def run(
    base: Deployment,
    setting: str,
    requests: Path,
    workers: int,
    connections: int,
    seconds: float,
    log_on: Path,
) -> tuple[Load, float]:
    """Start a server with a setting, load it, and check that its log holds what it answered.

    Returns
    -------
    What the load found, and the server's processor time per request in microseconds.
    """
    policy = SETTINGS[setting]
    with tempfile.TemporaryDirectory(dir=log_on) as folder:
        log = Path(folder) / "log" if policy is not None else None
        models = [dataclasses.replace(m, log=policy or m.log) for m in base.models]
        deployment = dataclasses.replace(base, models=tuple(models), log=log)
        path = Path(folder) / "deployment.json"
        write_deployment(path, deployment)
        server = start(path, workers=workers, log=Path(folder) / "server.log")
        url = f"{server.url}/api/v1/predict/{models[0].name}"
        try:
            closed_loop(url, requests, connections, 1)
            before = processor_seconds(server.process.pid)
            found = closed_loop(url, requests, connections, seconds)
            cpu_us = (processor_seconds(server.process.pid) - before) / found.requests * 1e6
        finally:
            server.stop()
        if log is not None and policy is not None and policy.mode != "none":
            logged = scan(log).select("id").collect().height
            if logged < found.requests:
                raise SystemExit(f"{setting}: {logged} logged of {found.requests} answered")
    return found, cpu_us


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("requests", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--log-on", type=Path, default=Path.cwd(), help="A folder on the disk of the log.")
    given = parser.parse_args()
    base = read_deployment(given.deployment)
    results: dict[str, list[tuple[Load, float]]] = {setting: [] for setting in SETTINGS}
    for _ in range(given.rounds):
        for setting, runs in results.items():
            runs.append(
                run(base, setting, given.requests.absolute(), given.workers, given.connections, given.seconds,
                    given.log_on)
            )  # fmt: skip
    rates = {s: statistics.median(found.rate for found, _ in runs) for s, runs in results.items()}
    costs = {s: statistics.median(cpu_us for _, cpu_us in runs) for s, runs in results.items()}
    print(f"{given.workers} workers, {given.connections} connections, median of {given.rounds} rounds")
    print(
        f"{'':<26}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'rate':>8}{'cpu us':>8}{'cpu':>7}"
    )
    for setting, runs in results.items():
        p50, p99 = (statistics.median(getattr(found, k) for found, _ in runs) for k in ("p50_ms", "p99_ms"))
        errors = sum(found.errors for found, _ in runs)
        rate, cost = rates[setting] / rates["neither"], costs[setting] / costs["neither"]
        print(
            f"{setting:<26}{rates[setting]:>12,.0f}{p50:>9.1f}{p99:>9.1f}{errors:>8}{rate:>8.0%}"
            f"{costs[setting]:>8.0f}{cost:>7.0%}"
        )


if __name__ == "__main__":
    main()
