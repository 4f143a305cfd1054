"""A process that runs `charter` in children and lets them die on command.

Everything heavy is imported once here and nothing is computed, so that a child starts in milliseconds. One order a line
on standard input, one answer a line on standard output.

An order is a list of runs that start together, each ``{"folder": ..., "arguments": [...]}`` (or with a ``"command"``
other than apply, or one ``"as_given"``; at a time of its own where ``"now"`` says so, and in an ``"environment"``) and
one of
``"die_at": n`` (kill -9 at the n-th point: before and after each flush, rename and commit) or ``"die_after": seconds``.
An answer is a list of ``{"signal": ..., "code": ..., "out": ..., "err": ..., "points": ..., "seconds": ...}``.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any


class Dying:
    """The parent's handle."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, *runs: dict[str, Any]) -> list[dict[str, Any]]:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(runs) + "\n")
        self._process.stdin.flush()
        answer: list[dict[str, Any]] = json.loads(self._process.stdout.readline())
        return answer

    def apply(self, folder: Path, **how: Any) -> dict[str, Any]:
        return self.run({"folder": str(folder), **how})[0]

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(60)


class Points:
    """Counts the moments at which something becomes durable, and ends the process at one of them."""

    def __init__(self, die_at: int | None) -> None:
        self._die_at, self.seen = die_at, 0

    def pass_one(self) -> None:
        self.seen += 1
        if self.seen == self._die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any, **named: Any) -> Any:
            self.pass_one()
            result = function(*arguments, **named)
            self.pass_one()
            return result

        return called

    def watch(self) -> None:
        from sqlalchemy.engine.default import DefaultDialect

        commit = DefaultDialect.do_commit

        def commit_records(dialect: Any, connection: Any) -> None:
            file = connection.execute("PRAGMA database_list").fetchall()[0][2]
            if file.endswith("records.sqlite"):
                self.around(commit)(dialect, connection)
            else:
                commit(dialect, connection)

        DefaultDialect.do_commit = commit_records  # type: ignore[method-assign]
        os.fsync, os.replace, os.rename = map(self.around, (os.fsync, os.replace, os.rename))


def child(run: dict[str, Any], out: Path) -> None:
    from charter.cli import main
    from charter.core.clock import SystemClock

    points = Points(run.get("die_at"))
    points.watch()
    os.environ.update(run.get("environment", {}))
    if "now" in run:
        now = datetime.fromisoformat(run["now"])
        SystemClock.now = lambda _clock: now  # type: ignore[method-assign]
    with (out / "out").open("w") as sys.stdout, (out / "err").open("w") as sys.stderr:
        command = run.get("command", ["apply", run["folder"]])
        code = main._run(run.get("as_given") or [*command, "--json", *run.get("arguments", [])])
    (out / "done").write_text(json.dumps([code, points.seen]))
    os._exit(0)


def start(run: dict[str, Any], out: Path) -> dict[str, Any]:
    began, timer = time.monotonic(), None
    pid = os.fork()
    if pid == 0:
        child(run, out)
    if run.get("die_after") is not None:
        timer = threading.Timer(run["die_after"], os.kill, (pid, signal.SIGKILL))
        timer.start()
    return {"pid": pid, "began": began, "out": out, "timer": timer}


def wait(started: dict[str, Any]) -> dict[str, Any]:
    os.waitid(os.P_PID, started["pid"], os.WEXITED | os.WNOWAIT)
    if started["timer"] is not None:  # before the number may be another process's
        started["timer"].cancel()
        started["timer"].join()
    _, status = os.waitpid(started["pid"], 0)
    out: Path = started["out"]
    code, points = json.loads((out / "done").read_text()) if (out / "done").exists() else (None, None)
    return {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "code": code,
        "points": points,
        "out": (out / "out").read_text(),
        "err": (out / "err").read_text(),
        "seconds": time.monotonic() - started["began"],
    }


def measured(*_arguments: Any) -> dict[str, Any]:
    """Measuring starts a process of its own, takes seconds, and keeps nothing."""
    return {"latency_p95_ms": 1.0, "memory_mb": 100.0, "package_mb": 0.1}


def preload() -> None:
    """Import whatever an apply imports, as a child that carries one out tells it."""
    from charter.flow import judge
    from charter.registry import environment

    judge._measure = measured  # type: ignore[assignment]
    found = environment.environment()  # read once, here: thousands of small files
    environment.environment = lambda: found
    environment.code_version()
    with tempfile.TemporaryDirectory() as scratch:
        told = Path(scratch) / "told"
        pid = os.fork()
        if pid == 0:
            from e2e_models import done, make_loans

            done("apply", make_loans(Path(scratch) / "model"))
            told.write_text(json.dumps(list(sys.modules)))
            os._exit(0)
        os.waitpid(pid, 0)
        for name in json.loads(told.read_text()):
            if not name.endswith("__main__"):
                with contextlib.suppress(ImportError):
                    importlib.import_module(name)


if __name__ == "__main__":
    preload()
    for line in sys.stdin:
        with tempfile.TemporaryDirectory() as scratch:
            begun = []
            for number, order in enumerate(json.loads(line)):
                place = Path(scratch) / str(number)
                place.mkdir()
                begun.append(start(order, place))
            sys.stdout.write(json.dumps([wait(one) for one in begun]) + "\n")
            sys.stdout.flush()
