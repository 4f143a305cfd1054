"""A hundred thousand generated requests against a real server: no 5xx, no hang, each 4xx names its cause.

    python benchmarks/serving/hostile.py MODEL_FOLDER [--requests 100000] [--seed 1] [--workers 2] [--connections 16]

MODEL_FOLDER holds a released model whose requests need no lists (credit-risk, customer-churn). Requests go to all three
protocols; every kind of `charter.serve.hostile` comes up, and one request of twenty is good and must be answered as
such. Exits with 1 when the server broke. A seed gives the same requests again.
"""

from __future__ import annotations

import argparse
import platform
import sys
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from charter.flow.serving import released, sample_requests
from charter.flow.workspace import Workspace
from charter.serve.hostile import hostile
from charter.serve.io.attack import Findings, attack
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import start, wait_until_ready
from charter.serve.types import Signature

_DATATYPES = {"integer": "INT64", "float": "FP64", "boolean": "BOOL"}


def documents(name: str, request: dict[str, Any], signature: Signature) -> dict[str, Any]:
    """A good document for each protocol."""
    types = {i.name: _DATATYPES.get(i.type, "BYTES") for i in signature.inputs}
    tensors = [
        {"name": n, "shape": [1], "datatype": types[n], "data": [v]}
        for n, v in request.items()
        if v is not None
    ]
    return {
        f"/api/v1/predict/{name}": request,
        "/invocations": {"dataframe_records": [request]},
        f"/v2/models/{name}/infer": {"inputs": tensors},
    }


def table(findings: Findings) -> None:
    """How each kind was answered."""
    statuses = sorted({status for _, status in findings.outcomes})
    by_kind: dict[str, Counter[int]] = {}
    for (kind, status), count in findings.outcomes.items():
        by_kind.setdefault(kind, Counter())[status] += count
    print(f"{'kind':<20}" + "".join(f"{'closed' if s == 0 else s:>9}" for s in statuses))
    for kind, counts in sorted(by_kind.items()):
        print(f"{kind:<20}" + "".join(f"{counts[s]:>9,}" for s in statuses))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--connections", type=int, default=16)
    given = parser.parse_args()
    from charter.serve.bundle import read_bundle

    workspace = Workspace.at(given.model)
    loaded = workspace.load()
    deployment = released(workspace, loaded)
    (request,) = sample_requests(workspace, loaded, count=1)
    goods = documents(loaded.spec.name, request, read_bundle(deployment.models[0].package).signature)
    with tempfile.TemporaryDirectory() as folder:
        base = Path(folder)
        write_deployment(base / "deployment.json", replace(deployment, log=base / "log"))
        running = start(
            base / "deployment.json", workers=given.workers, log=base / "server.log", timeout_s=300
        )
        pids = _workers(running.process.pid)
        try:
            began = time.monotonic()
            findings = attack(
                running.url,
                hostile(goods, given.seed, given.requests),
                connections=given.connections,
            )
            seconds = time.monotonic() - began
            alive = wait_until_ready(running, 10) and _workers(running.process.pid) == pids
        finally:
            code = running.stop()
        text = (base / "server.log").read_text()
    table(findings)
    print(
        f"\n{sum(findings.outcomes.values()):,} requests in {seconds:.0f} s on {platform.machine()}; slowest answer "
        f"{findings.slowest_s:.2f} s; {len(findings.faults)} faults; workers "
        f"{'as at the start' if alive else 'DIED'}; exit code {code}"
    )
    for request_, fault in findings.faults[:20]:
        print(f"  {fault}: {request_.kind}: {request_.wire[:300]!r}")
    if "Traceback" in text:
        print(f"the server's log has errors:\n{text[:3000]}")
    return int(bool(findings.faults) or not alive or code != 0 or "Traceback" in text)


def _workers(parent: int) -> set[int]:
    return set(map(int, Path(f"/proc/{parent}/task/{parent}/children").read_text().split()))


if __name__ == "__main__":
    sys.exit(main())
