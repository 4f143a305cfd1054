from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from contextlib import closing
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD, call

from charter.core.errors import PackageError, UsageError
from charter.registry.allocation import Allocation
from charter.registry.assignment import Assignment
from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.registry.traffic import Traffic
from charter.serve.app import Application
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.follow import Follower
from charter.serve.io.loading import read_deployment, write_deployment
from charter.serve.io.server import main, start
from charter.serve.io.watch import EVERY_SECONDS, mark
from charter.serve.log_reader import scan
from charter.serve.served import Served


@pytest.fixture(scope="module")
def package(credit, tmp_path_factory) -> DeployedModel:
    folder = tmp_path_factory.mktemp("package") / "credit-test"
    signer = Signer("ann", Ed25519PrivateKey.generate())
    build(credit.folder, {}, folder, name="credit-test", digests={}, code_version="0", environment={})
    sign(folder, signer)
    return DeployedModel("credit-test", "v1", folder, {}, {"ann": signer.public_key})


def deploy(path: Path, *models: DeployedModel) -> None:
    write_deployment(path, Deployment(models))


class Loader:
    """Gives models of the same scorer under whatever name and version is asked for."""

    def __init__(self, credit) -> None:
        self.scorer, self.asked = credit.scorer(), []

    def __call__(self, model: DeployedModel) -> Served:
        self.asked.append(model.version)
        if model.version == "v13":
            raise PackageError("model.onnx: the checksum is wrong")
        return Served(model.name, model.version, self.scorer)


@pytest.fixture
def followed(credit, package, tmp_path):
    path = tmp_path / "deployment.json"
    deploy(path, package)
    loader = Loader(credit)
    follower = Follower([path], loader)
    application = Application(follower.models(follower.deployments))
    return path, loader, follower, application


def versions(application: Application) -> list[str]:
    return [m.version for m in application.models]


def test_a_change_of_the_file_swaps_and_keeps_what_stays(followed, package):
    path, loader, follower, application = followed
    asyncio.run(follower.look(application))
    assert loader.asked == ["v1"]
    deploy(path, replace(package, version="v2"), package)
    asyncio.run(follower.look(application))
    assert loader.asked == ["v1", "v2"]
    assert versions(application) == ["v2", "v1"]
    plain = json.loads(call(application, body=json.dumps(GOOD).encode())[2])
    pinned = call(application, "/api/v1/predict/credit-test/versions/v1", json.dumps(GOOD).encode())[2]
    assert (plain["version"], json.loads(pinned)["version"]) == ("v2", "v1")
    status, _, refused = call(application, "/api/v1/predict/credit-test/versions/v3", b"{}")
    assert status == 404
    assert "not served in version 'v3'; allowed: v1, v2" in json.loads(refused)["error"]["message"]


def test_a_model_that_does_not_prove_itself_changes_nothing(followed, package, monkeypatch):
    path, loader, follower, application = followed
    deploy(path, replace(package, version="v13"))
    asyncio.run(follower.look(application))
    assert versions(application) == ["v1"]
    assert application.trouble == "model.onnx: the checksum is wrong"
    application.ready = True
    status, _, body = call(application, "/readyz", method="GET")
    assert (status, json.loads(body)["trouble"]) == (200, application.trouble)
    asyncio.run(follower.look(application))
    assert loader.asked == ["v1", "v13"]
    monkeypatch.setattr("charter.serve.io.follow.time.monotonic", lambda: time.time() + 1e9)
    asyncio.run(follower.look(application))
    assert loader.asked == ["v1", "v13", "v13"]
    path.write_text("{")
    asyncio.run(follower.look(application))
    assert "not JSON" in application.trouble
    deploy(path, replace(package, version="v2"))
    asyncio.run(follower.look(application))
    assert (versions(application), application.trouble) == (["v2"], None)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda d: d["models"][0].update(deadline_s=float("nan")), "the deadline of credit-test is nan"),
        (lambda d: d["models"][0].update(deadline_s=-1), "the deadline of credit-test is -1"),
        (lambda d: d["models"][0].update(version="v1/../../x"), "'v1/../../x' is no version"),
        (lambda d: d["models"][0].update(name="../../evil"), "'../../evil' is no name"),
        (lambda d: d["models"][0].update(name="x" * 100_000), "is no name"),
        (lambda d: d.update(log="/proc/nope"), "/proc/nope"),
    ],
)
def test_a_deployment_that_would_break_every_answer_changes_nothing(followed, damage, said):
    path, _, follower, application = followed
    document = json.loads(path.read_bytes())
    damage(document)
    path.write_text(json.dumps(document))
    before = application.models
    asyncio.run(follower.look(application))
    assert said in application.trouble
    assert application.models is before


