"""An experiment between two released versions: begun, read, and ended by a person."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
from e2e_models import apply, charter, done, edit
from e2e_traffic import answer

EXPERIMENT = """approve: none
release:
  experiment:
    unit: client
    arms: {champion: 0.5, candidate: 0.5}
    metric: bought
    mde: +20%
    exclude: [7]
    holdout: {salt: held-2025, stop: 0.1}
"""


@pytest.fixture
def running(clients):
    """v1 serves, and v2 is compared with it."""
    edit(clients, "approve: none\n", EXPERIMENT)
    edit(clients, "spent_90d + 1", "spent_90d + 2")
    apply(clients)
    done("rollback", "--in", clients)
    done("experiment", "start", "v2", "--in", clients)
    return clients


def test_arms_are_those_that_were_given_and_results_come_from_a_file(running, tmp_path):
    sent = json.loads((running / ".charter" / "deployment.json").read_text())["traffic"]["small-clients"]
    assert (sent["stage"], sent["unit"], sent["assignment"]["excluded"]) == ("experiment", "client", ["7"])
    waiting = done("experiment", "status", "--in", running, "--json").json
    assert waiting["report"] is None
    assert "charter experiment results" in waiting["decision"]["checks"][0]["note"]

    units = list(range(150))
    asked = pl.DataFrame({"client": units, "as_of": ["2025-09-01T00:00:00"] * 150}).with_columns(
        pl.col("as_of").str.to_datetime()
    )
    answer(running, asked, [f"q{i}" for i in units], units)
    from charter.flow.serving import released
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(running)
    traffic = released(workspace, workspace.load()).traffic["small-clients"]
    arms = {u: traffic.version_for(u)[1] for u in units}
    rng = np.random.default_rng(1)
    bought = [int(rng.random() < (0.9 if arms[u] == "candidate" else 0.2)) for u in units]
    # Whoever claims another arm in the file is not believed.
    table = pl.DataFrame({"client": units, "arm": ["champion"] * 150, "bought": bought})
    table.write_csv(tmp_path / "results.csv")
    done("experiment", "results", tmp_path / "results.csv", "--in", running)
    read = done("experiment", "status", "--in", running, "--json").json["report"]
    assert read["outcome"] == "ship"
    counts = {a["arm"]: a["units"] for a in read["arms"]}
    assert counts == {arm: sum(a == arm for a in arms.values()) for arm in ("champion", "candidate")}
    assert arms[7] is None
    assert sum(a is None for a in arms.values()) > 5

    assert "v2 is being tried" in done("apply", running).out
    ended = done("experiment", "stop", "--in", running, "--json").json
    assert (ended["did"], ended["stage"], ended["champion"]) == ("experiment.stopped", "full", "v1")
    last = done("audit", "list", "--in", running, "--json").json[-1]
    assert last["detail"]["decision"]["evidence"]["outcome"] == "ship"
    assert apply(running) == ["release"]


def test_what_is_no_field_of_requests_deals_nothing_out(clients):
    edit(clients, "approve: none\n", EXPERIMENT.replace("unit: client", "unit: account"))
    edit(clients, "spent_90d + 1", "spent_90d + 2")
    apply(clients)
    refused = charter("experiment", "start", "v1", "--in", clients)
    assert refused.code == 1
    assert "account is no field of requests" in refused.err
