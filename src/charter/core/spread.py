"""Spreading work: calls that know nothing of each other, made here one after another or elsewhere at the same time.

Who computes does not decide what comes out: functions are pure, results come in the order of the items, and nothing of
it stands in a specification, a key or a record.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable
from typing import Any, Protocol, TypeVar

R = TypeVar("R")
T = TypeVar("T")


class Spread(Protocol):
    """Makes independent calls."""

    @property
    def workers(self) -> int:
        """Calls at a time."""
        ...

    @property
    def processes(self) -> int:
        """Processes that a call may start for itself."""
        ...

    def keep(self, value: T) -> T:
        """Put a large value where every call finds it, once for all of them.

        Returns
        -------
        What stands for the value among the items of `map`; it is good for nothing else.
        """
        ...

    def map(self, function: Callable[..., R], *columns: Iterable[Any]) -> Generator[R, None, None]:
        """Call ``function(a, b, ...)`` for each ``a, b, ...`` of ``zip(*columns)``.

        Parameters
        ----------
        function
            Pure, and found under its name in a module: elsewhere it is imported.
        columns
            Arguments; they end with the shortest, so that `itertools.repeat` gives one to all calls. No call may
            write into them.

        Returns
        -------
        Results in the order of the items, as they come. Closing it leaves out calls that have not begun. What a call
        raises is raised where its result would have come.
        """
        ...


class Here:
    """Calls made in this process, each when its result is asked for.

    Examples
    --------
    >>> list(HERE.map(pow, [2, 3], [5, 2]))
    [32, 9]
    """

    workers = 1

    @property
    def processes(self) -> int:
        """All processors: there is one call at a time."""
        return processors()

    def keep(self, value: T) -> T:
        """Return the value itself."""
        return value

    def map(self, function: Callable[..., R], *columns: Iterable[Any]) -> Generator[R, None, None]:
        """Call the function in order; see `Spread.map`."""
        yield from map(function, *columns)


HERE = Here()
"""The one that needs nothing."""


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
