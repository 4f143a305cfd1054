"""What a store of records must offer: four verbs. Everything else is built on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

Row = Mapping[str, Any]


class Store(Protocol):
    """Rows of text and numbers in named tables. Nothing is ever deleted."""

    def rows(
        self, table: str, where: Row | None = None, *, order: Sequence[str] = (), limit: int | None = None
    ) -> list[Row]:
        """Return the rows whose columns equal `where`; `order` names columns, ``-column`` for descending."""
        ...

    def insert(self, table: str, values: Row) -> None:
        """Add one row."""
        ...

    def update(self, table: str, values: Row, where: Row) -> int:
        """Set columns of the rows that equal `where`; return how many there were."""
        ...

    def transaction(self) -> AbstractContextManager[Store]:
        """All or nothing, one writer at a time over all processes; within one, the same transaction."""
        ...

    def close(self) -> None:
        """Give back what is held."""
        ...
