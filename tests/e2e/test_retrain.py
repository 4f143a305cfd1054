"""Training anew: triggers, one run at a time, redeployment rules, and a champion that nothing touches by accident."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from e2e_models import accounts, done, edit

EASY = "release: {redeploy: {max_shift: 1, max_latency_rise: 1000, max_memory_rise: 100, suspicious_gain: 1}}"


def moved(rows: int = 900) -> pl.DataFrame:
    """Accounts of another time, in which those of the south miss payments, late or not."""
    south = pl.when(pl.col("region") == "south").then(4).otherwise(0)
    return accounts(rows, seed=31).with_columns(outcome=(pl.col("late") + south > 6).cast(pl.Int64))


def events(folder: Path, action: str) -> list[dict]:
    found = done("audit", "list", "--in", folder, "--json").json
    return [e for e in found if e["action"] == action]


@pytest.fixture
def aged(loans: Path) -> Path:
    edit(loans, "approve: none", f"approve: none\nretrain: {{max_age: 30d, new_rows: 100}}\n{EASY}")
    return loans


def test_a_better_model_replaces_the_champion_by_itself(aged: Path) -> None:
    quiet = done("retrain", aged, "--if-needed", "--json").json
    assert quiet["run"] is None
    assert quiet["decision"]["verdict"] == "fail"
    moved(1200).write_csv(aged / "accounts.csv")
    found = done("retrain", aged, "--if-needed", "--json").json
    assert (found["ending"], found["serving"], found["candidate"]) == ("automatic", "v2", "v2")
    (begun,), (ended,) = events(aged, "retrain.started"), events(aged, "retrain.finished")
    assert begun["detail"]["triggers"] == ["new rows"]
    assert ended["detail"]["ending"] == "automatic"
    again = done("retrain", aged, "--if-needed", "--json").json
    assert again["run"] is None
