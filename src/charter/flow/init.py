"""Starting a model of one's own from a blueprint."""

from __future__ import annotations

import re
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

from charter import __version__
from charter.core import plugins
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic

WORKFLOW = ".github/workflows/charter.yml"
_SLUG = r"[a-z][a-z0-9]*(-[a-z0-9]+)*"


def blueprint(name: str) -> Traversable:
    """Return the folder of a blueprint.

    Raises
    ------
    UsageError
        When there is no blueprint of that name; lists those that there are.
    """
    folder: Traversable = plugins.load("blueprints", name)()
    return folder


def create(folder: Path, start_from: str, *, name: str | None = None) -> tuple[str, ...]:
    """Write a blueprint's files and a workflow for continuous integration into a new folder; return their names.

    ``name`` becomes the model's name; without one it keeps the blueprint's.

    Raises
    ------
    UsageError
        When the folder already holds a file that would be overwritten, or ``name`` cannot be a model's name.
    """
    if name is not None and not (len(name) <= 64 and re.fullmatch(_SLUG, name)):
        raise UsageError(
            f"--name: {name!r} cannot be a model's name", remedy="Use lower-case words joined by hyphens."
        )
    source = [
        item for item in blueprint(start_from).iterdir() if item.is_file() and not item.name.endswith(".py")
    ]
    taken = [name for name in (*(item.name for item in source), WORKFLOW) if (folder / name).exists()]
    if taken:
        raise UsageError(f"{folder} already holds {', '.join(sorted(taken))}", remedy="Name another folder.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", remedy="Name another folder.")
    for item in source:
        content = item.read_bytes()
        if name is not None and item.name == "model.yaml":
            content = re.sub(rb"^name: .*$", f"name: {name}".encode(), content, count=1, flags=re.MULTILINE)
        write_atomic(folder / item.name, content)
    write_atomic(folder / WORKFLOW, workflow().encode())
    return tuple(sorted((WORKFLOW, *(item.name for item in source))))


def workflow() -> str:
    """Return a GitHub Actions workflow that checks the specification, plans, builds and verifies with this Charter."""
    text = (resources.files("charter.flow") / "templates" / "charter.yml").read_text(encoding="utf-8")
    return text.replace("@VERSION@", __version__)
