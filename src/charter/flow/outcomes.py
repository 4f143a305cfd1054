"""What really happened is brought in: from a file or a query, late, twice, corrected."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.errors import UsageError
from charter.flow.lock import hold
from charter.flow.logs import log_folder
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded
from charter.spec.types import SourceSpec

if TYPE_CHECKING:
    import polars as pl

IMPORTED = "outcomes.imported"
"""Of the audit event that tells of a file of outcomes."""


@dataclass(frozen=True, slots=True)
class OutcomeImport:
    """What an import did.

    Attributes
    ----------
    read
        Rows of the file, repeated ones once.
    new
        Outcomes that were not known before.
    unknown
        Outcomes, of all imports, of which no prediction is logged; they are kept and wait for one.
    """

    read: int
    new: int
    total: int
    unknown: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"read": self.read, "new": self.new, "total": self.total, "unknown": self.unknown}


def import_outcomes(
    workspace: Workspace,
    loaded: Loaded,
    *,
    file: str | None = None,
    sql: str | None = None,
    url: str | None = None,
    column: str | None = None,
) -> OutcomeImport:
    """Import outcomes; all of them or, where one cannot be an outcome, none.

    Parameters
    ----------
    file
        Path or address of CSV, Parquet, JSON lines or Arrow.
    sql, url
        A query and the address of its database instead.
    column
        Column of what happened; by default the label's name, or that of its source.

    Raises
    ------
    UsageError
        When neither a file nor a query is given, or both are.
    DataError
        When the source cannot be read, or its rows cannot be outcomes of this model.
    """
    from charter.monitor.outcomes import OutcomeColumns, normalise, unknown

    if (file is None) == (sql is None) or (sql is None) != (url is None):
        raise UsageError("outcomes come from a FILE, or from --sql with --url")
    spec, clock = loaded.spec, workspace.clock
    frame = _read(workspace, file=file, sql=sql, url=url)
    entity = spec.data.observations.entity
    names = OutcomeColumns(_outcome_column(loaded, frame, column), entity=entity)
    frame = _as_logged(workspace, loaded, frame, entity)
    rows = normalise(frame, names, spec, now=naive(clock.now()))
    new, known = keep_outcomes(
        workspace,
        spec.name,
        rows,
        dated=names.known_at in frame.columns,
        doing="charter outcomes import",
        actor=workspace.settings.actor,
    )
    nobodys = unknown(known, predictions(workspace, spec.name))
    return OutcomeImport(rows.height, new, known.height, nobodys.height)


def keep_outcomes(
    workspace: Workspace, model: str, rows: pl.DataFrame, *, dated: bool, doing: str, actor: str
) -> tuple[int, pl.DataFrame]:
    """Keep what is new of some outcomes, on record; return how many those are, and all that hold now.

    Parameters
    ----------
    rows
        From `charter.monitor.outcomes.normalise`.
    dated
        Whether they say themselves when they became known.
    """
    from charter.monitor.io import outcomes as store
    from charter.monitor.outcomes import fresh, latest

    folder = outcomes_folder(workspace, model)
    with hold(workspace.lock_file, doing=doing, actor=actor, clock=workspace.clock, wait_seconds=60):
        before = store.read(folder)
        new = fresh(rows, before, dated=dated)
        if new.height:
            store.add(folder, new)
        _put_on_record(workspace, model, actor)
    return new.height, latest([*before, new])


def _put_on_record(workspace: Workspace, model: str, actor: str) -> None:
    """Tell the trail of every file that it does not know: of this import, and of one that was killed in between."""
    from charter.core.digest import digest_bytes
    from charter.govern.io.trail import Trail
    from charter.monitor.io import outcomes as store

    files = store.files(outcomes_folder(workspace, model))
    if not files:
        return
    with workspace.records(model) as records:
        known = records.events(actions=(IMPORTED,), subject=model)
        told = {event.detail["file"] for event in known}
        for path in files:
            if path.name not in told:
                rows, digest = store.rows_of(path), digest_bytes(path.read_bytes())
                Trail(records, workspace.anchor_file).append(
                    at=workspace.clock.now(),
                    actor=actor,
                    action=IMPORTED,
                    subject=model,
                    detail={"rows": rows, "file": path.name, "digest": digest},
                )


def outcomes_folder(workspace: Workspace, model: str) -> Path:
    """Where the outcomes of a model are kept."""
    return workspace.state / "outcomes" / model


def predictions(workspace: Workspace, model: str) -> pl.DataFrame:
    """What names the logged predictions of a model."""
    import polars as pl

    from charter.serve.log_reader import scan

    found = scan(log_folder(workspace), model=model)
    there = found.collect_schema().names()
    return found.select([pl.col(c) for c in ("id", "row", "entity", "as_of") if c in there]).collect()


def _read(workspace: Workspace, *, file: str | None, sql: str | None, url: str | None) -> pl.DataFrame:
    from charter.data.io.sources import read

    # Which columns there are is the file's own affair: `duplicates` other than `keep` reads them all.
    source = SourceSpec(uri=file, sql=sql, url=url, columns={}, duplicates="drop")
    return read(source, Path.cwd(), workspace.settings)


def _outcome_column(loaded: Loaded, frame: pl.DataFrame, asked: str | None) -> str:
    if asked is not None:
        return asked
    label = loaded.spec.data.label
    names = [label.name, *((label.column,) if label.column is not None else ()), "outcome"]
    return next((n for n in names if n in frame.columns), label.name)


def _as_logged(workspace: Workspace, loaded: Loaded, frame: pl.DataFrame, entity: str | None) -> pl.DataFrame:
    """Name persons as the log does: by their pseudonym where it keeps no names."""
    spec = loaded.spec
    if entity is None or entity not in frame.columns or spec.serve.log.personal != "hash":
        return frame
    population = spec.data.observations.population
    column = spec.data.sources[population.source].columns.get(entity) if population is not None else None
    if column is None or column.sensitivity != "personal":
        return frame
    from charter.serve.io.secret import load_secret
    from charter.serve.prediction_log import pseudonyms

    return frame.with_columns(pseudonyms(frame[entity], load_secret(log_folder(workspace))).alias(entity))
