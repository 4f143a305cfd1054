"""A server follows its deployment files: what they name is loaded beside what serves, proved, and swapped in."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import CharterError, UsageError
from charter.registry.traffic import Traffic
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.loading import read_deployments
from charter.serve.io.watch import EVERY_SECONDS, Mark, mark
from charter.serve.served import Served

if TYPE_CHECKING:
    from charter.serve.app import Application

RETRY_SECONDS = 5.0
"""Files whose models cannot be loaded is tried again: a package may still be on its way to this machine."""

_log = logging.getLogger("charter.serve")


class Follower:
    """Loads what deployment files name, now and whenever one changes.

    A model that does not prove itself or cannot answer its own example changes nothing: what served goes on serving,
    ``/readyz`` and the log say why.

    Parameters
    ----------
    paths
        One file for each workspace that is served; no two may name the same model.
    load
        Verifies and loads one model.

    Attributes
    ----------
    deployments
        What the files said when they were last good.
    logs
        Name of a model to the folder of its log; without those that are not logged.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        load: Callable[[DeployedModel], Served],
        *,
        every_seconds: float = EVERY_SECONDS,
    ) -> None:
        self._paths, self._load, self._every = tuple(paths), load, every_seconds
        # Marks are taken before the files are read: a change in between is seen as one.
        self._marks = [mark(path) for path in self._paths]
        self.deployments = read_deployments(self._paths)
        self.logs: dict[str, Path] = folders(self.deployments)
        self._loaded: list[tuple[DeployedModel, Served]] = []
        self._retry_at: float | None = None

    def models(self, deployments: Sequence[Deployment]) -> list[Served]:
        """Load what is not loaded yet; what a deployment keeps is the same object as before."""
        self._loaded = self._load_all(deployments)
        return [served for _, served in self._loaded]

    def _load_all(self, deployments: Sequence[Deployment]) -> list[tuple[DeployedModel, Served]]:
        loaded = []
        for model in needed(deployments):
            served = self._known(model)
            if served is None:
                served = self._load(model)
                served.warm_up()
            loaded.append((model, served))
        return loaded

    def _known(self, model: DeployedModel) -> Served | None:
        return next((served for known, served in self._loaded if known == model), None)

    async def follow(self, application: Application) -> None:
        """Watch the files until cancelled.

        A change that comes while another is being loaded goes before it: who sends all traffic back to the champion
        does not wait for a candidate that cannot be loaded.
        """
        looking: asyncio.Task[None] | None = None
        try:
            while True:
                await asyncio.sleep(self._every)
                if looking is not None and not looking.done():
                    if self._marked() == self._marks:
                        continue
                    looking.cancel()
                looking = asyncio.create_task(self.look(application))
        finally:
            if looking is not None:
                looking.cancel()

    def _marked(self) -> list[Mark]:
        return [mark(path) for path in self._paths]

    async def look(self, application: Application) -> None:
        """Swap when a file has changed, or when it is time to try again."""
        found = self._marked()
        due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if found == self._marks and not due:
            return
        self._marks = found
        try:
            # On this thread, and so is the rest where all is loaded: nothing then stands in the way of a change.
            deployments = read_deployments(self._paths)
            if all(self._known(model) is not None for model in needed(deployments)):
                loaded = self._load_all(deployments)
            else:
                loaded = await asyncio.to_thread(self._load_all, deployments)
            self.logs.update(folders(deployments))  # kept for requests under way to models that go
            known = set(application.models)
            models = [served for _, served in loaded]
            _refuse_closed(folders(deployments).values())
            application.replace(models, traffic(deployments))
        except Exception as error:  # whatever a package or a file does, what serves must go on serving
            said = error.message if isinstance(error, CharterError) else f"{type(error).__name__}: {error}"
            if said != application.trouble:
                _log.error("the deployment file changed, and what served goes on serving: %s", said)
            application.trouble = said
            self._retry_at = time.monotonic() + RETRY_SECONDS
        else:
            self._loaded = loaded
            self.deployments, self._retry_at, application.trouble = deployments, None, None
            names = [f"{m.name} {m.version}" for m in models]
            tried = [
                f"{name}: {t.stage} {t.candidate or ''}".rstrip() for name, t in application.traffic.items()
            ]
            _log.warning("serving %s from now on", "; ".join((", ".join(names), *tried)))
            for model in models:
                for difference in () if model in known else model.differences:
                    _log.warning("%s %s: %s", model.name, model.version, difference)


def needed(deployments: Iterable[Deployment]) -> list[DeployedModel]:
    """Models that a worker loads."""
    return [model for deployment in deployments for model in deployment.answering]


def traffic(deployments: Iterable[Deployment]) -> dict[str, Traffic]:
    """What is tried, by name of a model."""
    return {name: tried for deployment in deployments for name, tried in deployment.traffic.items()}


def _refuse_closed(logs: Iterable[Path]) -> None:
    """Refuse a log that cannot be written before a model answers whose every answer must be in it."""
    for folder in logs:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise UsageError(f"the log {folder} cannot be written", remedy="Check the rights on the folder.")


def folders(deployments: Iterable[Deployment]) -> dict[str, Path]:
    """Folder of the log by name of a model."""
    return {m.name: d.log for d in deployments for m in d.models if d.log is not None}
