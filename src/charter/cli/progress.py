"""Progress of long work on standard error: a live line on a terminal, one line a step elsewhere."""

from __future__ import annotations

import sys
import time

from charter.core.progress import NoProgress, Progress

_EVERY_SECONDS = 10.0


class TerminalProgress:
    """One line that is rewritten while a step goes on, and removed at its end."""

    def __init__(self) -> None:
        self._label = ""
        self._total: int | None = None
        self._done = 0
        self._started = 0.0
        self._drawn = 0.0

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a step."""
        self._label, self._total, self._done = label, total, 0
        self._started = time.monotonic()
        self._draw("")

    def advance(self, n: int = 1, note: str = "") -> None:
        """Move on; drawn at most ten times a second."""
        self._done += n
        if time.monotonic() - self._drawn > 0.1 or self._done == self._total:
            self._draw(note)

    def finish(self, note: str = "") -> None:
        """Remove the line."""
        sys.stderr.write("\r\x1b[K")
        sys.stderr.flush()

    def _draw(self, note: str) -> None:
        self._drawn = time.monotonic()
        seconds = self._drawn - self._started
        if self._total:
            width = 24
            full = width * min(self._done, self._total) // self._total
            bar = f"[{'#' * full}{'.' * (width - full)}] {self._done}/{self._total}"
        else:
            bar = f"{self._done}" if self._done else ""
        sys.stderr.write(f"\r\x1b[K     {self._label}  {bar}  {seconds:.0f} s  {note}"[:160])
        sys.stderr.flush()


class LineProgress:
    """A line every ten seconds, for what takes minutes and whose output goes to a file."""

    def __init__(self) -> None:
        self._label = ""
        self._total: int | None = None
        self._done = 0
        self._started = self._told = 0.0

    def start(self, label: str, total: int | None = None) -> None:
        """Begin a step."""
        self._label, self._total, self._done = label, total, 0
        self._started = self._told = time.monotonic()

    def advance(self, n: int = 1, note: str = "") -> None:
        """Move on."""
        self._done += n
        now = time.monotonic()
        if now - self._told >= _EVERY_SECONDS:
            self._told = now
            of = f" of {self._total:,}" if self._total else ""
            sys.stderr.write(
                f"{self._label}  {self._done:,}{of}  {now - self._started:.0f} s  {note}".rstrip() + "\n"
            )
            sys.stderr.flush()

    def finish(self, note: str = "") -> None:
        """End a step."""


def progress(*, quiet: bool = False, lines: bool = False) -> Progress:
    """Return the progress that suits standard error: silent for machines, pipes and ``--json``.

    Parameters
    ----------
    lines
        Tell a pipe, too, now and then.
    """
    if quiet:
        return NoProgress()
    if sys.stderr.isatty():
        return TerminalProgress()
    return LineProgress() if lines else NoProgress()
