"""The same chunks on a Ray cluster. Its machines must see the work folder and the packages: a shared file system."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

from charter.core.errors import DataError, UsageError
from charter.serve.batch import Counts
from charter.serve.io.batch_pool import Outcome


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
    """
    try:
        import ray
    except ImportError as error:
        raise UsageError("--engine ray needs Ray", remedy="pip install 'charter-ml[scale]'") from error
    ours = not ray.is_initialized()
    if ours:
        local: dict[str, Any] = {} if os.environ.get("RAY_ADDRESS") else {"num_cpus": workers}
        ray.init(log_to_driver=False, include_dashboard=False, logging_level=logging.WARNING, **local)
    try:
        task = ray.remote(_task).options(
            num_cpus=1,
            max_retries=3,
            runtime_env={"env_vars": {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}},
        )
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
    finally:
        if ours:
            ray.shutdown()


def _task(work: str, index: int) -> dict[str, Any]:
    from charter.serve.io.batch_worker import answer

    return answer(Path(work), index)
