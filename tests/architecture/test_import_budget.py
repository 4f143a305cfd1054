"""What a command imports is what a person waits for, so heavy libraries stay out of the light paths."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

NUMERICAL = {
    "numpy",
    "polars",
    "pandas",
    "pyarrow",
    "scipy",
    "sklearn",
    "lightgbm",
    "onnx",
    "onnxruntime",
    "imblearn",
}
SERVICES = {
    "mlflow",
    "optuna",
    "sqlalchemy",
    "alembic",
    "starlette",
    "granian",
    "fsspec",
    "cryptography",
    "jinja2",
}
TRAINING = {"mlflow", "optuna", "sqlalchemy", "alembic", "sklearn", "imblearn", "pandas", "onnx"}


def imported_by(statement: str) -> set[str]:
    """Top-level packages that a fresh interpreter holds after the statement."""
    program = (
        f"{statement}\nimport sys, json\nprint(json.dumps(sorted(m.partition('.')[0] for m in sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.returncode == 0, run.stderr
    return set(json.loads(run.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import charter.cli.main", NUMERICAL | SERVICES | {"pydantic", "yaml"}),
        ("import charter.spec.loader", NUMERICAL | SERVICES),
        ("import charter.framing.assess", NUMERICAL | SERVICES),
        (
            "import charter.flow.plan",
            NUMERICAL | {"mlflow", "optuna", "alembic", "starlette", "granian", "jinja2"},
        ),
        ("import charter.data.io.sources", NUMERICAL | {"mlflow", "optuna", "alembic"}),
        ("import charter.serve.app, charter.serve.scorer, charter.serve.decode", TRAINING),
        ("import charter.serve.io.server", TRAINING),
        ("import charter.data.metrics", {"sklearn", "pandas", "mlflow"}),
    ],
    ids=lambda value: value.removeprefix("import ") if isinstance(value, str) else "",
)
def test_light_paths_stay_light(statement: str, forbidden: set[str]) -> None:
    found = imported_by(statement) & forbidden
    assert not found, f"{statement!r} imports {sorted(found)}"