def test_a_pipe_in_place_of_the_file_stops_no_server(followed):
    path, _, follower, application = followed
    whole = path.read_bytes()
    path.unlink()
    os.mkfifo(path)
    assert mark(path) is None
    asyncio.run(asyncio.wait_for(follower.look(application), 10))
    assert "no regular file" in application.trouble
    path.unlink()
    path.write_bytes(whole)
    asyncio.run(follower.look(application))
    assert (versions(application), application.trouble) == (["v1"], None)


def test_a_change_is_seen_within_a_quarter_of_a_second():
    assert EVERY_SECONDS <= 0.25


def test_a_missing_file_is_a_change(followed):
    path, _, follower, application = followed
    path.unlink()
    assert mark(path) is None
    asyncio.run(follower.look(application))
    assert "cannot be read" in application.trouble
    assert versions(application) == ["v1"]


def test_the_same_version_twice_is_refused(package, tmp_path):
    deploy(tmp_path / "d.json", package)
    document = json.loads((tmp_path / "d.json").read_bytes())
    (tmp_path / "d.json").write_text(json.dumps({**document, "models": document["models"] * 2}))
    with pytest.raises(UsageError, match="different names or versions"):
        read_deployment(tmp_path / "d.json")


def test_a_deployment_without_traffic_is_still_read(package, tmp_path):
    deploy(tmp_path / "d.json", package)
    document = json.loads((tmp_path / "d.json").read_bytes())
    del document["traffic"]
    (tmp_path / "d.json").write_text(json.dumps({**document, "schema_version": 1}))
    assert read_deployment(tmp_path / "d.json") == Deployment((package,))


@pytest.mark.parametrize(
    ("versions", "traffic", "said"),
    [
        (("v1",), Traffic("shadow", "v1", "v2"), "traffic of credit-test needs v2"),
        (("v2", "v1"), Traffic("shadow", "v1", "v2"), "the first version of credit-test is v2"),
        ((), Traffic("full", "v1"), "different names or versions"),
    ],
)
def test_traffic_must_fit_the_models(package, versions, traffic, said):
    models = tuple(replace(package, version=version) for version in versions)
    with pytest.raises(UsageError, match=said):
        Deployment(models, None, {"credit-test": traffic})


def test_traffic_comes_back_from_the_file(package, tmp_path):
    traffic = {"credit-test": Traffic("shadow", "v1", "v2", name="try")}
    whole = Deployment((package, replace(package, version="v2")), tmp_path / "log", traffic)
    write_deployment(tmp_path / "d.json", whole)
    assert read_deployment(tmp_path / "d.json") == whole


def test_swaps_under_load_fail_no_request(package, tmp_path):
    path = tmp_path / "deployment.json"
    deploy(path, package)
    running = start(path, workers=2, log=tmp_path / "server.log")
    seen: list[tuple[int, str]] = []
    over = threading.Event()

    def ask() -> None:
        with httpx.Client(base_url=running.url, timeout=30) as client:
            while not over.is_set():
                answer = client.post("/api/v1/predict/credit-test", json=GOOD)
                seen.append((answer.status_code, answer.json().get("version")))

    clients = [threading.Thread(target=ask) for _ in range(4)]
    try:
        for thread in clients:
            thread.start()
        for version in ("v1", "v2", "v3"):
            deploy(path, replace(package, version=version))
            limit = time.monotonic() + 20
            while {v for _, v in seen[-40:]} != {version} and time.monotonic() < limit:
                time.sleep(0.05)
        deploy(path, replace(package, version="v4", trusted_keys={"bob": "00" * 32}))
        with httpx.Client(base_url=running.url, timeout=30) as client:
            while "trouble" not in (body := client.get("/readyz").json()):
                time.sleep(0.05)
        over.set()
    finally:
        over.set()
        for thread in clients:
            thread.join()
        running.stop()
    assert {status for status, _ in seen} == {200}
    assert {v for _, v in seen} == {"v1", "v2", "v3"}
    assert body["models"] == {"credit-test": "v3"}
    assert "signature" in body["trouble"] or "sign" in body["trouble"]


