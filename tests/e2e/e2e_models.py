"""Two small models with made-up data, a command line to call, and signers: everything that the life cycle needs."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from charter.cli import main

WORDS = """\
spec_version: 1
name: NAME
summary: A small model
owner: {team: Testing, contact: testing@example.org}
purpose:
  problem: Something is not known in time.
  objective: Know it in time.
  decision: Act, or leave it.
  users: [testers]
"""

LOANS = (
    WORDS.replace("NAME", "small-loans")
    + """\
  today: {process: By rule, rule: "late >= 3", score: late}
data:
  sources:
    accounts:
      uri: accounts.csv
      key: [account]
      columns:
        account: {type: integer, unique: true}
        credit: {type: float, min: 1, unit: EUR}
        bill: {type: float, nullable: true}
        late: {type: integer, min: 0, max: 9}
        group: {type: category, values: [a, b], sensitivity: protected}
        region: {type: category}
        outcome: {type: category, values: [0, 1]}
  observations: {source: accounts, key: [account]}
  label: {name: missed, column: outcome, positive: 1}
features:
  rows:
    use: "bill / credit"
  exclude: [group]
train:
  task: binary
  split: {kind: random, stratify: true, test: 0.3, folds: 2}
  learners: [lightgbm]
  search: {trials: 2, metric: roc_auc}
  calibrate: sigmoid
  seed: 11
evaluate:
  require: {roc_auc: ">= 0.7"}
  slices: [group]
  fairness: {by: [group], demographic_parity_difference: "<= 0.9"}
  resamples: 200
  threshold: {maximise: f1}
budget: {latency_p95_ms: 1000, memory_mb: 4000}
approve: none
serve:
  reasons: 2
  bands: {high: 0.6, low: 0}
  fallback: {rule: "late >= 3"}
"""
)

CLIENTS = (
    WORDS.replace("NAME", "small-clients")
    + """\
  today: {process: By rule, rule: "recency_all > 40", score: recency_all}
data:
  sources:
    orders:
      uri: orders.parquet
      columns:
        client: {type: integer, sensitivity: personal}
        at: {type: datetime}
        amount: {type: float}
      time: at
  observations:
    entity: client
    cutoffs: {first: 2025-03-01, last: 2025-09-01, every: month}
    population: {source: orders, over: 90d}
  label: {name: gone, source: orders, over_next: 30d, positive_when: "COUNT(*) = 0"}
features:
  windows:
    recency: {source: orders, aggregate: "MIN(age_days)", over: [all]}
    spent: {source: orders, aggregate: "SUM(amount)", over: [30d, 90d], default: 0}
    orders: {source: orders, aggregate: "COUNT(*)", over: [30d, 90d], default: 0}
  rows:
    trend: "spent_30d / (spent_90d + 1)"
train:
  task: binary
  split: {kind: time, train_until: 2025-06-01, test_from: 2025-08-01, folds: 2}
  learners: [logistic_regression]
  search: {trials: 2, metric: roc_auc}
  seed: 5
evaluate:
  require: {roc_auc: ">= 0.6"}
  resamples: 200
  threshold: {fixed: 0.5}
approve: none
serve: {reasons: 2, reasons_for: asked}
"""
)

SALES = (
    WORDS.replace("NAME", "small-sales")
    + """\
  today: {process: The mean of the last four weeks}
data:
  sources:
    sales:
      uri: sales.parquet
      columns:
        shop: {type: category}
        item: {type: category}
        week: {type: date}
        units: {type: float, min: 0, nullable: true}
        price: {type: float, min: 0}
        offer: {type: boolean}
      time: week
    shops:
      uri: shops.csv
      columns:
        shop: {type: category}
        size: {type: float}
      key: [shop]
  observations:
    source: sales
    series: [shop, item]
    time: week
    every: week
    horizon: 4
    known_ahead: [price, offer]
    attributes: {shops: shop}
  label: {name: sold, column: units}
features:
  lags:
    units: {value: units, back: [1, 2, 4], season: [52]}
  windows:
    mean: {source: sales, aggregate: "AVG(units)", over: [4w, 13w]}
    usual: {source: sales, aggregate: "AVG(price)", over: [8w]}
  rows:
    discount: "price / usual_8w"
train:
  task: forecast
  split: {kind: origins, origins: 3, folds: 3, fold_periods: 4}
  learners: [lightgbm]
  transform: log1p
  weight: sold
  step_blocks: [2, 4]
  interval_scale: "0.2 + mean_13w / 100"
  search: {trials: 1}
  seed: 3
evaluate:
  require: {wmape: "<= 0.5"}
  beat_baseline: {metric: wmape, by_share: 0.05}
  slices: [shop, offer]
  resamples: 200
  min_slice_rows: 20
