"""How long drift and exploration take, beside Evidently, NannyML and ydata-profiling on the same files.

    python benchmarks/monitoring/speed.py FOLDER [--peer PYTHON] [--only drift,wide,profile] [--slow]

FOLDER receives the files (about 3 GB for ``wide``). ``--slow`` also makes the peers' runs that take minutes: Evidently
on a million rows, and ydata-profiling's full mode.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from made_up import cards, columns

ROWS, WIDTH, WIDE = 1_000_000, 30, 300


def timed(work: Callable[[], object], repeats: int = 3) -> float:
    best = float("inf")
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - began)
    return best


def make(folder: Path, only: set[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    if "drift" in only and not (folder / "b.parquet").exists():
        for name, shift in (("a", 0.0), ("b", 0.4)):
            pl.DataFrame(columns(rng, ROWS, WIDTH, shift)).write_parquet(folder / f"{name}.parquet")
    if "profile" in only and not (folder / "cards.parquet").exists():
        pl.DataFrame(cards(rng)).write_parquet(folder / "cards.parquet")
        pl.DataFrame(cards(rng)).write_csv(folder / "cards.csv")
    if "wide" in only and not (folder / "wide.parquet").exists():
        import pyarrow as pa
        import pyarrow.parquet as pq

        # In ten pieces of 100,000 rows, so that making the file takes no more memory than reading it.
        writer = None
        for _ in range(10):
            piece = pl.DataFrame(columns(rng, ROWS // 10, WIDE)).to_arrow()
            writer = writer or pq.ParquetWriter(folder / "wide.parquet", piece.schema)
            writer.write_table(pa.table(piece))
        assert writer is not None
        writer.close()


def drift(folder: Path) -> dict[str, float]:
    from charter.data.io.tables import profile_file
    from charter.data.profile import Profile, profile
    from charter.monitor.compare import compare
    from charter.monitor.drift import judge_drift
    from charter.monitor.exact import compare_values
    from charter.spec.types import DriftSpec

    limits = DriftSpec(persistence=1)
    a, b = pl.read_parquet(folder / "a.parquet"), pl.read_parquet(folder / "b.parquet")

    def rows() -> None:
        before = profile(a)
        assert judge_drift([compare(before, profile(b, before))], limits).drifted == ("x0",)

    def files() -> None:
        before = profile_file(folder / "a.parquet")
        judge_drift([compare(before, profile_file(folder / "b.parquet", before))], limits)

    before = profile(a)
    stored = [json.dumps(p.to_json()) for p in (before, profile(b, before))]

    def profiles() -> None:
        one, two = (Profile.from_json(json.loads(text)) for text in stored)
        judge_drift([compare(one, two)], limits)

    return {
        "rows in memory": timed(rows),
        "Parquet files": timed(files),
        "rows in memory, exact distances": timed(lambda: judge_drift([compare_values(a, b)], limits)),
        "stored profiles": timed(profiles, 20),
    }


def explore(folder: Path, name: str, to: Path) -> float:
    """One process, as a user runs it."""
    began = time.perf_counter()
    command = [
        sys.executable,
        "-c",
        "from charter.cli.main import main; main()",
        "data",
        "profile",
        str(folder / name),
    ]
    target = ["--target", "Class"] if name.startswith("cards") else []
    subprocess.run([*command, *target, "--out", str(to)], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("folder", type=Path)
    options.add_argument("--peer", help="a Python with Evidently, NannyML and ydata-profiling")
    options.add_argument("--only", default="drift,wide,profile")
    options.add_argument("--slow", action="store_true")
    asked = options.parse_args()
    only = set(asked.only.split(","))
    make(asked.folder, only)
    print("| what | seconds |\n|---|---|")
    if "drift" in only:
        for name, seconds in drift(asked.folder).items():
            print(
                f"| drift of {WIDTH} columns, {ROWS:,} against {ROWS:,}: {name} | {seconds:.3f} |", flush=True
            )
    if "profile" in only:
        for name in ("cards.parquet", "cards.csv"):
            seconds = min(explore(asked.folder, name, asked.folder / "cards.html") for _ in range(2))
            print(
                f"| `charter data profile {name} --target Class --out`, whole process | {seconds:.2f} |",
                flush=True,
            )
    if "wide" in only:
        seconds = explore(asked.folder, "wide.parquet", asked.folder / "wide.html")
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
        print(
            f"| `charter data profile` of {ROWS:,} x {WIDE}, Parquet; peak {peak:,.0f} MB | {seconds:.1f} |",
            flush=True,
        )
    if asked.peer:
        peer = [asked.peer, str(Path(__file__).with_name("peer_speed.py")), str(asked.folder), asked.only]
        subprocess.run([*peer, *(["slow"] if asked.slow else [])], check=True)


if __name__ == "__main__":
    main()
