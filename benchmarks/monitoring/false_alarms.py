"""How often drift is told where nothing changed, and how soon where something did.

    python benchmarks/monitoring/false_alarms.py [--windows 1000] [--peer PYTHON]

200 features (numbers, long tails, counts, categories, some with missing values), windows that come from the same
distribution as the reference of 50,000 rows; each window is judged with the one before it, as the default
specification says. Windows of 1,000 rows are drawn as rows and profiled, larger ones as counts by bin.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
from made_up import FEATURES, LEVELS, MISSING, kind, mixed
from scipy import stats

from charter.data.column import ColumnProfile
from charter.data.profile import Profile, profile
from charter.monitor.compare import compare
from charter.monitor.drift import judge_drift
from charter.monitor.drift_types import DriftReport, Measured
from charter.spec.types import DriftSpec

REFERENCE_ROWS = 50_000
LIMITS = DriftSpec()
DRAWN_AS_ROWS = 1_000


def rows(rng: np.random.Generator, n: int) -> pl.DataFrame:
    return pl.DataFrame(mixed(rng, n), nan_to_null=True)


def counted(rng: np.random.Generator, reference: Profile, n: int, shift: float = 0.0) -> Profile:
    """A window as counts by the reference's bins; the first feature moved by ``shift`` standard deviations."""
    columns: dict[str, ColumnProfile] = {}
    for i, (name, c) in enumerate(reference.columns.items()):
        what = kind(i)
        missing = int(rng.binomial(n, MISSING)) if what == "missing" else 0
        if what == "category":
            drawn = rng.multinomial(n, LEVELS)
            values = {v: int(drawn[int(v)]) for v in c.values}
            columns[name] = replace(c, count=n, missing=0, values=values, other=0, others={})
            continue
        edges = np.asarray(c.edges)
        if what == "poisson":
            below = stats.poisson.cdf(np.ceil(edges) - 1, 3)
        else:
            below = stats.norm.cdf(np.log(edges) if what == "long" else edges - (shift if i == 0 else 0.0))
        drawn = rng.multinomial(n - missing, np.diff(below, prepend=0.0, append=1.0))
        columns[name] = replace(c, count=n, missing=missing, counts=tuple(drawn.tolist()))
    return Profile(n, columns)


def judged(windows: list[tuple[Measured, ...]]) -> DriftReport:
    return judge_drift(windows[-LIMITS.persistence :], LIMITS)


def alarms(n: int, windows: int, seed: int) -> tuple[int, int]:
    """Windows with any drift verdict; and those that would have it without the persistence."""
    rng = np.random.default_rng((seed, n))
    persistent = single = 0
    before: list[tuple[Measured, ...]] = []
    alone = LIMITS.model_copy(update={"persistence": 1})
    for i in range(windows):
        if i % 100 == 0:  # a new reference now and then: its own chance belongs to the figure
            reference, before = profile(rows(rng, REFERENCE_ROWS)), []
        after = profile(rows(rng, n), reference) if n <= DRAWN_AS_ROWS else counted(rng, reference, n)
        before.append(compare(reference, after))
        persistent += bool(judged(before).drifted)
        single += bool(judge_drift(before[-1:], alone).drifted)
    return persistent, single


def found(replays: int, seed: int, n: int = 10_000, shift: float = 0.4) -> tuple[int, int]:
    """Replays in which the feature that moved, and nothing else, is told within three windows; and any else is."""
    rng = np.random.default_rng(seed)
    reference = profile(rows(rng, REFERENCE_ROWS))
    right = wrong = 0
    for _ in range(replays):
        windows: list[tuple[Measured, ...]] = []
        told: set[str] = set()
        for _ in range(3):
            windows.append(compare(reference, counted(rng, reference, n, shift)))
            told |= set(judged(windows).drifted)
        right += "f0" in told
        wrong += bool(told - {"f0"})
    return right, wrong


def main() -> None:
    options = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--windows", type=int, default=1000)
    options.add_argument("--rows", default="1000,10000,100000,1000000", help="rows a window")
    options.add_argument("--replays", type=int, default=400)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument(
        "--peer", help="a Python with Evidently and NannyML; runs their defaults on the same data"
    )
    asked = options.parse_args()
    print("| rows a window | windows | with any drift verdict | without the persistence |\n|---|---|---|---|")
    for n in map(int, asked.rows.split(",")):
        began = time.perf_counter()
        persistent, single = alarms(n, asked.windows, asked.seed)
        print(
            f"| {n:,} | {asked.windows:,} | {persistent / asked.windows:.1%} | {single / asked.windows:.1%} |",
            flush=True,
        )
        print(f"{time.perf_counter() - began:.0f} s", file=sys.stderr)
    right, wrong = found(asked.replays, asked.seed)
    print(f"\nA shift of 0.4 standard deviations in one of {FEATURES} features, 10,000 rows a window:")
    print(f"told within 3 windows in {right / asked.replays:.1%} of {asked.replays} replays;")
    print(f"another feature told in {wrong / asked.replays:.1%}.")
    if asked.peer:
        print(flush=True)
        subprocess.run([asked.peer, str(Path(__file__).with_name("peer_alarms.py"))], check=True)


if __name__ == "__main__":
    main()
