"""Reading bodies: not too large, and not for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from charter.serve.http import Disconnected, Receive, Scope, header
from charter.serve.problem import Refused, refuse

_LOOK_SECONDS = 1.0


class Bodies:
    """Reads bodies, and gives up on senders who trickle them (slowloris).

    A timer per request would cost more than reading the body, so one look a second goes over all that are under way.

    Parameters
    ----------
    limit_bytes
        A longer body is refused before more of it is held.
    limit_s
        A body that is not whole after so many seconds (and up to one more) is refused.
    """

    def __init__(self, limit_bytes: int, limit_s: float) -> None:
        self._limit_bytes, self._limit_s = limit_bytes, limit_s
        self._reading: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._looks = False

    async def read(self, scope: Scope, receive: Receive) -> bytes:
        """Read the body of a request.

        Raises
        ------
        Refused
            413 when it is too large, 408 when it does not come, 400 for a length that is no number.
        Disconnected
            When the client goes away in the middle.
        """
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None  # every request is a task of its own
        self._reading[task] = loop.time()
        if not self._looks:
            self._looks = True
            loop.call_later(_LOOK_SECONDS, self._look, loop)
        try:
            return await self._read(scope, receive)
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise refuse(
                408,
                "slow body",
                f"the body was not whole after {self._limit_s:g} seconds",
                remedy="Send it in one go, or several smaller requests.",
            ) from None
        finally:
            del self._reading[task]
            self._late.discard(task)

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        oldest = loop.time() - self._limit_s
        for task, began in self._reading.items():
            if began < oldest and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._looks = bool(self._reading)
        if self._looks:
            loop.call_later(_LOOK_SECONDS, self._look, loop)

    async def _read(self, scope: Scope, receive: Receive) -> bytes:
        declared, length = header(scope, b"content-length"), -1
        if declared is not None:
            if not declared.isdigit():
                raise refuse(400, "content length", "Content-Length is not a number", field="content-length")
            length = int(declared) if len(declared) <= 15 else self._limit_bytes + 1
            if length > self._limit_bytes:
                raise _too_large(self._limit_bytes)
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Disconnected
        body = message.get("body", b"")
        # The server tells the end in a message of its own; whoever has the declared length need not wait for it.
        if len(body) == length or not message.get("more_body", False):
            if len(body) > self._limit_bytes:
                raise _too_large(self._limit_bytes)
            return bytes(body)
        chunks, size = [body], len(body)
        while message.get("more_body", False) and size != length:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise Disconnected
            chunks.append(message.get("body", b""))
            size += len(chunks[-1])
            if size > self._limit_bytes:
                raise _too_large(self._limit_bytes)
        return b"".join(chunks)


def _too_large(limit: int) -> Refused:
    return refuse(
        413, "body size", f"the body is larger than {limit} bytes",
        remedy="Send several requests, or score a file with batch scoring.",
    )  # fmt: skip
