"""Who is held to account for which answer of a canary."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import polars as pl

from charter.flow.arms import signals
from charter.registry.allocation import Allocation
from charter.registry.assignment import Assignment
from charter.registry.traffic import Traffic

HALF = Assignment("rollout", Allocation.of({"champion": 0.5, "candidate": 0.5}))
TRAFFIC = Traffic.canary("v1", "v2", HALF)
ROWS = pl.DataFrame(
    [
        ("a", 0, "v1", "champion", 0.1, False),
        ("b", 0, "v2", "candidate", 0.2, False),
        ("c", 0, "v2", "candidate", None, True),  # it failed, told so, and the champion stood in
        ("c", 0, "v1", "candidate", 0.3, False),
        ("d", 0, "v1", "candidate", 0.4, False),  # it refused the request, which stands nowhere else
        ("e", 0, "v1", None, 0.5, False),
    ],
    schema={"id": pl.String, "row": pl.UInt32, "version": pl.String, "arm": pl.String, "score": pl.Float64,
            "fallback": pl.Boolean},
    orient="row",
).with_columns(
    stage=pl.lit("canary"),
    decision=pl.lit("negative"),
    latency_us=pl.lit(1000),
    time=pl.lit(datetime(2026, 1, 1)),  # noqa: DTZ001  as the log has it
)  # fmt: skip


def test_what_a_candidate_refuses_is_its_error(monkeypatch, tmp_path):
    monkeypatch.setattr("charter.serve.log_reader.scan", lambda *_, **__: ROWS.lazy())
    workspace = SimpleNamespace(state=tmp_path)
    spec = SimpleNamespace(name="m", value=None)
    found = signals(workspace, spec, TRAFFIC, datetime(2026, 1, 1, tzinfo=UTC))
    assert (found.candidate.requests, found.candidate.errors) == (3, 2)
    assert found.candidate.score.tolist() == [0.2]
    assert found.candidate.latency_ms.tolist() == [1.0, 1.0]
    assert (found.champion.requests, found.champion.errors) == (1, 0)
