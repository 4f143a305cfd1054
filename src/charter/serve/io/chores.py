"""What a server has done beside answering, every so often: in processes of their own, which can cost it no answer."""

from __future__ import annotations

import logging
import os
import subprocess
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

NICENESS = 10
_END_SECONDS = 10.0
_log = logging.getLogger("charter.serve")


class Chores:
    """Runs commands one after the other, again and again, as long as a ``with`` lasts.

    They run with lower priority. One that fails is told of in the log and tried again the next time; one that is under
    way at the end is asked to stop.

    Parameters
    ----------
    commands
        Argument lists; nothing of them goes through a shell.
    every_s
        Seconds before the first round, and between rounds.
    """

    def __init__(self, commands: Sequence[Sequence[str]], every_s: float) -> None:
        self._commands, self._every_s = commands, every_s
        self._over = threading.Event()
        self._process: subprocess.Popen[str] | None = None
        self._thread = threading.Thread(target=self._run, name="charter-chores", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        process = self._process
        if process is not None:
            process.terminate()
        self._thread.join(_END_SECONDS)

    def _run(self) -> None:
        while not self._over.wait(self._every_s):
            for command in self._commands:
                if not self._over.is_set():
                    self._do(command)

    def _do(self, command: Sequence[str]) -> None:
        try:
            # A session of its own: Ctrl-C is for the server, which ends its chores itself.
            self._process = subprocess.Popen(  # noqa: S603 - our own argument lists
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                start_new_session=True,
            )
        except OSError as error:
            _log.warning("%s cannot be started: %s", command[0], error)
            return
        with self._process as process:
            with suppress(OSError):  # it has ended already
                os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
                # Linux may share processors out between sessions first, and this is one of its own.
                Path(f"/proc/{process.pid}/autogroup").write_text(str(NICENESS), encoding="ascii")
            _, said = process.communicate()
        self._process = None
        if process.returncode and not self._over.is_set():
            lines = said.strip().splitlines() or [f"exit code {process.returncode}"]
            _log.warning("what keeps the prediction log in order failed: %s", "; ".join(lines[:3]))
