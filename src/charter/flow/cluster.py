"""Spreading work over a Ray cluster: the one that ``RAY_ADDRESS`` names, or one that begins and ends here."""

from __future__ import annotations

import importlib.util
import logging
import os
import socket
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from types import TracebackType
from typing import Any, TypeVar

from charter.core.errors import CharterError, UsageError
from charter.core.nearest import did_you_mean
from charter.core.spread import HERE, Spread, processors

R = TypeVar("R")
T = TypeVar("T")

ENGINES = ("local", "ray")
_RETRIES = 3
"""Times that a call is made again whose process died; it leaves nothing half-done behind."""
_AHEAD = 2
"""So many calls for each worker may be done or under way before the first of them is handed on."""
_REACHED_SECONDS = 10
_THREADS = ("OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "POLARS_MAX_THREADS")
"""What says to libraries how many processors they may use. The limit holds where one asks for a number of its own."""


def refuse_unknown(engine: str) -> None:
    """Refuse a word of ``--engine`` that is none of `ENGINES`."""
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine!r} is not known", remedy=did_you_mean(engine, ENGINES))


def spread_over(engine: str, workers: int | None) -> AbstractContextManager[Spread]:
    """Lend what spreads work, as the command line names it.

    Raises
    ------
    UsageError
        For an unknown engine, a number of workers where there is one process, or when Ray is not installed.
    """
    refuse_unknown(engine)
    if engine == "ray":
        return Cluster(workers)
    if workers is not None:
        raise UsageError(
            "--workers: there is one process, which uses all processors",
            remedy="Leave it out, or add --engine ray.",
        )
    return nullcontext(HERE)


class Cluster:
    """Calls made by the processes of a Ray cluster, which begins with the first of them.

    A call has a processor of the cluster; where the cluster is this machine, its share of the processors. One whose
    process dies is made again. What a call is given and what it returns travels between machines, `keep` once to each.

    Parameters
    ----------
    workers
        Calls at a time; None is as many as there are processors.

    Raises
    ------
    UsageError
        When Ray is not installed, and when the cluster that is named cannot be reached.
    CharterError
        When processes die again and again, or the cluster is lost.
    """

    processes = 1

    def __init__(self, workers: int | None = None) -> None:
        if importlib.util.find_spec("ray") is None:
            raise UsageError("--engine ray needs Ray", remedy="pip install 'charter-ml[scale]'")
        self._asked = workers
        self._begun: int | None = None
        self._ours = False

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ours:
            import ray

            with redirect_stdout(sys.stderr):
                ray.shutdown()
        self._begun, self._ours = None, False

    @property
    def workers(self) -> int:
        """Calls at a time."""
        if self._begun is None:
            with _told():
                self._begun = self._begin()
        return self._begun

    def keep(self, value: T) -> T:
        """Put a value into the cluster's object store; returns the reference that stands for it."""
        assert self.workers
        import ray

        with _told():
            kept: T = ray.put(value)
        return kept

    def map(self, function: Callable[..., R], *columns: Iterable[Any]) -> Generator[R, None, None]:
        """Call the function on the cluster; see `charter.core.spread.Spread.map`."""
        workers = self.workers
        import ray

        task = ray.remote(_call).options(num_cpus=1, max_retries=_RETRIES, name=_name(function))
        waiting: deque[Any] = deque()  # in the order of the items
        running: list[Any] = []
        try:
            for arguments in zip(*columns, strict=False):
                with _told():
                    if len(running) == workers:
                        _, running = ray.wait(running, num_returns=1)
                    running.append(task.remote(function, *arguments))
                waiting.append(running[-1])
                while waiting[0] not in running or len(waiting) > _AHEAD * workers:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            with _told():
                for call in waiting:
                    ray.cancel(call)

    def _begin(self) -> int:
        # Ray would tell its makers of its use.
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        address = os.environ.get("RAY_ADDRESS")
        here = self._asked or processors()
        if not ray.is_initialized():
            if address:
                _refuse_unreachable(address)
            self._ours = True
            plain = {"log_to_driver": False, "include_dashboard": False, "logging_level": logging.ERROR}
            try:
                if address:
                    ray.init(**plain, runtime_env={"env_vars": dict.fromkeys(_THREADS, "1")})
                else:
                    # Its processes inherit this, which is seconds faster than to tell each.
                    with _environment(dict.fromkeys(_THREADS, str(max(processors() // here, 1)))):
                        ray.init(**plain, num_cpus=here)
            except ConnectionError as error:
                raise _no_cluster() from error
        return self._asked or max(int(ray.cluster_resources().get("CPU", 1)), 1)


def _refuse_unreachable(address: str) -> None:
    """Refuse a host and port at which nobody listens; Ray itself would ask there for more than ten minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=_REACHED_SECONDS).close()
    except OSError as error:
        raise _no_cluster() from error


def _no_cluster() -> UsageError:
    return UsageError(
        f"RAY_ADDRESS: there is no Ray cluster at {os.environ['RAY_ADDRESS']}",
        remedy="Start it with `ray start --head`, or unset RAY_ADDRESS to use this machine.",
    )


@contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _call(function: Callable[..., R], *arguments: Any) -> R:
    return function(*arguments)


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _result(call: Any) -> Any:
    import ray

    with _told():
        return ray.get(call)


@contextmanager
def _told() -> Iterator[None]:
    """Raise what a call has raised, and say what became of the cluster in words."""
    import ray

    # Ray tells of processes that died on standard output, which is for answers.
    with redirect_stdout(sys.stderr):
        try:
            yield
        except ray.exceptions.RayTaskError as error:
            if isinstance(error.cause, Exception):
                raise error.cause from None
            raise
        except ray.exceptions.RayError as error:
            said = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise CharterError(
                f"a task of the Ray cluster failed: {said[:300]}",
                remedy="Run the same command again: it goes on where it stopped. Fewer --workers need less memory.",
            ) from error
