"""The models that are served, the queue in front of each, and who answers where."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from charter.core.nearest import did_you_mean
from charter.registry.traffic import Traffic
from charter.serve.arms import TRIED_SECONDS, Arms, tried
from charter.serve.batcher import Batcher, Limits, Run
from charter.serve.explore import exploring
from charter.serve.io.footprint import growth
from charter.serve.metrics import Metrics
from charter.serve.observe import Dealt, Observer
from charter.serve.problem import refuse
from charter.serve.scored import Scored, unanswered
from charter.serve.served import Served
from charter.serve.shadow import Observe, Shadow, Shadows, watched

_ALONE, _TRIED, _STOPPED, _SEEN = "alone", "tried", "stopped", "seen by "
"""How a version answers: as ever; as one that may fail; by its fallback; as ever, and a candidate sees it."""


@dataclass(slots=True)
class Route:
    """A model and the queue in front of it.

    Attributes
    ----------
    arms
        Deals requests out to several versions; None where one answers all.
    shadow
        Sees what the queue was asked and has answered.
    dealt
        What the log says of requests while something is tried.
    """

    served: Served
    batcher: Batcher
    arms: Arms | None = None
    shadow: Shadow | None = None
    dealt: Dealt | None = None


class Routing:
    """Finds who answers.

    Parameters
    ----------
    observer
        Told of every batch before it is answered.
    shadows
        Makes what sees requests after their answers; None lets no candidate see them.

    Attributes
    ----------
    models
        What is served now, by name; of several versions of a model the champion first.
    traffic
        What is tried now, by name of a model.
    let_go
        Versions that are tried and asked no more in this process, each with why.
    """

    def __init__(
        self, limits: Limits, metrics: Metrics, observer: Observer | None, shadows: Shadows | None
    ) -> None:
        self._limits, self._metrics, self._observer, self._shadows = limits, metrics, observer, shadows
        self.models: tuple[Served, ...] = ()
        self.traffic: Mapping[str, Traffic] = {}
        self.let_go: Mapping[str, str] = {}
        self._routes: Mapping[str, Route] = {}
        self._desks: dict[tuple[int, str], Route] = {}

    def replace(self, models: Sequence[Served], traffic: Mapping[str, Traffic]) -> None:
        """Serve these models from the next request on; requests under way keep the model they began with.

        The first version of a name answers at ``/api/v1/predict/NAME``, or whoever its traffic says; every version
        answers at ``/api/v1/predict/NAME/versions/VERSION``. Traffic of the stage ``stopped`` leaves all of these to
        the fallback.

        Raises
        ------
        UsageError
            When traffic does not fit the models. What served before then goes on serving.
        """
        traffic = {name: t for name, t in traffic.items() if t.stage != "full"}
        desks: dict[tuple[int, str], Route] = {}
        try:
            routes = self._routed(models, traffic, desks)
        except Exception:
            _close(desks, self._desks)
            raise
        _close(self._desks, desks)
        self.models = tuple(sorted(models, key=lambda m: m.name))
        self._routes, self._desks, self.traffic = routes, desks, traffic
        there = {
            f"{desk.served.name} {desk.served.version}" for (_, role), desk in desks.items() if role == _TRIED
        }
        self.let_go = {name: why for name, why in self.let_go.items() if name in there}

    def _routed(
        self, models: Sequence[Served], traffic: Mapping[str, Traffic], desks: dict[tuple[int, str], Route]
    ) -> dict[str, Route]:
        """Routes by path; ``desks`` takes those with a queue of their own, old ones as they are."""
        routes: dict[str, Route] = {}
        for model in models:
            path = f"{model.name}/versions/{model.version}"
            if path in routes:
                raise ValueError(f"models: {model.name} {model.version} is there twice")
            role = self._role(traffic.get(model.name), model.version)
            routes[path] = self._desks.get((id(model), role)) or self._desk(model, role)
            desks[id(model), role] = routes[path]
            routes.setdefault(model.name, routes[path])
        for name in traffic.keys() & routes.keys():
            routes[name] = _plain(name, traffic[name], routes)
        return routes

    def _role(self, traffic: Traffic | None, version: str) -> str:
        if traffic is None:
            return _ALONE
        if traffic.stage == "stopped":
            return _STOPPED
        if traffic.stage == "shadow":
            seen = version == traffic.champion and self._shadows is not None
            return f"{_SEEN}{traffic.candidate}" if seen else _ALONE
        return _TRIED if version in traffic.arms.values() and version != traffic.champion else _ALONE

    def _desk(self, served: Served, role: str) -> Route:
        if role.startswith(_SEEN) and self._shadows is not None:
            shadow = self._shadows(served, role.removeprefix(_SEEN))
            return Route(served, self._batcher(served, role, shadow), shadow=shadow)
        dealt = Dealt("stopped") if role == _STOPPED else None
        return Route(served, self._batcher(served, role), dealt=dealt)

    def route(self, name: str) -> Route:
        """Find a model by its name, or by ``NAME/versions/VERSION``.

        Raises
        ------
        Refused
            404 with the nearest name.
        """
        route = self._routes.get(name)
        if route is None:
            plain, _, version = name.partition("/versions/")
            if plain in self._routes and version:
                there = [m.version for m in self.models if m.name == plain]
                hint = did_you_mean(version[:200], there)
                raise refuse(
                    404, "version", f"{plain} is not served in version {version[:80]!r}; {hint}",
                    field="version", value=version,
                )  # fmt: skip
            hint = did_you_mean(name[:200], [m.name for m in self.models])
            raise refuse(
                404, "model", f"no model {name[:80]!r} is served here; {hint}", field="model", value=name
            )
        return route

    def close(self) -> None:
        """Let go of every candidate that sees requests."""
        _close(self._desks, {})

    def _batcher(self, served: Served, role: str, shadow: Shadow | None = None) -> Batcher:
        scores: Run = {_TRIED: self._tried, _STOPPED: _stopped}.get(role, _runs)(served)
        run, limits = self._counted(served, scores), self._limits
        if limits.score_s is None:  # what the server was started with goes before what the model declares
            limits = replace(limits, score_s=served.deadline_s)
        limits = replace(limits, list_s=limits.score_s)
        if (
            role == _TRIED
        ):  # scored aside, whatever else is said: it may hang, and the champion waits to answer
            seconds = min(limits.score_s or TRIED_SECONDS, TRIED_SECONDS)
            limits = replace(limits, score_s=seconds, deadline_s=seconds)
        fall_back = self._fall_back(served, role)
        observe: Observe | None = None
        if self._observer is not None:
            secret = partial(self._observer.secret, served.name)
            observe = exploring(served, partial(self._observer.observe, served), secret)
        if shadow is not None:
            observe = watched(observe, shadow)
        return (
            Batcher(run, limits, observe, fall_back) if observe else Batcher(run, limits, fall_back=fall_back)
        )

    def _tried(self, served: Served) -> Run:
        def told(why: str) -> None:
            self.let_go = {**self.let_go, f"{served.name} {served.version}": why}

        return tried(served, growth(), told)

    def _fall_back(self, served: Served, role: str) -> Callable[[Any], Scored] | None:
        why = "the model did not answer in time"
        if role != _TRIED and served.scorer.rules.fallback is None:
            return None

        def answer(rows: Any) -> Scored:
            frame = served.decoder.frame(rows)
            scored = unanswered(frame, why) if role == _TRIED else served.scorer.fall_back(frame, why)
            self._metrics.batch(served.name, served.version, scored)
            return scored

        return answer

    def _counted(self, served: Served, scores: Run) -> Run:
        def run(rows: Any, explain: Any) -> Scored:
            scored = scores(rows, explain)
            self._metrics.batch(served.name, served.version, scored)
            return scored

        return run


def _plain(name: str, traffic: Traffic, routes: Mapping[str, Route]) -> Route:
    """Route of a model without a version, while something is tried."""
    champion = routes[name]
    if traffic.stage == "stopped":
        return champion
    if traffic.stage == "shadow":
        return replace(champion, dealt=Dealt("shadow"))
    desks = {version: routes[f"{name}/versions/{version}"] for version in traffic.versions}
    arms = Arms(traffic, {version: (desk.served, desk.batcher) for version, desk in desks.items()})
    return Route(champion.served, champion.batcher, arms)


def _close(desks: Mapping[tuple[int, str], Route], kept: Mapping[tuple[int, str], Route]) -> None:
    """Let go of candidates that see requests, but for those of desks that are kept."""
    for key, desk in desks.items():
        if desk.shadow is not None and key not in kept:
            desk.shadow.close()


def _runs(served: Served) -> Run:
    return served.run


def _stopped(served: Served) -> Run:
    return lambda rows, _explain: served.stopped(rows)
