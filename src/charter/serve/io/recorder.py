"""The observer of a server: prediction log and profile counters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Protocol

from charter.serve.counters import Counters
from charter.serve.io.counters import CounterThread, CountMeter, read_counters
from charter.serve.io.log_writer import LogMeter, LogWriter
from charter.serve.io.secret import load_secret
from charter.serve.observe import Ticket
from charter.serve.prediction_log import Batch, LogTable
from charter.serve.scored import Scored
from charter.serve.served import Served

NOT_LOGGED = "this answer may be missing from the prediction log, which cannot be written at the moment"


GATHER_SECONDS = 0.07
"""Batches are collected for this long, and put into columns together."""
_PORTION = 32
"""So many at most: what they take keeps the next request waiting."""
_AFTER_ANSWERS_SECONDS = 0.001


def wall_us() -> int:
    """Microseconds since 1970, by the clock on the wall."""
    return time.time_ns() // 1000


class Meter(LogMeter, CountMeter, Protocol):
    """Told what is written and counted."""


class Recorder:
    """Logs and counts what a server answers; see `charter.serve.observe.Observer`.

    Batches are put into columns on the event loop, between two answers: in a thread beside it the same work would
    fight the answers for the interpreter, which costs them ten times as long as it takes.

    Parameters
    ----------
    folder
        Of the log; shared by all workers.
    now_us
        Tells the time, in microseconds since 1970; a replay has a time of its own.
    """

    def __init__(self, folder: Path, meter: Meter, *, now_us: Callable[[], int] = wall_us) -> None:
        self._folder, self._now_us = folder, now_us
        self._secret = load_secret(folder)
        self._writer = LogWriter(folder, meter)
        self._counters = CounterThread(folder, meter)
        self._tables: dict[tuple[str, str, str], LogTable] = {}
        self._gathered: list[tuple[Served, Batch]] = []
        self._due: asyncio.TimerHandle | None = None

    def observe(self, served: Served, tickets: Sequence[Ticket], scored: Scored) -> Awaitable[None] | None:
        """Take a batch on for the threads that write and count."""
        batch, mode = Batch(tickets, scored, self._now_us(), time.perf_counter()), served.log.mode
        if self._writer.failing and mode == "relaxed":
            for warnings in scored.warnings:
                warnings.append(NOT_LOGGED)
        if mode == "relaxed" or served.reference is not None:
            self._gathered.append((served, batch))
            if len(self._gathered) == 1:
                self._hand_over_in(GATHER_SECONDS)
            elif len(self._gathered) == _PORTION:
                self._hand_over_in(_AFTER_ANSWERS_SECONDS)
        return self._writer.put_durable(self._table(served), batch) if mode == "durable" else None

    def secret(self, model: str) -> bytes | None:
        """Secret of the log; every model's here."""
        return self._secret

    async def drain(self) -> None:
        """Write and count what is under way."""
        self._hand_over()
        await asyncio.to_thread(self.close)

    def close(self) -> None:
        """Write and count everything; segments end."""
        self._hand_over()
        self._writer.close()
        self._counters.flush()

    def profile(
        self, model: str, version: str, *, since: date | None = None, until: date | None = None
    ) -> Counters | None:
        """Counters of a version over all workers; the others' may lack the last ten to fifteen seconds."""
        self._counters.flush()
        return read_counters(self._folder, model, version, since=since, until=until)

    def _hand_over_in(self, seconds: float) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # a replay answers without a loop, and closes when it has answered
            return
        if self._due is not None:
            self._due.cancel()
        self._due = loop.call_later(seconds, self._hand_over)

    def _hand_over(self) -> None:
        gathered, self._gathered, self._due = self._gathered, [], None
        of_model: dict[Served, list[Batch]] = {}
        for served, batch in gathered:
            of_model.setdefault(served, []).append(batch)
        for served, batches in of_model.items():
            if served.log.mode == "relaxed":
                self._writer.put(self._table(served), batches)
            if served.reference is not None:
                self._counters.put((served.name, served.version), served.reference, batches)

    def _table(self, served: Served) -> LogTable:
        key = (served.name, served.version, served.package)
        table = self._tables.get(key)
        if table is None or table.policy != served.log:
            table = table_of(served, self._secret)
            self._tables[key] = table
        return table


def table_of(served: Served, secret: bytes) -> LogTable:
    """How the answers of a model are logged."""
    scorer = served.scorer
    multiclass = scorer.bundle.task == "multiclass"
    return LogTable(
        served.name, served.version, served.package, scorer.signature, multiclass, served.log, secret
    )


class Recorders:
    """The observer of a server whose models may log to different folders: each workspace finds its own.

    Parameters
    ----------
    folders
        Name of a model to the folder of its log; models that are not in it are neither logged nor counted. It may grow.
    now_us
        As of `Recorder`.
    """

    def __init__(
        self, folders: Mapping[str, Path], meter: Meter, *, now_us: Callable[[], int] = wall_us
    ) -> None:
        self._folders, self._meter, self._now_us = folders, meter, now_us
        self._recorders = {folder: Recorder(folder, meter, now_us=now_us) for folder in set(folders.values())}

    def observe(self, served: Served, tickets: Sequence[Ticket], scored: Scored) -> Awaitable[None] | None:
        """Hand a batch to the recorder of its model's folder."""
        recorder = self._of(served.name)
        return None if recorder is None else recorder.observe(served, tickets, scored)

    def secret(self, model: str) -> bytes | None:
        """Secret of the log that the model is logged to."""
        recorder = self._of(model)
        return None if recorder is None else recorder.secret(model)

    async def drain(self) -> None:
        """Write and count what is under way everywhere."""
        await asyncio.gather(*(recorder.drain() for recorder in self._recorders.values()))

    def profile(
        self, model: str, version: str, *, since: date | None = None, until: date | None = None
    ) -> Counters | None:
        """Counters of a version, see `Recorder.profile`; None where the model has no log."""
        recorder = self._of(model)
        return None if recorder is None else recorder.profile(model, version, since=since, until=until)

    def _of(self, model: str) -> Recorder | None:
        folder = self._folders.get(model)
        if folder is None:
            return None
        if folder not in self._recorders:
            self._recorders[folder] = Recorder(folder, self._meter, now_us=self._now_us)
        return self._recorders[folder]
