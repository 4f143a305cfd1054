"""A replay: rows that the released model has not been trained on are answered again, day by day, in accelerated time.

The requests go through the code that serves (decoding, checks, scoring, the prediction log) without the network;
outcomes come as late as in life; the monitor makes a pass after each window. All of it happens in a copy of the
workspace, so that what is simulated is never mistaken for what was.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import ManualClock
from charter.core.errors import UsageError
from charter.core.progress import NoProgress, Progress
from charter.flow.context import read_frame
from charter.flow.logs import log_folder
from charter.flow.monitor import MonitorReport
from charter.flow.monitor import run as monitor_pass
from charter.flow.outcomes import outcomes_folder
from charter.flow.plan import Stage
from charter.flow.released import released_model
from charter.flow.views import trained_result
from charter.flow.windows import LENGTH
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import polars as pl

    from charter.monitor.faults import Fault
    from charter.serve.served import Served

_REQUEST_ROWS = 1000


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a replay showed.

    Attributes
    ----------
    folder
        Copy of the workspace, with log, outcomes and everything that the monitor kept.
    answered
        Rows answered.
    passes
        The monitor's report after each window, the last one after all outcomes are known.
    """

    folder: Path
    answered: int
    faults: tuple[str, ...]
    passes: tuple[tuple[datetime, MonitorReport], ...]

    @property
    def final(self) -> MonitorReport:
        """What is known in the end."""
        return self.passes[-1][1]

    def first_told(self) -> dict[str, str]:
        """Alert to the day on which it was first told."""
        found: dict[str, str] = {}
        for at, report in self.passes:
            for event in report.told:
                found.setdefault(event.name, f"{at:%Y-%m-%d}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": str(self.folder),
            "answered": self.answered,
            "faults": list(self.faults),
            "first_told": self.first_told(),
            "final": self.final.to_json(),
        }


def simulate(
    workspace: Workspace,
    loaded: Loaded,
    *,
    to: Path,
    start: date | None = None,
    until: date | None = None,
    faults: Sequence[Fault] = (),
    progress: Progress | None = None,
) -> Simulation:
    """Replay the rows of the snapshot that the released model was not trained on.

    Parameters
    ----------
    to
        New folder for the copy of the workspace.
    start, until
        First and last day; by default from the first row after training to the last whose outcome is known.

    Raises
    ------
    UsageError
        When observations have no moment, no row lies in the period, or ``to`` exists.
    Refusal
        When nothing is released.
    """
    from charter.serve.io.loading import load_model
    from charter.serve.io.recorder import Recorder
    from charter.serve.metrics import Metrics

    progress = progress if progress is not None else NoProgress()
    rows = _rows(workspace, loaded, start, until)
    if to.exists():
        raise UsageError(f"{to} is there already", remedy="Name a new folder: --to FOLDER.")
    ignored = shutil.ignore_patterns("log", "outcomes", "monitor", "scratch", "simulations", "lock")
    shutil.copytree(workspace.root, to, ignore=ignored)
    moments: list[datetime] = rows["as_of"].unique().sort().to_list()
    first, last = moments[0], moments[-1]
    clock = ManualClock(datetime.combine(first, time(), UTC))
    copy = Workspace.at(to, workspace.settings, clock)
    replayed = copy.load()
    served = load_model(released_model(copy, replayed))
    every, wait = LENGTH[replayed.spec.monitor.every], replayed.spec.data.label.wait
    passes: list[tuple[datetime, MonitorReport]] = []
    progress.start("replaying", len(moments))
    for place, moment in enumerate(moments):
        day = rows.filter(rows["as_of"] == moment)
        recorder = Recorder(log_folder(copy), Metrics(), now_us=partial(_us, moment))
        _answer(served, recorder, day, [f for f in faults if f.first <= moment.date()], seed=place)
        recorder.close()
        following = moments[place + 1] if place + 1 < len(moments) else moment + every
        if following - moment >= every or _window(following, every, first) != _window(moment, every, first):
            passes.append(_pass(copy, replayed, clock, following, rows, faults, wait))
        progress.advance()
    passes.append(_pass(copy, replayed, clock, last + every + wait, rows, faults, wait))
    progress.finish()
    return Simulation(to, rows.height, tuple(map(str, faults)), tuple(passes))


def _window(moment: datetime, every: timedelta, first: datetime) -> int:
    return (moment - first) // every


