"""The parts of HTTP that the hot path speaks itself, over ASGI."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import parse_qsl

from charter.core.nearest import did_you_mean
from charter.serve.problem import Refused, refuse

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

JSON = b"application/json"
_SAFE_ID = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.:")


class Disconnected(Exception):
    """Nobody is left to answer."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """First value of a header; names are lower-case."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def request_id(scope: Scope, make: Callable[[], str]) -> str:
    """The client's ``X-Request-Id``, if it is short and plain, else a new one."""
    given = header(scope, b"x-request-id")
    if given is not None and is_plain_id(text := given.decode("latin-1")):
        return text
    return make()


def is_plain_id(text: str) -> bool:
    """Whether a client's identifier is short and plain enough to be logged and told."""
    return 0 < len(text) <= 128 and set(text) <= _SAFE_ID


def require_json(scope: Scope) -> None:
    """Refuse with 415 what does not call itself JSON."""
    given = header(scope, b"content-type")
    packing = header(scope, b"content-encoding")
    if packing is not None and packing.strip().lower() not in (b"", b"identity"):
        packed = packing.decode("latin-1")
        raise refuse(
            415, "content encoding", f"the request is packed as {packed[:80]!r}; send it unpacked",
            field="content-encoding", value=packed,
        )  # fmt: skip
    media = (given or b"").split(b";")[0].strip().lower()
    if media != JSON:
        value = None if given is None else given.decode("latin-1")
        said = "no content type" if value is None else f"content type {value[:80]!r}"
        raise refuse(
            415, "content type", f"the request has {said}; send application/json", field="content-type", value=value,
            remedy="curl -H 'Content-Type: application/json' --data '{...}'",
        )  # fmt: skip


def flag(scope: Scope, name: str, known: Iterable[str]) -> bool:
    """Read a true/false parameter of the query, refusing unknown parameters with 422."""
    query = scope.get("query_string", b"")
    if not query:
        return False
    value = False
    for key, text in parse_qsl(query.decode("latin-1"), keep_blank_values=True):
        if key not in known:
            hint = did_you_mean(key[:200], known)
            raise refuse(
                422,
                "unknown parameter",
                f"{key[:80]!r} is not a parameter of this route; {hint}",
                field=key[:80],
            )
        if key == name:
            if text not in ("true", "false", "1", "0", ""):
                raise refuse(
                    422,
                    "boolean",
                    f"{name} is {text[:80]!r}; it must be true or false",
                    field=name,
                    value=text,
                )
            value = text in ("true", "1", "")
    return value


async def respond(
    send: Send,
    status: int,
    body: bytes,
    *,
    content_type: bytes | None = None,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Send an answer in two messages."""
    fields = [(b"content-length", str(len(body)).encode()), *headers]
    if content_type is not None:
        fields.append((b"content-type", content_type))
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


def told(error: Refused) -> bytes:
    """A problem as JSON, in our own form."""
    return json.dumps(error.to_json(), ensure_ascii=False).encode("utf-8", "backslashreplace")


async def respond_refused(
    send: Send,
    error: Refused,
    headers: Iterable[tuple[bytes, bytes]] = (),
    *,
    head: bool = False,
    body: bytes | None = None,
) -> None:
    """Send a problem as JSON, in our own form where ``body`` gives no other; 503 says when to come back."""
    extra = [(b"retry-after", b"1")] if error.status in (429, 503) else []
    if error.status == 401:
        extra.append((b"www-authenticate", b"Bearer"))
    if body is None:
        body = told(error)
    fields = [*extra, *headers]
    await respond(send, error.status, b"" if head else body, content_type=JSON, headers=fields)
