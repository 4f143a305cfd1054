"""How a replay asks: in this process the code that serves, or over HTTP a real server whose clock is the replay's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from charter.core.errors import RequestError, UsageError
from charter.flow.logs import log_folder
from charter.flow.released import released_model
from charter.flow.serving import deployment_file
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.serve.io.server import Running
    from charter.serve.served import Served

Request = dict[str, Any]
_TOGETHER = 1000
_CONNECTIONS = 8
_COMPACTED_AT = 20
_HELD_AT_MOST = 50_000
_PATIENCE_S = 60.0


class Asker(Protocol):
    """Sends requests of a row each, at moments that only go on."""

    served: Served

    def ask(self, moment: datetime, ids: Sequence[str], requests: Sequence[Request]) -> list[str]:
        """Ask at a moment (naive UTC); for each request that was refused or failed, why in a word."""

    def settle(self) -> None:
        """Wait until all that was answered is in the log."""

    def down(self) -> None:
        """Let nobody answer until the next `ask`."""

    def close(self) -> None:
        """End."""


class InProcess:
    """Decoding, checks, scoring and the log as the server has them, without the network.

    The log is written as ``relaxed`` asks, whatever the specification says: nobody waits here for the disk.
    """

    def __init__(self, workspace: Workspace, loaded: Loaded) -> None:
        from charter.serve.explore import exploring
        from charter.serve.io.loading import load_model
        from charter.serve.io.recorder import Recorder
        from charter.serve.metrics import Metrics

        model = released_model(workspace, loaded)
        self.served = served = load_model(replace(model, log=replace(model.log, mode="relaxed")))
        self._folder = log_folder(workspace)
        self._recorder = recorder = Recorder(self._folder, Metrics(), now_us=lambda: self._now_us)
        self._now_us = self._held = self._segments = 0
        self._observe = exploring(
            served,
            lambda tickets, scored: recorder.observe(served, tickets, scored),
            lambda: recorder.secret(served.name),
        )

    def ask(self, moment: datetime, ids: Sequence[str], requests: Sequence[Request]) -> list[str]:
        """See `Asker`."""
        self._now_us = round(moment.replace(tzinfo=UTC).timestamp() * 1_000_000)
        refused: list[str] = []
        pairs = list(zip(ids, requests, strict=True))
        for part in (pairs[i : i + _TOGETHER] for i in range(0, len(pairs), _TOGETHER)):
            try:
                self._answer(part)
            except RequestError:  # one is at fault, or some: each by itself, as each came by itself
                for one in part:
                    try:
                        self._answer([one])
                    except RequestError as error:
                        refused.append(str(error.status))
        return refused

    def _answer(self, part: Sequence[tuple[str, Request]]) -> None:
        import msgspec
        import numpy as np

        from charter.serve.observe import Ticket

        decoded = self.served.decoder.decode(msgspec.json.encode([request for _, request in part]))
        scored = self.served.run(decoded.rows, np.zeros(len(part), dtype=bool))
        self._observe([Ticket.now(name, 1) for name, _ in part], scored)
        self._held += len(part)
        if self._held >= _HELD_AT_MOST:
            self._write()

    def settle(self) -> None:
        """Write what is held; segments are put together now and then: many read slowly."""
        from charter.serve.io.compaction import compact

        self._write()
        if self._segments >= _COMPACTED_AT:
            compact(self._folder)
            self._segments = 0

    def _write(self) -> None:
        if self._held:
            self._recorder.close()
            self._held, self._segments = 0, self._segments + 1

    def down(self) -> None:
        """Nobody asks."""

    def close(self) -> None:
        """Write what is held."""
        self._write()


class OverHttp:
    """A real server on a free port of this machine, asked over several connections at once."""

    def __init__(self, workspace: Workspace, loaded: Loaded) -> None:
        from charter.serve.io.loading import load_model

        self.served = load_model(released_model(workspace, loaded))
        self._deployment = deployment_file(workspace, loaded)
        self._log = log_folder(workspace)
        self._folder = workspace.state
        self._clock = workspace.state / "replay.clock"
        self._path = f"/api/v1/predict/{self.served.name}"
        self._running: Running | None = None
        self._answered = 0

    def ask(self, moment: datetime, ids: Sequence[str], requests: Sequence[Request]) -> list[str]:
        """See `Asker`."""
        from charter.serve.io.replay_clock import set_time

        set_time(self._clock, moment)
        running = self._running or self._start()
        pairs = list(zip(ids, requests, strict=True))
        with ThreadPoolExecutor(_CONNECTIONS) as pool:
            parts = pool.map(
                lambda part: self._send(running.url, part),
                (pairs[i::_CONNECTIONS] for i in range(_CONNECTIONS)),
            )
            statuses = [status for part in parts for status in part]
        refused = [str(status) for status in statuses if status != 200]
        self._answered += len(statuses) - len(refused)
        return refused

    def _send(self, url: str, pairs: Sequence[tuple[str, Request]]) -> list[int]:
        import msgspec

        from charter.serve.io.client import Client

        with Client(url, timeout_s=_PATIENCE_S) as client:
            return [
                client.ask("POST", self._path, msgspec.json.encode(request), {"X-Request-Id": name}).status
                for name, request in pairs
            ]

    def _start(self) -> Running:
        from charter.serve.io.server import start

        self._running = start(
            self._deployment,
            log=self._folder / "replay.server.log",
            options=("--replay-clock", str(self._clock)),
        )
        return self._running

    def settle(self) -> None:
        """See `Asker`."""
        from charter.serve.log_reader import scan

        deadline = time.monotonic() + _PATIENCE_S
        while self._logged(scan(self._log, model=self.served.name)) < self._answered:
            if time.monotonic() > deadline:
                raise UsageError(
                    f"the server answered {self._answered:,} requests, and its log holds fewer after a minute",
                    remedy=f"See {self._folder / 'replay.server.log'}.",
                )
            time.sleep(0.05)

    @staticmethod
    def _logged(rows: Any) -> int:
        import polars as pl

        return int(rows.select(pl.len()).collect().item())

    def down(self) -> None:
        """Stop the server, as an outage does; the next `ask` starts it again."""
        if self._running is not None:
            self._running.stop()
            self._running = None

    def close(self) -> None:
        """Stop the server."""
        self.down()
