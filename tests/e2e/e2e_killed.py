"""The story of `e2e_story` by a driver that is killed: every command in a process that may die, then given again.

No server runs; requests are answered and logged in this process as a server would. What the story comes to is told by
`ending`, without the moments at which things happened: a command that is given again is given a second later.
"""

from __future__ import annotations

import json
import os
import random
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
from e2e_dying import Dying
from e2e_models import Said, done
from e2e_story import Asked, World, second_year, told_by, what_is_told
from e2e_traffic import answer

from charter.registry.io.records import Records

STAGES = ("snapshot", "features", "train", "evaluate", "gate", "package")
TOLD_AGAIN = (".held", ".refused", "apply.started", "version.approve")
"""Ends of what may be told once more by a command that is given again: nothing changes by it."""
_OF_THIS_TELLING = (
    (re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?(Z|\+00:00)?"), "MOMENT"),
    (re.compile(r"((?:latency_ms = |slow: |\"slow\": \"))[^\",]*(?:, [\d.]+\])?"), r"\1MEASURED"),
    (re.compile(r"builder-[0-9a-f]{8}"), "BUILDER"),
    (re.compile(r"(rollout/v\d+)/\d+"), r"\1/ENTRY"),
)
"""Moments, measured latencies, the key of the workspace that builds, numbers of entries in the audit trail."""


@dataclass(frozen=True)
class Kill:
    """Where it falls.

    Attributes
    ----------
    command, turn
        The command by its name, and the how-many-eth of that name in the story, from 0.
    point
        Before or after that flush, rename or commit of the command; or else
    after_s
        whatever is going on then.
    """

    command: str
    turn: int
    point: int | None = None
    after_s: float | None = None


@dataclass(frozen=True)
class Given:
    """A command of the story, and what it took."""

    words: tuple[str, ...]
    points: int
    seconds: float

    @property
    def name(self) -> str:
        """Its words without options and values."""
        return " ".join(w for w in self.words[:2] if re.fullmatch("[a-z]+", w))


@dataclass
class Killed:
    """A teller whose commands are killed where ``kills`` says, and given again."""

    folder: Path
    dying: Dying
    kills: Sequence[Kill] = ()
    now: datetime = datetime(2000, 1, 1, tzinfo=UTC)
    given: list[Given] = field(default_factory=list)
    died: list[Kill] = field(default_factory=list)
    asked: int = 0

    def give(self, *command: str | Path, code: int = 0) -> Said:
        """See `e2e_story.Teller`."""
        words = tuple(map(str, command))
        told = tuple(w.replace(str(self.folder), "FOLDER") for w in words)
        name = Given(told, 0, 0).name
        turn = sum(one.name == name for one in self.given)
        fallen, ran = False, None
        for kill in (k for k in self.kills if (k.command, k.turn) == (name, turn)):
            how = {"die_at": kill.point} if kill.point is not None else {"die_after": kill.after_s}
            tried = self._run(words, **how)
            if tried["signal"] != 9:  # it was faster
                ran = tried
                break
            self.died.append(kill)
            fallen = True
            assert self.look("audit", "verify", "--in", self.folder)["sound"] is True, (told, kill)
        ran = ran or self._run(words)
        # What was done before the kill may be refused when it is asked for again; the end tells whether it was done.
        assert ran["code"] in ((code, 1, 0) if fallen else (code,)), f"{told}: {ran}"
        self.given.append(Given(told, ran["points"], ran["seconds"]))
        return Said(ran["code"], ran["out"], ran["err"])

    def look(self, *command: str | Path) -> Any:
        """See `e2e_story.Teller`."""
        return done(*command, "--json").json

    def ask(self, rows: pl.DataFrame, *, answers: Sequence[str], slow: str = "") -> Asked:
        """See `e2e_story.Teller`."""
        ids = [f"q{self.asked + i}" for i in range(rows.height)]
        self.asked += rows.height
        moment = round(self.now.timestamp() * 1e6)
        versions = answer(
            self.folder, rows, ids, rows["customer"].to_list(), slow=slow, now_us=lambda: moment
        )
        assert set(versions) == set(answers), versions
        return Asked(rows, ids, versions)

    def _run(self, words: tuple[str, ...], **how: Any) -> dict[str, Any]:
        self.now += timedelta(seconds=1)
        environment = {"CHARTER_HOME": os.environ["CHARTER_HOME"]}
        order = {"folder": str(self.folder), "as_given": list(words), "now": self.now.isoformat()}
        return self.dying.run({**order, "environment": environment, **how})[0]


def tell(teller: Killed, world: World, begun: Path) -> dict[str, Any]:
    """Tell the story from a folder that is begun, check it, and return its ending."""
    shutil.copytree(begun, teller.folder)
    with told_by(teller):
        second_year(world, teller)
        what_is_told(world, teller)
        return ending(teller.folder, world.model)


def drawn(clean: Sequence[Given], count: int, seed: int) -> Iterator[Kill]:
    """Draw kills, at points and at moments in turn; a command that writes much is hit as often as one that does not."""
    rng = random.Random(seed)
    names = [one.name for one in clean]
    for place in range(count):
        number = rng.choice([i for i, one in enumerate(clean) if one.points])
        one, turn, share = clean[number], names[:number].count(names[number]), rng.random()
        if place % 2:
            yield Kill(one.name, turn, after_s=share * one.seconds)
        else:
            yield Kill(one.name, turn, point=1 + int(share * one.points))


def ending(folder: Path, model: str) -> dict[str, Any]:
    """What it has come to: what serves, records, audit trail, incidents, alerts, and the card with its numbers."""
    state = folder / ".charter"
    with Records.open(f"sqlite:///{state / 'records.sqlite'}", model=model, readonly=True) as records:
        versions = [(v.number, v.bundle, v.package, v.gate, v.status) for v in records.versions()]
        found = {
            "versions": versions,
            "outputs": {stage: [r.output for r in records.results(stage)] for stage in STAGES},
            "deployed": [(d.version, d.package, d.traffic) for d in records.deployments()],
            # Who signs again signs anew: that begins the term of the approval again, and is no other approval.
            "signed": [sorted({(a.stage, a.role) for a in records.approvals(n)}) for n, *_ in versions],
            "told": [(e.action, e.subject) for e in records.events() if not e.action.endswith(TOLD_AGAIN)],
        }
    monitored = done("monitor", "status", "--in", folder, "--json").json
    found |= {
        "serves": json.loads((state / "deployment.json").read_text()),
        "incidents": done("incident", "list", "--all", "--in", folder, "--json").json,
        "alerts": monitored["alerts"],
        "windows": [(w["version"], w["start"], w.get("answers")) for w in monitored["windows"]],
        "card": json.loads((folder / "card.json").read_text()),
    }
    return timeless(found, folder)


def timeless(found: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same without what differs from one telling to the next, wherever the folder is."""
    text = json.dumps(found, default=str).replace(str(folder), "FOLDER")
    for pattern, word in _OF_THIS_TELLING:
        text = pattern.sub(word, text)
    plain: dict[str, Any] = json.loads(text)
    for model in plain["serves"]["models"]:
        model["trusted_keys"] = sorted(model["trusted_keys"])
    card, signatures = plain["card"], plain["card"]["signatures"]
    card["history"] = [h for h in card["history"] if not h["action"].endswith(TOLD_AGAIN)]
    card["signatures"] = [s for i, s in enumerate(signatures) if s not in signatures[:i]]
    return plain


def differing(found: Any, wanted: Any, path: str = "") -> Iterator[str]:
    """Places at which two endings differ."""
    if isinstance(found, dict) and isinstance(wanted, dict):
        for key in sorted({*found, *wanted}):
            yield from differing(found.get(key), wanted.get(key), f"{path}.{key}")
    elif isinstance(found, list) and isinstance(wanted, list) and len(found) == len(wanted):
        for place, (one, other) in enumerate(zip(found, wanted, strict=True)):
            yield from differing(one, other, f"{path}[{place}]")
    elif found != wanted:
        yield f"{path}: {json.dumps(found)[:300]} in place of {json.dumps(wanted)[:300]}"
