"""The online application: the prediction route in raw ASGI, everything else in Starlette."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

from charter.registry.traffic import Traffic
from charter.serve.access import Gate, scope_for
from charter.serve.arms import Call
from charter.serve.batcher import Limits
from charter.serve.bodies import Bodies
from charter.serve.http import (
    Disconnected,
    Receive,
    Scope,
    Send,
    flag,
    request_id,
    respond,
    respond_refused,
)
from charter.serve.ids import random_ids
from charter.serve.invocations import Invocations
from charter.serve.metrics import Metrics
from charter.serve.observe import Observer, Ticket
from charter.serve.oip import OpenInference, refused_at
from charter.serve.problem import Refused, refuse
from charter.serve.protocols import Form, Native
from charter.serve.rest import rest
from charter.serve.routing import Routing
from charter.serve.served import Served
from charter.serve.shadow import Shadows

PREDICT = "/api/v1/predict/"
INVOCATIONS = "/invocations"
OIP_MODELS, OIP_INFER = "/v2/models/", "/infer"
_PARAMETERS = ("explain",)
_FLUSH_SECONDS = 0.1
_NATIVE, _OIP, _MLFLOW = Native(), OpenInference(), Invocations()
_log = logging.getLogger("charter.serve")


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a server takes on.

    Attributes
    ----------
    body_bytes
        Largest body.
    body_s
        Seconds within which a body must be whole.
    rows
        Most rows of one request.
    """

    body_bytes: int = 8 * 1024 * 1024
    body_s: float = 30.0
    rows: int = 10_000
    batch: Limits = field(default_factory=Limits)


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
    background
        Runs beside the server from start to end, for example `charter.serve.io.follow.Follower.follow`.

    gate
        Whom it lets in; None lets in everybody.
    traffic
        By name of a model, who answers at its plain route.
    shadows
        Makes what sees requests after their answers; None lets no candidate see them.

    Attributes
    ----------
    ready
        Whether requests are answered.
    trouble
        Why the deployment that is asked for does not serve; None when it does.

    Raises
    ------
    ValueError
        When a version of a model is there twice.
    """

    def __init__(
        self,
        models: Sequence[Served],
        *,
        limits: ServerLimits | None = None,
        metrics: Metrics | None = None,
        new_id: Callable[[], str] | None = None,
        observer: Observer | None = None,
        background: Callable[[Application], Coroutine[Any, Any, None]] | None = None,
        gate: Gate | None = None,
        traffic: Mapping[str, Traffic] | None = None,
        shadows: Shadows | None = None,
    ) -> None:
        self.limits = limits or ServerLimits()
        self.metrics = metrics or Metrics()
        self.ready = False
        self.trouble: str | None = None
        self.gate = gate
        self._background = background
        self._beside: asyncio.Task[None] | None = None
        self._bodies = Bodies(self.limits.body_bytes, self.limits.body_s)
        self._new_id = new_id or random_ids().__next__
        self._observer = observer
        self._routing = Routing(self.limits.batch, self.metrics, observer, shadows)
        self._routing.replace(models, traffic or {})
        self.route = self._routing.route
        self._rest = rest(self)

    @property
    def observer(self) -> Observer | None:
        """What sees every batch."""
        return self._observer

    @property
    def models(self) -> tuple[Served, ...]:
        """What is served now, by name; of several versions of a model the one that its plain route leads to first."""
        return self._routing.models

    @property
    def traffic(self) -> Mapping[str, Traffic]:
        """What is tried now, by name of a model."""
        return self._routing.traffic

    @property
    def let_go(self) -> Mapping[str, str]:
        """Versions that are tried and asked no more in this process, each with why."""
        return self._routing.let_go

    def replace(self, models: Sequence[Served], traffic: Mapping[str, Traffic] | None = None) -> None:
        """Serve these models from the next request on, see `charter.serve.routing.Routing.replace`."""
        self._routing.replace(models, traffic or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one ASGI connection."""
        kind = scope["type"]
        if kind == "http" and scope["path"].startswith(PREDICT):
            await self._predict(scope, receive, send, scope["path"][len(PREDICT) :], _NATIVE)
        elif kind == "lifespan":
            await self._lifespan(receive, send)
        else:
            await self._other(scope, receive, send)

    @property
    def sole(self) -> str:
        """Name of the model that an address without a name means; empty where several are served."""
        names = {m.name for m in self.models}
        return names.pop() if len(names) == 1 else ""

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if scope["type"] == "http" and path == INVOCATIONS:
            await self._predict(scope, receive, send, self.sole, _MLFLOW)
            return
        if scope["type"] == "http" and path.startswith(OIP_MODELS) and path.endswith(OIP_INFER):
            await self._predict(scope, receive, send, path[len(OIP_MODELS) : -len(OIP_INFER)], _OIP)
            return
        wanted = scope_for(scope["path"])
        if self.gate is not None and wanted is not None and scope["type"] == "http":
            try:
                self.gate.admit(scope, wanted)
            except Refused as error:
                self.metrics.error("", error.faults[0].rule)
                body = refused_at(path, error)
                await respond_refused(send, error, head=scope["method"] == "HEAD", body=body)
                return
        await self._rest(scope, receive, send)

    async def _predict(self, scope: Scope, receive: Receive, send: Send, name: str, form: Form) -> None:
        began = perf_counter()
        answer_id = request_id(scope, self._new_id)
        echo = [(b"x-request-id", answer_id.encode())]
        label, status = "", 200
        try:
            if self.gate is not None:
                self.gate.admit(scope, "predict")
            route = self.route(name)
            label = route.served.name
            if scope["method"] != "POST":
                raise refuse(
                    405, "method", f"{scope['method']} is not allowed here; send POST", field="method"
                )
            explain = flag(scope, "explain", _PARAMETERS)
            route.batcher.coming += 1
            try:
                body = await self._bodies.read(scope, receive)
            finally:
                route.batcher.coming -= 1
            if route.arms is not None:
                content, fields = await route.arms.answer(Call(scope, body, form, explain, answer_id, began))
                await respond(send, 200, content, headers=[*fields, *echo])
                return
            asked = form.read(scope, body, route.served)
            rows = asked.rows.rows
            ticket = Ticket(asked.request_id or answer_id, len(rows), form.name, began, route.dealt)
            scored, start = await route.batcher.submit(rows, explain=explain, ticket=ticket)
            content, fields = form.write(route.served, scored, start, asked, answer_id)
            await respond(send, 200, content, headers=[*fields, *echo])
        except Refused as error:
            status = error.status
            self.metrics.error(label, error.faults[0].rule)
            if status == 405:
                echo.append((b"allow", b"POST"))
            if status == 408:  # what is left of the body must not be taken for a request
                echo.append((b"connection", b"close"))
            await respond_refused(send, error, echo, head=scope["method"] == "HEAD", body=form.refused(error))
        except Disconnected:
            status = 499
            # Who only closed the sending side still listens; and silence would be answered with 500 by the HTTP layer.
            cut = refuse(
                400, "incomplete body", "the body ended before it was whole", remedy="Send it again."
            )
            await respond_refused(send, cut, [*echo, (b"connection", b"close")], body=form.refused(cut))
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
            await respond_refused(send, broken, echo, body=form.refused(broken))
        finally:
            if self.metrics.request(label, status, perf_counter() - began):
                asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.metrics.flush)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self.ready = True
                if self._background is not None:
                    self._beside = asyncio.create_task(self._background(self))
                await send({"type": "lifespan.startup.complete"})
            else:
                self.ready = False
                if self._beside is not None:
                    self._beside.cancel()
                self._routing.close()
                if self._observer is not None:
                    await self._observer.drain()
                self.metrics.flush()
                await send({"type": "lifespan.shutdown.complete"})
                return
