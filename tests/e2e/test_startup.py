"""The command line answers at once: three times the budgets, so that a busy machine is no failure."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = (
    "polars",
    "numpy",
    "sqlalchemy",
    "alembic",
    "sklearn",
    "lightgbm",
    "mlflow",
    "onnxruntime",
    "scipy",
    "optuna",
)


def test_the_command_line_starts_within_three_times_its_budgets(root: Path, loans, tmp_path):
    source = importlib.util.spec_from_file_location("cli_startup", root / "benchmarks" / "cli_startup.py")
    assert source
    assert source.loader
    startup = importlib.util.module_from_spec(source)
    sys.modules["cli_startup"] = startup
    source.loader.exec_module(startup)
    for timing in startup.measure(loans, runs=3, cache=tmp_path / "cache"):
        assert timing.median <= 3 * startup.BUDGETS[timing.command], startup.table([timing])


@pytest.mark.parametrize(
    "command",
    ["--help", "check", "plan", "status", "assess", "history", "audit verify", "schema", "data list"],
)
def test_a_command_that_only_looks_imports_nothing_heavy(command, loans):
    code = f"""
import sys
from charter.cli.main import _run
code = _run({command.split()!r})
assert code == 0, code
heavy = sorted(set({HEAVY!r}) & set(sys.modules))
assert not heavy, heavy
"""
    ran = subprocess.run([sys.executable, "-c", code], cwd=loans, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
