"""The process of a candidate that sees requests after they were answered: ``... DEPLOYMENT --socket ADDRESS``.

It runs only when no answer needs the processor, dies with the server, cannot take memory without limit, and is the
first that the system kills when memory is short. What it does, nobody waits for.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from charter.serve.io.leisure import Leisure
from charter.serve.io.progress import Progress
from charter.serve.shadow import LENGTH, Hello, Parcel, Receipt, Share, Slice, packed

if TYPE_CHECKING:
    from charter.serve.decode import Row
    from charter.serve.io.log_writer import LogWriter
    from charter.serve.prediction_log import LogTable
    from charter.serve.scored import Scored
    from charter.serve.scorer import Scorer
    from charter.serve.served import Served

MEMORY_BYTES = 512 * 1024 * 1024
"""So much more than after loading the process may take."""
_LEAKING = 0.75
"""A process that has taken this share of it ends by itself, while it still can write down what it has scored."""
_PARENT_SECONDS = 1.0
LEAKS = 70
"""Exit code of a process whose candidate keeps taking memory."""


class Candidate:
    """Scores what others were answered, and logs it as what nobody was given.

    Parameters
    ----------
    died_on
        Sender and number of what a process before this one hung or died on; it is not tried again.
    """

    def __init__(
        self, served: Served, table: LogTable | None, writer: LogWriter | None, progress: Progress,
        died_on: tuple[int, int] | None = None,
    ) -> None:  # fmt: skip
        self._served, self._table, self._writer = served, table, writer
        self._progress, self._died_on = progress, died_on
        self._takes = frozenset(served.scorer.signature.names)
        self._scorer = served.scorer
        self._in_bulk = copy(served.scorer)
        self._in_bulk.rules = replace(served.scorer.rules, reasons_for="asked")

    def take(self, hello: Hello, parcel: Parcel) -> Receipt:
        """Score and log a parcel.

        One slice is scored as the champion scored it, to learn how long that takes; all others together, without
        reasons, which nobody reads. Their rows tell no latency.
        """
        lost = (hello.pid, parcel.number) == self._died_on
        failed, seconds = 0, list[float]()
        for slices, scorer in ((parcel.slices[:1], self._scorer), (parcel.slices[1:], self._in_bulk)):
            if not slices:
                continue
            if not lost:
                self._progress.begin(hello.pid, parcel.number)
            began, waited = time.perf_counter(), _waited_s()
            shares, rows, refused = self._read(hello.names, slices)
            scored = self._score(scorer, rows, lost) if rows else None
            # Waiting for a processor is what this process is for; it says nothing of the candidate.
            took = max(time.perf_counter() - began - (_waited_s() - waited), 0.0)
            self._progress.end()
            timed = scorer is self._scorer and not lost  # nothing is known of what hung
            seconds += [took] if timed else []
            if scored is not None:
                failed += sum(scored.fallback)
                self._log(shares, scored, slices[0].at_us, took if timed else float("nan"))
            if refused:
                failed += sum(share.rows for share in refused)
                self._log(refused, self._refusal(refused), slices[0].at_us, float("nan"))
        return Receipt(parcel.number, failed, seconds)

    def _read(
        self, names: Sequence[str], slices: Sequence[Slice]
    ) -> tuple[list[Share], list[Row], list[Share]]:
        """Rows as the candidate reads them, and the requests that it cannot read: it may need, or forbid, more."""
        from charter.serve.problem import Refused

        shares = [share for one in slices for share in one.shares]
        plain = [
            {n: v for n, v in zip(names, row, strict=True) if n in self._takes}
            for one in slices
            for row in one.rows
        ]
        decode = self._served.decoder.decode
        try:
            return shares, decode(msgspec.json.encode(plain)).rows, []
        except Refused:
            read: list[Share] = []
            refused: list[Share] = []
            rows: list[Row] = []
            at = 0
            for share in shares:
                try:
                    rows += decode(msgspec.json.encode(plain[at : at + share.rows])).rows
                    read.append(share)
                except Refused:
                    refused.append(share)
                at += share.rows
            return read, rows, refused

    def _refusal(self, refused: Sequence[Share]) -> Scored:
        """What stands in the log of requests that the candidate cannot read: that it failed, and no inputs."""
        from charter.serve.scored import unanswered

        rows = sum(share.rows for share in refused)
        return unanswered(self._served.decoder.frame([]).clear(rows), "the model cannot read the request")

    def _score(self, scorer: Scorer, rows: Sequence[Row], lost: bool) -> Scored:
        import polars as pl

        from charter.serve.scored import unanswered

        frame = self._served.decoder.frame(rows)
        if lost:
            return unanswered(frame, "the model hung, or ended its process")
        try:
            return scorer.run(frame, soft=True)
        # Whatever a model raises; a panic of Polars is no Exception.
        except (Exception, pl.exceptions.PanicException) as error:
            return unanswered(frame, f"the model failed ({type(error).__name__})")

    def _log(self, shares: Sequence[Share], scored: Scored, at_us: int, took_s: float) -> None:
        from charter.registry.traffic import SHADOW
        from charter.serve.explore import exploring
        from charter.serve.observe import Dealt, Ticket
        from charter.serve.prediction_log import Batch

        if self._table is None or self._writer is None:
            return
        table, writer = self._table, self._writer
        ended = time.perf_counter()
        tickets = [
            Ticket(
                s.id, s.rows, s.route, ended - took_s,
                Dealt("shadow", SHADOW, tuple(range(s.first, s.first + s.rows)) if s.first else None),
            )
            for s in shares
        ]  # fmt: skip

        def write(tickets: Sequence[Ticket], scored: Scored) -> None:
            writer.put(table, [Batch(tickets, scored, at_us, ended)])

        exploring(self._served, write, lambda: table.secret)(tickets, scored)


async def listen(candidate: Candidate, socket: Path, most_bytes: float) -> bool:
    """Take parcels until SIGTERM, the server's end, or memory beyond ``most_bytes``; returns whether it was memory."""
    over, leaks, turn, leisure = asyncio.Event(), asyncio.Event(), asyncio.Lock(), Leisure()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, over.set)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(EOFError, OSError):
            hello = msgspec.msgpack.decode(await _message(reader), type=Hello)
            while True:
                parcel = msgspec.msgpack.decode(await _message(reader), type=Parcel)
                async with turn:
                    await leisure.wait()
                    writer.write(packed(candidate.take(hello, parcel)))
                await asyncio.sleep(0)  # other workers, and signals, have their turn
                if _data_bytes() > most_bytes:
                    leaks.set()
                    over.set()
        writer.close()

    server = await asyncio.start_unix_server(talk, str(socket))
    parent = os.getppid()
    async with server:
        while not over.is_set() and os.getppid() == parent:
            with suppress(TimeoutError):
                await asyncio.wait_for(over.wait(), _PARENT_SECONDS)
    return leaks.is_set()


