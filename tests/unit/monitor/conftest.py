"""A specification to monitor by."""

from __future__ import annotations

from pathlib import Path

import pytest

from charter.spec.loader import load
from charter.spec.types import ModelSpec

SPEC = """
name: loans
summary: Loans.
owner: {team: Risk, contact: risk@bank.example}
purpose:
  problem: Losses.
  objective: Fewer losses.
  decision: Call or not.
  users: [Collections]
  today: {process: None}
value:
  currency: EUR
  per_decision: {true_positive: 10, false_positive: -2, false_negative: -8, true_negative: 0}
  volume: 1000 per month
  positives: 0.25
  target: {recall: 0.6, precision: 0.5}
  costs: {run_per_month: 100}
kpis:
  recall: {metric: recall, require: "> 0.5"}
  calls: {source: external, require: "< 100"}
data:
  sources:
    loans:
      uri: loans.csv
      columns:
        id: {type: integer}
        amount: {type: float}
        outcome: {type: category, values: ["good", "bad"]}
      key: [id]
  observations: {source: loans, key: [id]}
  label: {name: bad, column: outcome, positive: bad, known_after: 30d}
train:
  task: binary
  split: {kind: random, test: 0.2}
  learners: [lightgbm]
evaluate:
  require: {roc_auc: ">= 0.7"}
budget: {latency_p95_ms: 50}
monitor:
  alerts:
    mine: {when: "psi(any) > 0.2 for 2 windows"}
"""


@pytest.fixture
def loans_spec(tmp_path: Path) -> ModelSpec:
    (tmp_path / "model.yaml").write_text(SPEC)
    return load(tmp_path / "model.yaml").spec
