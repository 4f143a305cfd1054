"""Working only while others leave the processors alone.

Low priority is not enough: a processor that would rest shares caches, and often its core, with one that answers.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from pathlib import Path

BUSY = 0.7
"""Where others use so much of the processors, they are not to be disturbed."""
LONGEST_SECONDS = 1.0
"""After so long one piece of work is done all the same, so that a machine that is always busy is seen, too."""
WINDOW_SECONDS = 0.1
Times = Callable[[], tuple[float, float, float] | None]
"""Seconds that all processors together have existed and rested, and that this process has worked, so far."""


def processor_times() -> tuple[float, float, float] | None:
    """Read them; None where the kernel does not tell (other than Linux)."""
    try:
        line = Path("/proc/stat").read_text(encoding="ascii").split("\n", 1)[0]
        ticks = [int(value) for value in line.split()[1:9]]
    except (OSError, ValueError):
        return None
    second = os.sysconf("SC_CLK_TCK")
    return sum(ticks) / second, (ticks[3] + ticks[4]) / second, time.process_time()


class Leisure:
    """Waits until others leave the processors alone.

    Parameters
    ----------
    times
        See `Times`.
    """

    def __init__(self, times: Times = processor_times) -> None:
        self._times, self._last, self._share = times, times(), 0.0

    async def wait(self) -> None:
        """Return when others use less than `BUSY` of the processors, or after `LONGEST_SECONDS`."""
        until = time.monotonic() + LONGEST_SECONDS
        while self._busy() >= BUSY and time.monotonic() < until:
            await asyncio.sleep(WINDOW_SECONDS)

    def _busy(self) -> float:
        """Share of the processors that others have used lately."""
        now = self._times()
        if now is None or self._last is None:
            return 0.0
        whole, rested, own = (b - a for a, b in zip(self._last, now, strict=True))
        if whole >= WINDOW_SECONDS:  # less tells nothing: the kernel counts in hundredths of a second
            self._last, self._share = now, max(whole - rested - own, 0.0) / whole
        return self._share
