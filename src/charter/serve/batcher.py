"""Adaptive micro-batching: who comes alone is answered at once, who comes together is scored together."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from charter.serve.aside import Aside
from charter.serve.observe import Ticket
from charter.serve.problem import Refused, refuse
from charter.serve.scored import Scored

Run = Callable[[Sequence[tuple[Any, ...]], npt.NDArray[np.bool_]], Scored]
"""Scores rows; the second argument says for which of them reasons are asked."""
Observe = Callable[[Sequence[Ticket], Scored], Awaitable[None] | None]
"""Takes note of a scored batch before it is answered, see `charter.serve.observe.Observer`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is taken on.

    Attributes
    ----------
    batch_rows
        Rows scored together. A request with more rows than this is scored by itself, off the event loop.
    queue_rows
        Rows that may wait; more are answered with 503 and ``Retry-After``, before latency explodes.
    deadline_s
        A request that has waited longer is answered with 503 instead of being scored for nobody.
    """

    batch_rows: int = 256
    queue_rows: int = 20_000
    deadline_s: float = 5.0
    score_s: float | None = None
    """Seconds after which the fallback answers for a model; None scores on the event loop, which is quicker, as long
    as no batch takes ``slow_s``: after one that does, batches are scored aside for at most ``deadline_s``."""
    list_s: float | None = None
    """The same for a request with more than ``batch_rows`` rows, its waiting included; None gives it ``deadline_s`` and
    a second for each ten thousand rows."""
    slow_s: float = 1.0
    gather_s: float = 0.004
    """While many come together, the first of them waits for the others, at most so long."""


@dataclass(slots=True)
class _Waiting:
    rows: Sequence[tuple[Any, ...]]
    ticket: Ticket
    explain: bool
    since: float
    answer: asyncio.Future[tuple[Scored, int]]


_PATIENCE_S = 0.0001
"""Worth waiting for each of those who are expected."""
_MOST_TURNS = 16
"""However many keep coming: after so many turns of the loop those who came first are served."""


class Batcher:
    """Collects the rows of requests and scores them in one go.

    Scoring runs on the event loop: while it runs, new requests pile up in front of the loop; when it is done, all of
    them are read and make the next batch. A batch is scored once a turn of the loop has brought no further request.
    So an idle server waits for nobody (a turn without work takes microseconds), and a busy one forms batches as large
    as the load demands. Where many came together a moment ago they will soon be back, one by one: then a batch waits
    for as many, though no longer than ``gather_s``, which costs less than scoring them in several pieces. While the
    observer holds a batch back (it waits for the disk), those who come meanwhile wait as well: the disk takes one group
    at a time anyway, and so the next group is larger.
    """

    def __init__(
        self,
        run: Run,
        limits: Limits | None = None,
        observe: Observe = lambda _t, _s: None,
        fall_back: Callable[[Sequence[tuple[Any, ...]]], Scored] | None = None,
    ) -> None:
        self._fall_back = fall_back
        self._aside: Aside[Scored] = Aside()
        self._slow = False
        self._run = run
        self._observe = observe
        self._limits = limits or Limits()
        self._held: set[asyncio.Task[None]] = set()
        self._waiting: deque[_Waiting] = deque()
        self._waiting_rows = 0
        self._bulk_rows = 0
        self._scheduled = False
        self._crowd = 0
        self._gathering: asyncio.TimerHandle | None = None
        self.coming = 0
        self._bulk = asyncio.Semaphore(1)

    @property
    def waiting_rows(self) -> int:
        """Rows that were taken on and are not yet scored."""
        return self._waiting_rows + self._bulk_rows

    async def submit(
        self, rows: Sequence[tuple[Any, ...]], *, explain: bool = False, ticket: Ticket | None = None
    ) -> tuple[Scored, int]:
        """Score rows.

        Parameters
        ----------
        ticket
            Who asked; None for one without a name.

        Returns
        -------
        The batch's answers, and where those of ``rows`` begin.

        Raises
        ------
        Refused
            503 when too much is waiting or the deadline has passed.
        """
        if self.waiting_rows and self.waiting_rows + len(rows) > self._limits.queue_rows:
            raise busy("the server is at its limit")
        ticket = ticket or Ticket.now("", len(rows))
        if len(rows) > self._limits.batch_rows:
            return await self._alone(rows, ticket, explain), 0
        loop = asyncio.get_running_loop()
        item = _Waiting(rows, ticket, explain, loop.time(), loop.create_future())
        self._waiting.append(item)
        self._waiting_rows += len(rows)
        if self._gathering is not None and self._complete():
            self._gathering.cancel()
            self._gathering = None
            loop.call_soon(self._flush, loop, len(self._waiting), 0)
        self._schedule(loop)
        return await item.answer

    def _schedule(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._scheduled and not (self._held and self._waiting_rows < self._limits.batch_rows):
            self._scheduled = True
            loop.call_soon(self._flush, loop, 0, 0)

    def _release(self, task: asyncio.Task[None]) -> None:
        self._held.discard(task)
        if self._waiting:
            self._schedule(task.get_loop())

    def _flush(self, loop: asyncio.AbstractEventLoop, known: int, turns: int) -> None:
        more = len(self._waiting) > known or self.coming > 0
        if more and turns < _MOST_TURNS and self._waiting_rows < self._limits.batch_rows:
            loop.call_soon(self._flush, loop, len(self._waiting), turns + 1)
        elif self._complete():
            self._score(loop)
        else:
            patience = min(self._limits.gather_s, _PATIENCE_S * self._crowd)
            self._gathering = loop.call_later(patience, self._score, loop)

    def _complete(self) -> bool:
        """Whether as many wait as came together lately, or as are scored together at most."""
        return len(self._waiting) >= self._crowd or self._waiting_rows >= self._limits.batch_rows

    def _score(self, loop: asyncio.AbstractEventLoop) -> None:
        self._scheduled, self._gathering = False, None
        batch = self._take(loop.time())
        # Who stays away is waited for less and less.
        self._crowd = max(len(batch), (3 * self._crowd + len(batch)) // 4)
        if batch:
            rows = [row for item in batch for row in item.rows]
            explain = np.array([item.explain for item in batch for _ in item.rows], dtype=bool)
            if self._slow or self._limits.score_s is not None:
                self._hold(loop.create_task(self._score_aside(batch, rows, explain)))
                return
            try:
                began = loop.time()
                scored = self._run(rows, explain)
                self._slow = loop.time() - began > self._limits.slow_s
                held = self._observe([item.ticket for item in batch], scored)
            except Exception as error:  # every waiting request must get an answer, whatever broke
                for item in batch:
                    _fail(item, error)
            else:
                if held is None:
                    _answer(batch, scored)
                else:
                    self._hold(loop.create_task(_answer_after(held, batch, scored)))
        if self._waiting:
            self._schedule(loop)

    def _hold(self, task: asyncio.Task[None]) -> None:
        self._held.add(task)  # the loop itself keeps only a weak reference
        task.add_done_callback(self._release)

    async def _score_aside(
        self, batch: list[_Waiting], rows: list[tuple[Any, ...]], explain: npt.NDArray[np.bool_]
    ) -> None:
        try:
            scored = await self._in_time(rows, explain)
            held = self._observe([item.ticket for item in batch], scored)
            if held is not None:
                await held
        except Exception as error:  # as in `_flush`
            for item in batch:
                _fail(item, error)
        else:
            _answer(batch, scored)

    async def _in_time(self, rows: Sequence[tuple[Any, ...]], explain: npt.NDArray[np.bool_]) -> Scored:
        seconds = self._limits.deadline_s if self._limits.score_s is None else self._limits.score_s
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            scored = await self._aside.run(partial(self._run, rows, explain), seconds)
        except TimeoutError:
            if self._fall_back is None:
                raise busy("the model did not answer in time and declares no fallback") from None
            return self._fall_back(rows)
        self._slow = loop.time() - began > self._limits.slow_s
        return scored

    def _take(self, now: float) -> list[_Waiting]:
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and size + len(self._waiting[0].rows) <= self._limits.batch_rows:
            item = self._waiting.popleft()
            self._waiting_rows -= len(item.rows)
            if item.answer.done():  # the client has gone
                continue
            if now - item.since > self._limits.deadline_s:
                _fail(item, busy("the request waited longer than its deadline"))
                continue
            batch.append(item)
            size += len(item.rows)
        return batch

    async def _alone_in_time(self, rows: Sequence[tuple[Any, ...]], explain: npt.NDArray[np.bool_]) -> Scored:
        loop, limit = asyncio.get_running_loop(), self._limits.list_s
        began = loop.time()
        try:
            async with asyncio.timeout(limit):
                await self._bulk.acquire()
            try:
                # Where nobody says how long they may take, many rows may take longer than a few.
                seconds = self._limits.deadline_s + len(rows) / 1e4
                if limit is not None:
                    seconds = max(limit - (loop.time() - began), 0.0)
                return await self._aside.run(partial(self._run, rows, explain), seconds)
            finally:
                self._bulk.release()
        except TimeoutError:
            if self._fall_back is None:
                raise busy("the model did not answer in time and declares no fallback") from None
            return self._fall_back(rows)

    async def _alone(self, rows: Sequence[tuple[Any, ...]], ticket: Ticket, explain: bool) -> Scored:
        self._bulk_rows += len(rows)
        try:
            scored = await self._alone_in_time(rows, np.full(len(rows), explain))
            held = self._observe([ticket], scored)
            if held is not None:
                await held
            return scored
        finally:
            self._bulk_rows -= len(rows)


async def _answer_after(held: Awaitable[None], batch: list[_Waiting], scored: Scored) -> None:
    try:
        await held
    except Exception as error:  # as above: nobody may wait for ever
        for item in batch:
            _fail(item, error)
    else:
        _answer(batch, scored)


def _answer(batch: list[_Waiting], scored: Scored) -> None:
    start = 0
    for item in batch:
        if not item.answer.done():
            item.answer.set_result((scored, start))
        start += len(item.rows)


def busy(why: str) -> Refused:
    """503: come back in a second."""
    return refuse(
        503, "capacity", f"{why}; try again", remedy="Retry after the seconds of the Retry-After header."
    )


def _fail(item: _Waiting, error: Exception) -> None:
    if not item.answer.done():
        item.answer.set_exception(error)
