"""Running the application: ``python -m charter.serve.io.server DEPLOYMENT... --port 8000 --workers 2``."""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

from charter.core.errors import CharterError, UsageError
from charter.serve.io.access import AccessPolicy, read_keys, read_tokens
from charter.serve.io.chores import Chores
from charter.serve.io.replay_clock import ReplayClock
from charter.serve.io.worker import (
    APPLICATION,
    DEPLOYMENTS,
    DRAIN_SECONDS,
    FAILED,
    OPTIONS,
    STATE,
    WorkerOptions,
)


@dataclass(frozen=True, slots=True)
class Tls:
    """Certificate and private key, PEM files."""

    certificate: Path
    key: Path


def run(
    deployments: Sequence[Path],
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    workers: int = 1,
    access: AccessPolicy | None = None,
    tls: Tls | None = None,
    insecure: bool = False,
    deadline_ms: float | None = None,
    chores: Chores | None = None,
    replay_clock: Path | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first.

    Parameters
    ----------
    deployments
        Deployment files; their packages are verified here, before a worker starts, and again by each worker.
    port
        0 chooses a free one.
    access
        Who may ask; None lets in everybody, which only this machine's own addresses allow.
    insecure
        Let in everybody on other addresses too.
    deadline_ms
        A model that has not answered after so long is answered for by the fallback; None leaves it to each model's own.
    chores
        Run beside the workers.
    replay_clock
        File that tells the time of a replay (see `charter.serve.io.replay_clock`): the log then holds that time. For
        replays alone.

    Raises
    ------
    UsageError
        When the address is taken or not ours, is open to others without ``access``, or a deployment, keys or
        certificate cannot be read.
    PackageError
        When a package does not prove itself.
    """
    from charter.serve.io.http_server import serve
    from charter.serve.io.loading import read_deployments, verify_all
    from charter.serve.io.shadow_keeper import Keeper

    if workers < 1:
        raise UsageError(f"--workers is {workers}; at least one is needed")
    if deadline_ms is not None and not 0 < deadline_ms < float("inf"):
        raise UsageError(f"--deadline-ms is {deadline_ms}; it must be above 0")
    check_access(host, access, insecure=insecure)
    for file in (tls.certificate, tls.key) if tls is not None else ():
        if not file.is_file():
            raise UsageError(
                f"{file}: there is no such file", remedy="Give --tls-cert and --tls-key as PEM files."
            )
    if tls is not None:
        _check_pair(tls)
    if replay_clock is not None:
        ReplayClock(replay_clock)  # told now if it is none
        print(f"warning: the log gets the time of {replay_clock}", file=sys.stderr, flush=True)  # noqa: T201 - as below
    port = free_port(host, port)
    for difference in verify_all(read_deployments(deployments)):
        print(f"warning: {difference}", file=sys.stderr, flush=True)  # noqa: T201 - as the address
    os.environ[DEPLOYMENTS] = json.dumps([str(path.absolute()) for path in deployments])
    os.environ[OPTIONS] = json.dumps(WorkerOptions(workers, deadline_ms, access, replay_clock).to_json())
    # Workers share the processors; a pool per worker as large as the machine only gets in its own way.
    os.environ.setdefault("POLARS_MAX_THREADS", str(max(1, (os.cpu_count() or 1) // workers)))
    with tempfile.TemporaryDirectory(prefix="charter-server-") as state:
        os.environ[STATE] = state
        if workers > 1:
            (Path(state) / "metrics").mkdir()
            os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(Path(state) / "metrics")
        with chores or nullcontext(), Keeper(deployments, Path(state)):
            print(_url(host, port, tls), flush=True)  # noqa: T201 - with port 0 nobody else knows it
            serve(APPLICATION, host, port, workers, tls)
        failed = Path(state) / FAILED
        if failed.exists():
            raise UsageError(f"the server could not start: {failed.read_text(encoding='utf-8')}")


def check_access(host: str, access: AccessPolicy | None, *, insecure: bool) -> None:
    """Refuse to let in everybody from everywhere by mistake, and keys that cannot work.

    Raises
    ------
    UsageError
        When others than this machine could ask and nobody would be asked for a key.
    """
    if access is None:
        if insecure or is_loopback(host):
            return
        raise UsageError(
            f"--host {host} is open to other machines, and nobody would be asked for a key",
            remedy="Add --keys or --jwks, or --insecure where something else guards the server.",
        )
    read_tokens(access)
    if access.jwks is None and not (access.keys is not None and read_keys(access.keys)):
        raise UsageError(
            "a key is asked for, but there is none",
            remedy="Make one: `charter key create NAME --scope predict`.",
        )
    if access.rate is not None and not 0 < access.rate < float("inf"):
        raise UsageError(f"--rate is {access.rate}; it must be above 0 requests a second")


def _check_pair(tls: Tls) -> None:
    """Refuse what no worker could start with, before one tries again and again."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls.certificate, tls.key, password="")
    except (ssl.SSLError, OSError) as error:
        raise UsageError(
            f"{tls.certificate} and {tls.key} are no certificate and its key: {error}",
            remedy="Give --tls-cert and --tls-key as PEM files.",
        ) from error


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    Examples
    --------
    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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


def _url(host: str, port: int, tls: Tls | None = None) -> str:
    scheme = "http" if tls is None else "https"
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - an address to connect to
    return f"{scheme}://[{reachable}]:{port}" if ":" in reachable else f"{scheme}://{reachable}:{port}"


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
    *deployments: Path,
    host: str = "127.0.0.1",
    port: int = 0,
    workers: int = 1,
    log: Path | None = None,
    timeout_s: float = 60,
    options: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> Running:
    """Start a server beside this process and wait until it is ready.

    Parameters
    ----------
    log
        File for what the server writes; None shares our stderr.
    options
        More options of ``python -m charter.serve.io.server``.
    environment
        Variables of the server; None passes ours on.

    Raises
    ------
    UsageError
        When it ends before it is ready, with what it said.
    """
    port = free_port(host, port)
    argv = [sys.executable, "-m", "charter.serve.io.server", *map(str, deployments)]
    argv += ["--host", host, "--port", str(port), "--workers", str(workers), *options]
    with (log or Path(os.devnull)).open("ab") as sink:
        # A fixed argument list without a shell; the program is this very interpreter.
        process = subprocess.Popen(  # noqa: S603
            argv, stdout=sink, stderr=sink if log else None, env=dict(environment) if environment else None
        )
    secure = Tls(Path(), Path()) if "--tls-cert" in options else None
    running = Running(process, _url(host, port, secure))
    if wait_until_ready(running, timeout_s):
        return running
    code = running.stop() if process.poll() is None else process.wait()
    raise UsageError(
        f"the server ended with exit code {code} before it was ready",
        remedy=f"Its log: {log}" if log else "See its messages above.",
    )


def _own() -> ssl.SSLContext:
    """Trust whatever certificate our own server shows us: it is only asked whether it is there."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def wait_until_ready(running: Running, timeout_s: float) -> bool:
    """Poll ``/readyz``; False when the process ends or the time is over."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and running.process.poll() is None:
        try:
            with urlopen(f"{running.url}/readyz", timeout=5, context=_own()) as answer:  # noqa: S310 - our own address
                if answer.status == 200:
                    return True
        except (URLError, OSError):
            time.sleep(0.05)
    return False


def main(argv: Sequence[str] | None = None) -> int:
    """Parse arguments and serve; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m charter.serve.io.server", description=run.__doc__)
    parser.add_argument("deployment", type=Path, nargs="+")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--workers", type=int, default=1)
    for name in ("--keys", "--jwks", "--tls-cert", "--tls-key"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--issuer")
    parser.add_argument("--audience")
    parser.add_argument("--rate", type=float)
    parser.add_argument("--deadline-ms", type=float)
    parser.add_argument("--insecure", action="store_true")
    parser.add_argument("--compact-every-s", type=float, default=0.0)
    parser.add_argument("--replay-clock", type=Path)
    given = parser.parse_args(argv)
    try:
        run(
            given.deployment,
            host=given.host,
            port=given.port,
            workers=given.workers,
            access=access_policy(given.keys, given.jwks, given.issuer, given.audience, given.rate),
            tls=tls_files(given.tls_cert, given.tls_key),
            insecure=given.insecure,
            deadline_ms=given.deadline_ms,
            chores=_compaction(given.deployment, given.compact_every_s),
            replay_clock=given.replay_clock,
        )
    except CharterError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command
        return error.exit_code
    return 0


def _compaction(deployments: Sequence[Path], every_s: float) -> Chores | None:
    from charter.serve.io.loading import read_deployments

    if every_s <= 0:
        return None
    logs = {str(d.log) for d in read_deployments(deployments) if d.log is not None}
    return Chores([[sys.executable, "-m", "charter.serve.io.compaction", *sorted(logs)]], every_s)


def access_policy(
    keys: Path | None, jwks: Path | None, issuer: str | None, audience: str | None, rate: float | None
) -> AccessPolicy | None:
    """Access as the options of a command give it; None when they ask for no key.

    Raises
    ------
    UsageError
        When options stand alone that mean nothing alone.
    """
    if jwks is None and (issuer is not None or audience is not None):
        raise UsageError("--issuer and --audience say what tokens must claim; they need --jwks")
    if keys is None and jwks is None:
        if rate is not None:
            raise UsageError("--rate limits each caller; callers are told apart by --keys or --jwks")
        return None
    return AccessPolicy(keys, jwks, issuer, audience, rate)


def tls_files(certificate: Path | None, key: Path | None) -> Tls | None:
    """Certificate and key as the options of a command give them.

    Raises
    ------
    UsageError
        When one is there without the other.
    """
    if (certificate is None) != (key is None):
        raise UsageError("--tls-cert and --tls-key belong together")
    return None if certificate is None or key is None else Tls(certificate, key)


if __name__ == "__main__":
    raise SystemExit(main())
