"""Profile counters of this process, kept on disk beside those of the other workers."""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, Protocol
from urllib.parse import quote

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.digest import canonical_json
from charter.core.io.files import write_atomic
from charter.serve.counters import Counters, Reference, combine, count
from charter.serve.io.segments import PROFILES
from charter.serve.prediction_log import Batch, together

COUNT_SECONDS = 10.0
"""Batches are counted together this often: counting takes the interpreter from answers, a few rows as long as many."""
COUNT_ROWS = 16_384
"""So many rows are not kept waiting to be counted."""
PERSIST_SECONDS = 3.0
_ODD = (ValueError, pl.exceptions.PolarsError)
"""Neither answers nor monitoring must end because one version's data is odd."""
_log = logging.getLogger("charter.serve")

Version = tuple[str, str]
"""Name of a model, and its version."""


class CountMeter(Protocol):
    """Told what was counted."""

    def profiled(self, model: str, version: str, found: Counters) -> None:
        """Rows were counted."""


class _Answered(NamedTuple):
    """What matters of batches of one day."""

    day: date
    features: pl.DataFrame | None
    score: npt.NDArray[np.float64]
    decisions: list[str | None]
    fallback: list[bool]
    warnings: list[list[str]]

    @classmethod
    def of(cls, day: date, batches: Sequence[Batch]) -> _Answered:
        scored = [batch.scored for batch in batches]
        frames = [s.features for s in scored if s.features is not None]
        return cls(
            day,
            # In one piece: thousands of frames of a row each would keep answers waiting when they are counted.
            _together(frames).rechunk() if frames else None,
            np.concatenate([s.score for s in scored]),
            [d for s in scored for d in s.decision],
            [f for s in scored for f in s.fallback],
            [w for s in scored for w in s.warnings],
        )


def _day(batch: Batch) -> date:
    return datetime.fromtimestamp(batch.at_us / 1e6, UTC).date()


@dataclass(slots=True)
class _Kept:
    reference: Reference
    days: dict[date, tuple[str, Counters]] = field(default_factory=dict)
    changed: set[date] = field(default_factory=set)


class CounterThread:
    """Counts micro-batches in a thread of its own and keeps the sums on disk, per version and day.

    Parameters
    ----------
    folder
        Of the log.
    worker
        Names this process's files; no two processes ever may have the same.
    """

    def __init__(self, folder: Path, meter: CountMeter, *, worker: str = "") -> None:
        self._folder, self._meter = folder, meter
        self._worker = worker or f"{time.time_ns() // 1000:016d}-{os.getpid()}"
        self._pending: deque[tuple[Version, Reference, _Answered]] = deque()
        self._kept: dict[Version, _Kept] = {}
        self._files = 0
        self._pending_rows = 0
        self._wake, self._many = threading.Event(), threading.Event()
        self._busy = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, version: Version, reference: Reference, batches: Sequence[Batch]) -> None:
        """Take batches on."""
        try:
            self._pending += [
                (version, reference, _Answered.of(day, list(own))) for day, own in groupby(batches, _day)
            ]
        except _ODD:
            _log.exception("batches of %s %s cannot be counted", *version)
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="charter-counters", daemon=True)
            self._thread.start()
        self._wake.set()
        self._pending_rows += sum(batch.rows for batch in batches)
        if self._pending_rows >= COUNT_ROWS:
            self._many.set()

    def flush(self) -> None:
        """Count everything taken on, and persist it."""
        with self._busy:
            self._count()
            self._persist()

    def _run(self) -> None:
        persisted = time.monotonic()
        while True:
            self._wake.wait(PERSIST_SECONDS)
            self._many.wait(COUNT_SECONDS)
            self._wake.clear()
            self._many.clear()
            with self._busy:
                self._count()
                if time.monotonic() - persisted >= PERSIST_SECONDS:
                    self._persist()
                    persisted = time.monotonic()

    def _count(self) -> None:
        groups: dict[tuple[Version, date], tuple[Reference, list[_Answered]]] = {}
        self._pending_rows = 0
        while self._pending:
            version, reference, rows = self._pending.popleft()
            groups.setdefault((version, rows.day), (reference, []))[1].append(rows)
        for (version, day), (reference, parts) in groups.items():
            try:
                self._add(version, day, reference, parts)
            except _ODD:
                _log.exception("batches of %s %s cannot be counted", *version)

    def _add(self, version: Version, day: date, reference: Reference, parts: Sequence[_Answered]) -> None:
        frames = [p.features for p in parts if p.features is not None]
        kept = self._kept.get(version)
        if kept is None:
            if not frames:
                return  # which features are computed is known only once the model has answered
            kept = self._kept[version] = _Kept(reference.restricted(frames[0].columns))
        names = list(kept.reference.features.columns)
        found = count(
            _together(frames).select(names).rechunk() if frames else None,
            pl.Series("score", np.concatenate([p.score for p in parts]), nan_to_null=True),
            [d for p in parts for d in p.decisions],
            [f for p in parts for f in p.fallback],
            [w for p in parts for w in p.warnings],
            kept.reference,
        )
        if day in kept.days:
            file, before = kept.days[day]
            kept.days[day] = file, combine(before, found)
        else:
            self._files += 1  # a day that comes back (a clock was set) must not write over what it had
            kept.days[day] = f"{self._worker}-{self._files}.json", found
        kept.changed.add(day)
        self._meter.profiled(*version, found)

    def _persist(self) -> None:
        for (model, version), kept in self._kept.items():
            newest = next(reversed(kept.days), None)  # that began last: a clock may have been set back
            for day in sorted(kept.changed):
                file, found = kept.days[day]
                path = _folder(self._folder, model, version) / day.isoformat() / file
                try:
                    write_atomic(path, canonical_json(found.to_json()), mode=0o600)
                except OSError as error:
                    _log.error("profile counters cannot be written: %s", error)
                    return
                except (
                    ValueError
                ):  # a number that JSON cannot say must not end the counting of everything else
                    _log.exception("counters of %s %s cannot be written", model, version)
                kept.changed.discard(day)
                if day != newest:
                    del kept.days[day]


def _together(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Frames one below the other; to look for a common type takes longer, and there is hardly ever need to."""
    try:
        return together(frames)
    except pl.exceptions.PolarsError:
        return pl.concat(frames, how="vertical_relaxed")


def read_counters(
    folder: Path,
    model: str,
    version: str,
    *,
    since: date | None = None,
    until: date | None = None,
) -> Counters | None:
    """Merge the counters of all workers over days; None when nothing was counted.

    Parameters
    ----------
    since, until
        First day and last day (inclusive, UTC).
    """
    total: Counters | None = None
    for _, found in _files(_folder(folder, model, version), since, until):
        total = found if total is None else combine(total, found)
    return total


def _folder(folder: Path, model: str, version: str) -> Path:
    return folder / PROFILES / quote(model, safe="") / quote(version, safe="")


def _files(folder: Path, since: date | None, until: date | None) -> Iterator[tuple[date, Counters]]:
    for path in sorted(folder.glob("*/*.json")):
        day = date.fromisoformat(path.parent.name)
        if (since is None or day >= since) and (until is None or day <= until):
            yield day, Counters.from_json(json.loads(path.read_bytes()))
