"""A worker's end of a shadow: hands what was answered to the candidate's process, or drops and counts it."""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from collections import deque
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import msgspec

from charter.serve.observe import Ticket
from charter.serve.scored import Scored
from charter.serve.served import Served
from charter.serve.shadow import LENGTH, Hello, Parcel, Receipt, Share, Slice, packed
from charter.serve.types import AS_OF

QUEUE_ROWS = 20_000
"""Rows that a worker holds for a candidate; more are dropped."""
PARCEL_ROWS = 256
"""Rows packed in one go: packing happens between answers, and must not hold one up."""
GATHER_SECONDS = 0.01
RETRY_SECONDS = 0.2


class ShadowMeter(Protocol):
    """Told what becomes of the rows."""

    def shadowed(self, model: str, version: str, rows: int, failed: int, seconds: Sequence[float]) -> None:
        """A candidate has scored rows, some of which it failed on."""

    def shadow_dropped(self, model: str, version: str, rows: int) -> None:
        """Rows that a candidate will not see."""


class _Item(NamedTuple):
    ticket: Ticket
    rows: Sequence[tuple[Any, ...]]
    scored: Scored
    start: int
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
    """

    def __init__(
        self,
        address: Path,
        champion: Served,
        candidate: str,
        meter: ShadowMeter,
        *,
        queue_rows: int = QUEUE_ROWS,
    ) -> None:
        self._address, self._meter, self._queue_rows = address, meter, queue_rows
        self._model, self._candidate = champion.name, candidate
        self._names = champion.scorer.signature.names
        self._as_of = self._names.index(AS_OF) if AS_OF in self._names else None
        self._items: deque[_Item] = deque()
        self._pending: dict[int, Parcel] = {}
        self._held = self._number = 0
        self._due = self._closed = False
        self._writer: asyncio.StreamWriter | None = None
        self._talking: asyncio.Task[None] | None = None

    def offer(self, ticket: Ticket, rows: Sequence[tuple[Any, ...]], scored: Scored, start: int) -> None:
        """Take a request over, or drop it."""
        count = len(rows)
        if self._closed or self._held + count > self._queue_rows:
            self._meter.shadow_dropped(self._model, self._candidate, count)
            return
        loop = asyncio.get_running_loop()
        at_us = time.time_ns() // 1000
        for first in range(0, count, PARCEL_ROWS):
            part = rows[first : first + PARCEL_ROWS] if count > PARCEL_ROWS else rows
            self._items.append(_Item(ticket, part, scored, start + first, first, at_us))
        self._held += count
        if self._talking is None:
            self._talking = loop.create_task(self._talk())
        if not self._due:
            self._due = True
            loop.call_later(GATHER_SECONDS, self._post, loop)

    def close(self) -> None:
        """Let go of everything."""
        self._closed = True
        if self._held:
            self._meter.shadow_dropped(self._model, self._candidate, self._held)
        self._items.clear()
        self._pending.clear()
        self._held = 0
        if self._talking is not None:
            self._talking.cancel()

    def _post(self, loop: asyncio.AbstractEventLoop) -> None:
        taken: list[_Item] = []
        size = 0
        while self._items and size + len(self._items[0].rows) <= PARCEL_ROWS:
            taken.append(self._items.popleft())
            size += len(taken[-1].rows)
        self._due = bool(self._items)
        if self._due:
            loop.call_later(GATHER_SECONDS, self._post, loop)
        if taken:
            self._number += 1
            together = groupby(taken, key=lambda item: id(item.scored))
            parcel = Parcel(self._number, [self._slice(list(items)) for _, items in together])
            self._pending[parcel.number] = parcel
            if self._writer is not None:
                self._writer.write(packed(parcel))

    def _slice(self, items: Sequence[_Item]) -> Slice:
        shares = [Share(i.ticket.id, i.first, len(i.rows), i.ticket.route) for i in items]
        return Slice(items[0].at_us, shares, [row for item in items for row in self._dated(item)])

    def _dated(self, item: _Item) -> Sequence[tuple[Any, ...]]:
        """Rows with the moment from which the champion looked at them, where they name none."""
        k = self._as_of
        if k is None or item.scored.inputs is None or all(row[k] is not None for row in item.rows):
            return item.rows
        moments = item.scored.inputs[AS_OF][item.start : item.start + len(item.rows)].to_list()
        return [(*row[:k], at, *row[k + 1 :]) for row, at in zip(item.rows, moments, strict=True)]

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
            except (OSError, EOFError):
                await asyncio.sleep(RETRY_SECONDS)
            finally:
                self._writer = None
                writer.close()

    def _settle(self, receipt: Receipt) -> None:
        parcel = self._pending.pop(receipt.number, None)
        if parcel is not None:
            self._held -= parcel.rows
            self._meter.shadowed(self._model, self._candidate, parcel.rows, receipt.failed, receipt.seconds)


def address(state: Path, model: str, version: str) -> Path:
    """Socket of a candidate's process in the folder that a server's processes share; names of sockets are short."""
    return state / f"shadow-{hashlib.sha256(f'{model}/{version}'.encode()).hexdigest()[:12]}.sock"
