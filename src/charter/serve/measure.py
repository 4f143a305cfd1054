"""What a packaged model costs: latency, memory and size, measured in a process that does nothing else.

``python -m charter.serve.measure FOLDER ROWS.parquet [--history SOURCE=FILE ...]`` prints JSON.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import msgspec
import numpy as np
import polars as pl

from charter.core.errors import CharterError, DataError
from charter.serve.scorer import Scorer
from charter.serve.served import Served

_WARM_UP = 50
_MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True)
class Measurement:
    """What was measured.

    Attributes
    ----------
    latency_p50_ms, latency_p95_ms, latency_p99_ms
        From the bytes of a request with one row to the bytes of its answer: decoding, validation, features, model,
        decision, reasons as the package declares them; without network and HTTP.
    cpu_ms
        Processor time per such request, over all threads: what it costs, however fast it is.
    load_ms
        Reading and compiling the package.
    memory_mb
        Peak resident memory of the process: interpreter, libraries, model and history together.
    package_mb
        Size of the files in the folder.
    rows
        Requests timed.
    """

    latency_p50_ms: float
    latency_p95_ms: float
    latency_p99_ms: float
    cpu_ms: float
    load_ms: float
    memory_mb: float
    package_mb: float
    rows: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def measure(
    folder: Path,
    rows: pl.DataFrame,
    history: Mapping[str, pl.DataFrame] | None = None,
    *,
    requests: int = 1000,
) -> Measurement:
    """Time single-row requests in this process.

    Parameters
    ----------
    rows
        Raw inputs, at least one row; taken in turn until there are ``requests``.
    """
    if rows.is_empty():
        raise DataError("there are no rows to measure with")
    began = perf_counter()
    served = Served("measured", "v0", Scorer.load(folder, history))
    load_ms = (perf_counter() - began) * 1000
    names = [n for n in served.scorer.signature.names if n in rows.columns]
    bodies = [msgspec.json.encode(row) for row in rows.select(names).head(requests).to_dicts()]
    for i in range(_WARM_UP):
        served.answer(bodies[i % len(bodies)])
    seconds = np.empty(requests)
    worked = process_time()
    for i in range(requests):
        began = perf_counter()
        served.answer(bodies[i % len(bodies)])
        seconds[i] = perf_counter() - began
    cpu_ms = (process_time() - worked) / requests * 1000
    p50, p95, p99 = (np.quantile(seconds, [0.5, 0.95, 0.99]) * 1000).tolist()
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    return Measurement(p50, p95, p99, cpu_ms, load_ms, peak_memory() / _MEGABYTE, size / _MEGABYTE, requests)


def peak_memory() -> int:
    """Most memory that this process ever held, in bytes.

    On Linux ``ru_maxrss`` of a new process begins with what its parent held, so that a small program started by a large
    one would look large. The kernel's high-water mark of the address space is this program's own.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
    except (OSError, StopIteration):
        unit = 1 if sys.platform == "darwin" else 1024  # macOS counts in bytes, others in kilobytes
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments, measure, print JSON; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m charter.serve.measure", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=Path, help="Parquet file with raw inputs")
    parser.add_argument("--history", action="append", default=[], metavar="SOURCE=FILE")
    parser.add_argument("--requests", type=int, default=1000)
    given = parser.parse_args(argv)
    try:
        history = {name: pl.read_parquet(file) for name, _, file in (h.partition("=") for h in given.history)}
        result = measure(given.folder, pl.read_parquet(given.rows), history, requests=given.requests)
    except (CharterError, OSError, pl.exceptions.PolarsError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return 2
    print(json.dumps(result.to_json()))  # noqa: T201
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
