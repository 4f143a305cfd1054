"""The online application: the prediction route in raw ASGI, everything else in Starlette."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any
from uuid import uuid4

from charter.core.nearest import did_you_mean
from charter.serve.batcher import Batcher, Limits
from charter.serve.http import (
    Disconnected,
    Receive,
    Scope,
    Send,
    flag,
    read_body,
    request_id,
    require_json,
    respond,
    respond_refused,
)
from charter.serve.metrics import Metrics
from charter.serve.observe import Observer, Ticket
from charter.serve.problem import Refused, refuse
from charter.serve.rest import rest
from charter.serve.scored import Scored
from charter.serve.served import Served

PREDICT = "/api/v1/predict/"
_PARAMETERS = ("explain",)
_log = logging.getLogger("charter.serve")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server takes on.

    Attributes
    ----------
    body_bytes
        Largest body.
    rows
        Most rows of one request.
    """

    body_bytes: int = 8 * 1024 * 1024
    rows: int = 10_000
    batch: Limits = field(default_factory=Limits)


@dataclass(slots=True)
class _Route:
    served: Served
    batcher: Batcher


class Application:
    """ASGI application that serves models by name.

    Parameters
    ----------
    models
        What to serve; names must differ.
    new_id
        Makes the identifiers of requests that bring none.
    observer
        Told of every batch before it is answered: the prediction log and the profile counters.

    Raises
    ------
    ValueError
        When two models have one name.
    """

    def __init__(
        self,
        models: Sequence[Served],
        *,
        limits: ServerLimits | None = None,
        metrics: Metrics | None = None,
        new_id: Callable[[], str] = lambda: uuid4().hex,
        observer: Observer | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.metrics = metrics or Metrics()
        self.ready = False
        self._new_id = new_id
        self._observer = observer
        self._routes: Mapping[str, _Route] = {}
        self.replace(models)
        self._rest = rest(self)

    @property
    def observer(self) -> Observer | None:
        """What sees every batch."""
        return self._observer

    @property
    def models(self) -> tuple[Served, ...]:
        """What is served now, by name."""
        return tuple(self._routes[name].served for name in sorted(self._routes))

    def replace(self, models: Sequence[Served]) -> None:
        """Serve these models from the next request on; requests under way keep the model they began with."""
        names = [m.name for m in models]
        if len(set(names)) != len(names):
            raise ValueError(f"models: two have one name among {', '.join(names)}")
        self._routes = {m.name: _Route(m, self._batcher(m)) for m in models}

    def _batcher(self, served: Served) -> Batcher:
        run, limits = self._counted(served), self.limits.batch
        if self._observer is None:
            return Batcher(run, limits)
        return Batcher(run, limits, partial(self._observer.observe, served))

    def _counted(self, served: Served) -> Callable[[Any, Any], Scored]:
        def run(rows: Any, explain: Any) -> Scored:
            scored = served.run(rows, explain)
            self.metrics.batch(served.name, served.version, scored)
            return scored

        return run

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        kind = scope["type"]
        if kind == "http" and scope["path"].startswith(PREDICT):
            await self._predict(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._rest(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        answer_id = request_id(scope, self._new_id)
        echo = [(b"x-request-id", answer_id.encode())]
        name = scope["path"][len(PREDICT) :]
        label, status = "", 200
        try:
            route = self._route(name)
            label = name
            if scope["method"] != "POST":
                raise refuse(
                    405, "method", f"{scope['method']} is not allowed here; send POST", field="method"
                )
            explain = flag(scope, "explain", _PARAMETERS)
            require_json(scope)
            route.batcher.coming += 1
            try:
                body = await read_body(scope, receive, self.limits.body_bytes)
            finally:
                route.batcher.coming -= 1
            request = route.served.decoder.decode(body)
            ticket = Ticket(answer_id, len(request.rows), "predict", began)
            scored, start = await route.batcher.submit(request.rows, explain=explain, ticket=ticket)
            await respond(send, 200, route.served.encode(scored, start, request, answer_id), headers=echo)
        except Refused as error:
            status = error.status
            self.metrics.error(label, error.faults[0].rule)
            if status == 405:
                echo.append((b"allow", b"POST"))
            await respond_refused(send, error, echo, head=scope["method"] == "HEAD")
        except Disconnected:
            status = 499
        except Exception:  # the last line of defence: the client must get an answer and the log the cause
            _log.exception("model %s failed on request %s", label, answer_id)
            status = 503
            self.metrics.error(label, "model")
            broken = refuse(
                503,
                "model",
                "the model could not answer and declares no fallback",
                remedy="Ask its owner; see the log.",
            )
            await respond_refused(send, broken, echo)
        finally:
            self.metrics.request(label, status, perf_counter() - began)

    def _route(self, name: str) -> _Route:
        route = self._routes.get(name)
        if route is None:
            hint = did_you_mean(name[:200], self._routes)
            raise refuse(
                404, "model", f"no model {name[:80]!r} is served here; {hint}", field="model", value=name
            )
        return route

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                try:
                    for model in self.models:
                        model.warm_up()
                except Exception as error:  # whatever a model raises, the server must say so and not start
                    _log.exception("a model cannot answer its own example")
                    await send({"type": "lifespan.startup.failed", "message": str(error)})
                    return
                self.ready = True
                await send({"type": "lifespan.startup.complete"})
            else:
                self.ready = False
                if self._observer is not None:
                    await self._observer.drain()
                await send({"type": "lifespan.shutdown.complete"})
                return
