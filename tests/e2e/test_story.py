"""A model's second year through the command line and a real server: see `e2e_story`."""

from __future__ import annotations

import http.client
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import e2e_fault
import polars as pl
import pytest
from e2e_models import Said, charter, done
from e2e_story import Asked, Churn, Loans, World, people, plain, second_year, told_by, what_is_told

from charter.serve.io.replay_clock import set_time
from charter.serve.io.server import Running, start
from charter.serve.log_reader import scan

PATIENCE_S = 60


class Served:
    """Gives commands in this process, and asks a real server; both live by the story's clock."""

    def __init__(self, folder: Path, model: str, feature: str, scratch: Path) -> None:
        self.folder, self.now = folder, datetime(2000, 1, 1, tzinfo=UTC)
        self._model, self._scratch = model, scratch
        self._clock, self._log = scratch / "clock", folder / ".charter" / "log"
        self._slow, self._environment = e2e_fault.install(scratch / "fault", feature=feature)
        self._running: Running | None = None
        self._asked = 0

    def give(self, *command: str | Path, code: int = 0) -> Said:
        """See `e2e_story.Teller`."""
        self.now += timedelta(seconds=1)
        said = charter(*command)
        assert said.code == code, (
            f"charter {' '.join(map(str, command))}: {said.code}\n{said.out}\n{said.err}"
        )
        return said

    def look(self, *command: str | Path) -> Any:
        """See `e2e_story.Teller`."""
        return done(*command, "--json").json

    def ask(self, rows: pl.DataFrame, *, answers: Sequence[str], slow: str = "") -> Asked:
        """See `e2e_story.Teller`."""
        set_time(self._clock, self.now)
        running = self._running or self._start()
        ids = [f"q{self._asked + i}" for i in range(rows.height)]
        with closing(http.client.HTTPConnection(urlsplit(running.url).netloc, timeout=PATIENCE_S)) as to:
            self._until(lambda: self._follows(to), "the server does not follow")
            if slow:
                self._slow.touch()
            found = [self._answer(to, body, name) for body, name in zip(plain(rows), ids, strict=True)]
            self._slow.unlink(missing_ok=True)
        assert set(found) == set(answers), found
        self._asked += rows.height
        self._until(
            lambda: scan(self._log).select(pl.len()).collect().item() >= self._asked, "the log lacks answers"
        )
        return Asked(rows, ids, found)

    def close(self) -> None:
        """Stop the server."""
        if self._running is not None:
            self._running.stop()

    def _start(self) -> Running:
        self._running = start(
            self.folder / ".charter" / "deployment.json",
            log=self._scratch / "server.log",
            options=("--replay-clock", str(self._clock)),
            environment=self._environment,
        )
        return self._running

    def _answer(self, to: http.client.HTTPConnection, body: dict[str, Any], name: str) -> str:
        headers = {"Content-Type": "application/json", "X-Request-Id": name}
        to.request("POST", f"/api/v1/predict/{self._model}", json.dumps(body), headers)
        answer = to.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        version: str = json.loads(text)["version"]
        return version

    def _follows(self, to: http.client.HTTPConnection) -> bool:
        """Whether the server has read the newest deployment."""
        wanted = json.loads((self.folder / ".charter" / "deployment.json").read_text())
        to.request("GET", "/readyz")
        found = json.loads(to.getresponse().read())
        sent, known = wanted["traffic"].get(self._model), found.get("traffic", {}).get(self._model)
        assert "trouble" not in found, found
        same = [(t["stage"], t["champion"], t.get("candidate")) for t in (sent, known) if t]
        return (
            len(set(same)) <= 1
            and len(same) != 1
            and wanted["models"][0]["version"] in found["models"].values()
        )

    @staticmethod
    def _until(holds: Callable[[], bool], trouble: str) -> None:
        until = time.monotonic() + PATIENCE_S
        while not holds():
            assert time.monotonic() < until, trouble
            time.sleep(0.05)


@pytest.fixture
def tell(tmp_path, monkeypatch) -> Iterator[Callable[[World, str], None]]:
    """Tell the story in a world whose faulty feature has a name."""
    monkeypatch.setenv("CHARTER_HOME", str(tmp_path / "home"))
    tellers = []

    def told(world: World, feature: str) -> None:
        folder = tmp_path / "model"
        world.make(folder)
        teller = Served(folder, world.model, feature, tmp_path)
        tellers.append(teller)
        teller.now = world.begin
        with told_by(teller):
            people(world, folder)
            second_year(world, teller)
            what_is_told(world, teller)

    yield told
    for teller in tellers:
        teller.close()


def real(data: str | None) -> bool:
    return data is not None and (Path(data) / "online_retail_ii").is_dir()


DATA = os.environ.get("CHARTER_DATA")


@pytest.mark.data
@pytest.mark.skipif(not real(DATA), reason="CHARTER_DATA names no folder with online_retail_ii")
def test_a_second_year_of_the_reference_system(tell):
    tell(Churn(Path(DATA or "")), "basket")


@pytest.mark.skipif(real(DATA), reason="the story is told of the reference system, whose data are here")
def test_a_second_year_of_made_up_loans(tell):
    tell(Loans(), "load")
