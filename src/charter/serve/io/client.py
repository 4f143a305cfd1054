"""Asking a server, one request after the other over one connection."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from charter.core.errors import UsageError


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came."""

    status: int
    content_type: str
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read; None when it is no JSON."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


class Client:
    """A connection that is opened when it is needed, and again when the server has closed it.

    Examples
    --------
    ``with Client("http://127.0.0.1:8000") as client: client.ask("GET", "/readyz").status``
    """

    def __init__(self, url: str, *, timeout_s: float = 60.0) -> None:
        place = urlsplit(url)
        if place.scheme != "http" or place.hostname is None or place.port is None:
            raise UsageError(f"{url!r} is not the address of a server", remedy="Write http://HOST:PORT.")
        self._link = http.client.HTTPConnection(place.hostname, place.port, timeout=timeout_s)

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Reply:
        """Send a request and wait for its answer.

        Raises
        ------
        OSError, http.client.HTTPException
            When the server does not answer, also not over a new connection.
        """
        kept = self._link.sock is not None
        sent = {"Content-Type": "application/json", **(headers or {})} if body is not None else headers or {}
        try:
            return self._ask(method, path, body, sent)
        except (http.client.HTTPException, OSError):
            self._link.close()
            if not kept:
                raise
        return self._ask(method, path, body, sent)  # closed by the server while nothing was asked

    def post(self, path: str, document: Any) -> Reply:
        """Send a document."""
        return self.ask("POST", path, json.dumps(document).encode())

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Reply:
        self._link.request(method, path, body, dict(headers))
        answer = self._link.getresponse()
        content = answer.read()
        if answer.will_close:
            self._link.close()
        return Reply(answer.status, answer.headers.get_content_type(), content)

    def close(self) -> None:
        """Give the connection back."""
        self._link.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