budget: {latency_p95_ms: 1000, memory_mb: 4000}
approve: none
"""
)


def accounts(rows: int = 900, seed: int = 3) -> pl.DataFrame:
    """One row per account; whoever is late and uses much of the credit misses the next payment."""
    rng = np.random.default_rng(seed)
    late = rng.integers(0, 8, rows)
    credit = rng.uniform(1000, 50_000, rows).round(2)
    use = rng.uniform(0, 1.2, rows)
    outcome = (late + 3 * use + rng.normal(0, 1.5, rows) > 6).astype(int)
    bill = [None if rng.random() < 0.05 else round(float(b), 2) for b in use * credit]
    return pl.DataFrame(
        {
            "account": np.arange(1, rows + 1),
            "credit": credit,
            "bill": bill,
            "late": late,
            "group": rng.choice(["a", "b"], rows),
            "region": rng.choice(["north", "south", "west"], rows),
            "outcome": outcome,
        }
    )


def orders(clients: int = 150, seed: int = 4) -> pl.DataFrame:
    """Orders of clients, each with a rhythm of their own."""
    rng = np.random.default_rng(seed)
    start = datetime.fromisoformat("2024-11-01")
    found = []
    for client in range(clients):
        day, rhythm = rng.uniform(0, 30), rng.uniform(4, 60)
        while day < 365:
            found.append((client, start + timedelta(minutes=int(day * 1440)), float(rng.gamma(2, 30))))
            day += rng.exponential(rhythm)
    return pl.DataFrame(found, schema=["client", "at", "amount"], orient="row")


def sales(weeks: int = 90, seed: int = 5, *, ahead: int = 0) -> pl.DataFrame:
    """Weekly sales of 4 items in 5 shops, from price, offer and season; of the last ``ahead`` weeks not known."""
    rng = np.random.default_rng(seed)
    start = datetime.fromisoformat("2024-01-01")
    found = []
    for shop in range(5):
        for item in range(4):
            level = rng.uniform(3, 5)
            for week in range(weeks + ahead):
                offer = bool(rng.random() < 0.15)
                price = round(2 * (0.7 if offer else 1.0) * float(rng.uniform(0.9, 1.1)), 2)
                mean = level - 1.5 * (price - 2) + 0.3 * offer + 0.2 * np.sin(week / 52 * 2 * np.pi)
                units = float(rng.poisson(np.exp(mean)))
                day = (start + timedelta(weeks=week)).date()
                found.append((f"s{shop}", f"i{item}", day, units if week < weeks else None, price, offer))
    return pl.DataFrame(found, schema=["shop", "item", "week", "units", "price", "offer"], orient="row")


def make_sales(folder: Path) -> Path:
    """Write the forecast and its data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(SALES)
    sales().write_parquet(folder / "sales.parquet")
    pl.DataFrame({"shop": [f"s{i}" for i in range(5)], "size": [1.0, 2, 3, 4, 5]}).write_csv(
        folder / "shops.csv"
    )
    return folder


def make_loans(folder: Path) -> Path:
    """Write the row model and its data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(LOANS)
    accounts().write_csv(folder / "accounts.csv")
    return folder


def make_clients(folder: Path) -> Path:
    """Write the entity model and its data."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.yaml").write_text(CLIENTS)
    orders().write_parquet(folder / "orders.parquet")
    return folder


@dataclass(frozen=True)
class Said:
    """What a command answered."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def charter(*arguments: str | Path) -> Said:
    """Run a command in this process."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main._run([str(a) for a in arguments])
    return Said(code, out.getvalue(), err.getvalue())


def done(*arguments: str | Path) -> Said:
    """Run a command that must succeed."""
    said = charter(*arguments)
    assert said.code == 0, f"charter {' '.join(map(str, arguments))}: {said.code}\n{said.out}\n{said.err}"
    return said


def edit(folder: Path, old: str, new: str) -> None:
    """Change the specification as a person would."""
    text = (folder / "model.yaml").read_text()
    assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times"
    (folder / "model.yaml").write_text(text.replace(old, new))


def symbols(folder: Path) -> dict[str, str]:
    """Stage to symbol, as the plan has it now."""
    return {s["stage"]: s["action"] for s in done("plan", folder, "--json").json["stages"]}


def apply(folder: Path, *, code: int = 0) -> list[str]:
    """Apply and return the stages that ran."""
    said = charter("apply", folder, "--json")
    assert said.code == code, f"{said.code}\n{said.out}\n{said.err}"
    ran: list[str] = said.json["ran"]
    return ran


ROLLOUT = """approve: none
release:
  rollout:
    shadow: {at_least: 0s, min_rows: 60, guards: {other: "disagreement > 0.5"}}
    canary: {steps: [0.2, 0.5], at_least: 0s, min_rows: 60}
    guards: {errors: "error_share > 0.2", slow: "p95_latency_ms > 200"}
"""


def declare(folder: Path, rollout: str = ROLLOUT) -> Path:
    """Ask for a rollout, and change the model so that the next apply makes another version."""
    edit(folder, "approve: none\n", rollout)
    edit(folder, "seed: 11", "seed: 12")
    return folder


def only_words(folder: Path, windows: Sequence[Mapping[str, Any]]) -> None:
    """Hold every measure that a pass keeps against what `charter check` would let a rule name."""
    from charter.flow.workspace import Workspace
    from charter.spec.alerts import AlertRule
    from charter.spec.measures import fault_of
    from charter.spec.scope import scope

    spec = Workspace.at(folder).load().spec
    given = [*scope(spec).candidates, "score"]
    for window in windows:
        for name in window["measures"]:
            assert fault_of(AlertRule.parse(f"{name} > 0").condition, spec, given) is None, name
