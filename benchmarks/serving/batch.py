"""What batch scoring costs: rows a second, peak memory of all its processes together, and how both grow with the rows.

    python benchmarks/serving/batch.py MODEL_FOLDER [--source FILE.parquet] [--rows 100000 1000000 10000000]
        [--options=--rank --bands]

MODEL_FOLDER holds a released model whose observations are rows (credit-risk). The source's rows are repeated until
there are as many as asked for; by default the source is the training data of the model's own specification.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import polars as pl

PROGRAM = "import sys; from charter.cli.main import main; sys.argv[0] = 'charter'; main()"
MEGABYTE = 1_000_000


class Memory:
    """Peak memory of a process and all its descendants together, sampled: proportional set size, so that pages that
    several of them share count once."""

    def __init__(self, root: int) -> None:
        self.peak_bytes = 0
        self._root = root
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            self.peak_bytes = max(self.peak_bytes, sum(map(_bytes, _family(self._root))))


def _family(root: int) -> list[int]:
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        try:
            for task in Path(f"/proc/{process}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except OSError:  # it has just ended
            continue
    return found


def _bytes(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def repeated(source: pl.DataFrame, rows: int, path: Path) -> None:
    """Write a file of so many rows, in pieces, so that making it needs no more memory than scoring it."""
    folder = path.with_suffix("")
    folder.mkdir()
    piece = pl.concat([source] * max(1_000_000 // source.height, 1))
    left = rows
    while left:
        part = piece.head(left)
        part.write_parquet(folder / f"{left:012d}.parquet")
        left -= part.height
    pl.scan_parquet(sorted(folder.iterdir(), reverse=True)).sink_parquet(path)


def score(model: Path, source: Path, target: Path, options: list[str]) -> tuple[float, int, dict[str, int]]:
    """Run the command as a person would; returns seconds, peak bytes, and counts of rows."""
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        "score",
        str(source),
        "--to",
        str(target),
        "--in",
        str(model),
        "--json",
    ]
    began = time.perf_counter()
    process = subprocess.Popen([*command, *options], stdout=subprocess.PIPE)
    memory = Memory(process.pid)
    out, _ = process.communicate()
    seconds = time.perf_counter() - began
    memory.stop()
    if process.returncode:
        raise SystemExit(f"charter score ended with {process.returncode}")
    return seconds, memory.peak_bytes, json.loads(out)["rows"]


def training_rows(model: Path) -> pl.DataFrame:
    """The first source of a specification, as its data stage reads it."""
    from charter.data.io.sources import read
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(model)
    name, source = next(iter(workspace.load().spec.data.sources.items()))
    print(f"rows of {name}")
    return read(source, workspace.root, workspace.settings)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path)
    parser.add_argument("--source", type=Path)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 10_000_000])
    parser.add_argument("--options", default="", help="further options of charter score")
    given = parser.parse_args()
    frame = pl.read_parquet(given.source) if given.source else training_rows(given.model)
    cores, python = len(os.sched_getaffinity(0)), platform.python_version()
    print(f"{platform.machine()}, {cores} cores, Python {python}, Polars {pl.__version__}")
    print(f"{'rows':>12}  {'seconds':>8}  {'rows/s':>10}  {'us/row':>7}  {'peak MB':>8}  rejected")
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for rows in given.rows:
            source = Path(folder) / f"{rows}.parquet"
            repeated(frame, rows, source)
            seconds, peak, counts = score(
                given.model, source, Path(folder) / "out.parquet", ["--replace", *shlex.split(given.options)]
            )
            assert counts["read"] == rows
            results.append((rows, seconds, peak))
            print(
                f"{rows:>12,}  {seconds:>8.2f}  {rows / seconds:>10,.0f}  {seconds / rows * 1e6:>7.2f}"
                f"  {peak / MEGABYTE:>8,.0f}  {counts['rejected']:,}",
                flush=True,
            )
    if len(results) > 1:
        (n0, t0, m0), (n1, t1, m1) = results[-2], results[-1]
        power = math.log(t1 / t0) / math.log(n1 / n0)
        print(
            f"from {n0:,} to {n1:,} rows: seconds as rows to the power of {power:.2f}, memory x {m1 / m0:.2f}"
        )


if __name__ == "__main__":
    main()
