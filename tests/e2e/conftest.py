"""Workspaces to begin with: made once, copied for each test."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import e2e_models
import pytest
from e2e_dying import Dying


@pytest.fixture(scope="package", autouse=True)
def _runs(tmp_path_factory: pytest.TempPathFactory, _own_home: None) -> Iterator[None]:
    """One MLflow store for all workspaces here: making one takes longer than training these models."""
    os.environ["MLFLOW_TRACKING_URI"] = f"sqlite:///{tmp_path_factory.mktemp('runs') / 'mlflow.db'}"
    yield
    del os.environ["MLFLOW_TRACKING_URI"]


@pytest.fixture(scope="package", autouse=True)
def _bytecode(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Processes that tests start compile each module once, even where the environment forbids it."""
    before = os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(tmp_path_factory.mktemp("bytecode"))
    yield
    del os.environ["PYTHONPYCACHEPREFIX"]
    if before is not None:
        os.environ["PYTHONDONTWRITEBYTECODE"] = before


@pytest.fixture(scope="package")
def dying(_runs: None) -> Iterator[Dying]:
    """A process whose children die on command."""
    process = Dying()
    yield process
    process.close()


@pytest.fixture(scope="package")
def loans_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The row model, applied once; look, do not touch."""
    folder = e2e_models.make_loans(tmp_path_factory.mktemp("built") / "loans")
    e2e_models.done("apply", folder)
    return folder


@pytest.fixture(scope="package")
def clients_built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The entity model, applied once; look, do not touch."""
    folder = e2e_models.make_clients(tmp_path_factory.mktemp("built") / "clients")
    e2e_models.done("apply", folder)
    return folder


@pytest.fixture(scope="package")
def staged_built(loans_built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The row model: v1 serves, v2 is approved and waits for its rollout; look, do not touch."""
    folder = Path(shutil.copytree(loans_built, tmp_path_factory.mktemp("staged") / "loans"))
    e2e_models.declare(folder)
    e2e_models.done("apply", folder)
    return folder


@pytest.fixture
def staged(staged_built: Path, tmp_path: Path) -> Path:
    """A copy of the row model whose second version waits for its rollout."""
    return Path(shutil.copytree(staged_built, tmp_path / "loans"))


@pytest.fixture
def loans(loans_built: Path, tmp_path: Path) -> Path:
    """A copy of the applied row model."""
    return Path(shutil.copytree(loans_built, tmp_path / "loans"))


@pytest.fixture
def clients(clients_built: Path, tmp_path: Path) -> Path:
    """A copy of the applied entity model."""
    return Path(shutil.copytree(clients_built, tmp_path / "clients"))
