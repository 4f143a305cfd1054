"""Servers started by the command line: several workspaces, a deadline, a log in order, another machine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from e2e_models import charter, done, edit, symbols

from charter.flow.released import released_model
from charter.flow.serving import deployment_file, sample_requests
from charter.flow.workspace import Workspace
from charter.serve.io import loading
from charter.serve.io.segments import SegmentWriter
from charter.serve.io.server import start
from charter.serve.log_reader import scan

PROGRAM = "import sys; from charter.cli.main import main; main()"


def ask(url: str, body: object = None) -> dict:
    data = None if body is None else json.dumps(body).encode()
    with urlopen(Request(url, data, {"content-type": "application/json"}), timeout=20) as answer:
        return json.loads(answer.read())


def wait_for(condition: Callable[[], object], seconds: float = 30) -> bool:
    limit = time.monotonic() + seconds
    while not condition() and time.monotonic() < limit:
        time.sleep(0.1)
    return bool(condition())


@contextmanager
def served(log: Path, *arguments: str) -> Iterator[str]:
    """Run ``charter serve`` on a free port as a person does; gives its address."""
    with log.open("w") as sink:
        command = [sys.executable, "-c", PROGRAM, "serve", "--port", "0", *arguments]
        process = subprocess.Popen(command, stdout=sink, stderr=subprocess.STDOUT, env=os.environ.copy())
    try:
        assert wait_for(lambda: "http://" in log.read_text() or process.poll() is not None), log.read_text()
        url = next(line for line in log.read_text().splitlines() if line.startswith("http://"))
        assert wait_for(lambda: _ready(url)), log.read_text()
        yield url
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(40) in (0, 130), log.read_text()


def _ready(url: str) -> bool:
    try:
        return bool(ask(f"{url}/readyz")["ready"])
    except (OSError, HTTPError):
        return False


def example(folder: Path) -> dict:
    workspace = Workspace.at(folder)
    return sample_requests(workspace, workspace.load(), count=1)[0]


def test_one_server_serves_several_workspaces_and_keeps_their_logs_in_order(loans, clients, tmp_path):
    old = loans / ".charter" / "log"
    first = example(loans)
    with served(tmp_path / "log.txt", str(loans), str(clients), "--compact-every", "1s") as url:
        assert ask(f"{url}/readyz")["models"] == {"small-loans": "v1", "small-clients": "v1"}
        loan = ask(f"{url}/api/v1/predict/small-loans", first)
        client = ask(f"{url}/api/v1/predict/small-clients", {"client": 3, "as_of": "2025-09-01"})
        assert (loan["model"], client["model"]) == ("small-loans", "small-clients")
        logs = {"small-loans": old, "small-clients": clients / ".charter" / "log"}
        assert wait_for(lambda: all(scan(f).collect().height for f in logs.values()))
        for name, folder in logs.items():
            assert scan(folder).collect()["model"].unique().to_list() == [name]
        assert ask(f"{url}/api/v1/models/small-clients/profile")["profile"]["rows"] == 1
        edit(clients, "threshold: {fixed: 0.5}", "threshold: {fixed: 0.4}")
        done("apply", clients)
        assert wait_for(lambda: "serving" in (tmp_path / "log.txt").read_text())
        assert ask(f"{url}/api/v1/predict/small-loans", first)["score"] == loan["score"]
        # A server that died before this one left a segment behind.
        frame = scan(old).collect()
        writer = SegmentWriter(old, "small-loans", "v1")
        writer.append(frame)
        writer.close()
        assert wait_for(lambda: list(old.glob("parts/*/*/*/*.parquet"))), (tmp_path / "log.txt").read_text()
    both = charter("serve", str(loans), str(loans), "--port", "0")
    assert (both.code, "both serve a model called small-loans" in both.err) == (2, True)
    odd = charter("serve", str(loans), "--compact-every", "often")
    assert (odd.code, "--compact-every: 'often' is not a duration" in odd.err) == (2, True)


def test_a_declared_deadline_makes_a_new_package_and_nothing_else(loans):
    before = symbols(loans)
    edit(loans, "  reasons: 2\n", "  reasons: 2\n  deadline: 40ms\n")
    after = symbols(loans)
    assert [stage for stage in before if before[stage] != after[stage]] == ["package", "approve", "release"]
    done("apply", loans)
    workspace = Workspace.at(loans)
    loaded = workspace.load()
    assert released_model(workspace, loaded).deadline_s == 0.04
    (model,) = loading.read_deployment(deployment_file(workspace, loaded)).models
    assert loading.load_model(model).deadline_s == 0.04


def test_old_days_are_deleted_with_proof(loans):
    edit(loans, "  reasons: 2\n", "  reasons: 2\n  log: {keep: 30d}\n")
    done("apply", loans)
    workspace = Workspace.at(loans)
    loaded = workspace.load()
    folder = loans / ".charter" / "log"
    assert "Nothing is old enough" in done("log", "prune", "--in", loans).out
    running = start(deployment_file(workspace, loaded))
    try:
        for _ in range(3):
            ask(f"{running.url}/api/v1/predict/small-loans", example(loans))
    finally:
        running.stop()
    frame = scan(folder).collect()
    assert frame.height == 3
    then = datetime.now(UTC).replace(tzinfo=None) - timedelta(days=45)
    writer = SegmentWriter(folder, "small-loans", "v1")
    writer.append(frame.with_columns(time=then))
    writer.close()
    said = done("log", "prune", "--in", loans).out
    assert f"small-loans: deleted 3 rows in 1 files, {then.date()} to {then.date()}" in said
    assert scan(folder).collect().height == 3
    event = done("audit", "list", "--in", loans, "--json").json[-1]
    assert (event["action"], event["detail"]["rows"]) == ("log.deleted", 3)
    record = json.loads(workspace.blobs().get(event["detail"]["record"]))
    assert [f["day"] for f in record["files"]] == [then.date().isoformat()]
    assert not list(folder.glob("deletions/*"))
    assert done("audit", "verify", "--in", loans).out.endswith("whole.\n")
    by_hand = done("log", "prune", "--before", "2999-01-01", "--in", loans, "--json").json
    assert by_hand["deleted"][0]["rows"] == 3
    assert scan(folder).collect().height == 0
    assert charter("log", "prune", "--before", "soon", "--in", loans).code == 2


def test_a_package_made_elsewhere_serves_and_says_so(loans, tmp_path, monkeypatch):
    from charter.registry import environment

    here = environment.runtime()
    elsewhere = {**here["distributions"], "onnxruntime": "1.0.0"}
    monkeypatch.setattr(loading, "runtime", lambda: {**here, "distributions": elsewhere})
    said = f"onnxruntime: packaged with {here['distributions']['onnxruntime']}, here 1.0.0"
    scored = done("score", loans / "accounts.csv", "--to", tmp_path / "out.parquet", "--in", loans)
    assert f"warning: small-loans v1: {said}" in scored.err
    record = json.loads((tmp_path / "out.parquet.run.json").read_text())
    assert record["environment_differences"] == [f"small-loans v1: {said}"]
    workspace = Workspace.at(loans)
    served_model = loading.load_model(released_model(workspace, workspace.load()))
    assert served_model.differences == (said,)


@pytest.mark.parametrize("deadline", ["0ms", "0s"])
def test_a_deadline_of_nothing_is_refused(loans, deadline):
    edit(loans, "  reasons: 2\n", f"  reasons: 2\n  deadline: {deadline}\n  log: {{keep: 5h}}\n")
    refused = charter("check", loans)
    assert (refused.code, "serve.deadline is nothing" in refused.err) == (2, True)
    assert "serve.log.keep is less than a day" in refused.err
