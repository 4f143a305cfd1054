"""Progress of long work, told to whoever listens."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Hears what is being done; one step at a time."""

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a step of ``total`` units (None when not known)."""
        ...

    def advance(self, n: int = 1, note: str = "") -> None:
        """Report ``n`` more units done, with the latest figure worth seeing."""
        ...

    def finish(self, note: str = "") -> None:
        """End the step with its result in words."""
        ...


class NoProgress:
    """Nobody listens."""

    def start(self, label: str, total: int | None = None) -> None:
        """Do nothing."""

    def advance(self, n: int = 1, note: str = "") -> None:
        """Do nothing."""

    def finish(self, note: str = "") -> None:
        """Do nothing."""
