"""Other servers on the same model: MLServer and MLflow ``models serve``, run from a Python environment of their own.

They get the booster of Charter's package and, per request, the finished row of its matrix: they neither check a
request, nor make features, calibrate, decide, explain, log or count.

Each is measured twice: as its documentation starts it (MLflow with the signature that it advises, so that it checks the
columns of a request), and lean (no signature, one OpenMP thread per prediction), which is quicker.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

SAVE = """
import sys, lightgbm, mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema
booster = lightgbm.Booster(model_file=sys.argv[1])
names, signature = sys.argv[3:], None
if names:
    columns = Schema([ColSpec("double", name, required=False) for name in names])
    signature = ModelSignature(inputs=columns, outputs=Schema([ColSpec("double")]))
mlflow.lightgbm.save_model(booster, sys.argv[2], signature=signature)
"""
PATIENCE_SECONDS = 120


@dataclass(frozen=True, slots=True)
class Peer:
    """A running server."""

    name: str
    url: str
    process: subprocess.Popen[bytes]


def _port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(name: str, argv: list[str], folder: Path, url: str, probe: str, *, lean: bool) -> Iterator[Peer]:
    log = folder / "server.log"
    environment = dict(os.environ)
    if lean:  # a pool per worker as large as the machine only gets in its own way
        environment["OMP_NUM_THREADS"] = "1"
        name = f"{name}, lean"
    environment["PATH"] = f"{Path(argv[0]).parent}{os.pathsep}{environment['PATH']}"
    for name_of in ("PYTHONPATH", "VIRTUAL_ENV"):
        environment.pop(name_of, None)
    with log.open("wb") as sink:
        process = subprocess.Popen(
            argv, cwd=folder, stdout=sink, stderr=sink, env=environment, start_new_session=True
        )
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with urlopen(probe, timeout=5) as answer:
                    if answer.status == 200:
                        break
            except (URLError, OSError):
                pass
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"{name} did not start: {log.read_text()[-2000:]}")
            time.sleep(0.2)
        yield Peer(name, url, process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 15)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, 9)
                process.wait()


@contextmanager
def mlserver(python: Path, booster: Path, folder: Path, *, lean: bool) -> Iterator[Peer]:
    """MLServer with its LightGBM runtime; its own process answers: quicker, and its workers fail under new uvloops."""
    folder.mkdir()
    (folder / "model.bst").write_bytes(booster.read_bytes())
    http, grpc, metrics = _port(), _port(), _port()
    settings = {
        "host": "127.0.0.1",
        "http_port": http,
        "grpc_port": grpc,
        "metrics_port": metrics,
        "parallel_workers": 0,
        "debug": False,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    model = {
        "name": "model",
        "implementation": "mlserver_lightgbm.LightGBMModel",
        "parameters": {"uri": "./model.bst", "version": "v1"},
    }
    (folder / "model-settings.json").write_text(json.dumps(model))
    address = f"http://127.0.0.1:{http}"
    argv = [str(python.parent / "mlserver"), "start", "."]
    model_url = f"{address}/v2/models/model"
    with _running("MLServer", argv, folder, f"{model_url}/infer", f"{model_url}/ready", lean=lean) as peer:
        yield peer


def mlserver_body(row: list[float | None], names: list[str]) -> dict[str, object]:
    """A row of the matrix as the Open Inference Protocol has it."""
    values = [0.0 if value is None else value for value in row]
    shape = [1, len(names)]
    tensor = {
        "name": "X",
        "shape": shape,
        "datatype": "FP64",
        "data": values,
        "parameters": {"content_type": "np"},
    }
    return {"inputs": [tensor]}


@contextmanager
def mlflow(
    python: Path, booster: Path, folder: Path, *, lean: bool, names: list[str], workers: int
) -> Iterator[Peer]:
    """MLflow's own server of a saved model."""
    folder.mkdir()
    columns = [] if lean else names
    subprocess.run([str(python), "-c", SAVE, str(booster), str(folder / "model"), *columns], cwd=folder,
                   check=True, capture_output=True)  # fmt: skip
    port = _port()
    argv = [str(python.parent / "mlflow"), "models", "serve", "-m", "model", "--env-manager", "local"]
    argv += ["--host", "127.0.0.1", "--port", str(port), "--workers", str(workers)]
    address = f"http://127.0.0.1:{port}"
    with _running(
        "MLflow models serve", argv, folder, f"{address}/invocations", f"{address}/ping", lean=lean
    ) as peer:
        yield peer


def mlflow_body(row: list[float | None], names: list[str]) -> dict[str, object]:
    """A row of the matrix as a table, the form of MLflow's own examples."""
    return {"dataframe_split": {"columns": names, "data": [row]}}
