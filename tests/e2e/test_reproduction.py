"""The same specification, data, seed and environment give the same bytes, wherever and however often."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from e2e_models import charter, done, edit, make_clients, make_loans

from charter.registry.io.records import Records

WORKSPACES = {"loans": make_loans, "clients": make_clients}


def package_of(folder: Path) -> dict[str, bytes]:
    (package,) = (folder / ".charter" / "packages").iterdir()
    return {p.name: p.read_bytes() for p in package.iterdir()}


def recorded(folder: Path, name: str) -> str | None:
    with Records.open(
        f"sqlite:///{folder / '.charter' / 'records.sqlite'}", model=name, readonly=True
    ) as records:
        return records.version(1).package


@pytest.mark.parametrize("which", ["loans", pytest.param("clients", marks=pytest.mark.slow)])
def test_two_fresh_workspaces_give_the_same_bytes(which, request, tmp_path):
    """Another process, folder, home, actor, hash seed, time zone and number of threads."""
    first: Path = request.getfixturevalue(f"{which}_built")
    second = WORKSPACES[which](tmp_path / "elsewhere" / "model")
    environment = {
        **os.environ,
        "CHARTER_HOME": str(tmp_path / "home"),
        "CHARTER_ACTOR": "somebody-else",
        "PYTHONHASHSEED": "12345",
        "TZ": "Asia/Kathmandu",
        "LC_ALL": "C",
        "OMP_NUM_THREADS": "1",
        "POLARS_MAX_THREADS": "1",
    }
    code = f"import sys; from charter.cli.main import _run; sys.exit(_run(['apply', {str(second)!r}]))"
    ran = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    one, other = package_of(first), package_of(second)
    signature = one.pop("signature.json"), other.pop("signature.json")
    assert sorted(one) == sorted(other)
    assert [name for name in one if one[name] != other[name]] == []
    assert signature[0] != signature[1]  # each workspace signs with a key of its own
    assert recorded(first, f"small-{which}") == recorded(second, f"small-{which}")


@pytest.mark.parametrize("which", WORKSPACES)
def test_reproduce_builds_the_same_from_sources_and_from_the_snapshot(which, request):
    folder: Path = request.getfixturevalue(which)
    before = sorted(p for p in (folder / ".charter").rglob("*"))
    found = done("reproduce", "v1", "--in", folder, "--json").json
    assert found["identical"] is True
    assert found["what"] == "package"
    assert found["rows"] == "its sources"
    assert sorted(p for p in (folder / ".charter").rglob("*")) == before

    (source,) = [p for p in folder.iterdir() if p.suffix in (".csv", ".parquet")]
    source.unlink()
    said = done("reproduce", "v1", "--in", folder)
    assert "identical, byte for byte" in said.out
    assert "snapshot" in said.out


@pytest.mark.slow
def test_an_old_version_is_reproduced_by_its_own_specification(loans):
    edit(loans, 'use: "bill / credit"', 'use: "bill / (credit + 1)"')
    done("apply", loans)
    edit(loans, "seed: 11", "seed: 12")  # not applied
    for version in ("v1", "v2"):
        assert done("reproduce", version, "--in", loans, "--json").json["identical"] is True


def test_a_version_that_was_refused_is_reproduced_as_a_bundle(loans):
    edit(loans, "seed: 11", "seed: 12")
    edit(loans, 'roc_auc: ">= 0.7"', 'roc_auc: ">= 0.999"')
    assert charter("apply", loans).code == 1
    found = done("reproduce", "v2", "--in", loans, "--json").json
    assert found["what"] == "bundle"
    assert found["identical"] is True


def test_another_environment_is_named(loans, monkeypatch):
    from charter.registry import environment

    real = environment.environment()
    other = {
        **real,
        "python": "3.99.0",
        "distributions": {**real["distributions"], "numpy": "9.9.9", "new": "1"},
    }
    monkeypatch.setattr(environment, "environment", lambda: other)
    said = charter("reproduce", "v1", "--in", loans)
    assert said.code == 1
    assert "not the same" in said.out
    for words in (
        f"numpy {real['distributions']['numpy']} then, 9.9.9 now",
        "new absent then, 1 now",
        "python",
    ):
        assert words in said.out
    assert "Model and evaluation are identical" in said.out
    found = charter("reproduce", "v1", "--in", loans, "--json").json
    assert found["differences"] == {"manifest.json": "changed"}
    assert found["environment"]["python"] == [real["python"], "3.99.0"]


def test_a_package_names_nobody_and_no_moment(loans_built):
    package = package_of(loans_built)
    package.pop("signature.json")
    text = b"".join(content for name, content in package.items() if name.endswith(".json")).decode()
    for word in ('"tester"', str(loans_built), os.uname().nodename):
        assert word not in text
    assert json.loads(package["manifest.json"])["environment"]["distributions"]["lightgbm"]
