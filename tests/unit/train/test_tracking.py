from __future__ import annotations

import warnings
from pathlib import Path

import pytest

from charter.train.io.tracking import MlflowTracker
from charter.train.ports import NoTracker, RunRecord, Tracker

RECORD = RunRecord(
    name="m lightgbm",
    params={"seed": "1", **{f"p{i}": "x" for i in range(150)}},
    metrics={"roc_auc": 0.7, "undefined": float("nan")},
    series={"best": [0.6, 0.7]},
    tags={"charter.stage": "train"},
    documents={"curves.json": {"roc": [0.0, 1.0]}},
    children=(RunRecord("trial 0", metrics={"cv": 0.6}, series={"fold": [0.5, 0.7]}),),
)


def test_runs_are_written_with_their_children(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    tracker: Tracker = MlflowTracker(tmp_path / "runs", "credit-risk", {"mlflow.user": "ann"})
    first, second = tracker.record(RECORD), tracker.record(RECORD)
    assert first != second
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mlflow.tracking import MlflowClient

        client = MlflowClient(tracking_uri=f"sqlite:///{tmp_path / 'runs' / 'mlflow.db'}")
        run = client.get_run(first)
        assert run.info.status == "FINISHED"
        assert run.data.metrics == {"roc_auc": 0.7, "best": 0.7}
        assert len(run.data.params) == 151
        assert run.data.tags["mlflow.user"] == "ann"
        assert run.data.tags["mlflow.runName"] == "m lightgbm"
        assert [m.value for m in client.get_metric_history(first, "best")] == [0.6, 0.7]
        children = client.search_runs([run.info.experiment_id], f"tags.mlflow.parentRunId = '{first}'")
        assert [c.data.tags["mlflow.runName"] for c in children] == ["trial 0"]
        client._tracking_client.store.engine.dispose()
    assert len(list((tmp_path / "runs" / "artifacts").rglob("curves.json"))) == 2


def test_a_failing_server_costs_no_model(tmp_path, monkeypatch):
    blocked = tmp_path / "file"
    blocked.write_text("")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with pytest.warns(RuntimeWarning, match="was not tracked"):
        assert MlflowTracker(Path(blocked) / "runs", "m").record(RECORD) == ""


def test_no_tracker_keeps_nothing():
    assert NoTracker().record(RECORD) == ""
