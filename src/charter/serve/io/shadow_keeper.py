"""Keeps one process for each candidate that sees requests after they were answered, as the deployment files say."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from charter.core.errors import CharterError
from charter.serve.deployment import Deployment
from charter.serve.io.loading import read_deployments, write_deployment
from charter.serve.io.progress import Progress
from charter.serve.io.shadow import address
from charter.serve.io.watch import EVERY_SECONDS, mark

HANG_SECONDS = 30.0
"""A candidate that works on one batch for so long hangs; at the lowest priority a busy machine makes it slow."""
FIRST_WAIT_S, LAST_WAIT_S = 1.0, 60.0
"""Before a process that has died is started anew; twice as long each time."""
_END_SECONDS = 5.0
COMMAND = (sys.executable, "-m", "charter.serve.io.shadow_process")
_log = logging.getLogger("charter.serve")


class Keeper:
    """Starts, watches and ends the processes of candidates, as long as a ``with`` lasts.

    Parameters
    ----------
    paths
        Deployment files.
    state
        Folder that the processes of the server share.
    command
        How a candidate's process is started, before its own arguments.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        state: Path,
        *,
        command: Sequence[str] = COMMAND,
        hang_s: float = HANG_SECONDS,
        every_s: float = EVERY_SECONDS,
    ) -> None:
        self._paths, self._state, self._command = tuple(paths), state, tuple(command)
        self._hang_s, self._every_s = hang_s, every_s
        self._marks: object = None
        self._kept: dict[Path, _Kept] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="charter-shadows", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        # All on this thread: a candidate's process dies with the thread that has started it.
        while not self._over.wait(self._every_s):
            try:
                self._follow()
                for kept in self._kept.values():
                    kept.look()
            except Exception:  # the next round must come, whatever the disk or the system did
                _log.exception("candidates that see requests cannot be looked after")
        for kept in self._kept.values():
            kept.end()

    def _follow(self) -> None:
        found = [mark(path) for path in self._paths]
        if found == self._marks:
            return
        self._marks = found
        try:
            wanted = {
                address(self._state, model.name, model.version): Deployment((model,), deployment.log)
                for deployment in read_deployments(self._paths)
                for model in deployment.watching
            }
        except CharterError:  # what served goes on serving, and the workers say why
            return
        for socket, kept in list(self._kept.items()):
            if wanted.get(socket) != kept.deployment:
                self._kept.pop(socket).end()
        for socket, one in wanted.items():
            if socket not in self._kept:
                self._kept[socket] = _Kept(one, socket, self._command, self._hang_s)


class _Kept:
    """The process of one candidate."""

    def __init__(self, deployment: Deployment, socket: Path, command: Sequence[str], hang_s: float) -> None:
        self.deployment = deployment
        model = deployment.models[0]
        self._name = f"{model.name} {model.version}"
        file = socket.with_suffix(".json")
        write_deployment(file, deployment)
        self._argv = [*command, str(file), "--socket", str(socket)]
        self._said = socket.with_suffix(".log")
        self._progress = Progress(socket.with_suffix(".progress"))
        self._progress.end()
        self._hang_s, self._wait_s, self._next_at, self._began = hang_s, FIRST_WAIT_S, 0.0, 0.0
        self._process: subprocess.Popen[bytes] | None = None

    def look(self) -> None:
        """Start the process, or end it where it hangs."""
        if self._process is None:
            if time.monotonic() >= self._next_at:
                self._start()
            return
        task = self._progress.task()
        # A task from before the process began is what the one before left; this one has not looked at it yet.
        if task is not None and self._began < task.began < time.monotonic() - self._hang_s:
            _log.warning("%s, which sees requests after their answers, hangs and is ended", self._name)
            self._process.kill()
        elif self._process.poll() is None:
            return
        code = self._process.wait()
        said = self._said.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        _log.warning(
            "%s, which sees requests after their answers, has ended (%d%s); it is started anew in %g s",
            self._name, code, f": {said[0][:300]}" if said else "", self._wait_s,
        )  # fmt: skip
        self._process, self._next_at = None, time.monotonic() + self._wait_s
        self._wait_s = min(2 * self._wait_s, LAST_WAIT_S)

    def _start(self) -> None:
        # Its counts come back to the workers, which count for all; one thread will do where nobody waits.
        env = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
        env |= {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1"}
        self._began = time.monotonic()
        try:
            with self._said.open("wb") as said:
                # No session of its own: Linux shares processors out between sessions first, whatever their priority.
                self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    self._argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said, env=env
                )
        except OSError as error:
            _log.warning("%s cannot be started: %s", self._name, error)
            self._next_at = time.monotonic() + self._wait_s

    def end(self) -> None:
        """End the process: what it has scored is logged, unless it hangs."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._progress.close()
