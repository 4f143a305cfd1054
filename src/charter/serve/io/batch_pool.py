"""All cores at once: one process per worker, each with a scorer of its own."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from charter.core.errors import CharterError, DataError
from charter.core.spread import processors
from charter.serve.batch import Counts
from charter.serve.io.batch_job import Job, Runner

Outcome = tuple[int, Counts]


def outcome(answer: Mapping[str, Any]) -> Outcome:
    """Read what `charter.serve.io.batch_worker.answer` said of a chunk.

    Raises
    ------
    DataError
        When the chunk could not be read.
    """
    if "error" in answer:
        raise DataError(answer["error"], remedy=answer["remedy"])
    return answer["chunk"], Counts(**answer["counts"])


def run_here(work: Path, job: Job, chunks: Sequence[int]) -> Generator[Outcome, None, None]:
    """Score chunks in this process, one after the other."""
    runner = Runner(work, job)
    for index in chunks:
        yield index, runner.run(index)


def run_workers(work: Path, chunks: Sequence[int], workers: int) -> Generator[Outcome, None, None]:
    """Score chunks in processes of their own; chunks are told as they finish, in any order.

    Raises
    ------
    DataError
        When a chunk cannot be read, with the message of the worker.
    CharterError
        When a worker dies; what is done stays done.
    """
    threads = max(processors() // workers, 1)
    env = {**os.environ, "POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "charter.serve.io.batch_worker", str(work)]
    todo: queue.SimpleQueue[int] = queue.SimpleQueue()
    for index in chunks:
        todo.put(index)
    answers: queue.SimpleQueue[Outcome | BaseException | None] = queue.SimpleQueue()
    processes, drivers = [], []
    try:
        for number in range(workers):
            log = (work / f"worker-{number}.log").open("wb")
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=env
            )
            log.close()
            processes.append(process)
            driver = threading.Thread(
                target=_drive, args=(process, todo, answers, work / f"worker-{number}.log"), daemon=True
            )
            driver.start()
            drivers.append(driver)
        waiting = len(drivers)
        while waiting:
            answer = answers.get()
            if answer is None:
                waiting -= 1
            elif isinstance(answer, BaseException):
                raise answer
            else:
                yield answer
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.wait()
        for driver in drivers:
            driver.join()


def _drive(
    process: subprocess.Popen[bytes],
    todo: queue.SimpleQueue[int],
    answers: queue.SimpleQueue[Outcome | BaseException | None],
    log: Path,
) -> None:
    """Hand chunks to one process until there are none left."""
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        while True:
            index = todo.get_nowait()
            process.stdin.write(b"%d\n" % index)
            process.stdin.flush()
            line = process.stdout.readline()
            if not line:
                answers.put(_died(process, log))
                return
            answers.put(outcome(json.loads(line)))
    except DataError as error:
        answers.put(error)
    except queue.Empty:
        answers.put(None)
    except OSError:
        answers.put(_died(process, log))
    finally:
        for pipe in (process.stdin, process.stdout):
            try:
                pipe.close()
            except OSError:  # the process is gone, and what was left in the pipe with it
                continue


def _died(process: subprocess.Popen[bytes], log: Path) -> CharterError:
    code = process.wait()
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    why = "it was killed, perhaps for want of memory" if code == -9 else f"exit code {code}"
    return CharterError(
        f"a scoring process ended ({why}): {said[0][:300]}",
        remedy="Run the same command again: it goes on where it stopped. Fewer --workers need less memory.",
    )
