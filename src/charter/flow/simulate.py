"""A replay: rows that the released model has not been trained on are answered again, day by day, in accelerated time.

The requests go through the code that serves (decoding, checks, scoring, the prediction log) without the network, or
over HTTP to a real server whose clock is the replay's; outcomes come as late as in life; the monitor makes a pass after
each window. All of it happens in a copy of the workspace, so that what is simulated is never mistaken for what was.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import ManualClock
from charter.core.errors import UsageError
from charter.core.progress import NoProgress, Progress
from charter.flow.ask import Asker, InProcess, OverHttp, Request
from charter.flow.brought import forget
from charter.flow.context import read_frame
from charter.flow.logs import log_folder
from charter.flow.monitor import MonitorReport, one_pass, status
from charter.flow.outcomes import keep_outcomes
from charter.flow.views import features_result, trained_result
from charter.flow.windows import LENGTH
from charter.flow.workspace import Workspace, copy_records
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import polars as pl

    from charter.flow.windows import Reference
    from charter.monitor.alerts import AlertEvent
    from charter.monitor.faults import Fault
    from charter.serve.served import Served


_ACTOR = "charter simulate"


@dataclass(frozen=True, slots=True)
class Simulation:
    """What a replay showed.

    Attributes
    ----------
    folder
        Copy of the workspace, with log, outcomes and everything that the monitor kept.
    answered
        Rows answered.
    refused
        HTTP status to the requests that got it instead of an answer.
    lost
        Rows that were asked while nobody answered.
    told
        Turns of alerts, each at the pass that found it: there is one after each window, the last one after all outcomes
        are known.
    final
        The monitor's report in the end.
    """

    folder: Path
    answered: int
    refused: Mapping[str, int]
    lost: int
    faults: tuple[str, ...]
    told: tuple[tuple[datetime, AlertEvent], ...]
    final: MonitorReport

    def first_told(self) -> dict[str, str]:
        """Alert to the day on which it was first told."""
        found: dict[str, str] = {}
        for at, event in self.told:
            found.setdefault(event.name, f"{at:%Y-%m-%d}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "folder": str(self.folder),
            "answered": self.answered,
            "refused": dict(self.refused),
            "lost": self.lost,
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
    server: bool = False,
    progress: Progress | None = None,
) -> Simulation:
    """Replay the rows of the snapshot that the released model was not trained on.

    Parameters
    ----------
    to
        New folder for the copy of the workspace.
    start, until
        First and last day; by default from the first row after training to the last whose outcome is known.
    server
        Ask a real server over HTTP.

    Raises
    ------
    UsageError
        When observations have no moment, no row lies in the period, or ``to`` exists.
    Refusal
        When nothing is released.
    """
    progress = progress if progress is not None else NoProgress()
    rows = _rows(workspace, loaded, start, until)
    if to.exists():
        raise UsageError(f"{to} is there already", remedy="Name a new folder: --to FOLDER.")
    copy = _copy(workspace, loaded, to)
    moments: list[datetime] = rows["as_of"].unique().sort().to_list()
    first, last = moments[0], moments[-1]
    clock = ManualClock(datetime.combine(first, time(), UTC))
    copy = replace(copy, clock=clock)
    replayed = _muted(copy.load())
    every, wait = LENGTH[replayed.spec.monitor.every], replayed.spec.data.label.wait
    told: list[tuple[datetime, AlertEvent]] = []
    references: dict[str, Reference] = {}

    def look(now: datetime) -> None:
        told.extend((now, event) for event in _pass(copy, replayed, clock, now, comes, references))

    refused: Counter[str] = Counter()
    lost = 0
    comes = _outcomes(rows, faults, wait)
    asker: Asker = OverHttp(copy, replayed) if server else InProcess(copy, replayed)
    progress.start("replaying", len(moments))
    try:
        for place, moment in enumerate(moments):
            day = rows.filter(rows["as_of"] == moment)
            if any(f.down(moment.date()) for f in faults):
                asker.down()
                lost += day.height
            else:
                acting = [f for f in faults if f.first <= moment.date()]
                requests = _requests(asker.served, day, acting, seed=place)
                refused.update(asker.ask(moment, day["__id"].to_list(), requests))
            following = moments[place + 1] if place + 1 < len(moments) else moment + every
            if following - moment >= every or _window(following, every, first) != _window(
                moment, every, first
            ):
                asker.settle()
                look(following)
            progress.advance()
        asker.settle()
    finally:
        asker.close()
    latest = max([wait, *(wait + timedelta(days=f.size) for f in faults if f.kind == "delay")])
    look(last + every + latest)
    progress.finish()
    answered = rows.height - refused.total() - lost
    final = status(copy, replayed)
    return Simulation(to, answered, refused, lost, tuple(map(str, faults)), tuple(told), final)


def _copy(workspace: Workspace, loaded: Loaded, to: Path) -> Workspace:
    """Copy a workspace with records of its own, wherever those of the workspace are: a replay opens incidents, too."""
    from charter.serve.io.secret import NAME

    ignored = shutil.ignore_patterns(
        "log", "outcomes", "monitor", "scratch", "simulations", "*lock", "records.sqlite*", "audit.head"
    )
    shutil.copytree(workspace.root, to, ignore=ignored)
    copy = Workspace.at(to, replace(workspace.settings, records_url=None))
    key = log_folder(workspace) / NAME
    if key.exists():  # who is a pseudonym, and whose decision is left to chance, is the same in a replay
        log_folder(copy).mkdir(parents=True)
        shutil.copy2(key, log_folder(copy) / NAME)
    copy_records(workspace, copy, loaded.spec.name)
    forget(copy, loaded.spec.name, reason="a replay begins without outcomes", actor=_ACTOR)
    return copy


def _muted(loaded: Loaded) -> Loaded:
    """The same specification, telling nobody and going back to nothing: it is one version that a replay is about."""
    alerts = {
        name: one.model_copy(update={"action": "notify"}) if one.action == "rollback" else one
        for name, one in loaded.spec.monitor.alerts.items()
    }
    monitor = loaded.spec.monitor.model_copy(update={"notify": (), "alerts": alerts})
    return replace(loaded, spec=loaded.spec.model_copy(update={"monitor": monitor}))


def _window(moment: datetime, every: timedelta, first: datetime) -> int:
    return (moment - first) // every


def _outcomes(rows: pl.DataFrame, faults: Sequence[Fault], wait: timedelta) -> pl.DataFrame:
    """What happened and when it becomes known, in the order in which it does, as imports bring it."""
    import polars as pl

    from charter.monitor.faults import turn_around

    comes, outcome = pl.col("as_of") + wait, rows["__outcome"]
    for place, fault in enumerate(faults):
        touched = pl.col("as_of").dt.date() >= fault.first
        if fault.kind == "delay":
            comes = comes + pl.when(touched).then(timedelta(days=fault.size)).otherwise(timedelta())
        elif fault.kind == "concept":
            turned = turn_around(outcome, fault, seed=place)
            outcome = turned.zip_with(rows.select(touched).to_series(), outcome)
    return rows.select(
        pl.lit("id").alias("by"),
        (pl.col("__id") + "/0").alias("key"),
        outcome.cast(pl.String).alias("outcome"),
        comes.cast(pl.Datetime("us")).alias("known_at"),
    ).sort("known_at", maintain_order=True)


def _pass(
    workspace: Workspace,
    loaded: Loaded,
    clock: ManualClock,
    now: datetime,
    outcomes: pl.DataFrame,
    references: dict[str, Reference],
) -> Sequence[AlertEvent]:
    """Let time pass until ``now``, bring in the outcomes that have become known meanwhile, and look."""
    import polars as pl

    before = clock.now().replace(tzinfo=None)
    clock.advance(now.replace(tzinfo=UTC) - clock.now())
    known = outcomes.filter(pl.col("known_at").is_between(before, now, closed="both"))
    if known.height:
        keep_outcomes(workspace, loaded.spec.name, known, dated=True, doing="charter simulate", actor=_ACTOR)
    return one_pass(workspace, loaded, references=references).told


def _requests(served: Served, rows: pl.DataFrame, faults: Sequence[Fault], *, seed: int) -> list[Request]:
    """Make requests of rows, spoilt by the faults that act."""
    from charter.monitor.faults import inject, rename_field

    names = [i.name for i in served.scorer.signature.inputs if i.name in rows.columns]
    inputs = rows.select(names)
    reference = served.reference
    for place, fault in enumerate(faults):
        column = reference.features.columns.get(fault.column) if reference is not None else None
        deviation = column.standard_deviation if column is not None else None
        inputs = inject(inputs, fault, deviation=deviation, seed=1000 * seed + place)
    requests = inputs.to_dicts()
    for place, fault in enumerate(faults):
        if fault.kind == "schema":
            rename_field(requests, fault, seed=1000 * seed + place)
    return requests


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
        features = features_result(records, trained)
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
