"""Everything beside the prediction route: health, metrics, documentation."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from charter import __version__
from charter.core.nearest import did_you_mean
from charter.serve.docs import CONTENT_POLICY, docs_page
from charter.serve.metrics import CONTENT_TYPE
from charter.serve.oip import EXTENSIONS, model_metadata, refused_at
from charter.serve.openapi import openapi
from charter.serve.problem import Refused, refuse

if TYPE_CHECKING:
    from charter.serve.app import Application
    from charter.serve.served import Served

PATHS = (
    "/api/v1/predict/{model}",
    "/api/v1/models",
    "/api/v1/models/{model}/profile",
    "/v2/models/{model}/infer",
    "/invocations",
    "/healthz",
    "/readyz",
    "/metrics",
    "/openapi.json",
    "/docs",
)


def rest(application: Application) -> Starlette:
    """Build the routes that are not hot."""

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(_: Request) -> Response:
        ready = application.ready and bool(application.models)
        body: dict[str, Any] = {"ready": ready, "models": _versions(application.models)}
        if application.trouble is not None:
            body["trouble"] = application.trouble
        if application.let_go:
            body["let_go"] = dict(application.let_go)
        if application.traffic:
            body["traffic"] = {name: t.summary() for name, t in sorted(application.traffic.items())}
        # A store that is down or stale is told, and no reason to take the server away: it answers with defaults.
        if stores := await asyncio.to_thread(_stores, application):
            body["features"] = stores
        return JSONResponse(body, status_code=200 if ready else 503)

    async def metrics(_: Request) -> Response:
        await asyncio.to_thread(_stores, application)
        return Response(application.metrics.text(), headers={"content-type": CONTENT_TYPE})

    async def models(_: Request) -> Response:
        listed = [
            {
                "name": m.name,
                "version": m.version,
                "task": m.scorer.bundle.task,
                "classes": list(m.scorer.bundle.classes),
                "threshold": m.scorer.rules.threshold,
                "inputs": [i.to_json() for i in m.scorer.signature.inputs],
                "environment_differences": list(m.differences),
            }
            for m in application.models
        ]
        return JSONResponse({"models": listed})

    async def profile(request: Request) -> Response:
        name, asked = request.path_params["model"], request.query_params
        served = next((m for m in application.models if m.name == name), None)
        try:
            since, until = (_day(asked.get(key), key) for key in ("since", "until"))
            if served is None or application.observer is None:
                raise refuse(
                    404, "model", f"no counters of a model {name[:80]!r} are kept here", field="model"
                )
        except Refused as error:
            return JSONResponse(error.to_json(), status_code=error.status)
        version = asked.get("version", served.version)
        counted = partial(application.observer.profile, name, version, since=since, until=until)
        found = await asyncio.to_thread(counted)
        return JSONResponse(
            {"model": name, "version": version, "profile": found.to_json() if found else None}
        )

    async def document(_: Request) -> Response:
        return JSONResponse(openapi(application.models, application.limits.rows))

    async def docs(_: Request) -> Response:
        return HTMLResponse(
            docs_page(application.models), headers={"content-security-policy": CONTENT_POLICY}
        )

    async def server_metadata(_: Request) -> Response:
        return JSONResponse({"name": "charter", "version": __version__, "extensions": list(EXTENSIONS)})

    async def live(_: Request) -> Response:
        return JSONResponse({"live": True})

    async def oip_ready(_: Request) -> Response:
        ready = application.ready and bool(application.models)
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def oip_model(request: Request) -> Response:
        name, version = request.path_params["model"], request.path_params.get("version")
        try:
            served = application.route(name if version is None else f"{name}/versions/{version}").served
        except Refused as error:
            return JSONResponse({"error": error.message}, status_code=error.status)
        if request.url.path.endswith("/ready"):
            return JSONResponse({"name": served.name, "ready": application.ready})
        versions = [m.version for m in application.models if m.name == served.name]
        return JSONResponse(model_metadata(served, versions))

    async def ping(_: Request) -> Response:
        return Response("\n", status_code=200 if application.ready else 503, media_type="application/json")

    async def version(_: Request) -> Response:
        return Response(__version__, media_type="text/plain")

    async def home(_: Request) -> Response:
        return RedirectResponse("/docs", status_code=307)

    routes = [
        Route("/", home),
        Route("/healthz", healthz),
        Route("/readyz", readyz),
        Route("/metrics", metrics),
        Route("/api/v1/models", models),
        Route("/api/v1/models/{model}/profile", profile),
        Route("/openapi.json", document),
        Route("/docs", docs),
        Route("/v2", server_metadata),
        Route("/v2/health/live", live),
        Route("/v2/health/ready", oip_ready),
        *(
            Route(f"/v2/models/{{model}}{version}{ready}", oip_model)
            for version in ("", "/versions/{version}")
            for ready in ("", "/ready")
        ),
        Route("/ping", ping),
        Route("/version", version),
    ]
    return Starlette(routes=routes, exception_handlers={HTTPException: _problem})


def _day(text: str | None, name: str) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise refuse(
            422, "date", f"{name} is {text!r}; it must be a day such as 2026-03-01", field=name, value=text
        ) from None


def _versions(models: Sequence[Served]) -> dict[str, str]:
    """Version by name; of several the one that the plain route leads to."""
    return {m.name: m.version for m in reversed(models)}


def _stores(application: Application) -> dict[str, dict[str, Any]]:
    """State of the feature stores by model and version; the metrics learn what was materialised last as well."""
    found: dict[str, dict[str, Any]] = {}
    for model in application.models:
        if (lookup := model.scorer.lookup) is not None:
            found.setdefault(model.name, {})[model.version] = lookup.state(datetime.now(UTC))
            if (as_of := lookup.as_of) is not None:
                application.metrics.stored(model.name, model.version, as_of)
    return found


async def _problem(request: Request, error: Exception) -> Response:
    """Starlette's own refusals in the form of ours."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers: Any = getattr(error, "headers", None)
    path = request.url.path
    if status == 404:
        hint = did_you_mean(path[:200], PATHS, limit=len(PATHS))
        problem = refuse(404, "path", f"there is nothing at {path[:80]!r}; {hint}", field="path", value=path)
    elif status == 405:
        problem = refuse(
            405, "method", f"{request.method} is not allowed at {path[:80]!r}; send GET", field="method"
        )
    else:
        problem = refuse(status, "request", str(getattr(error, "detail", "refused")))
    body = refused_at(path, problem)
    return Response(body, status_code=status, headers=headers, media_type="application/json")
