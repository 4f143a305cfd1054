"""The workspace of the documentation's running example, made once and copied for each page."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from datetime import date, timedelta
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
    (folder / "results.csv").write_text(_results(), encoding="utf-8")
    return folder


def _results() -> str:
    """Results of an experiment: 4,000 customers in two arms."""
    draw = random.Random(2)
    rows = ["customer,arm,bought,spend"]
    for number in range(4000):
        arm = draw.choice(["champion", "candidate"])
        bought = draw.random() < (0.33 if arm == "candidate" else 0.25)
        rows.append(f"c-{number},{arm},{str(bought).lower()},{draw.gammavariate(2, 24):.2f}")
    return "\n".join(rows) + "\n"


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


@pytest.fixture(scope="session")
def forecast(root: Path, charter: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model of docs/forecast-decisions.md with two years of sales that it fits, released."""
    shown = blocks(root / "docs" / "forecast-decisions.md", root)
    folder = tmp_path_factory.mktemp("docs") / "packs"
    folder.mkdir()
    text = next(b.text for b in shown if b.text.startswith("spec_version"))
    (folder / "model.yaml").write_text(text + "\n", encoding="utf-8")
    draw = random.Random(2)
    juices = {"apple": 2.0, "orange": 2.5, "mango": 3.5}
    tables: dict[str, list[str]] = {name: [] for name in ("sales", "ahead", "came")}
    for shop in range(6):
        for juice, usual in juices.items():
            for week in range(76):
                deal = int(draw.random() < 0.25)
                price = round(usual * (1 - 0.15 * deal) * draw.uniform(0.9, 1.1), 2)
                sold = (15 + 8 * shop + 4 * usual) * (price / usual) ** -2 * 1.3**deal
                packs = round(sold * draw.lognormvariate(0, 0.12))
                row = f"s{shop},{juice},{date(2021, 11, 22) + timedelta(weeks=week)}"
                if week < 70:
                    tables["sales"].append(f"{row},{packs},{price},{deal}")
                else:
                    tables["ahead"].append(f"{row},{price},{deal}")
                    tables["came"].append(f"{row},{packs}")
    heads = {"sales": "packs,price,deal", "ahead": "price,deal", "came": "packs"}
    tables["opening"] = [f"s6{row[2:]}" for row in tables["ahead"] if row.startswith("s0")]
    heads["opening"] = heads["ahead"]
    for name, lines in tables.items():
        (folder / f"{name}.csv").write_text("\n".join([f"shop,juice,week,{heads[name]}", *lines]) + "\n")
    shops = [f"s{shop},{'north' if shop % 2 else 'south'}" for shop in range(6)]
    (folder / "shops.csv").write_text("\n".join(["shop,zone", *shops]) + "\n")
    stock = [f"s{shop},{juice},20,0" for shop in range(6) for juice in juices]
    (folder / "stock.csv").write_text("\n".join(["shop,juice,on_hand,on_order", *stock]) + "\n")
    outcome = charter("apply", cwd=folder)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    return folder
