"""What an expression is made of once it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple


class Reference(NamedTuple):
    """A column named in an expression, and where: ``position`` from 0, ``width`` with its quotes."""

    name: str
    position: int
    width: int


@dataclass(frozen=True, slots=True)
class Node:
    """One piece of an expression.

    Attributes
    ----------
    kind
        ``number``, ``text``, ``time``, ``truth``, ``null``, ``column``, ``call``, ``sign``, ``not``,
        ``brackets``, ``case``, ``cast``, ``extract``, ``in``, ``between``, ``like``, ``is_null``,
        or the sign of a binary operator.
    value
        The literal, the column, the function, the type, or empty.
    position, stop
        Offsets of the first character and of the one after the last.
    depth
        Levels from here down, at least 1.
    """

    kind: str
    value: str
    args: tuple[Node, ...]
    position: int
    stop: int
    depth: int

    @property
    def width(self) -> int:
        """Number of characters."""
        return self.stop - self.position

    def walk(self) -> Iterator[Node]:
        """Yield this piece and everything below it."""
        yield self
        for arg in self.args:
            yield from arg.walk()
