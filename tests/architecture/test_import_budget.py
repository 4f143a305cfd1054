"""What a command imports is what a person waits for, so heavy libraries stay out of the light paths."""

from __future__ import annotations

import pytest
from import_budget import imported_by

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
    "uvicorn",
    "fsspec",
    "cryptography",
    "jinja2",
}
TRAINING = {"mlflow", "optuna", "sqlalchemy", "alembic", "sklearn", "imblearn", "pandas", "onnx"}


@pytest.mark.parametrize(
    ("statement", "forbidden"),
    [
        ("import charter.cli.main", NUMERICAL | SERVICES | {"pydantic", "yaml"}),
        ("import charter.spec.loader", NUMERICAL | SERVICES),
        ("import charter.framing.assess", NUMERICAL | SERVICES),
        (
            "import charter.flow.plan",
            NUMERICAL | {"mlflow", "optuna", "alembic", "starlette", "uvicorn", "jinja2"},
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
