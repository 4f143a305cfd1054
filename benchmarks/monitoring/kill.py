"""The monitor killed at random moments of a pass, a hundred times: is the end the same, and every alert told once?

    python benchmarks/monitoring/kill.py [--kills 100] [--seed 0]

Builds a small model in a temporary folder, answers 6,000 requests over 20 days, and lets inputs move and the model fail
on some of them, so that alerts fire and are resolved. One clean pass gives what is to come out. Then, from nothing,
passes are started in processes of their own and killed (SIGKILL) at a random moment, up to five in a row, before one
may finish. What lies under `.charter/monitor` and what the addressee got are compared with the clean pass, by file.
Processes are forked from one that has imported everything and done nothing, so that kills fall into the pass itself.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl

SPEC = """\
spec_version: 1
name: killed
summary: A model whose monitor is killed
owner: {team: Benchmarks, contact: benchmarks@example.org}
purpose:
  problem: Something is not known in time.
  objective: Know it in time.
  decision: Act, or leave it.
  users: [nobody]
  today: {process: By rule, rule: "late >= 3", score: late}
data:
  sources:
    accounts:
      uri: accounts.csv
      key: [account]
      columns:
        account: {type: integer, unique: true}
        credit: {type: float}
        late: {type: integer}
        outcome: {type: category, values: [0, 1]}
  observations: {source: accounts, key: [account]}
  label: {name: missed, column: outcome, positive: 1}
train:
  task: binary
  split: {kind: random, stratify: true, test: 0.3, folds: 2}
  learners: [lightgbm]
  search: {trials: 1, metric: roc_auc}
  seed: 1
evaluate: {require: {roc_auc: ">= 0.7"}, resamples: 200, threshold: {maximise: f1}}
approve: none
serve: {reasons: 2}
monitor:
  every: day
  mature: 0.5
  alerts:
    moved: {when: "psi(any) > 0.2 for 2 windows", action: retrain}
    concept: {when: "concept_drift(any) > 0", severity: critical}
  notify: ["file:INBOX"]
