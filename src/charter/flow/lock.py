"""One writer at a time in a workspace. The lock dies with its process, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from charter.core.clock import Clock, iso
from charter.core.errors import Busy


@contextmanager
def hold(
    path: Path,
    *,
    doing: str,
    actor: str,
    clock: Clock,
    wait_seconds: float = 0,
    can_wait: bool = False,
) -> Iterator[None]:
    """Hold the workspace while the block runs.

    Parameters
    ----------
    doing
        What the holder does, told to whoever comes second.
    wait_seconds
        How long to wait for another holder before giving up.
    can_wait
        Whether the command has `--wait`, so that the message may name it.

    Raises
    ------
    Busy
        When somebody else holds it for longer than ``wait_seconds``; the message says who, since when and for what.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+") as file:
        _acquire(file.fileno(), path, time.monotonic() + wait_seconds, can_wait)
        file.truncate(0)
        file.write(json.dumps({"actor": actor, "doing": doing, "pid": os.getpid(), "since": iso(clock.now()),
                               "host": socket.gethostname()}))  # fmt: skip
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)
            fcntl.flock(file.fileno(), fcntl.LOCK_UN)


def _acquire(descriptor: int, path: Path, until: float, can_wait: bool) -> None:
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() < until:
                time.sleep(0.1)
                continue
            then = "or give `--wait 600` to wait here" if can_wait else "and run this again"
            raise Busy(
                f"the workspace is held by {_holder(path)}", remedy=f"Wait until it ends, {then}."
            ) from None
        return


def _holder(path: Path) -> str:
    try:
        who = json.loads(path.read_text())
        return (
            f"{who['actor']} on {who['host']} (process {who['pid']}, `{who['doing']}`, since {who['since']})"
        )
    except (OSError, ValueError, KeyError):  # the holder is just writing its name
        return "another process"
