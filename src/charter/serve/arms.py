"""A canary or an experiment: the unit of each row decides which version answers it.

The champion's contract with its clients holds meanwhile: what a tried version cannot answer, for whatever reason, the
champion answers, with a warning.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.registry.traffic import Traffic
from charter.serve.batcher import Batcher, Run
from charter.serve.decode import Row
from charter.serve.http import Scope
from charter.serve.observe import Dealt, Ticket
from charter.serve.oip import output_types
from charter.serve.problem import Refused
from charter.serve.protocols import Asked, Form, Headers
from charter.serve.scored import Scored, gather, unanswered
from charter.serve.served import Served
from charter.spec.vocabulary import UNIT_TYPES

LEAK_BYTES = 512 * 1024 * 1024
"""By so much a worker may grow while a version is tried in it, as its process may in a shadow."""
TRIED_SECONDS = 1.0
"""A tried version that has not answered after so long is answered for by the champion."""
_log = logging.getLogger("charter.serve")


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came."""

    scope: Scope
    body: bytes
    form: Form
    explain: bool
    answer_id: str
    began: float


class _Part(NamedTuple):
    """Answers of one version: rows of a batch, and the places in the request that they are for."""

    version: str
    places: Sequence[int]
    scored: Scored
    rows: Sequence[int]
    warnings: Sequence[str] = ()


class Arms:
    """Deals the rows of requests out to versions, and brings their answers together.

    Parameters
    ----------
    traffic
        A canary or an experiment.
    desks
        By version, the model and the queue in front of it. Those of tried versions must run what `tried` makes.

    Raises
    ------
    UsageError
        When the unit is no field that can be dealt out, or the versions answer in different forms.
    """

    def __init__(self, traffic: Traffic, desks: Mapping[str, tuple[Served, Batcher]]) -> None:
        self.traffic = traffic
        self._desks = {version: desks[version] for version in traffic.versions}
        self._champion = self._desks[traffic.champion][0]
        for served, _ in self._desks.values():
            _check_alike(self._champion, served)
        self._unit, self._stratum = (
            _place(self._champion, name, what)
            for name, what in ((traffic.unit, "unit"), (traffic.stratum, "stratum"))
        )
        others = [served for served, _ in self._desks.values() if _shape(served) != _shape(self._champion)]
        self._others = others

    async def answer(self, call: Call) -> tuple[bytes, Headers]:
        """Answer a request: the body, and its headers besides the length.

        Raises
        ------
        Refused
            What the champion refuses.
        """
        asked, rows, reader = self._read(call)
        known = rows if reader is self._champion else translated(rows, reader, self._champion)
        count = len(rows)
        groups: dict[tuple[str, str | None], list[int]] = {}
        for place, row in enumerate(known):
            groups.setdefault(self._dealt(row, asked.request_id or call.answer_id), []).append(place)
        asking = [
            self._ask(
                call, asked, version, arm, places, rows if version != self.traffic.champion else known, reader
            )
            for (version, arm), places in groups.items()
        ]
        found = await asyncio.gather(*asking) if len(asking) > 1 else [await asking[0]]
        parts = [part for group in found for part in group]
        if len(parts) == 1 and not parts[0].warnings:
            served = self._desks[parts[0].version][0]
            return call.form.write(served, parts[0].scored, parts[0].rows[0], asked, call.answer_id)
        return call.form.write(self._champion, _merged(parts, count), 0, asked, call.answer_id)

    def _read(self, call: Call) -> tuple[Asked, list[Row], Served]:
        """The request, its rows, and who read them: the champion or, where it cannot, another that can.

        A field that only a tried version takes is no fault while it is tried; the champion answers without it.
        """
        try:
            asked = call.form.read(call.scope, call.body, self._champion)
        except Refused as refused:
            for other in self._others if refused.status == 422 else ():
                with suppress(Refused):
                    asked = call.form.read(call.scope, call.body, other)
                    translated(asked.rows.rows, other, self._champion)
                    return asked, asked.rows.rows, other
            raise
        return asked, asked.rows.rows, self._champion

    def _dealt(self, row: Row, request_id: str) -> tuple[str, str | None]:
        unit = request_id if self._unit is None else row[self._unit]
        stratum = None if self._stratum is None else row[self._stratum]
        return self.traffic.version_for(unit, None if stratum is None else str(stratum))

    async def _ask(
        self, call: Call, asked: Asked, version: str, arm: str | None, places: list[int], rows: list[Row],
        reader: Served,
    ) -> list[_Part]:  # fmt: skip
        champion = version == self.traffic.champion
        own = [rows[i] for i in places] if len(places) < len(rows) else rows
        if champion:
            return [await self._part(call, asked, version, arm, places, own, len(rows))]
        try:
            served = self._desks[version][0]
            read = own if _shape(served) == _shape(reader) else translated(own, reader, served)
            part = await self._part(call, asked, version, arm, places, read, len(rows))
            failed = [k for k, row in enumerate(part.rows) if part.scored.fallback[row]]
            if not failed:
                return [part]
            why = [_said(part.scored.warnings[part.rows[k]]) for k in failed]
        except Exception as error:  # whatever a tried version does, the champion answers
            if not isinstance(error, Refused):
                _log.exception("%s %s could not answer", self._champion.name, version)
            failed = list(range(len(places)))
            why = [error.message if isinstance(error, Refused) else type(error).__name__] * len(places)
            part = None
        back = [own[k] for k in failed]
        if reader is not self._champion:
            back = translated(back, reader, self._champion)
        at = [places[k] for k in failed]
        instead = await self._part(call, asked, self.traffic.champion, arm, at, back, len(rows))
        said = [f"{version} could not answer: {w}; {self.traffic.champion} answered" for w in why]
        stood_in = instead._replace(warnings=said)
        kept = [k for k in range(len(places)) if k not in set(failed)]
        if part is None or not kept:
            return [stood_in]
        return [
            _Part(version, [places[k] for k in kept], part.scored, [part.rows[k] for k in kept]),
            stood_in,
        ]

    async def _part(
        self, call: Call, asked: Asked, version: str, arm: str | None, places: list[int], rows: list[Row], whole: int
    ) -> _Part:  # fmt: skip
        numbers = tuple(places) if len(places) < whole else None
        dealt = Dealt(self.traffic.stage, arm, numbers, backed=version != self.traffic.champion)
        ticket = Ticket(asked.request_id or call.answer_id, len(rows), call.form.name, call.began, dealt)
        scored, start = await self._desks[version][1].submit(rows, explain=call.explain, ticket=ticket)
        return _Part(version, places, scored, range(start, start + len(rows)))


