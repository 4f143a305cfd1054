"""A candidate that sees requests after they were answered: what it logs, and that nothing it does reaches anybody."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from serve_models import GOOD, acall

from charter.registry.io.packages import build, sign
from charter.registry.signing import Signer
from charter.registry.traffic import Traffic
from charter.serve.app import Application
from charter.serve.bundle import read_bundle
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.leisure import Leisure
from charter.serve.io.loading import write_deployment
from charter.serve.io.log_writer import LogWriter
from charter.serve.io.progress import Progress
from charter.serve.io.recorder import Recorder, table_of
from charter.serve.io.shadow import Link, address
from charter.serve.io.shadow_keeper import Keeper
from charter.serve.io.shadow_process import Candidate
from charter.serve.log_reader import scan
from charter.serve.metrics import Metrics
from charter.serve.observe import Ticket
from charter.serve.scorer import Scorer
from charter.serve.served import Served
from charter.serve.shadow import Hello, Parcel, Share, Slice, watched

SECONDS = 60.0
"""Within which everything has happened, on however busy a machine."""
NAME = "credit-test"
REPLAYED = 1_700_000_000
"""When it is, to whoever replays the past; seconds since 1970."""
PLAIN = f"/api/v1/predict/{NAME}"


@pytest.fixture(scope="module")
def package(credit, tmp_path_factory) -> DeployedModel:
    folder = tmp_path_factory.mktemp("package") / NAME
    signer = Signer("ann", Ed25519PrivateKey.generate())
    build(credit.folder, {}, folder, name=NAME, digests={}, code_version="0", environment={})
    sign(folder, signer)
    return DeployedModel(NAME, "v1", folder, {}, {"ann": signer.public_key})


class Tried:
    """An application whose requests a candidate sees, with the candidate's process."""

    def __init__(
        self, credit, package: DeployedModel, folder: Path, how: str | None = None, **options: Any
    ) -> None:
        self.folder, self.log = folder, folder / "log"
        self.metrics = Metrics()
        self.traffic = {NAME: Traffic("shadow", "v1", "v2")}
        file = folder / "deployment.json"
        write_deployment(file, Deployment((package, replace(package, version="v2")), self.log, self.traffic))
        command = [sys.executable, str(Path(__file__).with_name("misbehaving.py")), how or ""]
        self.keeper = Keeper([file], folder, every_s=0.05, command=command, **options)
        recorder = Recorder(self.log, self.metrics)
        served = Served(NAME, "v1", credit.scorer(), package="ab" * 32)
        self.application = Application(
            [served], metrics=self.metrics, observer=recorder, traffic=self.traffic, shadows=self.link
        )

    def link(self, champion: Served, candidate: str) -> Link:
        socket = address(self.folder, NAME, candidate)
        return Link(
            socket, champion, candidate, self.metrics, queue_rows=2000, now_us=lambda: round(REPLAYED * 1e6)
        )

    def value(self, name: str) -> float:
        lines = self.metrics.text().decode().splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name}{{"))

    async def ask(self, body: Any, request_id: str = "r") -> tuple[int, Any]:
        headers = {"x-request-id": request_id}
        status, _, answer = await acall(self.application, PLAIN, json.dumps(body).encode(), headers=headers)
        return status, json.loads(answer)

    async def until(self, condition: Callable[[], bool]) -> None:
        limit = time.monotonic() + SECONDS
        while not condition():
            assert time.monotonic() < limit, self.metrics.text().decode()
            await asyncio.sleep(0.02)

    def run(self, story: Callable[[Tried], Awaitable[None]]) -> None:
        async def go() -> None:
            await story(self)
            self.application.replace(self.application.models)
            assert self.application.observer is not None
            await self.application.observer.drain()

        with self.keeper:
            asyncio.run(go())


def test_the_candidate_logs_what_nobody_was_given(credit, package, tmp_path):
    tried = Tried(credit, package, tmp_path)

    async def story(tried: Tried) -> None:
        await tried.ask([{**GOOD, "limit": 5000.0 + i} for i in range(600)], "many")
        pinned = {"x-request-id": "pinned"}
        one_batch = [
            acall(
                tried.application, f"{PLAIN}/versions/v1", json.dumps([GOOD, GOOD]).encode(), headers=pinned
            ),
            *(tried.ask(GOOD, f"one-{i}") for i in range(5)),
        ]
        answers = await asyncio.gather(*one_batch)
        assert {answer[0] for answer in answers} == {200}
        await tried.until(lambda: tried.value("charter_shadow_rows_total") == 605)

    tried.run(story)
    answered = scan(tried.log).sort("id", "row").collect()
    given = answered.filter(pl.col("stage").is_not_null())
    assert answered.filter(pl.col("stage").is_null())["id"].to_list() == ["pinned", "pinned"]
    seen = scan(tried.log, version="v2", shadow=True).sort("id", "row").collect()
    assert set(given.select("version", "stage", "arm").rows()) == {("v1", "shadow", None)}
    assert set(seen.select("version", "stage", "arm", "fallback").rows()) == {
        ("v2", "shadow", "shadow", False)
    }
    same = ["id", "row", "score", "decision", "band", "input_limit", "input_joined", "route"]
    assert seen.select(same).equals(given.select(same))
    assert seen["latency_us"].min() >= 0  # type: ignore[operator]
    assert set(seen["time"].dt.epoch("s")) == {REPLAYED}
    assert tried.value("charter_shadow_dropped_total") == 0
    assert tried.value("charter_shadow_seconds_count") >= 3


def test_what_a_candidate_raises_is_logged_as_its_failure(credit, package, tmp_path):
    tried = Tried(credit, package, tmp_path, "raise")

    async def story(tried: Tried) -> None:
        status, answers = await tried.ask([GOOD, GOOD, GOOD])
        assert (status, {a["version"] for a in answers}, answers[0]["warnings"]) == (200, {"v1"}, [])
        await tried.until(lambda: tried.value("charter_shadow_failed_total") == 3)

    tried.run(story)
    seen = scan(tried.log, version="v2", shadow=True).collect()
    assert seen["fallback"].to_list() == [True] * 3


@pytest.mark.parametrize("how", ["hang", "die"])
def test_a_candidate_that_hangs_or_dies_is_started_anew_and_fails_on_that_once(
    credit, package, tmp_path, how
):
    tried = Tried(credit, package, tmp_path, how, hang_s=0.5)

    async def story(tried: Tried) -> None:
        status, answer = await tried.ask({**GOOD, "bill": 666.0}, "bad")
        assert (status, answer["version"], answer["warnings"]) == (200, "v1", [])
        await tried.until(lambda: tried.value("charter_shadow_failed_total") == 1)
        status, answer = await tried.ask(GOOD, "good")
        assert (status, answer["version"]) == (200, "v1")
        await tried.until(lambda: tried.value("charter_shadow_rows_total") == 2)

    tried.run(story)
    seen = scan(tried.log, version="v2", shadow=True).sort("id").select("id", "fallback", "score", "warnings")
    (_, failed, score, warnings), good = seen.collect().rows()
    assert scan(tried.log, version="v2", shadow=True).sort("id").collect()["latency_us"][0] is None
    assert (failed, score, warnings) == (True, None, ["the model hung, or ended its process"])
    assert good[:2] == ("good", False)


def test_a_candidate_that_leaks_memory_is_ended_and_nobody_notices(credit, package, tmp_path, caplog):
    tried = Tried(credit, package, tmp_path, "leak")

    async def story(tried: Tried) -> None:
        for number in range(100):
            status, answer = await tried.ask(GOOD, f"r{number}")
            assert (status, answer["version"], answer["warnings"]) == (200, "v1", [])
            await tried.until(lambda n=number: tried.value("charter_shadow_rows_total") > n)  # type: ignore[misc]
            if "keeps taking memory" in caplog.text:
                return
        raise AssertionError("it may take memory without limit")

    tried.run(story)


def test_rows_are_dropped_and_counted_where_the_candidate_does_not_keep_up(credit, package, tmp_path):
    tried = Tried(credit, package, tmp_path)

    async def nobody_listens() -> None:
        for _ in range(3):
            assert (await tried.ask([GOOD] * 900))[0] == 200
        assert tried.value("charter_shadow_dropped_total") == 900
        tried.application.replace(tried.application.models)
        assert tried.value("charter_shadow_dropped_total") == 2700
        assert (await tried.ask(GOOD))[0] == 200

    asyncio.run(nobody_listens())


def test_requests_that_the_candidate_cannot_read_are_its_failures_and_the_others_are_scored(credit, tmp_path):
    bundle = read_bundle(credit.folder)
    inputs = [replace(i, max=100.0) if i.name == "bill" else i for i in bundle.signature.inputs]
    narrow = Scorer(replace(bundle, signature=replace(bundle.signature, inputs=tuple(inputs))))
    served = Served(NAME, "v2", narrow)
    writer = LogWriter(tmp_path, Metrics())
    candidate = Candidate(served, table_of(served, b"k" * 32), writer, Progress(tmp_path / "p"))
    champion = credit.scorer().signature
    names = (*champion.names, "shoe")

    def row(bill: float) -> tuple[Any, ...]:
        request = {**GOOD, "grade": "2", "bill": bill, "shoe": 43}
        return tuple(request[name] for name in names)

    bills = {"a": [50.0], "b": [5000.0, 60.0], "c": [70.0, 80.0], "d": [90.0]}
    slices = [
        Slice(1, [Share(name, 0, len(own), "predict")], [row(bill) for bill in own])
        for name, own in bills.items()
    ]
    receipt = candidate.take(Hello(1, names), Parcel(4, slices))
    writer.close()
    assert (receipt.number, receipt.failed, len(receipt.seconds)) == (4, 2, 1)
    found = scan(tmp_path, shadow=True).sort("id", "row").collect()
    assert found.select("id", "row", "input_bill", "fallback").rows() == [
        ("a", 0, 50.0, False), ("b", 0, None, True), ("b", 1, None, True),
        ("c", 0, 70.0, False), ("c", 1, 80.0, False), ("d", 0, 90.0, False),
    ]  # fmt: skip
    assert found["latency_us"].is_null().to_list() == [False, True, True, True, True, True]


def test_a_candidate_sees_only_what_was_answered():
    seen: list[str] = []

    class Seeing:
        def offer(self, tickets: Any, _scored: Any) -> None:
            seen.extend(t.id for t in tickets)

        def close(self) -> None:
            raise AssertionError

    async def on_disk() -> None:
        await asyncio.sleep(0)
        seen.append("on disk")

    async def disk_is_full() -> None:
        raise OSError("the disk is full")

    def observe(tickets: Any, _scored: Any) -> Any:
        waits = {"held": on_disk, "lost": disk_is_full}.get(tickets[0].id)
        return None if waits is None else waits()

    async def story() -> None:
        assert both([Ticket.now("at once", 1)], None) is None  # type: ignore[arg-type]
        held = both([Ticket.now("held", 1)], None)  # type: ignore[arg-type]
        assert seen == ["at once"]
        assert held is not None
        await held
        with pytest.raises(OSError, match="full"):
            await both([Ticket.now("lost", 1)], None)  # type: ignore[arg-type,misc]

    both = watched(observe, Seeing())
    asyncio.run(story())
    assert seen == ["at once", "on disk", "held"]


@pytest.mark.parametrize(("others", "waits"), [(0.2, False), (1.9, True)])
def test_work_waits_while_others_need_the_processors_but_not_for_ever(monkeypatch, others, waits):
    monkeypatch.setattr("charter.serve.io.leisure.LONGEST_SECONDS", 0.25)
    began, looked = time.monotonic(), []

    def two_processors() -> tuple[float, float, float]:
        looked.append(passed := time.monotonic() - began + 10 * len(looked))
        own = 0.05 * passed
        return 2 * passed, (2 - others) * passed - own, own

    async def work() -> None:
        leisure = Leisure(two_processors)
        await leisure.wait()

    asyncio.run(work())
    assert (len(looked) > 2) == waits


def test_progress_outlives_its_process(tmp_path):
    first = Progress(tmp_path / "p")
    assert first.task() is None
    first.begin(7, 12)
    first.close()
    task = Progress(tmp_path / "p").task()
    assert task is not None
    assert (task.pid, task.number) == (7, 12)
    assert time.monotonic() - task.began < SECONDS
