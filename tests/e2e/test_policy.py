"""Decisions that chance had a part in tell what another threshold would have been worth."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from e2e_models import accounts, charter, done, edit

from charter.flow.released import released_model
from charter.flow.workspace import Workspace
from charter.serve.explore import exploring
from charter.serve.io.loading import load_model
from charter.serve.io.recorder import Recorder
from charter.serve.metrics import Metrics
from charter.serve.observe import Ticket

VALUE = """value:
  currency: EUR
  volume: 1000 per month
  per_decision: {true_positive: 100, false_positive: -20, false_negative: -100, true_negative: 0}
"""
ROWS = 4000


def test_another_threshold_is_valued_from_what_was_explored(loans, tmp_path):
    edit(loans, "serve:\n", "serve:\n  explore: {share: 0.3}\n")
    edit(loans, "budget:", f"{VALUE}budget:")
    done("apply", loans)
    workspace = Workspace.at(loans)
    served = load_model(released_model(workspace, workspace.load()))
    recorder = Recorder(workspace.state / "log", Metrics())
    asked = accounts(ROWS, seed=31).select(
        f.name for f in served.scorer.signature.inputs if f.name in accounts(1, seed=1).columns
    )
    scored = served.scorer.run(asked)
    greedy = list(scored.decision)
    tickets = [Ticket.now(f"r{i}", 1) for i in range(ROWS)]
    exploring(served, lambda t, s: recorder.observe(served, t, s), lambda: recorder.secret("loans"))(
        tickets, scored
    )
    recorder.close()
    turned = sum(a != b for a, b in zip(greedy, scored.decision, strict=True))
    assert 0.27 < turned / ROWS < 0.33

    rng = np.random.default_rng(4)
    outcome = (rng.random(ROWS) < np.nan_to_num(scored.score)).astype(int)
    refused = charter("monitor", "policy", "--threshold", "0.6", "--in", loans)
    assert "no outcome is known yet" in refused.out
    assert refused.code == 1
    # Who is decided positive is never heard of again.
    seen = np.array(scored.decision) == "negative"
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(ROWS)], "missed": outcome})
    frame.filter(pl.Series(seen)).write_csv(tmp_path / "seen.csv")
    done("outcomes", "import", tmp_path / "seen.csv", "--in", loans)
    threshold = float(served.scorer.rules.threshold)
    found = done("monitor", "policy", "--threshold", threshold + 0.3, "--in", loans, "--json").json
    assert found["seen"] == "negative"
    score = scored.score
    changed = (score >= threshold) & (score < threshold + 0.3)
    # Turned negative: a hit of 100 becomes a miss of -100, a false alarm of -20 becomes 0.
    gained = float(np.where(changed, np.where(outcome == 1, -200, 20), 0).mean())
    assert found["changed"] == int(changed.sum())
    assert found["gain"]["doubly_robust"]["low"] <= gained <= found["gain"]["doubly_robust"]["high"]
    (window,) = charter("monitor", "run", "--in", loans, "--json").json["windows"]
    assert window["feedback"]["shaping"] == pytest.approx(1 - seen.mean(), abs=0.01)
    assert window["feedback"]["explored"] == pytest.approx(turned / ROWS)
    assert "hide their own outcome" in done("monitor", "report", "--in", loans).out

    frame.write_csv(tmp_path / "all.csv")
    done("outcomes", "import", tmp_path / "all.csv", "--in", loans)
    shown = done("monitor", "policy", "--rule", "late >= 2", "--in", loans)
    assert "doubly robust" in shown.out
    assert "self-normalised" in shown.out
    for wrong in (
        ["--threshold", "2"],
        [],
        ["--rule", "lat > 1"],
        ["--rule", "late >"],
        ["--threshold", "0.5", "--since", "x"],
    ):
        assert charter("monitor", "policy", *wrong, "--in", loans).code == 2, wrong
