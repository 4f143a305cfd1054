"""What sees every micro-batch between scoring and answering: the prediction log, the profile counters."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import date
from time import perf_counter
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from charter.serve.counters import Counters
    from charter.serve.scored import Scored
    from charter.serve.served import Served


@dataclass(frozen=True, slots=True)
class Dealt:
    """What the prediction log says of rows that came while something was tried.

    Attributes
    ----------
    stage
        See `charter.registry.traffic.Stage`.
    arm
        None for rows without one.
    places
        Numbers of the rows within their request, where not all of them went to one version.
    backed
        Whether the champion answers instead where this version cannot: what its fallback says then reaches nobody.
    """

    stage: str
    arm: str | None = None
    places: tuple[int, ...] | None = None
    backed: bool = False


@dataclass(frozen=True, slots=True)
class Ticket:
    """Who asked; travels with a request's rows through the micro-batch.

    Attributes
    ----------
    id
        Identifier of the request, as the answer gives it.
    rows
        How many rows of the batch are its.
    route
        By which protocol it came, for example ``predict``.
    began
        `time.perf_counter` when it came.
    dealt
        None while nothing is tried.
    """

    id: str
    rows: int
    route: str
    began: float
    dealt: Dealt | None = None

    @property
    def numbers(self) -> Sequence[int]:
        """Numbers of its rows within their request."""
        places = None if self.dealt is None else self.dealt.places
        return range(self.rows) if places is None else places

    @classmethod
    def now(cls, request_id: str, rows: int, route: str = "predict") -> Ticket:
        """Ticket of a request that comes at this moment."""
        return cls(request_id, rows, route, perf_counter())


class Observer(Protocol):
    """Told of every batch, in the order of its rows: ``sum(t.rows for t in tickets) == len(scored)``.

    `observe` runs on the event loop and must return within microseconds. None lets the answers go at once; an
    awaitable holds them back until it is done, and what it raises is their answer instead (`Refused` for 503).
    """

    def observe(self, served: Served, tickets: Sequence[Ticket], scored: Scored) -> Awaitable[None] | None:
        """Take note of a batch."""

    def secret(self, model: str) -> bytes | None:
        """Secret of a model's log, by which decisions are left to chance; None where it has no log."""

    async def drain(self) -> None:
        """Finish what is under way; called once, after the last request."""

    def profile(
        self, model: str, version: str, *, since: date | None = None, until: date | None = None
    ) -> Counters | None:
        """What was counted of a version over all workers, from one day to another (inclusive, UTC)."""
