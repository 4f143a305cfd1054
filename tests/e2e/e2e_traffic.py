"""Requests answered as a server would, logged by version and arm, without a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from time import perf_counter

import polars as pl
from e2e_models import accounts

from charter.flow.serving import released
from charter.flow.workspace import Workspace
from charter.registry.traffic import SHADOW
from charter.serve.io.loading import load_models
from charter.serve.io.recorder import Recorder, wall_us
from charter.serve.observe import Dealt, Ticket


class Silent:
    """Hears what the log counts and forgets it."""

    def __getattr__(self, name: str):
        return lambda *_, **__: None


def ask(
    folder: Path, rows: int = 300, *, begin: int = 0, slow: str = "", failing: str = "", silent: str = ""
) -> None:
    """Answer requests ``r0``, ``r1``, ... by whoever the traffic says.

    Parameters
    ----------
    slow, failing, silent
        Version whose answers take a third of a second, that cannot answer, or that leaves no trace: then the champion
        stands in.
    """
    answer(
        folder,
        accounts(rows, seed=21),
        [f"r{begin + i}" for i in range(rows)],
        [f"r{begin + i}" for i in range(rows)],
        slow=slow,
        failing=failing,
        silent=silent,
    )


def answer(
    folder: Path,
    asked: pl.DataFrame,
    ids: Sequence[str],
    units: Sequence[str | int],
    *,
    slow: str = "",
    failing: str = "",
    silent: str = "",
    now_us: Callable[[], int] = wall_us,
) -> list[str]:
    """Answer rows, a request each, log them as a server does, and return the versions that answered."""
    workspace = Workspace.at(folder)
    deployment = released(workspace, workspace.load())
    served = {s.version: s for s in load_models(deployment)}
    traffic = deployment.traffic.get(deployment.models[0].name)
    recorder = Recorder(workspace.state / "log", Silent(), now_us=now_us)
    given: dict[tuple[str, str | None], list[int]] = {}
    champion = deployment.models[0].version
    versions = []
    for i, unit in enumerate(units):
        dealt_to = traffic.version_for(unit) if traffic else (champion, None)
        versions.append(dealt_to[0])
        given.setdefault(dealt_to, []).append(i)
        if traffic is not None and traffic.stage == "shadow":
            given.setdefault((traffic.candidate or "", SHADOW), []).append(i)
    for (version, arm), places in given.items():
        one = served[version] if version != silent else served[deployment.models[0].version]
        own = asked[places].select(c for c in asked.columns if c in (*one.scorer.signature.names, "as_of"))
        scored = one.scorer.run(own)
        if version == failing:
            scored = replace(scored, fallback=[True] * len(places))
        began = perf_counter() - (0.35 if version == slow else 0.004)
        dealt = Dealt(traffic.stage, arm) if traffic is not None else None
        tickets = [Ticket(ids[i], 1, "predict", began, dealt) for i in places]
        recorder.observe(one, tickets, scored)
    recorder.close()
    return versions
