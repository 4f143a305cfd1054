"""What is tried beside the champion: who answers, what is logged, and that no failure of it reaches a user."""

from __future__ import annotations

import time

import pytest
from log_models import requests
from serve_models import GOOD

from charter.serve.io.recorder import Recorder
from charter.serve.log_reader import scan
from charter.serve.metrics import Metrics
from charter.serve.observe import Dealt, Ticket
from charter.serve.served import Served


# ------------------------------------------------------------------------------------------------ the log
@pytest.fixture
def served(credit) -> Served:
    return Served(credit.spec.name, "v2", credit.scorer(), package="ab" * 32)


def test_the_log_tells_arms_and_keeps_what_nobody_was_given_from_who_counts(credit, served, tmp_path):
    recorder = Recorder(tmp_path, Metrics())
    rows = [tuple(served.decoder.decode(b"[" + _json(r) + b"]").rows[0]) for r in requests(credit, 5)]
    scored = served.scorer.run(served.decoder.frame(rows))
    scored.fallback[1] = scored.fallback[3] = True
    tickets = [
        Ticket("split", 2, "predict", time.perf_counter(), Dealt("canary", "candidate", (4, 7), backed=True)),
        Ticket("plain", 1, "predict", time.perf_counter()),
        Ticket("alone", 1, "predict", time.perf_counter(), Dealt("canary", None)),
        Ticket("seen", 1, "predict", time.perf_counter(), Dealt("shadow", "shadow")),
    ]
    recorder.observe(served, tickets, scored)
    recorder.close()
    columns = ("id", "row", "stage", "arm", "fallback")
    whole = scan(tmp_path, shadow=True).select(columns).collect().rows()
    assert whole == [
        ("split", 4, "canary", "candidate", False),
        ("split", 7, "canary", "shadow", True),
        ("plain", 0, None, None, False),
        ("alone", 0, "canary", None, True),
        ("seen", 0, "shadow", "shadow", False),
    ]
    decisions = scan(tmp_path).select(columns).collect().rows()
    assert decisions == [row for row in whole if row[3] != "shadow"]


def _json(row: object) -> bytes:
    import msgspec

    return msgspec.json.encode(row)


def test_a_log_from_before_there_were_arms_is_read(credit, served, tmp_path, monkeypatch):
    from charter.serve.prediction_log import OWN

    older = {name: dtype for name, dtype in OWN.items() if name not in ("stage", "arm")}
    recorder = Recorder(tmp_path, Metrics())
    with monkeypatch.context() as before:
        before.setattr("charter.serve.prediction_log.OWN", older)
        scored = served.scorer.run(served.decoder.frame(served.decoder.decode(_json(GOOD)).rows))
        recorder.observe(served, [Ticket.now("old", 1)], scored)
        recorder.close()
    found = scan(tmp_path).collect()
    assert found["id"].to_list() == ["old"]
    assert found["arm"].to_list() == [None]
