"""A process that scores chunks: ``python -m charter.serve.io.batch_worker WORK``.

Reads the number of a chunk a line from standard input, answers a line of JSON a chunk on standard output: its counts,
or what went wrong. Ends when its input ends, and so with whoever started it, however that died.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

import polars as pl

from charter.core.errors import CharterError, UsageError
from charter.serve.io.batch_job import Runner, read_job


def main() -> int:
    """Serve chunks until the input ends."""
    # Whatever a library prints goes to the log, not between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(answer(Path(sys.argv[1]), int(line))) + "\n")
        answers.flush()
    return 0


def answer(work: Path, index: int) -> dict[str, Any]:
    """Score a chunk, and say in plain data what became of it."""
    try:
        return {"chunk": index, "counts": _runner(work).run(index).to_json()}
    except CharterError as error:
        return {"chunk": index, "error": error.message, "remedy": error.remedy}
    except (OSError, pl.exceptions.PolarsError) as error:
        return {"chunk": index, **_told(error)}


def _told(error: Exception) -> dict[str, str | None]:
    """An error of the system, which Polars wraps in ways of its own."""
    where, why = getattr(error, "filename", None), getattr(error, "strerror", None) or str(error)
    full = any(os.strerror(number) in why for number in (errno.ENOSPC, errno.EDQUOT))
    remedy = "Make room on the disk and run the same command again: it goes on where it stopped."
    return {"error": f"{where}: {why}" if where else why, "remedy": remedy if full else None}


@lru_cache(maxsize=1)
def _runner(work: Path) -> Runner:
    job = read_job(work)
    if job is None:
        raise UsageError(f"{work} holds no job", remedy="It was called off or is done.")
    return Runner(work, job)


if __name__ == "__main__":
    raise SystemExit(main())
