"""A worker's end of a shadow: hands what was answered to the candidate's process, or drops and counts it."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from itertools import compress
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from charter.serve.io.recorder import wall_us
from charter.serve.observe import Ticket
from charter.serve.scored import Scored
from charter.serve.served import Served
from charter.serve.shadow import LENGTH, Hello, Parcel, Receipt, Share, Slice, packed

QUEUE_ROWS = 20_000
"""Rows that a worker holds for a candidate; more are dropped."""
PARCEL_ROWS = 256
"""Rows packed in one go: packing happens between answers, and must not hold one up."""
GATHER_SECONDS = 0.5
"""Rows are gathered for so long, or until there are `PARCEL_ROWS`: the candidate scores many at a time, which costs the
processors a fraction of what one by one would."""
STAGE = "shadow"
RETRY_SECONDS = 0.2
_SOON_SECONDS = 0.002
"""So long between two parcels, in which answers go out."""


class ShadowMeter(Protocol):
    """Told what becomes of the rows."""

    def shadowed(self, model: str, version: str, rows: int, failed: int, seconds: Sequence[float]) -> None:
        """A candidate has scored rows, some of which it failed on."""

    def shadow_dropped(self, model: str, version: str, rows: int) -> None:
        """Rows that a candidate will not see."""


class _Item(NamedTuple):
    tickets: Sequence[Ticket]
    rows: list[tuple[Any, ...]]
    first: int
    at_us: int


class Link:
    """Hands requests to the process of one candidate; see `charter.serve.shadow.Shadow`.

    Nothing here waits for the candidate. Rows are held until it has said that it is done with them; a process that is
    started anew, because the one before hung or died, gets them again.

    Parameters
    ----------
    address
        Socket of the candidate's process, see `address`.
    now_us
        Tells the time as the log does, in microseconds since 1970; a replay has a time of its own.
    """

    def __init__(
        self,
        address: Path,
        champion: Served,
        candidate: str,
        meter: ShadowMeter,
        *,
        queue_rows: int = QUEUE_ROWS,
        now_us: Callable[[], int] = wall_us,
    ) -> None:
        self._address, self._meter, self._queue_rows = address, meter, queue_rows
        self._now_us = now_us
        self._model, self._candidate = champion.name, candidate
        self._names = champion.scorer.signature.names
        self._items: deque[_Item] = deque()
        self._pending: dict[int, Parcel] = {}
        self._held = self._gathered = self._number = 0
        self._due: asyncio.TimerHandle | None = None
        self._closed = False
        self._writer: asyncio.StreamWriter | None = None
        self._talking: asyncio.Task[None] | None = None

    def offer(self, tickets: Sequence[Ticket], scored: Scored) -> None:
        """Take a batch over, or drop it."""
        count, inputs = len(scored), scored.inputs
        if inputs is None or not any(t.dealt is not None and t.dealt.stage == STAGE for t in tickets):
            return
        if self._closed or self._held + count > self._queue_rows:
            self._meter.shadow_dropped(self._model, self._candidate, count)
            return
        at_us = self._now_us()
        # Read now, while they are still in the processor's caches, and not many at a time when they are sent.
        rows = inputs.rows()
        if count > PARCEL_ROWS:  # of one request: such are scored by themselves
            parts = range(0, count, PARCEL_ROWS)
            self._items += [_Item(tickets, rows[k : k + PARCEL_ROWS], k, at_us) for k in parts]
        else:
            self._items.append(_Item(tickets, rows, 0, at_us))
        self._held += count
        self._gathered += count
        loop = asyncio.get_running_loop()
        if self._talking is None:
            self._talking = loop.create_task(self._talk())
        if self._due is None:
            self._due = loop.call_later(GATHER_SECONDS, self._post, loop)
        elif self._gathered >= PARCEL_ROWS and self._due.when() > loop.time() + _SOON_SECONDS:
            self._due.cancel()
            self._due = loop.call_later(_SOON_SECONDS, self._post, loop)

    def close(self) -> None:
        """Let go of everything."""
        self._closed = True
        if self._held:
            self._meter.shadow_dropped(self._model, self._candidate, self._held)
        self._items.clear()
        self._pending.clear()
        self._held = self._gathered = 0
        if self._due is not None:
            self._due.cancel()
        if self._talking is not None:
            self._talking.cancel()

    def _post(self, loop: asyncio.AbstractEventLoop) -> None:
        taken: list[_Item] = []
        size = 0
        while self._items and (not taken or size + len(self._items[0].rows) <= PARCEL_ROWS):
            taken.append(self._items.popleft())
            size += len(taken[-1].rows)
        self._gathered -= size
        self._due = loop.call_later(_SOON_SECONDS, self._post, loop) if self._items else None
        self._number += 1
        parcel = Parcel(self._number, [_slice(item) for item in taken])
        self._held -= size - parcel.rows
        self._pending[parcel.number] = parcel
        if self._writer is not None:
            self._writer.write(packed(parcel))

    async def _talk(self) -> None:
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(str(self._address))
            except OSError:  # not there yet, or not any more
                await asyncio.sleep(RETRY_SECONDS)
                continue
            try:
                writer.write(packed(Hello(os.getpid(), self._names)))
                for parcel in self._pending.values():
                    writer.write(packed(parcel))
                self._writer = writer
                while True:
                    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
                    self._settle(msgspec.msgpack.decode(await reader.readexactly(size), type=Receipt))
            except (OSError, EOFError, msgspec.MsgspecError):
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self._writer = None
                writer.close()

    def _settle(self, receipt: Receipt) -> None:
        parcel = self._pending.pop(receipt.number, None)
        if parcel is not None:
            self._held -= parcel.rows
            self._meter.shadowed(self._model, self._candidate, parcel.rows, receipt.failed, receipt.seconds)


def _slice(item: _Item) -> Slice:
    """Rows of a batch, without those of requests that asked for the champion by its version."""
    rows = item.rows
    if item.first or len(rows) < sum(t.rows for t in item.tickets):
        (ticket,) = item.tickets
        return Slice(item.at_us, [Share(ticket.id, item.first, len(rows), ticket.route)], rows)
    meant = [t.dealt is not None and t.dealt.stage == STAGE for t in item.tickets]
    shares = [
        Share(t.id, 0, t.rows, t.route) for t, wanted in zip(item.tickets, meant, strict=True) if wanted
    ]
    if not all(meant):
        wanted_rows = [wanted for t, wanted in zip(item.tickets, meant, strict=True) for _ in range(t.rows)]
        rows = list(compress(rows, wanted_rows))
    return Slice(item.at_us, shares, rows)


def address(state: Path, model: str, version: str) -> Path:
    """Socket of a candidate's process in the folder that a server's processes share; names of sockets are short."""
    return state / f"shadow-{hashlib.sha256(f'{model}/{version}'.encode()).hexdigest()[:12]}.sock"
