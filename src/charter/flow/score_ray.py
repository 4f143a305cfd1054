"""The same chunks on a Ray cluster. Its machines must see the work folder and the packages: a shared file system.

Nothing here is imported that starts threads: a worker of the cluster imports this module before it knows how many.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Generator, Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.errors import CharterError, DataError, UsageError

if TYPE_CHECKING:
    from charter.serve.io.batch_pool import Outcome

_RETRIES = 3
"""Times that a chunk is scored again whose worker died; it leaves nothing half-done behind."""


def run_on_ray(work: Path, chunks: Sequence[int], workers: int) -> Generator[Outcome, None, None]:
    """Score chunks as Ray tasks: on the cluster that ``RAY_ADDRESS`` names, else on one started here and stopped.

    Parameters
    ----------
    workers
        Tasks at a time.

    Raises
    ------
    UsageError
        When Ray is not installed.
    DataError
        When a chunk cannot be read, with the message of the worker.
    CharterError
        When workers die again and again, or the cluster is lost; what is done stays done.
    """
    # Ray would tell its makers of its use.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray", remedy="pip install 'charter-ml[scale]'") from error
    from charter.serve.batch import Counts

    ours = not ray.is_initialized()
    # Ray tells of workers that died on standard output, which is for answers.
    with redirect_stdout(sys.stderr):
        if ours:
            local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
            ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.ERROR, **local)
        try:
            task = ray.remote(_task).options(num_cpus=1, max_retries=_RETRIES)
            waiting = list(chunks)
            running: list[Any] = []
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(task.remote(str(work), waiting.pop(0)))
                done, running = ray.wait(running, num_returns=1)
                for answer in ray.get(done):
                    if "error" in answer:
                        raise DataError(answer["error"], remedy=answer["remedy"])
                    yield answer["chunk"], Counts(**answer["counts"])
        except ray.exceptions.RayError as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CharterError(
                f"a task of the Ray cluster failed: {said[:300]}",
                remedy="Run the same command again: it goes on where it stopped. Fewer --workers need less memory.",
            ) from error
        finally:
            if ours:
                ray.shutdown()


def _task(work: str, index: int) -> dict[str, Any]:
    for threads in ("POLARS_MAX_THREADS", "OMP_NUM_THREADS"):  # a processor a task
        os.environ.setdefault(threads, "1")
    from charter.serve.io.batch_worker import answer

    return answer(Path(work), index)
