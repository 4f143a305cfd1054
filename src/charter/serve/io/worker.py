"""What a worker process runs: the application of the deployment files, built once and kept up to date."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.serve.io.access import AccessPolicy

if TYPE_CHECKING:
    from charter.serve.app import Application
    from charter.serve.served import Served

DEPLOYMENTS = "CHARTER_DEPLOYMENTS"
"""Environment variable that tells workers which deployment files to load: a JSON list."""
STATE = "CHARTER_SERVER_STATE"
"""Environment variable that tells workers the folder which they share with their parent."""
OPTIONS = "CHARTER_SERVER_OPTIONS"
"""Environment variable that holds `WorkerOptions` as JSON."""
APPLICATION = "charter.serve.io.worker:application"
DRAIN_SECONDS = 30
"""Requests that are under way when the server is to end have so long."""
STARTED, FAILED = "started", "failed"
_ORPHAN_SECONDS = 1.0
_SWITCH_SECONDS = 0.001
_GARBAGE = 10_000
"""New objects between two looks for garbage: a busy server has hundreds of requests under way."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How workers serve, besides what they serve.

    Attributes
    ----------
    workers
        How many there are; each grants its share of every rate.
    deadline_ms
        A model that has not answered after so long is answered for by the fallback; None leaves it five seconds.
    access
        Who may ask; None lets in everybody.
    replay_clock
        File that tells the time of a replay; None: it is now.
    """

    workers: int = 1
    deadline_ms: float | None = None
    access: AccessPolicy | None = None
    replay_clock: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "workers": self.workers,
            "deadline_ms": self.deadline_ms,
            "access": self.access.to_json() if self.access is not None else None,
            "replay_clock": str(self.replay_clock) if self.replay_clock is not None else None,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> WorkerOptions:
        """Inverse of `to_json`."""
        access = AccessPolicy.from_json(data["access"]) if data["access"] is not None else None
        clock = Path(data["replay_clock"]) if data["replay_clock"] is not None else None
        return cls(int(data["workers"]), data["deadline_ms"], access, clock)


def application() -> Application:
    """Build the application of the deployments that ``CHARTER_DEPLOYMENTS`` names; each worker calls it once.

    A worker that cannot start although none could before ends the server: a deployment that does not load must be
    told at once. Once one has started, a worker that fails is replaced and what serves goes on serving.
    """
    state = Path(os.environ[STATE])
    try:
        built = _application(WorkerOptions.from_json(json.loads(os.environ[OPTIONS])))
        for model in built.models:
            model.warm_up()
    except Exception as error:  # whatever it was, the parent must learn of it; the worker raises it again
        if not (state / STARTED).exists():
            (state / FAILED).write_text(str(error), encoding="utf-8")
            os.kill(os.getppid(), signal.SIGTERM)
        raise
    (state / STARTED).touch()
    # What is loaded now stays: the garbage collector need not go through it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GARBAGE)
    return built


def _application(options: WorkerOptions) -> Application:
    from charter.serve.app import Application, ServerLimits
    from charter.serve.batcher import Limits
    from charter.serve.io.access import Porter
    from charter.serve.io.follow import Follower, traffic
    from charter.serve.io.loading import load_model
    from charter.serve.io.recorder import Recorders, wall_us
    from charter.serve.io.replay_clock import ReplayClock
    from charter.serve.io.shadow import Link, address
    from charter.serve.metrics import Metrics

    # A model that is loaded beside the traffic hands the interpreter back sooner.
    sys.setswitchinterval(_SWITCH_SECONDS)
    seconds = None if options.deadline_ms is None else options.deadline_ms / 1000
    limits, metrics = ServerLimits(batch=Limits(score_s=seconds)), Metrics()
    porter = Porter(options.access, share=1 / options.workers) if options.access is not None else None
    paths = [Path(path) for path in json.loads(os.environ[DEPLOYMENTS])]
    follower = Follower(paths, partial(load_model, max_rows=limits.rows))
    now_us = ReplayClock(options.replay_clock).now_us if options.replay_clock is not None else wall_us
    observer = Recorders(follower.logs, metrics, now_us=now_us) if follower.logs else None

    async def follow(application: Application) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(_end_with(os.getppid()))
            group.create_task(follower.follow(application))
            if porter is not None:
                group.create_task(porter.follow())

    def shadow(champion: Served, candidate: str) -> Link:
        state = Path(os.environ[STATE])
        socket = address(state, champion.name, candidate)
        return Link(socket, champion, candidate, metrics, now_us=now_us)

    return Application(
        follower.models(follower.deployments),
        limits=limits,
        metrics=metrics,
        observer=observer,
        background=follow,
        gate=porter.gate if porter is not None else None,
        traffic=traffic(follower.deployments),
        shadows=shadow,
    )


async def _end_with(parent: int) -> None:
    """End when the parent has gone: who is not watched over must not go on answering."""
    while os.getppid() == parent:
        await asyncio.sleep(_ORPHAN_SECONDS)
    os.kill(os.getpid(), signal.SIGTERM)
