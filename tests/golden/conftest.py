"""One small model, built and released once; every test breaks a copy of its own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from golden_support import CSV, HERE, NOW, Bench, bills, copy

from charter.cli.main import _run
from charter.core.clock import ManualClock


@pytest.fixture(scope="session")
def _built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders ``waiting`` (packaged, unsigned), ``released`` and ``home`` (keys of ann and rob)."""
    base = tmp_path_factory.mktemp("golden")
    work, before = base / "waiting", Path.cwd()
    work.mkdir()
    (work / "model.yaml").write_bytes((HERE / "samples" / "model.yaml").read_bytes())
    (work / CSV).write_text(bills())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CHARTER_HOME", str(base / "home"))
        patch.setattr("charter.flow.workspace.SystemClock", lambda: ManualClock(NOW))
        # What is tried here has nothing to do with the run's record, and MLflow takes seconds.
        patch.setattr("charter.train.io.tracking.MlflowTracker.record", lambda _self, _run: "")
        try:
            os.chdir(work)
            assert _run(["apply"]) == 1
            assert _run(["identity", "create", "ann", "--role", "ml-engineer"]) == 0
            assert _run(["identity", "create", "rob", "--by", "ann", "--role", "risk-officer"]) == 0
            os.chdir(copy(work, base / "released"))
            assert _run(["approve", "v1", "--stage", "technical", "--as", "ann"]) == 0
            assert _run(["approve", "v1", "--stage", "governance", "--as", "rob"]) == 0
            assert _run(["apply"]) == 0
        finally:
            os.chdir(before)
    return base


@pytest.fixture
def waiting(_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A model that meets its requirements and that nobody has signed."""
    root = copy(_built / "waiting", tmp_path / "late-bills")
    return Bench(root, copy(_built / "home", tmp_path / "home"), monkeypatch)


@pytest.fixture
def bench(_built: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A released model."""
    root = copy(_built / "released", tmp_path / "late-bills")
    return Bench(root, copy(_built / "home", tmp_path / "home"), monkeypatch)


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A specification and its data, and nothing else yet."""
    root = tmp_path / "late-bills"
    root.mkdir()
    (root / "model.yaml").write_bytes((HERE / "samples" / "model.yaml").read_bytes())
    (root / CSV).write_text(bills())
    return Bench(root, tmp_path / "home", monkeypatch)