async def _message(reader: asyncio.StreamReader) -> bytes:
    (size,) = LENGTH.unpack(await reader.readexactly(LENGTH.size))
    return await reader.readexactly(size)


def step_back() -> None:
    """Leave the processor, and memory when it is short, to those who answer."""
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except (AttributeError, OSError):  # macOS, or a container that forbids it
        os.nice(19)
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            death_signal = 1  # PR_SET_PDEATHSIG
            ctypes.CDLL(None).prctl(death_signal, signal.SIGKILL)


def limit_memory(more_bytes: int) -> float:
    """Let the process take so much more than it has now; returns with how much it should end by itself."""
    used = _data_bytes()
    if not used:
        return float("inf")
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    most = used + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (most if hard < 0 else min(most, hard), hard))
    return used + _LEAKING * more_bytes


def _data_bytes() -> int:
    """Memory that counts against the limit; 0 where the kernel does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * resource.getpagesize()


def _waited_s() -> float:
    """How long this thread has waited for a processor so far; 0 where the kernel does not tell."""
    try:
        return int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0


def main(argv: Sequence[str] | None = None) -> int:
    """Load the candidate that a deployment file names, and take parcels until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m charter.serve.io.shadow_process", description=__doc__)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--memory-bytes", type=int, default=MEMORY_BYTES)
    given = parser.parse_args(argv)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the server, which ends what it has started
    step_back()
    from charter.core.errors import CharterError
    from charter.serve.io.loading import load_model, read_deployment
    from charter.serve.io.log_writer import LogWriter
    from charter.serve.io.recorder import table_of
    from charter.serve.io.secret import load_secret
    from charter.serve.metrics import Metrics

    progress = Progress(given.socket.with_suffix(".progress"))
    died_on = progress.task()
    progress.end()
    try:
        deployment = read_deployment(given.deployment)
        served = load_model(deployment.models[0])
        served.warm_up()
    except CharterError as error:
        print(error.message, file=sys.stderr)  # noqa: T201 - the server reads it
        return error.exit_code
    # Rows of a shadow are no answers, so nobody waits until they are on disk.
    served.log = replace(served.log, mode="relaxed" if served.log.mode == "durable" else served.log.mode)
    writer = table = None
    if deployment.log is not None and served.log.mode != "none":
        writer, table = LogWriter(deployment.log, Metrics()), table_of(served, load_secret(deployment.log))
    before = (died_on.pid, died_on.number) if died_on is not None else None
    candidate = Candidate(served, table, writer, progress, before)
    leaks = asyncio.run(listen(candidate, given.socket, limit_memory(given.memory_bytes)))
    if writer is not None:
        writer.close()
    if leaks:
        print("the candidate keeps taking memory", file=sys.stderr)  # noqa: T201 - the server reads it
    return LEAKS if leaks else 0


if __name__ == "__main__":
    raise SystemExit(main())
