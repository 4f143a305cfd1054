"""Entry points: built-ins and outsiders register the same way."""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from typing import Any

from charter.core.errors import UsageError
from charter.core.nearest import advice


@cache
def names(group: str) -> tuple[str, ...]:
    """Names registered under ``charter.<group>``, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in entry_points(group=f"charter.{group}")}))


def load(group: str, name: str) -> Any:
    """Import the object registered as ``name`` under ``charter.<group>``.

    Raises
    ------
    UsageError
        When nothing is registered under that name.
    """
    for point in entry_points(group=f"charter.{group}"):
        if point.name == name:
            return point.load()
    raise UsageError(f"no {group[:-1]} is called {name!r}", remedy=advice(name, names(group)))
