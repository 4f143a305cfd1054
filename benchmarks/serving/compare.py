"""Charter's server beside MLServer and MLflow, on one model, in one run.

    python benchmarks/serving/compare.py [--peers VENV/bin/python] [--model FOLDER] [--seconds 6]
        [--connections 64 256] [--workers 2]

Without ``--model`` the reference system credit-risk is built in a temporary folder first (two minutes): with the limit
of its fairness gate relaxed, as its README explains, and released without signatures. It is then served with everything
that its specification asks for (checks, features, model, calibration, decision, reasons, warnings, profile counters,
metrics) under each policy of the prediction log, one after the other, and the peers after it. wrk runs beside the
server on the same processors.

The peers need an environment of their own:

    python3 -m venv peers && peers/bin/pip install mlserver mlserver-lightgbm mlflow lightgbm
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from load import Load, closed_loop, processor_seconds, steady
from peers import Peer, mlflow, mlflow_body, mlserver, mlserver_body

from charter.serve.deployment import Deployment
from charter.serve.io.loading import load_model, write_deployment
from charter.serve.io.server import start
from charter.serve.policy import LogPolicy

REQUESTS = 2000
MODES = ("relaxed", "durable", "none")
STEADY_RATE = 500
WARM_UP_SECONDS = 2
PROGRAM = "from charter.cli.main import main; main()"


def build(folder: Path) -> Path:
    """Build credit-risk so that it is released."""
    model = folder / "credit-risk"
    _charter("init", model, "--from", "credit-risk")
    path = model / "model.yaml"
    text = path.read_text()
    for before, after in (
        ('equal_opportunity_difference: "<= 0.03"', 'equal_opportunity_difference: "<= 0.10"'),
        ("approve: six-stage", "approve: none"),
    ):
        if before not in text:
            raise SystemExit(f"credit-risk has no line {before!r} any more")
        text = text.replace(before, after)
    path.write_text(text)
    _charter("apply", model)
    return model


def _charter(*arguments: str | Path) -> None:
    subprocess.run([sys.executable, "-c", PROGRAM, *map(str, arguments)], check=True)


def released(model: Path) -> tuple[Deployment, list[dict[str, object]]]:
    """What a model folder has released, and held-out rows as requests."""
    from charter.flow.serving import released, sample_requests
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(model)
    loaded = workspace.load()
    return released(workspace, loaded), sample_requests(workspace, loaded, count=REQUESTS)


def matrix(deployment: Deployment, bodies: list[bytes]) -> tuple[list[str], list[list[float | None]]]:
    """The rows as the model sees them, which is what the peers get, and the names of their columns."""
    served = load_model(deployment.models[0])
    rows = [served.decoder.decode(body).rows[0] for body in bodies]
    X = served.scorer.numbers(served.decoder.frame(rows)).X.astype(float)
    names = [name.replace("=", " ") for name in served.scorer.preprocessor.names]
    return names, [[None if np.isnan(value) else value for value in row] for row in X.tolist()]


@contextmanager
def charter(deployment: Deployment, mode: str, folder: Path, workers: int) -> Iterator[Peer]:
    """Our server under a policy of the log."""
    models = [dataclasses.replace(m, log=LogPolicy(mode)) for m in deployment.models]  # type: ignore[arg-type]
    folder.mkdir()
    path = folder / "deployment.json"
    write_deployment(path, dataclasses.replace(deployment, models=tuple(models), log=folder / "log"))
    running = start(path, workers=workers, log=folder / "server.log")
    try:
        yield Peer(f"Charter, log {mode}", f"{running.url}/api/v1/predict/{models[0].name}", running.process)
    finally:
        running.stop()


def lines(path: Path, bodies: list[bytes]) -> Path:
    """Write bodies one a line, as wrk's script reads them."""
    path.write_bytes(b"\n".join(bodies) + b"\n")
    return path


HEAD = f"{'':<26}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'cpu us':>8}"


def show(name: str, connections: str, found: Load, cpu_us: float) -> None:
    """Print a line of the table; ``cpu us`` is the server's processor time per request."""
    print(
        f"{name:<26}{connections:>12}{found.rate:>12,.0f}{found.p50_ms:>9.2f}{found.p99_ms:>9.2f}"
        f"{found.errors:>8}{cpu_us:>8.0f}",
        flush=True,
    )


def measured(peer: Peer, load: Callable[[], Load]) -> tuple[Load, float]:
    """A load, and the processor time per request that it cost the server, in microseconds."""
    before = processor_seconds(peer.process.pid)
    found = load()
    spent = processor_seconds(peer.process.pid) - before
    return found, spent / max(found.requests, 1) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--peers", type=Path, help="Python of the peers' environment; without it only Charter runs"
    )
    parser.add_argument(
        "--model", type=Path, help="folder of a released model, instead of building credit-risk"
    )
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--connections", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=list(MODES))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:  # on a disk, where durable means something
        folder = Path(name)
        deployment, requests = released(given.model or build(folder))
        bodies = [json.dumps(request).encode() for request in requests]
        asked = lines(folder / "charter.jsonl", bodies)
        rates: dict[tuple[str, int], float] = {}
        print(f"{platform.machine()}, {len(os.sched_getaffinity(0))} cores, Python {platform.python_version()}, "
              f"{given.workers} workers, {given.seconds:g} s each, wrk on the same cores")  # fmt: skip
        print(HEAD)

        def flood(peer: Peer, file: Path) -> None:
            closed_loop(peer.url, file, 16, WARM_UP_SECONDS)
            for connections in given.connections:
                found, cpu = measured(
                    peer, lambda c=connections: closed_loop(peer.url, file, c, given.seconds)
                )
                show(peer.name, str(connections), found, cpu)
                rates[peer.name, connections] = found.rate

        for mode in given.modes:
            with charter(deployment, mode, folder / mode, given.workers) as peer:
                if mode == "relaxed":
                    closed_loop(peer.url, asked, 1, WARM_UP_SECONDS)
                    show(
                        peer.name,
                        "1",
                        *measured(peer, lambda p=peer: closed_loop(p.url, asked, 1, given.seconds)),
                    )
                    time.sleep(1)
                    found = measured(
                        peer, lambda p=peer: steady(p.url, bodies, rate=STEADY_RATE, seconds=given.seconds)
                    )
                    show(peer.name, f"{STEADY_RATE}/s", *found)
                flood(peer, asked)
        if given.peers is not None:
            names, rows = matrix(deployment, bodies)
            booster = deployment.models[0].package / "lightgbm.txt"
            mlflow_here = partial(mlflow, names=names, workers=given.workers)
            for serve, body in ((mlserver, mlserver_body), (mlflow_here, mlflow_body)):
                file = lines(
                    folder / f"{body.__name__}.jsonl", [json.dumps(body(row, names)).encode() for row in rows]
                )
                for lean in (False, True):
                    home = folder / f"{body.__name__}-{'lean' if lean else 'plain'}"
                    with serve(given.peers, booster, home, lean=lean) as peer:
                        flood(peer, file)
        ours = {c: rate for (who, c), rate in rates.items() if who == "Charter, log relaxed"}
        for (who, connections), rate in rates.items():
            if not who.startswith("Charter") and connections in ours:
                print(f"at {connections} connections Charter answers {ours[connections] / rate:.1f} times as many "
                      f"requests as {who}")  # fmt: skip


if __name__ == "__main__":
    main()
