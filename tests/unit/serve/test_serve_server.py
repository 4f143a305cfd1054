from __future__ import annotations

import json
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD

from charter.core.errors import UsageError
from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.serve.deployment import DeployedModel, Deployment, parse_deployment
from charter.serve.io.loading import read_deployment, write_deployment
from charter.serve.io.server import free_port, main, start


@pytest.fixture(scope="module")
def deployment(credit, churn, tmp_path_factory) -> Path:
    base = tmp_path_factory.mktemp("deployed")
    signer = Signer("ann", Ed25519PrivateKey.generate())
    churn.history["orders"].write_parquet(base / "orders.parquet")
    models = []
    for name, example, history in (
        ("credit-test", credit, {}),
        ("churn-test", churn, {"orders": base / "orders.parquet"}),
    ):
        folder = base / name
        build(example.folder, {}, folder, name=name, digests={}, code_version="0", environment={})
        sign(folder, signer)
        models.append(DeployedModel(name, "v1", folder, history, {"ann": signer.public_key}))
    write_deployment(base / "deployment.json", Deployment(tuple(models)))
    return base / "deployment.json"


def test_a_deployment_file_reads_back(deployment):
    text = deployment.read_text()
    read = read_deployment(deployment)
    assert [m.name for m in read.models] == ["credit-test", "churn-test"]
    assert json.dumps(read.to_json(), sort_keys=True) == json.dumps(json.loads(text), sort_keys=True)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not JSON"),
        ("[]", "lacks or garbles"),
        ('{"schema_version": 3}', "schema_version 3"),
        ('{"schema_version": 1, "models": []}', "needs models"),
        ('{"schema_version": 1, "models": [{"name": "a"}]}', "lacks or garbles 'version'"),
    ],
)
def test_a_wrong_deployment_file_is_refused(text, message):
    with pytest.raises(UsageError, match=message):
        parse_deployment(text, Path("/"))


def test_a_busy_port_is_named(deployment, capsys):
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        assert main([str(deployment), "--port", str(port)]) == 2
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err
    with pytest.raises(UsageError, match="between 0 and 65535"):
        free_port("127.0.0.1", 70_000)


def test_a_tampered_package_does_not_start(deployment, tmp_path, capsys):
    read = read_deployment(deployment)
    stranger = DeployedModel("credit-test", "v1", read.models[0].package, {}, {"bob": "00" * 32})
    write_deployment(tmp_path / "d.json", Deployment((stranger,)))
    assert main([str(tmp_path / "d.json"), "--port", "0"]) == 2
    assert capsys.readouterr().err.strip()
    assert main([str(tmp_path / "none.json"), "--port", "0"]) == 2
    assert "none.json cannot be read" in capsys.readouterr().err


def test_serving_end_to_end_answers_what_is_under_way_when_asked_to_stop(deployment, credit, tmp_path):
    running = start(deployment, log=tmp_path / "server.log")
    bulk = [GOOD] * 9000
    with httpx.Client(base_url=running.url, timeout=30) as client:
        answer = client.post("/api/v1/predict/credit-test", json=GOOD).json()
        assert answer["model"] == "credit-test"
        assert client.post("/api/v1/predict/churn-test", json={"who": 3}).status_code == 200
        assert client.get("/readyz").json()["models"] == {"churn-test": "v1", "credit-test": "v1"}
        body = json.dumps(GOOD).encode()
        with ThreadPoolExecutor(16) as pool:
            many = list(
                pool.map(lambda _: client.post("/api/v1/predict/credit-test", json=GOOD).json(), range(200))
            )
        assert {a["score"] for a in many} == {answer["score"]}
        chunked = client.post(
            "/api/v1/predict/credit-test",
            content=iter([body[:20], body[20:]]),
            headers={"content-type": "application/json"},
        )
        assert chunked.json()["score"] == answer["score"]
        last: list[int] = []
        begun = threading.Thread(
            target=lambda: last.append(client.post("/api/v1/predict/credit-test", json=bulk).status_code)
        )
        begun.start()
        idle = _ticks(running.process.pid)
        while begun.is_alive() and _ticks(running.process.pid) <= idle + 2:
            time.sleep(0.005)
        code = running.stop()
        begun.join()
    assert last == [200]
    assert code == 0, (tmp_path / "server.log").read_text()


def _ticks(pid: int) -> int:
    """Processor time of the workers in hundredths of a second: it grows once a request is under way."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return sum(int(Path(f"/proc/{c}/stat").read_text().rsplit(")", 1)[1].split()[11]) for c in children)


def test_measuring_runs_in_a_process_of_its_own(churn, tmp_path):
    churn.dataset.select("who", "as_of").write_parquet(tmp_path / "rows.parquet")
    churn.history["orders"].write_parquet(tmp_path / "orders.parquet")
    argv = [sys.executable, "-m", "charter.serve.measure", str(churn.folder), str(tmp_path / "rows.parquet")]
    argv += ["--history", f"orders={tmp_path / 'orders.parquet'}", "--requests", "50"]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert 0 < measured["latency_p50_ms"] <= measured["latency_p95_ms"] <= measured["latency_p99_ms"]
    assert 50 < measured["memory_mb"] < 2000
    assert measured["package_mb"] == sum(f.stat().st_size for f in churn.folder.iterdir()) / 1e6
    broken = subprocess.run([*argv[:-4], "--history", "orders=/nowhere"], capture_output=True, text=True)
    assert broken.returncode == 2
    assert "nowhere" in broken.stderr
