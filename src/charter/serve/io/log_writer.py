"""Writes the prediction log from a thread of its own, so that the event loop never waits for the disk."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import polars as pl

from charter.serve.io.segments import SegmentWriter
from charter.serve.prediction_log import Batch, LogTable
from charter.serve.problem import Refused, refuse

RETRY_SECONDS = 1.0
MAINTAIN_SECONDS = 5.0
IDLE_SECONDS = 900.0
BACKLOG_ROWS = 100_000
"""Relaxed rows that are held while they cannot be written; of more, the oldest are given up and counted."""
_log = logging.getLogger("charter.serve")


class LogMeter(Protocol):
    """Told what the log does."""

    def logged(self, model: str, rows: int, seconds: float) -> None:
        """Rows were written."""

    def log_failed(self, model: str, lost_rows: int) -> None:
        """A write failed; so many rows are given up for good."""


@dataclass(slots=True)
class _Waiter:
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[None]


@dataclass(slots=True)
class _Table:
    table: LogTable
    writer: SegmentWriter
    used: float
    backlog: deque[pl.DataFrame] = field(default_factory=deque)


class LogWriter:
    """Takes micro-batches and writes them, grouped by version.

    Durable batches are written at once and synced; those that come meanwhile make the next group, so the disk's
    latency limits how long an answer takes, not how many are answered. Relaxed ones are written as they come, best
    many at a time, by then in columns: a thread that works with Python objects keeps answers waiting.

    Parameters
    ----------
    segment
        Makes the writer of a model's version; for tests.
    """

    def __init__(
        self,
        folder: Path,
        meter: LogMeter,
        *,
        segment: Callable[[Path, str, str], SegmentWriter] = SegmentWriter,
        backlog_rows: int = BACKLOG_ROWS,
    ) -> None:
        self.failing = False
        self._folder, self._meter, self._segment = folder, meter, segment
        self._backlog_rows = backlog_rows
        self._queue: deque[tuple[LogTable, pl.DataFrame]] = deque()
        self._urgent: deque[tuple[LogTable, Batch, _Waiter]] = deque()
        self._tables: dict[LogTable, _Table] = {}
        self._wake = threading.Event()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None
        self._retry_at = 0.0

    def put_durable(self, table: LogTable, batch: Batch) -> asyncio.Future[None]:
        """Hand a batch over; the future is done when it is on disk, and raises `Refused` (503) when it cannot be."""
        loop = asyncio.get_running_loop()
        waiter = _Waiter(loop, loop.create_future())
        self._urgent.append((table, batch, waiter))
        self._start()
        return waiter.future

    def put(self, table: LogTable, batches: Sequence[Batch]) -> None:
        """Hand batches over, to be written soon."""
        try:
            self._queue.append((table, table.frame(batches)))
        except Exception:  # serving fails soft: rows that cannot be put into columns are counted as lost
            _log.exception("rows of %s cannot be logged", table.model)
            self._meter.log_failed(table.model, sum(b.rows for b in batches))
        else:
            self._start()

    def flush(self) -> None:
        """Write everything handed over, and sync it."""
        with self._busy:
            self._retry_at = 0.0
            self._commit()
            if not self._backlogged():  # a disk that takes no rows is not in order because it syncs none
                for known in self._tables.values():
                    self._guarded(known, known.writer.sync)

    def close(self) -> None:
        """Write everything and end the segments; a batch that comes later begins new ones."""
        self.flush()
        with self._busy:
            for known in self._tables.values():
                known.writer.close()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="charter-log", daemon=True)
            self._thread.start()
        self._wake.set()

    def _run(self) -> None:
        last = time.monotonic()
        while True:
            self._wake.wait(RETRY_SECONDS if self._backlogged() else MAINTAIN_SECONDS)
            self._wake.clear()
            with self._busy:
                self._commit()
                if time.monotonic() - last > MAINTAIN_SECONDS:
                    last = time.monotonic()
                    self._maintain(last)

    def _backlogged(self) -> bool:
        return any(known.backlog for known in self._tables.values())

    def _commit(self) -> None:
        durable: dict[LogTable, tuple[list[Batch], list[_Waiter]]] = {}
        while self._urgent:
            table, batch, waiter = self._urgent.popleft()
            batches, waiters = durable.setdefault(table, ([], []))
            batches.append(batch)
            waiters.append(waiter)
        for table, (batches, waiters) in durable.items():
            self._durable(self._known(table), batches, waiters)
        while self._queue:
            table, frame = self._queue.popleft()
            self._known(table).backlog.append(frame)
        if time.monotonic() >= self._retry_at:
            for known in self._tables.values():
                self._work_off(known)

    def _durable(self, known: _Table, batches: Sequence[Batch], waiters: Sequence[_Waiter]) -> None:
        failure: Refused | None = None
        began = time.perf_counter()
        try:
            known.writer.append(known.table.frame(batches))
            known.writer.sync()
        except Exception as error:  # whatever broke: not logged means not answered, and somebody waits for it
            _log.exception("the prediction log of %s cannot be written", known.table.model)
            self._meter.log_failed(known.table.model, 0)
            failure = _not_logged(error)
        else:
            rows = sum(b.rows for b in batches)
            self._meter.logged(known.table.model, rows, time.perf_counter() - began)
        _resolve(waiters, failure)

    def _known(self, table: LogTable) -> _Table:
        known = self._tables.get(table)
        if known is None:
            known = _Table(table, self._segment(self._folder, table.model, table.version), 0.0)
            self._tables[table] = known
        known.used = time.monotonic()
        return known

    def _work_off(self, known: _Table) -> None:
        if not known.backlog:
            return
        began = time.perf_counter()
        frame = known.backlog[0] if len(known.backlog) == 1 else pl.concat(known.backlog)
        if self._guarded(known, lambda: known.writer.append(frame)):
            known.backlog.clear()
            self._meter.logged(known.table.model, frame.height, time.perf_counter() - began)
            return
        self._retry_at = time.monotonic() + RETRY_SECONDS
        lost, held = 0, frame.height
        while held > self._backlog_rows:
            oldest = known.backlog.popleft().height
            lost, held = lost + oldest, held - oldest
        self._meter.log_failed(known.table.model, lost)

    def _guarded(self, known: _Table, work: Callable[[], object]) -> bool:
        """Whether the work was done; what the disk refuses is said once, until it takes it again."""
        try:
            work()
        except OSError as error:
            if not self.failing:
                _log.error("the prediction log of %s cannot be written: %s", known.table.model, error)
            self.failing = True
            return False
        self.failing = False
        return True

    def _maintain(self, now: float) -> None:
        """Close segments that are old, so that they can be compacted; forget versions that are not served any more."""
        for table, known in list(self._tables.items()):
            if known.writer.aged():
                known.writer.close()
            if now - known.used > IDLE_SECONDS and not known.backlog:
                known.writer.close()
                del self._tables[table]


def _not_logged(error: Exception) -> Refused:
    why = getattr(error, "strerror", None) or type(error).__name__
    return refuse(
        503,
        "prediction log",
        f"the answer cannot be logged ({why}), and this model answers only what is logged",
        remedy="Retry; its owner should see to the disk of the log.",
    )


def _resolve(waiters: Iterable[_Waiter], failure: Refused | None) -> None:
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    for waiter in waiters:
        by_loop.setdefault(waiter.loop, []).append(waiter.future)
    for loop, futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, futures, failure)


def _settle(futures: Iterable[asyncio.Future[None]], failure: Refused | None) -> None:
    for future in futures:
        if not future.done():
            if failure is None:
                future.set_result(None)
            else:
                future.set_exception(failure)
