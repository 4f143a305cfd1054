"""Entry points: built-ins and outsiders register the same way."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from charter.core.errors import UsageError
from charter.core.nearest import advice

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints


@cache
def names(group: str) -> tuple[str, ...]:
    """Names registered under ``charter.<group>``, sorted; nothing is imported."""
    return tuple(sorted({point.name for point in _points(group)}))


def load(group: str, name: str) -> Any:
    """Import the object registered as ``name`` under ``charter.<group>``.

    Raises
    ------
    UsageError
        When nothing is registered under that name.
    """
    for point in _points(group):
        if point.name == name:
            return point.load()
    raise UsageError(f"no {group[:-1]} is called {name!r}", remedy=advice(name, names(group)))


def _points(group: str) -> EntryPoints:
    from importlib.metadata import entry_points  # a sixth of the time that `charter --help` may take

    return entry_points(group=f"charter.{group}")
