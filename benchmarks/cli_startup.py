"""How long the command line takes before it does anything: medians of wall-clock seconds against their budgets.

    .venv/bin/python benchmarks/cli_startup.py [--runs 5] [--workspace FOLDER]

Without a workspace, one is made: the credit-risk specification on made-up accounts, applied once. Bytecode is written
to a folder of its own and warm, as on any machine where the command was used before.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

BUDGETS = {"--help": 0.25, "check": 0.8, "plan": 1.5}
"""Seconds on two cores; `plan` with nothing to do."""


@dataclass(frozen=True)
class Timing:
    """A command and what it took."""

    command: str
    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


def measure(workspace: Path, *, runs: int, cache: Path) -> list[Timing]:
    """Run each command once to warm up, then ``runs`` times."""
    program = [sys.executable, "-c", "from charter.cli.main import main; main()"]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    environment |= {"PYTHONPYCACHEPREFIX": str(cache), "CHARTER_HOME": str(cache / "home")}

    def once(command: str) -> float:
        started = time.perf_counter()
        subprocess.run([*program, command], cwd=workspace, env=environment, check=True, capture_output=True)
        return time.perf_counter() - started

    found = []
    for command in BUDGETS:
        once(command)
        found.append(Timing(command, tuple(once(command) for _ in range(runs))))
    return found


def make_workspace(folder: Path, *, rows: int = 600) -> Path:
    """Write the credit-risk specification for made-up accounts and apply it."""
    text = (files("charter.blueprints") / "credit_risk" / "model.yaml").read_text()
    for old, new in {
        "dataset: taiwan-default": "uri: accounts.csv",
        "learners: [logistic_regression, lightgbm]": "learners: [logistic_regression]",
        "approve: six-stage": "approve: none",
    }.items():
        assert text.count(old) == 1, f"the blueprint no longer says {old!r}"
        text = text.replace(old, new)
    lines = text.splitlines()
    lines = [line.replace("trials: 30", "trials: 1") for line in lines]
    (folder / "model.yaml").write_text("\n".join(lines) + "\n")
    (folder / "accounts.csv").write_text(_accounts(rows))
    environment = {**os.environ, "CHARTER_HOME": str(folder / ".home")}
    program = [sys.executable, "-c", "from charter.cli.main import main; main()"]
    # The made-up accounts meet no requirement: it stops at the gate, and from then on there is nothing to do.
    ran = subprocess.run(
        [*program, "apply"], cwd=folder, env=environment, check=False, capture_output=True, text=True
    )
    assert ran.returncode in (0, 1), ran.stderr
    return folder


def _accounts(rows: int) -> str:
    draw = random.Random(1)
    pays, bills = ["PAY_0", *(f"PAY_{i}" for i in range(2, 7))], [f"BILL_AMT{i}" for i in range(1, 7)]
    paid = [f"PAY_AMT{i}" for i in range(1, 7)]
    head = [
        "ID",
        "LIMIT_BAL",
        "SEX",
        "EDUCATION",
        "MARRIAGE",
        "AGE",
        *pays,
        *bills,
        *paid,
        "default.payment.next.month",
    ]
    lines = [",".join(head)]
    for row in range(1, rows + 1):
        late = [draw.randint(-2, 4) for _ in pays]
        values = [
            row,
            draw.randint(1, 50) * 10_000,
            draw.randint(1, 2),
            draw.randint(1, 4),
            draw.randint(1, 3),
        ]
        values += [draw.randint(20, 70), *late, *(draw.randint(0, 90_000) for _ in (*bills, *paid))]
        lines.append(",".join(map(str, [*values, int(late[0] + draw.gauss(0, 2) > 2)])))
    return "\n".join(lines) + "\n"


def table(timings: Sequence[Timing]) -> str:
    """Lines for people."""
    lines = [f"{'command':<16}{'median':>8}{'budget':>8}   runs"]
    for t in timings:
        verdict = "ok" if t.median <= BUDGETS[t.command] else "OVER"
        runs = " ".join(f"{s:.2f}" for s in t.seconds)
        lines.append(
            f"charter {t.command:<8}{t.median:>7.2f} s{BUDGETS[t.command]:>6.2f} s   {runs}  {verdict}"
        )
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Start-up times of the command line.")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--workspace", type=Path, help="An applied workspace.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        cache = Path(scratch) / "cache"
        (model := Path(scratch) / "model").mkdir()
        workspace = given.workspace or make_workspace(model)
        timings = measure(workspace, runs=given.runs, cache=cache)
    print(table(timings))
    return int(any(t.median > BUDGETS[t.command] for t in timings))


if __name__ == "__main__":
    sys.exit(main())
