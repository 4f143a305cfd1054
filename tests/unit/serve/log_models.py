"""A small model with a reference profile, served with a log."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
from serve_models import GOOD, Example, acall

from charter.data.profile import profile
from charter.serve.app import Application
from charter.serve.counters import Reference
from charter.serve.io.recorder import Recorder
from charter.serve.metrics import Metrics
from charter.serve.policy import LogPolicy
from charter.serve.served import Served


def reference(example: Example) -> Reference:
    scorer = example.scorer()
    seen = scorer.features(example.dataset)
    return Reference(profile(seen), profile(scorer.score(example.dataset).select("score")))


def logged(
    example: Example, folder: Path, policy: LogPolicy | None = None, *, version: str = "v1"
) -> tuple[Application, Recorder, Metrics]:
    """An application with a log in ``folder``."""
    metrics = Metrics()
    recorder = Recorder(folder, metrics)
    served = Served(
        example.spec.name,
        version,
        example.scorer(),
        package="ab" * 32,
        log=policy,
        reference=reference(example),
    )
    return Application([served], metrics=metrics, observer=recorder), recorder, metrics


def requests(example: Example, count: int) -> list[dict[str, Any]]:
    """Requests from the rows that the model was trained on."""
    names = [n for n in example.scorer().signature.names if n in example.dataset.columns]
    found: list[dict[str, Any]] = json.loads(example.dataset.select(names).head(count).write_json())
    return found


def post(
    application: Application, bodies: Sequence[Any], path: str = "/api/v1/predict/credit-test"
) -> list[tuple[int, Any]]:
    """Send requests all at once; then let the application end its work, as a server does."""

    async def go() -> list[tuple[int, dict[str, str], bytes]]:
        sent = [acall(application, path, json.dumps(body).encode()) for body in bodies]
        answers = await asyncio.gather(*sent)
        assert application.observer is not None
        await application.observer.drain()
        return list(answers)

    return [(status, json.loads(body)) for status, _, body in asyncio.run(go())]


def by_time(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.sort("time", "id", "row")


ONE = [GOOD]
