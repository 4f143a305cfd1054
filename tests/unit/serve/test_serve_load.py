"""The load generator counts what others would have waited; the footprint sees a server's processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from charter.core.errors import UsageError
from charter.serve.io.client import Client
from charter.serve.io.footprint import footprint
from charter.serve.io.load import Load, steady


@contextmanager
def server(answer: int = 200, stalls: threading.Event | None = None) -> Iterator[str]:
    """A server that answers everything alike, and not before the event where there is one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16  # else headers and body go in two segments, and the second waits for the first

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if stalls is not None:
                stalls.wait(5)
            self.send_response(answer)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.daemon_threads = True
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


def test_every_request_is_sent_once_at_its_moment() -> None:
    with server() as url:
        load = steady(url, "/", [b"1", b"22"], per_second=200, seconds=0.5, keep=True)
    assert (load.offered, load.errors, load.statuses[200]) == (100, 0, 100)
    assert load.seconds >= 0.49
    assert sorted(body for _, body in load.bodies) == [b"1"] * 50 + [b"22"] * 50


def test_who_comes_while_the_server_stalls_is_counted_as_waiting() -> None:
    """With one connection a generator that waits for answers would see one slow request; thirty were due meanwhile."""
    gate = threading.Event()
    threading.Timer(0.3, gate.set).start()
    with server(stalls=gate) as url:
        load = steady(url, "/", [b"1"], per_second=100, seconds=0.6, connections=1)
    assert sum(ms > 50 for ms in load.milliseconds) >= 20
    assert max(load.milliseconds) >= 250


def test_errors_and_nobody_there_are_counted() -> None:
    with server(500) as url:
        assert steady(url, "/", [b"1"], per_second=50, seconds=0.1).statuses == {500: 5}
    gone = steady(url, "/", [b"1"], per_second=50, seconds=0.1)
    assert (gone.errors, gone.statuses[0], gone.milliseconds) == (5, 5, [])
    assert gone.quantile_ms(0.95) != gone.quantile_ms(0.95)


def test_a_load_ends_early_when_it_is_told_to() -> None:
    with server() as url:
        assert steady(url, "/", [b"1"], per_second=1000, seconds=60, until=lambda: True).offered == 0


@pytest.mark.parametrize(("share", "rank"), [(0.01, 1.0), (0.5, 50.0), (0.95, 95.0), (1.0, 100.0)])
def test_quantiles_are_of_the_nearest_rank(share: float, rank: float) -> None:
    assert Load(milliseconds=[float(i) for i in range(100, 0, -1)]).quantile_ms(share) == rank


def test_the_footprint_is_of_the_largest_process_of_the_family() -> None:
    own = footprint(os.getpid())
    assert own is not None
    assert 10 < own.now_mb <= own.peak_mb
    holds = "import subprocess, sys; b = bytearray(60_000_000); print(flush=True); sys.stdin.read()"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])"
    with subprocess.Popen(
        [sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        found = footprint(parent.pid)
        parent.communicate()
    assert found is not None
    assert found.now_mb >= 60
    assert found.total_mb > found.now_mb
    assert footprint(parent.pid) is None


def test_a_client_needs_an_address() -> None:
    with pytest.raises(UsageError, match="not the address"):
        Client("127.0.0.1:8000")
