"""The contracts of pyproject.toml hold: the house's floors, and what may not be imported where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def test_import_contracts_hold(root: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports_command; lint_imports_command()",
    ]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr


def test_every_room_has_its_place(root: Path) -> None:
    """A new top-level package must be given a floor before anything can be put into it."""
    contracts = (root / "pyproject.toml").read_text()
    for package in sorted(p.parent.name for p in (root / "src" / "charter").glob("*/__init__.py")):
        assert package in contracts
