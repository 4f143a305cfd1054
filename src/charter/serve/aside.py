"""Scoring aside: a model that hangs keeps a thread, never the worker.

A batch is scored on a thread of its own, and whoever waits for it waits no longer than the deadline. A thread cannot be
killed: one whose model hangs is left behind. When several are, the model is not asked any more, until one comes back:
the fallback answers at once. That is the whole of the trip; there is nothing to set besides the deadline.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

MOST_STUCK = 4
"""With so many threads left behind the model is not asked any more."""

T = TypeVar("T")


class Aside(Generic[T]):
    """Runs calls on threads, each for a limited time."""

    def __init__(self) -> None:
        self._stuck = 0

    @property
    def tripped(self) -> bool:
        """Whether too many calls hang for another one to make sense."""
        return self._stuck >= MOST_STUCK

    async def run(self, call: Callable[[], T], seconds: float) -> T:
        """Run a call.

        Raises
        ------
        TimeoutError
            When it has not ended in time, or too many before it have not ended yet.
        """
        if self.tripped:
            raise TimeoutError
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        # A daemon: a model that hangs must not keep the worker from ending.
        threading.Thread(target=self._carry_out, args=(call, loop, done), daemon=True, name="score").start()
        finished, _ = await asyncio.wait([done], timeout=seconds)
        if finished:
            return done.result()
        self._stuck += 1
        done.add_done_callback(self._came_back)
        raise TimeoutError

    def _came_back(self, done: asyncio.Future[T]) -> None:
        self._stuck -= 1
        if not done.cancelled():
            done.exception()  # looked at, so that nobody warns of it

    @staticmethod
    def _carry_out(call: Callable[[], T], loop: asyncio.AbstractEventLoop, done: asyncio.Future[T]) -> None:
        try:
            result = call()
        except BaseException as error:  # whatever it is, it belongs to whoever waits
            _tell(loop, _fail, done, error)
        else:
            _tell(loop, _succeed, done, result)


def _tell(loop: asyncio.AbstractEventLoop, how: Callable[..., None], *arguments: object) -> None:
    try:
        loop.call_soon_threadsafe(how, *arguments)
    except RuntimeError:  # the loop has ended; nobody waits any more
        return


def _succeed(done: asyncio.Future[T], result: T) -> None:
    if not done.done():
        done.set_result(result)


def _fail(done: asyncio.Future[T], error: BaseException) -> None:
    if not done.done():
        done.set_exception(error if isinstance(error, Exception) else RuntimeError(type(error).__name__))
