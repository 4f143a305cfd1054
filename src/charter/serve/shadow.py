"""What sees requests after they were answered."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from charter.serve.observe import Ticket
    from charter.serve.scored import Scored
    from charter.serve.served import Served


class Shadow(Protocol):
    """Takes what was answered to a candidate that is only tried."""

    def offer(self, ticket: Ticket, rows: Sequence[tuple[Any, ...]], scored: Scored, start: int) -> None:
        """Take a request over; called when its answer has gone out. Returns at once and raises nothing.

        Parameters
        ----------
        rows
            As the champion read them.
        scored, start
            What the champion answered: its batch, and where the rows' answers begin.
        """

    def close(self) -> None:
        """Let go of everything; the candidate is tried no more."""


class Shadows(Protocol):
    """Makes shadows."""

    def __call__(self, champion: Served, candidate: str) -> Shadow:
        """Shadow of requests to a champion."""
