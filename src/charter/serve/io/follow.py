"""A server follows its deployment file: what the file names is loaded beside what serves, proved, and swapped in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import CharterError
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.loading import read_deployment
from charter.serve.io.watch import EVERY_SECONDS, mark
from charter.serve.served import Served

if TYPE_CHECKING:
    from charter.serve.app import Application

RETRY_SECONDS = 5.0
"""A file whose models cannot be loaded is tried again: a package may still be on its way to this machine."""

_log = logging.getLogger("charter.serve")


class Follower:
    """Loads what a deployment file names, now and whenever it changes.

    A model that does not prove itself or cannot answer its own example changes nothing: what served goes on serving,
    ``/readyz`` and the log say why.

    Parameters
    ----------
    load
        Verifies and loads one model.
    """

    def __init__(
        self, path: Path, load: Callable[[DeployedModel], Served], *, every_seconds: float = EVERY_SECONDS
    ) -> None:
        self._path, self._load, self._every = path, load, every_seconds
        # The mark is taken before the file is read: a change in between is seen as one.
        self._mark = mark(path)
        self.deployment: Deployment = read_deployment(path)
        self._loaded: list[tuple[DeployedModel, Served]] = []
        self._retry_at: float | None = None

    def models(self, deployment: Deployment) -> list[Served]:
        """Load what is not loaded yet; what a deployment keeps is the same object as before."""
        loaded = []
        for model in deployment.models:
            served = next((s for m, s in self._loaded if m == model), None)
            if served is None:
                served = self._load(model)
                served.warm_up()
            loaded.append((model, served))
        self._loaded = loaded
        return [served for _, served in loaded]

    async def follow(self, application: Application) -> None:
        """Watch the file until cancelled."""
        while True:
            await asyncio.sleep(self._every)
            await self.look(application)

    async def look(self, application: Application) -> None:
        """Swap when the file has changed, or when it is time to try again."""
        found = mark(self._path)
        due = self._retry_at is not None and time.monotonic() >= self._retry_at
        if found == self._mark and not due:
            return
        self._mark = found
        try:
            deployment = await asyncio.to_thread(read_deployment, self._path)
            models = await asyncio.to_thread(self.models, deployment)
            application.replace(models)
        except Exception as error:  # whatever a package or a file does, what serves must go on serving
            said = error.message if isinstance(error, CharterError) else f"{type(error).__name__}: {error}"
            if said != application.trouble:
                _log.error("the deployment file changed, and what served goes on serving: %s", said)
            application.trouble = said
            self._retry_at = time.monotonic() + RETRY_SECONDS
        else:
            self.deployment, self._retry_at, application.trouble = deployment, None, None
            names = ", ".join(f"{m.name} {m.version}" for m in models)
            _log.warning("serving %s from now on", names)
