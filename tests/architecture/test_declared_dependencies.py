"""Each way of installing Charter declares all that its code imports, so that a smaller installation works."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions
from pathlib import Path

import pytest
from import_budget import imported_by
from packaging.requirements import Requirement

BASE = """
import charter.cli.main, charter.spec.loader, charter.spec.schema, charter.spec.expand, charter.spec.diff
import charter.framing.assess, charter.flow.init
"""
EVERYWHERE = {"_distutils_hack"}
"""Put into every interpreter by setuptools, not imported by anybody."""
SERVE = """
import charter.serve.app, charter.serve.scorer, charter.serve.decode, charter.serve.io.server, charter.serve.rest
import charter.registry.io.packages
"""


def declared(root: Path, extra: str | None) -> set[str]:
    """Names of the distributions that an installation brings, with all that these need here."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(r) for r in project["dependencies"]]
    waiting += [Requirement(r) for r in project["optional-dependencies"].get(extra or "", [])]
    found = {"charter-ml"}
    while waiting:
        need = waiting.pop()
        name = re.sub(r"[-_.]+", "-", need.name).lower()
        if name in found or (need.marker and not need.marker.evaluate({"extra": ""})):
            continue
        try:
            waiting += [Requirement(r) for r in distribution(name).requires or ()]
        except PackageNotFoundError:
            continue
        found.add(name)
    return found


@pytest.mark.parametrize(("statement", "extra"), [(BASE, None), (SERVE, "serve")], ids=["base", "serve"])
def test_an_installation_brings_what_it_imports(root: Path, statement: str, extra: str | None) -> None:
    owners = packages_distributions()
    brought = declared(root, extra)
    missing = {
        module: names
        for module in imported_by(statement) - EVERYWHERE
        if (names := {re.sub(r"[-_.]+", "-", n).lower() for n in owners.get(module, ())})
        and not names & brought
    }
    assert not missing, f"imported, but not declared for {extra or 'the base'}: {missing}"