def tried(served: Served, grown: Callable[[], int], let_go: Callable[[str], None]) -> Run:
    """How a version that is tried scores: it says what it could not answer, raises nothing, and is let go if it leaks.

    Parameters
    ----------
    grown
        Bytes by which the worker has grown since the version was taken up. Beyond `LEAK_BYTES` the version is asked no
        more in this worker: what is dealt to it counts as failed and the champion answers, so that the errors of a
        rollout show it.
    let_go
        Told once, in words.
    """
    leaked = ""

    def run(rows: Sequence[tuple[Any, ...]], explain: npt.NDArray[np.bool_]) -> Scored:
        nonlocal leaked
        if leaked:
            return unanswered(served.decoder.frame(rows), leaked)
        scored = answer(rows, explain)
        if (more := grown()) > LEAK_BYTES:
            leaked = f"the model was let go: the server grew by {more / 1e6:,.0f} MB since it was taken up"
            _log.error("%s %s is asked no more here: %s", served.name, served.version, leaked)
            let_go(leaked)
        return scored

    def answer(rows: Sequence[tuple[Any, ...]], explain: npt.NDArray[np.bool_]) -> Scored:
        try:
            return served.run(rows, explain)
        # Whatever a model raises; a panic of Polars is no Exception.
        except (Exception, pl.exceptions.PanicException) as error:
            _log.exception("%s %s failed", served.name, served.version)
            return unanswered(served.decoder.frame(rows), f"the model failed ({type(error).__name__})")

    return run


def translated(rows: Sequence[Row], reader: Served, wanted: Served) -> list[Row]:
    """Rows as another version reads them: by name, without what it does not take.

    Raises
    ------
    Refused
        When it needs what they do not have, or forbids what they have.
    """
    takes = set(wanted.scorer.signature.names)
    names = reader.scorer.signature.names
    plain = [{n: v for n, v in zip(names, row, strict=True) if n in takes} for row in rows]
    return wanted.decoder.decode(msgspec.json.encode(plain)).rows


def _merged(parts: Sequence[_Part], count: int) -> Scored:
    """Answers of all rows in the order of the request."""
    found: dict[int, tuple[Scored, int]] = {}
    versions: dict[int, str] = {}
    said: dict[int, str] = {}
    for part in parts:
        found |= {place: (part.scored, row) for place, row in zip(part.places, part.rows, strict=True)}
        versions |= dict.fromkeys(part.places, part.version)
        said |= dict(zip(part.places, part.warnings, strict=False))
    merged = gather([found[place] for place in range(count)])
    merged.versions = [versions[place] for place in range(count)]
    for place, text in said.items():
        merged.warnings[place].append(text)
    return merged


def _said(warnings: Sequence[str]) -> str:
    """Why a row was left to the fallback: the beginning of its last warning."""
    return warnings[-1].partition(";")[0] if warnings else "the model failed"


def _shape(served: Served) -> tuple[tuple[Any, ...], ...]:
    """What decides how a request is read."""
    return tuple((i.name, i.type, i.nullable, i.min, i.max, i.values) for i in served.scorer.signature.inputs)


def _place(served: Served, name: str | None, what: str) -> int | None:
    if name is None:
        return None
    inputs = served.scorer.signature.inputs
    place = next((k for k, i in enumerate(inputs) if i.name == name), None)
    if place is None:
        raise UsageError(
            f"traffic.{what} {name!r} is no field of requests to {served.name} {served.version}; "
            f"{did_you_mean(name, served.scorer.signature.names)}"
        )
    if inputs[place].type not in UNIT_TYPES:
        raise UsageError(
            f"traffic.{what} {name!r} is of type {inputs[place].type}, which has no one way to be written",
            remedy=f"Deal out a field of type {', '.join(UNIT_TYPES)}.",
        )
    return place


def _check_alike(champion: Served, other: Served) -> None:
    same = output_types(champion) == output_types(other)
    if not same or champion.scorer.bundle.classes != other.scorer.bundle.classes:
        raise UsageError(
            f"{other.version} of {other.name} answers in another form than {champion.version}: the task, the "
            "classes or the intervals differ",
            remedy="Serve it under a name of its own.",
        )