def _pass(
    workspace: Workspace,
    loaded: Loaded,
    clock: ManualClock,
    now: datetime,
    rows: pl.DataFrame,
    faults: Sequence[Fault],
    wait: timedelta,
) -> tuple[datetime, MonitorReport]:
    """Let time pass until ``now``, bring in the outcomes that are known by then, and look."""
    import polars as pl

    from charter.monitor.faults import turn_around
    from charter.monitor.io import outcomes as store
    from charter.monitor.outcomes import fresh

    clock.advance(now.replace(tzinfo=UTC) - clock.now())
    known = rows.filter(pl.col("as_of") + wait <= now)
    outcome = known["__outcome"]
    for place, fault in enumerate(faults):
        if fault.kind == "concept":
            touched = known["as_of"].dt.date() >= fault.first
            outcome = turn_around(outcome, fault, seed=place).zip_with(touched, outcome)
    frame = known.select(
        pl.lit("id").alias("by"),
        (pl.col("__id") + "/0").alias("key"),
        outcome.cast(pl.String).alias("outcome"),
        (pl.col("as_of") + wait).cast(pl.Datetime("us")).alias("known_at"),
    )
    folder = outcomes_folder(workspace, loaded.spec.name)
    new = fresh(frame, store.read(folder), dated=True)
    if new.height:
        store.add(folder, new)
    return now, monitor_pass(workspace, loaded)


def _answer(served: Served, recorder: Any, rows: pl.DataFrame, faults: Sequence[Fault], *, seed: int) -> None:
    """Answer rows as requests of a row each, and log them."""
    import msgspec
    import numpy as np

    from charter.monitor.faults import inject
    from charter.serve.observe import Ticket

    names = [i.name for i in served.scorer.signature.inputs if i.name in rows.columns]
    inputs = rows.select(names)
    reference = served.reference
    for place, fault in enumerate(faults):
        column = reference.features.columns.get(fault.column) if reference is not None else None
        deviation = column.standard_deviation if column is not None else None
        inputs = inject(inputs, fault, deviation=deviation, seed=1000 * seed + place)
    for start in range(0, rows.height, _REQUEST_ROWS):
        part = inputs[start : start + _REQUEST_ROWS]
        body = msgspec.json.encode(part.to_dicts())
        decoded = served.decoder.decode(body)
        scored = served.run(decoded.rows, np.zeros(part.height, dtype=bool))
        tickets = [Ticket.now(i, 1) for i in rows["__id"][start : start + _REQUEST_ROWS].to_list()]
        recorder.observe(served, tickets, scored)


def _rows(workspace: Workspace, loaded: Loaded, start: date | None, until: date | None) -> pl.DataFrame:
    """Observations after training with their outcome, in order."""
    import polars as pl

    spec = loaded.spec
    blobs, label = workspace.blobs(), spec.data.label.name
    with workspace.records(spec.name, readonly=True) as records:
        found = records.deployment()
        if found is None:
            raise UsageError("nothing is released", remedy="`charter status` says what is missing.")
        trained = trained_result(records, records.version(found.version))
        features = next(r for r in records.results(Stage.FEATURES) if r.output == trained.inputs["features"])
    rows = read_frame(blobs, features.output, "dataset.parquet")
    if rows["as_of"].null_count():
        raise UsageError(
            "observations have no moment, so they cannot be replayed in time",
            remedy="Name data.observations.time, or replay a model of entities.",
        )
    trained_until = pl.col("as_of").filter(pl.col("__split") == "train").max()
    if start is None and spec.train.split.kind == "time":
        rows = rows.filter(pl.col("as_of") > trained_until)
    rows = rows.filter(pl.col(label).is_not_null() & (pl.col("__split") != "train"))
    if start is not None:
        rows = rows.filter(pl.col("as_of").dt.date() >= start)
    if until is not None:
        rows = rows.filter(pl.col("as_of").dt.date() <= until)
    if rows.is_empty():
        raise UsageError("no row with a known outcome lies in the period", remedy="Give --from and --until.")
    ids = pl.format("s{}", pl.int_range(pl.len())).alias("__id")
    return rows.sort("as_of", maintain_order=True).with_columns(pl.col(label).alias("__outcome"), ids)


def _us(moment: datetime) -> int:
    return round(moment.replace(tzinfo=UTC).timestamp() * 1_000_000)
