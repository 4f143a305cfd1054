"""Starting a model of one's own from a blueprint."""

from __future__ import annotations

from importlib.resources.abc import Traversable
from pathlib import Path

from charter.core import plugins
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic


def blueprint(name: str) -> Traversable:
    """Return the folder of a blueprint.

    Raises
    ------
    UsageError
        When there is no blueprint of that name; lists those that there are.
    """
    folder: Traversable = plugins.load("blueprints", name)()
    return folder


def create(folder: Path, name: str) -> tuple[str, ...]:
    """Write a blueprint's files into a new folder and return their names.

    Raises
    ------
    UsageError
        When the folder already holds a file that would be overwritten.
    """
    source = [item for item in blueprint(name).iterdir() if item.is_file() and not item.name.endswith(".py")]
    taken = [item.name for item in source if (folder / item.name).exists()]
    if taken:
        raise UsageError(f"{folder} already holds {', '.join(sorted(taken))}", remedy="Name another folder.")
    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder} is a file", remedy="Name another folder.")
    for item in source:
        write_atomic(folder / item.name, item.read_bytes())
    return tuple(sorted(item.name for item in source))
