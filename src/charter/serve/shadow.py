"""A candidate that sees requests after they were answered: what is handed to it, and by whom."""

from __future__ import annotations

import struct
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

if TYPE_CHECKING:
    from charter.serve.observe import Ticket
    from charter.serve.scored import Scored
    from charter.serve.served import Served

Observe = Callable[["Sequence[Ticket]", "Scored"], "Awaitable[None] | None"]
LENGTH = struct.Struct(">I")
"""Stands before each message between a worker and the candidate's process."""


class Shadow(Protocol):
    """Takes what was answered to a candidate that is only tried."""

    def offer(self, tickets: Sequence[Ticket], scored: Scored) -> None:
        """Take a batch over; returns at once and raises nothing.

        Only requests of the stage ``shadow`` are meant: others of the batch asked for the champion by its version.
        """

    def close(self) -> None:
        """Let go of everything; the candidate is tried no more."""


class Shadows(Protocol):
    """Makes shadows."""

    def __call__(self, champion: Served, candidate: str) -> Shadow:
        """Shadow of requests to a champion."""


class Hello(msgspec.Struct, array_like=True, frozen=True):
    """Who a worker is, and which fields its rows have, in order."""

    pid: int
    names: tuple[str, ...]


class Share(msgspec.Struct, array_like=True, frozen=True):
    """What of a request is in a slice: its identifier, the number of its first row here, rows, protocol."""

    id: str
    first: int
    rows: int
    route: str


class Slice(msgspec.Struct, array_like=True, frozen=True):
    """Rows that the champion scored together.

    Attributes
    ----------
    at_us
        When they were answered, microseconds since 1970.
    """

    at_us: int
    shares: list[Share]
    rows: list[tuple[Any, ...]]


class Parcel(msgspec.Struct, array_like=True, frozen=True):
    """What a worker sends at a time; numbers ascend."""

    number: int
    slices: list[Slice]

    @property
    def rows(self) -> int:
        """Rows of all slices."""
        return sum(len(s.rows) for s in self.slices)


class Receipt(msgspec.Struct, array_like=True, frozen=True):
    """What became of a parcel.

    Attributes
    ----------
    failed
        Rows that the candidate could not score.
    seconds
        How long it took for the slice that was scored as the champion had scored it.
    """

    number: int
    failed: int
    seconds: list[float]


def watched(observe: Observe | None, shadow: Shadow) -> Observe:
    """Let a candidate have what is observed, as soon as it may be answered."""

    async def later(held: Awaitable[None], tickets: Sequence[Ticket], scored: Scored) -> None:
        await held
        shadow.offer(tickets, scored)

    def both(tickets: Sequence[Ticket], scored: Scored) -> Awaitable[None] | None:
        held = None if observe is None else observe(tickets, scored)
        if held is not None:
            return later(held, tickets, scored)
        shadow.offer(tickets, scored)
        return None

    return both


def packed(message: Hello | Parcel | Receipt) -> bytes:
    """Write a message with its length before it."""
    body = msgspec.msgpack.encode(message)
    return LENGTH.pack(len(body)) + body
