"""The workspace of the documentation's running example, made once and copied for each page."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from documents import Run, blocks


@pytest.fixture(scope="session")
def charter() -> Run:
    """Run the installed command as a user does."""
    program = Path(sys.executable).parent / "charter"

    def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [program, *words], cwd=cwd, capture_output=True, text=True, check=False, timeout=300
        )

    return run


@pytest.fixture(scope="session")
def example(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The specification of docs/specification.md with 400 rows of data that it fits."""
    shown = blocks(root / "docs" / "specification.md", root)
    folder = tmp_path_factory.mktemp("docs") / "late-payment"
    folder.mkdir()
    text = next(b.text for b in shown if b.text.startswith("spec_version"))
    (folder / "model.yaml").write_text(text + "\n", encoding="utf-8")
    draw = random.Random(1)
    rows = ["invoice,amount,terms_days,late_before,paid_late"]
    for number in range(400):
        before = draw.randrange(6)
        late = "yes" if draw.random() < 0.1 + 0.13 * before else "no"
        rows.append(f"A-{number},{draw.uniform(10, 900):.2f},{draw.choice([14, 30, 60])},{before},{late}")
    (folder / "invoices.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def built(example: Path, charter: Run) -> Path:
    """The example after `charter apply`, waiting for signatures."""
    outcome = charter("apply", cwd=example)
    assert outcome.returncode == 1, outcome.stdout + outcome.stderr
    assert "approve" in outcome.stdout
    return example


@pytest.fixture(scope="session")
def released(built: Path, charter: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example, signed and released."""
    place = Path(shutil.copytree(built, tmp_path_factory.mktemp("released") / built.name))
    for line in (
        "identity create ada --role finance-director",
        "identity create mary --role risk-officer --by ada",
        "approve v1 --stage governance --as mary",
        "approve v1 --stage final --as ada",
        "apply",
    ):
        outcome = charter(*line.split(), cwd=place)
        assert outcome.returncode == 0, line + outcome.stdout + outcome.stderr
    return place


@pytest.fixture
def fresh(built: Path, tmp_path: Path) -> Path:
    """A copy of the built example for one page."""
    return Path(shutil.copytree(built, tmp_path / built.name))