def test_a_deployment_that_cannot_load_ends_the_server(package, churn, tmp_path, capsys):
    folder = tmp_path / "churn-test"
    signer = Signer("ann", Ed25519PrivateKey.generate())
    build(churn.folder, {}, folder, name="churn-test", digests={}, code_version="0", environment={})
    sign(folder, signer)
    deploy(tmp_path / "d.json", DeployedModel("churn-test", "v1", folder, {}, {"ann": signer.public_key}))
    assert main([str(tmp_path / "d.json"), "--port", "0"]) == 2
    assert "events of source 'orders' are missing" in capsys.readouterr().err


def test_a_change_of_traffic_goes_before_a_candidate_that_cannot_be_loaded(credit, package, tmp_path):
    """Whoever sends all traffic back to the champion does not wait for a loading that hangs."""
    path, begun, let_go = tmp_path / "d.json", threading.Event(), threading.Event()
    served = Served("credit-test", "v1", credit.scorer())

    def load(model: DeployedModel) -> Served:
        if model.version == "v2":
            begun.set()
            let_go.wait(60)
            raise PackageError("too late")
        return served

    deploy(path, package)
    follower = Follower([path], load, every_seconds=0.01)
    application = Application(follower.models(follower.deployments))
    candidate = replace(package, version="v2")
    arms = {"champion": "v1", "candidate": "v2"}
    half = Assignment("try", Allocation.of({"champion": 0.5, "candidate": 0.5}))
    stopped = Deployment((package,), None, {"credit-test": Traffic("stopped", "v1")})

    async def story() -> None:
        following = asyncio.create_task(follower.follow(application))
        canary = Traffic("canary", "v1", "v2", "late", half, arms)
        write_deployment(path, Deployment((package, candidate), None, {"credit-test": canary}))
        while not begun.is_set():
            await asyncio.sleep(0.01)
        write_deployment(path, stopped)
        while not application.traffic:
            await asyncio.sleep(0.01)
        assert application.traffic == stopped.traffic
        let_go.set()
        following.cancel()

    asyncio.run(asyncio.wait_for(story(), 60))
    assert application.traffic == stopped.traffic


def test_a_change_of_traffic_reaches_every_worker_and_back(package, tmp_path):
    path, log = tmp_path / "deployment.json", tmp_path / "log"
    models = (package, replace(package, version="v2"))
    arms = {"champion": "v1", "candidate": "v2"}
    everybody = Assignment("try", Allocation.of({"candidate": 1.0}))

    def change(traffic: Traffic) -> None:
        write_deployment(path, Deployment(models, log, {"credit-test": traffic}))

    def ask() -> str:
        # A connection of its own each time, so that each worker is asked sooner or later.
        connection = HTTPConnection(running.url.removeprefix("http://"), timeout=30)
        with closing(connection):
            headers = {"content-type": "application/json"}
            connection.request("POST", "/api/v1/predict/credit-test", json.dumps(GOOD), headers)
            answer = connection.getresponse()
            assert answer.status == 200
            told = json.loads(answer.read())
        return "fallback" if told["score"] is None else told["version"]

    def until(expected: str) -> None:
        limit = time.monotonic() + 30
        while {ask() for _ in range(24)} != {expected}:
            assert time.monotonic() < limit

    def seen() -> float:
        text = httpx.get(f"{running.url}/metrics", timeout=30).text
        found = [line for line in text.splitlines() if line.startswith("charter_shadow_rows_total{")]
        return sum(float(line.rpartition(" ")[2]) for line in found)

    change(Traffic("canary", "v1", "v2", "late", everybody, arms))
    running = start(path, workers=2, log=tmp_path / "server.log")
    try:
        until("v2")
        change(Traffic("full", "v1"))
        until("v1")
        change(Traffic("stopped", "v1"))
        until("fallback")
        assert httpx.get(f"{running.url}/readyz").json()["traffic"]["credit-test"]["stage"] == "stopped"
        change(Traffic("shadow", "v1", "v2"))
        limit = time.monotonic() + 60
        while seen() < 1:
            until("v1")
            assert time.monotonic() < limit
    finally:
        assert running.stop() == 0
    rows = scan(log, shadow=True).select("version", "stage", "arm", "fallback").unique().collect().rows()
    assert set(rows) == {
        ("v2", "canary", "candidate", False), ("v1", None, None, False), ("v1", "stopped", None, True),
        ("v1", "shadow", None, False), ("v2", "shadow", "shadow", False),
    }  # fmt: skip
