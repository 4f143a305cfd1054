"""``pip install charter-ml[serve]`` on a machine that only answers: small, and enough."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.metadata import distributions
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from charter.flow.serving import answer, deployment_file, sample_requests
from charter.flow.workspace import Workspace
from charter.serve.io.server import free_port

ABSENT = (
    "mlflow",
    "pandas",
    "sklearn",
    "optuna",
    "sqlalchemy",
    "alembic",
    "onnx",
    "imblearn",
    "pyarrow",
    "torch",
)
SCORE = f"""
import importlib.util, json, sys
from pathlib import Path
there = [m for m in {ABSENT} if importlib.util.find_spec(m)]
assert not there, there
import charter
assert "site-packages" in charter.__file__, charter.__file__
from charter.serve.io.loading import load_models, read_deployment
(served,) = load_models(read_deployment(Path(sys.argv[1])))
print(served.answer(sys.argv[2].encode(), explain=True, request_id="cli").decode())
"""


def run(*command: object, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")} | given
    return subprocess.run(
        [str(c) for c in command], capture_output=True, text=True, check=False, timeout=500, env=environment
    )


@pytest.fixture(scope="module")
def python(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Interpreter of a fresh environment with nothing but the wheel and what its extra ``serve`` brings."""
    base = tmp_path_factory.mktemp("installation")
    built = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", base / "dist", root)
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = (base / "dist").glob("*.whl")
    # The versions that everything else was tested with.
    known = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"] != "charter-ml"}
    (base / "constraints.txt").write_text("\n".join(f"{name}=={version}" for name, version in known.items()))
    run(sys.executable, "-m", "venv", base / "venv")
    found = base / "venv" / "bin" / "python"
    installed = run(
        found, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-compile",
        "--constraint", base / "constraints.txt", f"{wheel}[serve]",
    )  # fmt: skip
    if "connection" in installed.stderr.lower():
        pytest.skip("no package index can be reached")
    assert installed.returncode == 0, installed.stderr[-2000:]
    return found


@pytest.mark.slow
def test_a_machine_that_only_serves_loads_scores_and_serves(python: Path, loans: Path, tmp_path: Path):
    workspace = Workspace.at(loans)
    loaded = workspace.load()
    deployment = deployment_file(workspace, loaded)
    body = json.dumps(sample_requests(workspace, loaded, count=1)[0]).encode()
    expected = answer(workspace, body, explain=True)
    scored = run(python, "-W", "error", "-c", SCORE, deployment, body.decode())
    assert scored.returncode == 0, scored.stderr
    assert json.loads(scored.stdout) == expected
    assert expected["reasons"]
    port = free_port("127.0.0.1", 0)
    log = (tmp_path / "server.log").open("w")
    command = [
        str(python),
        "-m",
        "charter.serve.io.server",
        str(deployment),
        "--port",
        str(port),
        "--workers",
        "2",
    ]
    bare = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    server = subprocess.Popen(command, stdout=log, stderr=log, env=bare)
    try:
        url = f"http://127.0.0.1:{port}"
        found = asked(f"{url}/api/v1/predict/small-loans?explain=true", body)
        assert {k: found[k] for k in ("score", "decision", "reasons")} == {
            k: expected[k] for k in ("score", "decision", "reasons")
        }
    finally:
        server.terminate()
        assert server.wait(40) == 0
        log.close()
    assert "Traceback" not in (tmp_path / "server.log").read_text()


@pytest.mark.slow
def test_commands_that_need_more_say_what_to_install(python: Path, loans: Path):
    program = "import sys; from charter.cli.main import main; main()"
    assert run(python, "-c", program, "check", loans).returncode == 0
    refused = run(python, "-c", program, "apply", loans)
    assert refused.returncode == 2, refused.stderr
    assert "sqlalchemy is not installed" in refused.stderr
    assert "charter-ml[train]" in refused.stderr
    assert "python -m charter.serve.io.server" in refused.stderr


def asked(url: str, body: bytes) -> dict:
    request = Request(url, body, {"content-type": "application/json"})
    limit = time.monotonic() + 60
    while True:
        try:
            with urlopen(request, timeout=20) as found:
                return json.loads(found.read())
        except OSError:
            assert time.monotonic() < limit
            time.sleep(0.2)
