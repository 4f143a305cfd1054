"""Going back to the release before, under a server that runs."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.request import Request, urlopen

import pytest
from e2e_models import apply, charter, done, edit

from charter.core.errors import Refusal
from charter.flow.rollback import earlier
from charter.flow.rolling import LEFT
from charter.registry.types import Deployment
from charter.serve.io.server import Running, start

LOAN = {"credit": 5000.0, "bill": 1200.0, "late": 2, "region": "north"}


def serves(running: Running, version: str) -> bool:
    """Whether the server comes to serve this version within two seconds."""
    for _ in range(40):
        with urlopen(f"{running.url}/readyz") as answer:
            if list(json.loads(answer.read())["models"].values()) == [version]:
                return True
        time.sleep(0.05)
    return False


def test_a_running_server_follows_apply_and_rollback(loans, tmp_path):
    first = done("history", loans, "--json").json["releases"][-1]["version"]
    running = start(loans / ".charter" / "deployment.json", log=tmp_path / "server.log")
    try:
        assert serves(running, first)
        edit(loans, "seed: 11", "seed: 12")
        apply(loans)
        second = done("history", loans, "--json").json["releases"][-1]["version"]
        assert second != first
        assert serves(running, second)
        back = done("rollback", "--in", loans, "--reason", "complaints", "--json").json
        assert (back["left"], back["version"]) == (second, first)
        assert serves(running, first)
    finally:
        running.stop()
    events = done("audit", "list", "--in", loans, "--json").json
    assert events[-1]["action"] == "version.rolled_back"
    assert events[-1]["detail"]["reason"] == "complaints"
    assert done("audit", "verify", "--in", loans).out.endswith("whole.\n")
    assert f"{first} is released" in done("status", loans).out
    again = charter("rollback", "--in", loans)
    assert again.code == 1
    assert "first release" in again.err
    assert done("rollback", "--in", loans, "--to", second).out.startswith("small-loans: " + second)
    refused = charter("rollback", "--in", loans, "--to", second)
    assert (refused.code, "serves already" in refused.err) == (1, True)


def test_a_rule_goes_back_by_itself_once_for_each_run_of_its_alert(loans, tmp_path):
    first = done("status", loans, "--json").json["serving"]
    edit(loans, "seed: 11", "seed: 12")
    alerts = "monitor:\n  alerts:\n    asked: {when: rows > 0, action: rollback, severity: critical}\n"
    (loans / "model.yaml").write_text((loans / "model.yaml").read_text() + alerts)
    apply(loans)
    second = done("status", loans, "--json").json["serving"]
    running = start(loans / ".charter" / "deployment.json", log=tmp_path / "server.log")
    try:
        url = f"{running.url}/api/v1/predict/small-loans"
        urlopen(Request(url, json.dumps(LOAN).encode(), {"Content-Type": "application/json"})).close()
    finally:
        running.stop()  # the log is whole then
    charter("monitor", "run", "--in", loans)
    assert done("status", loans, "--json").json["serving"] == first
    (told,) = [
        e for e in done("audit", "list", "--in", loans, "--json").json if e["action"] == "version.rolled_back"
    ]
    assert (told["detail"]["left"], told["detail"]["reason"][:12]) == (second, "alert asked:")
    assert done("rollback", "--to", second, "--in", loans, "--reason", "it was no fault of it").code == 0
    charter("monitor", "run", "--in", loans)
    assert done("status", loans, "--json").json["serving"] == second, "a person has decided otherwise"


def releases(*steps: tuple[int, bool]) -> list[Deployment]:
    found: list[Deployment] = []
    for version, back in steps:
        proof = {LEFT: found[-1].package} if back else {}
        found.append(Deployment(version, f"p{version}", "ann", None, proof))  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(1, False), (2, False)], 1),
        ([(1, False), (2, False), (3, False), (2, True)], 1),
        ([(1, False), (2, False), (1, False)], 2),
        ([(1, False), (2, False), (1, True), (3, False)], 1),
        ([(1, False), (2, False), (3, False), (1, True), (3, True)], 1),
    ],
)
def test_the_release_before_is_the_one_that_was_not_gone_back_from(steps, expected):
    assert earlier(releases(*steps), "m", None).version == expected


def test_no_way_back_says_why():
    with pytest.raises(Refusal, match="nothing of m is released"):
        earlier([], "m", None)
    with pytest.raises(Refusal, match="none before it"):
        earlier(releases((1, False)), "m", None)
    with pytest.raises(Refusal, match=r"v7 was never released.*v1, v2"):
        earlier(releases((1, False), (2, False)), "m", "v7")


def test_a_damaged_package_is_not_gone_back_to(loans):
    edit(loans, "seed: 11", "seed: 12")
    apply(loans)
    before = (loans / ".charter" / "deployment.json").read_bytes()
    oldest = min((loans / ".charter" / "packages").iterdir(), key=lambda p: p.stat().st_mtime_ns)
    model = Path(oldest) / "model.onnx"
    model.chmod(0o644)
    model.write_bytes(model.read_bytes() + b"x")
    refused = charter("rollback", "--in", loans)
    assert refused.code == 2
    assert "model.onnx" in refused.err
    assert (loans / ".charter" / "deployment.json").read_bytes() == before