"""
RUN = "from charter.cli.main import main; main()"
DAYS, ANSWERS = 20, 6_000


def accounts(rows: int, seed: int) -> pl.DataFrame:
    """Who is late and owes much misses the next payment."""
    rng = np.random.default_rng(seed)
    late, credit = rng.integers(0, 8, rows), rng.uniform(1, 50, rows).round(1)
    outcome = (late + credit / 15 + rng.normal(0, 1.5, rows) > 5.5).astype(int)
    return pl.DataFrame({"account": np.arange(rows), "credit": credit, "late": late, "outcome": outcome})


def prepare(folder: Path, inbox: Path) -> None:
    """Model, log and outcomes."""
    from charter.flow.outcomes import keep_outcomes
    from charter.flow.released import released_model
    from charter.flow.workspace import Workspace
    from charter.monitor.outcomes import SCHEMA
    from charter.serve.io.loading import load_model
    from charter.serve.io.recorder import Recorder
    from charter.serve.metrics import Metrics
    from charter.serve.observe import Ticket

    folder.mkdir()
    (folder / "model.yaml").write_text(SPEC.replace("INBOX", str(inbox)))
    accounts(2000, 0).write_csv(folder / "accounts.csv")
    subprocess.run([sys.executable, "-c", RUN, "apply"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    workspace = Workspace.at(folder)
    served = load_model(released_model(workspace, workspace.load()))
    rows = accounts(ANSWERS, 1)
    begin = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=DAYS)
    known = []
    for day, part in enumerate(rows.iter_slices(ANSWERS // DAYS)):
        at = begin + timedelta(days=day, hours=12)
        if 8 <= day < 14:
            turned = 1 - pl.col("outcome") if day >= 11 else pl.col("outcome")
            part = part.with_columns(pl.col("credit") * 2, turned)
        recorder = Recorder(
            workspace.state / "log", Metrics(), now_us=lambda at=at: round(at.timestamp() * 1e6)
        )
        ids = [f"d{day}-{i}" for i in range(part.height)]
        scored = served.scorer.run(part.select("credit", "late"))
        recorder.observe(served, [Ticket.now(i, 1) for i in ids], scored)
        recorder.close()
        known.append(
            pl.DataFrame(
                {
                    "by": "id",
                    "key": [f"{i}/0" for i in ids],
                    "outcome": part["outcome"].cast(pl.String),
                    "known_at": at.replace(tzinfo=None),
                },
                schema=SCHEMA,
            )
        )
    keep_outcomes(workspace, "killed", pl.concat(known), dated=True, doing="benchmark", actor="benchmark")


def one_pass(folder: Path) -> None:
    """What a killed process does."""
    from charter.flow.monitor import run
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(folder)
    run(workspace, workspace.load())


FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload(
    [
        "charter.flow.audience",
        "charter.flow.measure",
        "charter.flow.monitor",
        "charter.monitor.io.alerts",
        "charter.monitor.report",
        "charter.monitor.server",
        "charter.registry.io.records",
        "charter.serve.io.loading",
        "charter.serve.log_reader",
        "onnxruntime",
        "river.drift",
        "scipy.stats",
    ]
)


def begin(folder: Path) -> multiprocessing.process.BaseProcess:
    """Start a pass in a process of its own."""
    process = FORKS.Process(target=one_pass, args=(folder,))
    process.start()
    return process


def state(folder: Path, inbox: Path) -> dict[str, str]:
    """Digest of every file that is kept or was delivered, but for locks and the time of the last pass."""
    kept = folder / ".charter" / "monitor"
    found = {}
    for root in (kept, inbox):
        for path in sorted(root.rglob("*")):
            name = f"{root.name}/{path.relative_to(root)}"
            if path.is_file() and path.name not in ("lock", "last_pass") and not path.name.startswith("."):
                found[name] = hashlib.sha256(_without_times(path)).hexdigest()
    return found


def notices(inbox: Path) -> list[str]:
    """What the addressee got; names that begin with a point are writes that were cut short, as any reader knows."""
    return sorted(path.name for path in inbox.iterdir() if not path.name.startswith("."))


def _without_times(path: Path) -> bytes:
    """When something was told differs from run to run by nature."""
    data = path.read_bytes()
    try:
        found = json.loads(data)
    except ValueError:
        return data
    if isinstance(found, dict):
        found = {k: v for k, v in found.items() if k not in ("at", "told_at", "sent_at", "first_at", "time")}
    return json.dumps(found, sort_keys=True).encode()


def main() -> int:
    """Print what came out; exit 1 unless every round ended as the clean pass did."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    with tempfile.TemporaryDirectory() as scratch:
        folder, inbox = Path(scratch) / "model", Path(scratch) / "inbox"
        prepare(folder, inbox)
        monitor = folder / ".charter" / "monitor" / "killed"

        def fresh() -> None:
            for place in (monitor, inbox):
                shutil.rmtree(place, ignore_errors=True)

        def began(process: multiprocessing.process.BaseProcess) -> float:
            while not (monitor / "lock").exists() and process.is_alive():
                time.sleep(0.002)
            return time.perf_counter()

        for _ in range(2):  # the first starts the process that the others are forked from
            fresh()
            process = begin(folder)
            started = began(process)
            process.join()
            lasted = time.perf_counter() - started
        clean, told = state(folder, inbox), notices(inbox)
        print(f"a clean pass: {lasted:.1f} s, {len(clean)} files, {len(told)} notices")
        kills, rounds, differing, where = 0, 0, 0, []
        while kills < asked.kills:
            fresh()
            for _ in range(rng.randint(1, 5)):
                process = begin(folder)
                began(process)
                time.sleep(rng.uniform(0, lasted))
                if process.is_alive():
                    process.kill()
                    process.join()
                    if process.exitcode == -signal.SIGKILL:
                        kills += 1
                        where.append(len(list((monitor / "windows").rglob("*.json"))))
                process.join()
            begin(folder).join()
            rounds += 1
            found, again = state(folder, inbox), notices(inbox)
            if found != clean or again != told:
                differing += 1
                print("differs:", sorted(set(found.items()) ^ set(clean.items()))[:6], set(told) ^ set(again))
        print(
            f"{kills} kills in {rounds} rounds, with {min(where)} to {max(where)} windows written "
            f"(in the middle: {sum(0 < w < DAYS for w in where)}); {differing} rounds ended differently"
        )
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
