"""Running the application: ``python -m charter.serve.io.server DEPLOYMENT --port 8000 --workers 2``."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import URLError
from urllib.request import urlopen

from charter.core.errors import CharterError, UsageError

if TYPE_CHECKING:
    from charter.serve.app import Application

DEPLOYMENT = "CHARTER_DEPLOYMENT"
"""Environment variable that tells workers which deployment file to load."""
STATE = "CHARTER_SERVER_STATE"
"""Environment variable that tells workers the folder which they share with their parent."""
_STARTED, _FAILED = "started", "failed"
DRAIN_SECONDS = 30
RESPAWN_SECONDS = 0.5
"""A worker that dies is replaced after so long; the others go on answering."""


def application() -> Application:
    """Build the application of the deployment that ``CHARTER_DEPLOYMENT`` names; each worker calls it once.

    A worker that cannot start although none could before ends the server: a deployment that does not load must be
    told at once. Once one has started, a worker that fails is replaced and what serves goes on serving.
    """
    state = Path(os.environ[STATE])
    try:
        built = _application()
    except Exception as error:  # whatever it was, the parent must learn of it; the worker raises it again
        if not (state / _STARTED).exists():
            (state / _FAILED).write_text(str(error), encoding="utf-8")
            os.kill(os.getppid(), signal.SIGTERM)
        raise
    (state / _STARTED).touch()
    return built


def _application() -> Application:
    from charter.serve.app import Application, ServerLimits
    from charter.serve.io.follow import Follower
    from charter.serve.io.loading import load_model
    from charter.serve.io.recorder import Recorder
    from charter.serve.metrics import Metrics

    limits, metrics = ServerLimits(), Metrics()
    follower = Follower(Path(os.environ[DEPLOYMENT]), partial(load_model, max_rows=limits.rows))
    deployment = follower.deployment
    observer = Recorder(deployment.log, metrics) if deployment.log is not None else None
    models = follower.models(deployment)
    return Application(models, limits=limits, metrics=metrics, observer=observer, background=follower.follow)


def run(deployment: Path, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Parameters
    ----------
    deployment
        Deployment file; its packages are verified here, before a worker starts, and again by each worker.
    port
        0 chooses a free one.

    Raises
    ------
    UsageError
        When the address is taken or not ours, or the deployment cannot be read.
    PackageError
        When a package does not prove itself.
    """
    from charter.serve.io.loading import read_deployment, verify_all

    if workers < 1:
        raise UsageError(f"--workers is {workers}; at least one is needed")
    port = free_port(host, port)
    verify_all(read_deployment(deployment))
    os.environ[DEPLOYMENT] = str(deployment.absolute())
    # Workers share the processors; a pool per worker as large as the machine only gets in its own way.
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    with tempfile.TemporaryDirectory(prefix="charter-server-") as state:
        os.environ[STATE] = state
        if workers > 1:
            (Path(state) / "metrics").mkdir()
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path(state) / "metrics")
        _serve(host, port, workers)
        failed = Path(state) / _FAILED
        if failed.exists():
            raise UsageError(f"the server could not start: {failed.read_text(encoding='utf-8')}")


def _serve(host: str, port: int, workers: int) -> None:
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    print(_url(host, port), flush=True)  # noqa: T201 - with port 0 nobody else knows it
    server = Granian(
        "charter.serve.io.server:application",
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        workers=workers,
        factory=True,
        websockets=False,
        log_level=LogLevels.warning,
        workers_kill_timeout=DRAIN_SECONDS,
        respawn_failed_workers=True,
        respawn_interval=RESPAWN_SECONDS,
    )
    server.serve()


def free_port(host: str, port: int) -> int:
    """Check that an address can be listened on; choose a port for 0.

    Raises
    ------
    UsageError
        Naming the address and the reason.
    """
    if not 0 <= port <= 65_535:
        raise UsageError(f"--port is {port}; it must be between 0 and 65535")
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    except OSError as error:
        raise UsageError(
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            remedy="Choose another --port (0 takes a free one) or --host, or stop what listens there.",
        ) from error


def _url(host: str, port: int) -> str:
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address to connect to
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


@dataclass(frozen=True, slots=True)
class Running:
    """A server in a process of its own."""

    process: subprocess.Popen[bytes]
    url: str

    def stop(self, timeout_s: float = DRAIN_SECONDS) -> int:
        """Ask it to end (SIGTERM), wait until requests under way are answered, and return its exit code."""
        self.process.terminate()
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()


def start(
    deployment: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    workers: int = 1,
    log: Path | None = None,
    timeout_s: float = 60,
) -> Running:
    """Start a server beside this process and wait until it is ready.

    Parameters
    ----------
    log
        File for what the server writes; None shares our stderr.

    Raises
    ------
    UsageError
        When it ends before it is ready, with what it said.
    """
    port = free_port(host, port)
    argv = [sys.executable, "-m", "charter.serve.io.server", str(deployment)]
    argv += ["--host", host, "--port", str(port), "--workers", str(workers)]
    with (log or Path(os.devnull)).open("ab") as sink:
        # A fixed argument list without a shell; the program is this very interpreter.
        process = subprocess.Popen(argv, stdout=sink, stderr=sink if log else None)  # noqa: S603
    running = Running(process, _url(host, port))
    if wait_until_ready(running, timeout_s):
        return running
    code = running.stop() if process.poll() is None else process.wait()
    raise UsageError(
        f"the server ended with exit code {code} before it was ready",
        remedy=f"Its log: {log}" if log else "See its messages above.",
    )


def wait_until_ready(running: Running, timeout_s: float) -> bool:
    """Poll ``/readyz``; False when the process ends or the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            with urlopen(f"{running.url}/readyz", timeout=5) as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return True
        except (URLError, OSError):
            time.sleep(0.05)
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m charter.serve.io.server", description=run.__doc__)
    parser.add_argument("deployment", type=Path)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    given = parser.parse_args(argv)
    try:
        run(given.deployment, host=given.host, port=given.port, workers=given.workers)
    except CharterError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
