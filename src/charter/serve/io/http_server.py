"""HTTP/1.1 in front of the application: uvicorn, one process a worker, and limits on what comes before a body."""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import httptools
from uvicorn import Config
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Multiprocess

from charter.core.errors import UsageError
from charter.serve.http import Receive, Scope, Send, respond_refused, told
from charter.serve.io.worker import DRAIN_SECONDS
from charter.serve.problem import Refused, refuse

if TYPE_CHECKING:
    from charter.serve.io.server import Tls

HEADER_SECONDS = 75
"""A connection whose next headers are not whole after so long is closed. That goes for idle ones, too, so it is longer
than the minute for which balancers keep theirs: who closes first must be the one who would send."""
HEADER_BYTES = 65_536
"""Headers, and fields behind a body, that are longer are answered with 431, once that many have come in pieces."""
_UNREAD_BYTES = 8 * 2**20
"""Of a body in chunks that is answered before it is whole, no more is taken in."""
_ALIVE_SECONDS = 60
"""A worker whose interpreter gives no sign of life for so long is replaced."""
_LINGER_SECONDS = 2
_BACKLOG = 2048
_CONTINUE = b"HTTP/1.1 100"
_OF_HEADS = ("on_message_begin", "on_url", "on_header", "on_headers_complete")
_FRAMING = (b"content-length", b"transfer-encoding")


def serve(application: str, host: str, port: int, workers: int, tls: Tls | None) -> None:
    """Serve until SIGTERM or SIGINT; requests under way are answered first, and a worker that dies is replaced.

    Parameters
    ----------
    application
        ``module:function``; each worker calls it once for its ASGI application.

    Raises
    ------
    UsageError
        When the workers cannot start.
    """
    config = Config(
        application,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        loop="uvloop" if sys.platform != "win32" else "asyncio",
        http=Http1,
        ws="none",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=HEADER_SECONDS,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        timeout_worker_healthcheck=_ALIVE_SECONDS,
        backlog=_BACKLOG,
        ssl_certfile=tls.certificate if tls is not None else None,
        ssl_keyfile=tls.key if tls is not None else None,
    )
    with _bound(host, port):  # ours, whether or not a worker listens just now
        supervisor = _Supervisor(config, sockets=[cast(socket.socket, _Listener(host, port))])
        supervisor.run()
    if any(process.exitcode == STARTUP_FAILURE for process in supervisor.processes):
        raise UsageError("the server could not start", remedy="See its messages above.")


class _Supervisor(Multiprocess):
    """Stops workers that do not end by themselves."""

    def join_all(self) -> None:
        until = time.monotonic() + DRAIN_SECONDS
        for worker in self.processes:
            worker.process.join(max(until - time.monotonic(), 0))
            if worker.process.is_alive():
                worker.kill()
            worker.join()


class _Listener:
    """Becomes a socket of its own in each worker that it is sent to.

    The kernel then deals connections out evenly, and those to a worker that dies go to the others at once: with one
    socket for all, one worker often takes nearly all connections that come together.
    """

    def __init__(self, host: str, port: int) -> None:
        self._place = (host, port)

    def __reduce__(self) -> tuple[Callable[..., socket.socket], tuple[str, int]]:
        return _bound, self._place


def _bound(host: str, port: int) -> socket.socket:
    family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
    found = socket.socket(family, socket.SOCK_STREAM)
    found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if hasattr(socket, "SO_REUSEPORT"):
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    found.bind((host, port))
    found.set_inheritable(True)
    return found


