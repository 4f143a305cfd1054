"""The prediction log of real servers that are killed, and whose disk is full."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD

from charter.core.digest import canonical_json
from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.compaction import compact
from charter.serve.io.loading import write_deployment
from charter.serve.io.server import Running, free_port, start, wait_until_ready
from charter.serve.log_reader import scan
from charter.serve.policy import LogPolicy

PATH = "/api/v1/predict/credit-test"
HEADERS = {"content-type": "application/json"}


def deployed(credit, folder: Path, policy: LogPolicy) -> Path:
    signer = Signer("ann", Ed25519PrivateKey.generate())
    package = folder / "package"
    build(credit.folder, {}, package, name="credit-test", digests={}, code_version="0", environment={})
    sign(package, signer)
    model = DeployedModel("credit-test", "v1", package, {}, {"ann": signer.public_key}, policy)
    write_deployment(folder / "deployment.json", Deployment((model,), folder / "log"))
    return folder / "deployment.json"


def processes(running: Running) -> list[int]:
    pid = running.process.pid
    return [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]


def test_killed_under_load_a_durable_server_loses_no_answer_it_gave(credit, tmp_path):
    path = deployed(credit, tmp_path, LogPolicy("durable"))
    running = start(path, workers=2, log=tmp_path / "server.log")
    given: list[list[str]] = [[] for _ in range(8)]
    body = json.dumps(GOOD).encode()
    address = urlsplit(running.url).netloc

    def ask(answers: list[str]) -> None:
        with closing(http.client.HTTPConnection(address, timeout=5)) as client:
            try:
                while True:
                    client.request("POST", PATH, body, HEADERS)
                    answer = client.getresponse()
                    content = answer.read()
                    assert answer.status == 200
                    answers.append(json.loads(content)["id"])
            except (OSError, http.client.HTTPException, ValueError):
                return  # the server is gone

    clients = [threading.Thread(target=ask, args=(answers,)) for answers in given]
    for client in clients:
        client.start()
    until = time.monotonic() + 8
    while sum(map(len, given)) < 400 and time.monotonic() < until:
        time.sleep(0.01)
    for pid in processes(running):
        os.kill(pid, signal.SIGKILL)
    running.process.wait()
    for client in clients:
        client.join()
    answered = {identifier for answers in given for identifier in answers}
    assert len(answered) > 100
    logged = scan(tmp_path / "log").collect()
    assert answered <= set(logged["id"].to_list())
    assert logged["id"].n_unique() == logged.height
    done = compact(tmp_path / "log")
    assert (done.rows, done.still_open) == (logged.height, 0)
    assert answered <= set(scan(tmp_path / "log").collect()["id"].to_list())


LIMITED = """
import resource, runpy, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
sys.argv[0] = "server"
runpy.run_module("charter.serve.io.server", run_name="__main__")
"""


@pytest.mark.parametrize("mode", ["durable", "relaxed"])
def test_on_a_disk_that_takes_no_more_a_server_does_as_its_log_says(credit, tmp_path, mode):
    path = deployed(credit, tmp_path, LogPolicy(mode))
    port = free_port("127.0.0.1", 0)
    # A file may grow to 40,000 bytes and not further: the system's own refusal, in the middle of a write.
    argv = [sys.executable, "-c", LIMITED, "40000", str(path), "--port", str(port)]
    process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    running = Running(process, f"http://127.0.0.1:{port}")
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        assert wait_until_ready(running, 30)
        logged, refused, warned = set(), 0, 0
        until = time.monotonic() + 8
        while time.monotonic() < until and refused + warned < 3:
            client.request("POST", PATH, json.dumps([GOOD] * 20), HEADERS)
            answer = client.getresponse()
            content = json.loads(answer.read())
            if answer.status == 503:
                assert content["error"]["rule"] == "prediction log"
                refused += 1
            else:
                logged.add(content[0]["id"].rpartition("-")[0])
                warned += any("prediction log" in w for w in content[0]["warnings"])
            time.sleep(0.02)
        assert (refused, warned) == ((3, 0) if mode == "durable" else (0, 3))
        client.request("GET", "/metrics")
        assert b'charter_log_failures_total{model="credit-test"}' in client.getresponse().read()
        client.request("GET", "/healthz")
        assert client.getresponse().read() == b'{"status":"ok"}'
    finally:
        client.close()
        running.stop()
    found = scan(tmp_path / "log").collect()
    if mode == "durable":
        assert logged == set(found["id"].to_list())
    assert set(found["id"].unique().to_list()) <= logged
    assert found.height > 20
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY


def test_a_server_that_is_asked_to_stop_ends_its_segments(credit, tmp_path):
    path = deployed(credit, tmp_path, LogPolicy("relaxed"))
    running = start(path, workers=1, log=tmp_path / "server.log")
    client = http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=10)
    for _ in range(5):
        client.request("POST", PATH, json.dumps(GOOD), HEADERS)
        assert client.getresponse().read()
    client.close()
    assert running.stop() == 0
    assert scan(tmp_path / "log").collect().height == 5
    assert compact(tmp_path / "log").still_open == 0


def test_a_deployment_without_a_known_log_policy_is_refused(credit, tmp_path):
    path = deployed(credit, tmp_path, LogPolicy("relaxed"))
    text = json.loads(path.read_text())
    text["models"][0]["log"]["mode"] = "eventually"
    path.write_bytes(canonical_json(text))
    argv = [sys.executable, "-m", "charter.serve.io.server", str(path), "--port", "0"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "log.mode is 'eventually', none of durable, relaxed, none" in done.stderr