class Http1(HttpToolsProtocol):
    """A connection; what cannot be understood, is too long or never ends is refused here."""

    _refused = False
    """Whether nothing that still comes is looked at."""
    _heads = 0
    _open = False
    """Whether headers were whole and their body is not yet."""
    _spent = 0
    """Bytes of headers that are not whole, or of what comes with a body without being any of it."""

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the first request."""
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Joined(transport))
        self._head_began = self.loop.time()
        self._watch = self.loop.call_later(HEADER_SECONDS, self._look)

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for no more."""
        self._watch.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what is neither whole headers nor part of a body."""
        if self._refused:
            return
        heads, within, held = self._heads, self._open, len(self.cycle.body) if self._open else 0
        self._parse(data)
        if heads != self._heads or within != self._open or self.transport.is_closing():
            return
        if not within or len(self.cycle.body) == held:
            self._count(len(data))
        else:
            self._spent = 0

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio takes either
        """Go on for who has only closed the sending side; what is cut off is answered with 400."""
        if self._open and not self.cycle.response_complete:
            self._refuse("incomplete body", "the body ended before it was whole", remedy="Send it again.")
        elif self._spent and not self._open:
            message = "the request ended before its headers were whole"
            self._refuse("http", message, remedy="Send it again.")
        cycle = self.cycle
        if cycle is None or cycle.response_complete or cycle.disconnected:
            return False
        cycle.keep_alive = False
        return self.scheme == "http"  # TLS knows no half-closed connections

    def on_headers_complete(self) -> None:
        """Let the application begin."""
        self._heads += 1
        self._open, self._spent = True, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """From here on another request may come."""
        if self.parser.should_upgrade():
            return  # the parser takes the body for something else, see `_stay`
        self._open, self._spent = False, 0
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin to wait for the next request."""
        self.transport.write(b"")
        self._head_began = self.loop.time()
        super().on_response_complete()

    def _parse(self, data: bytes | memoryview) -> None:
        self._unset_keepalive_if_required()
        while True:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as wish:
                data = memoryview(data)[wish.args[0] :]
                self._stay()
            except httptools.HttpParserError as error:
                self._refuse("http", f"the request is not HTTP/1.1: {error}")
                return
            else:
                return

    def _stay(self) -> None:
        """Read the body by another parser: this one takes it for the protocol that the client wishes to go on with.

        The wish may be ignored (RFC 9110, 7.8).
        """
        heard = False

        def later(callback: Callable[..., None]) -> Callable[..., None]:
            return lambda *given: callback(*given) if heard else None

        self.parser = httptools.HttpRequestParser(
            SimpleNamespace(
                on_body=self.on_body,
                on_message_complete=self.on_message_complete,
                **{name: later(getattr(self, name)) for name in _OF_HEADS},
            )
        )
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's own
        framing = [b"%s: %s\r\n" % field for field in self.headers if field[0] in _FRAMING]
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *framing, b"\r\n"]))
        heard = True

    def _count(self, size: int) -> None:
        self._spent += size
        if not self._open or not self.cycle.response_complete:
            if self._spent > HEADER_BYTES:
                message = f"the headers are longer than {HEADER_BYTES} bytes"
                self._refuse("headers", message, remedy="Send fewer or shorter ones.", status=431)
        elif self._spent > _UNREAD_BYTES and any(name == b"transfer-encoding" for name, _ in self.headers):
            # Fields behind a body in chunks are kept by the parser, however many there are.
            self._refuse("body size", "the body has been answered already", remedy="Send no more of it.")

    def _look(self) -> None:
        waiting = self.cycle is None or self.cycle.response_complete
        left = self._head_began + HEADER_SECONDS - self.loop.time() if waiting else HEADER_SECONDS
        if left > 0:
            self._watch = self.loop.call_later(left, self._look)
        else:
            self.transport.close()

    def _refuse(self, rule: str, message: str, *, remedy: str = "", status: int = 400) -> None:
        """Take in no more, and say why, when requests before have been answered."""
        if self._refused:
            return
        self._refused = True
        error, cycle = refuse(status, rule, message, remedy=remedy), self.cycle
        if cycle is not None and not cycle.response_complete:
            if not self._open:  # that request was whole; nothing comes after its answer
                cycle.keep_alive = False
                return
            if self.pipeline:
                self.pipeline[0] = (cycle, partial(_refusal, error))
                return
            cycle.disconnected = True
            cycle.message_event.set()
        if not self._open or not cycle.response_complete:
            body = told(error)
            head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(STATUS_LINE[status] + head % len(body) + body)
        if self.transport.can_write_eof():
            # Closed on what is still on its way, the connection would be reset and the answer lost (RFC 9112, 9.6).
            self.transport.write_eof()
            self.loop.call_later(_LINGER_SECONDS, self.transport.close)
        else:
            self.transport.close()


async def _refusal(error: Refused, scope: Scope, receive: Receive, send: Send) -> None:
    await respond_refused(send, error, [(b"connection", b"close")])


class _Joined:
    """A transport that sends the head of an answer together with what follows it: one call, one packet."""

    def __init__(self, transport: Any) -> None:
        self._transport, self._head = transport, b""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send, or keep a head that ends with its empty line until there is more."""
        if self._head:
            data, self._head = self._head + data, b""
        elif data.startswith(b"HTTP/1.1 ") and data.endswith(b"\r\n\r\n") and not data.startswith(_CONTINUE):
            self._head = data
            return
        if data:
            self._transport.write(data)

    def close(self) -> None:
        """Send what was kept, and close."""
        self.write(b"")
        self._transport.close()
