"""What really happened is brought in: from a file or a query, late, twice, corrected."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.errors import DataError, UsageError
from charter.flow.brought import OUTCOMES, keep
from charter.flow.brought import read as read_kept
from charter.flow.lock import hold
from charter.flow.logs import log_folder
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded
from charter.spec.types import SourceSpec

if TYPE_CHECKING:
    import polars as pl


_SMALL = 100_000
"""Bytes."""


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
    early
        Outcomes of the version that serves that are known before ``label.known_after`` has passed: they do not count
        yet.
    counted_from
        When the last of them does; None where there are none.
    """

    read: int
    new: int
    total: int
    unknown: int
    early: int = 0
    counted_from: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        at = self.counted_from.isoformat() if self.counted_from is not None else None
        return {
            "read": self.read,
            "new": self.new,
            "total": self.total,
            "unknown": self.unknown,
            "early": self.early,
            "counted_from": at,
        }


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
    with workspace.records(spec.name, readonly=True) as records:
        serving = records.deployment()
    early = waiting(workspace, loaded, f"v{serving.version}", known) if serving is not None else None
    return OutcomeImport(rows.height, new, known.height, nobodys.height, *(early or (0, None)))


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
    from charter.monitor.outcomes import fresh, latest, to_parquet

    with hold(workspace.lock_file, doing=doing, actor=actor, clock=workspace.clock, wait_seconds=60):
        keep(workspace, model, OUTCOMES, actor, _count)
        before = kept_outcomes(workspace, model)
        new = fresh(rows, before, dated=dated)
        if new.height:
            keep(workspace, model, OUTCOMES, actor, _count, to_parquet(new))
    return new.height, latest([*before, new])


def kept_outcomes(workspace: Workspace, model: str) -> list[pl.DataFrame]:
    """All imports in order; `charter.monitor.outcomes.latest` tells what holds.

    Raises
    ------
    DataError
        When a file is not what was imported.
    """
    return [
        _parsed(content) if len(content) < _SMALL else _frame(content)
        for content in read_kept(workspace, model, OUTCOMES)
    ]


def _frame(content: bytes) -> pl.DataFrame:
    from charter.monitor.outcomes import from_parquet

    return from_parquet(content)


_parsed = lru_cache(maxsize=512)(_frame)
"""Of many small imports, which a process that makes pass after pass reads again and again."""


def waiting(
    workspace: Workspace, loaded: Loaded, version: str, outcomes: pl.DataFrame | None = None
) -> tuple[int, datetime] | None:
    """How many outcomes of a version are known before they count, and when the last of them does; None of forecasts.

    Parameters
    ----------
    outcomes
        What holds, where it has been read already.
    """
    import polars as pl

    from charter.flow.released import in_force
    from charter.flow.windows import answers, due
    from charter.monitor.outcomes import join, latest

    if loaded.spec.train.task == "forecast":
        return None
    if outcomes is None:
        outcomes = latest(kept_outcomes(workspace, loaded.spec.name))
    if outcomes.is_empty():
        return None
    spec = in_force(workspace, loaded).of(version)
    rows = answers(workspace, spec).filter(pl.col("version") == version)
    there = rows.collect_schema().names()
    light = [c for c in ("id", "row", "entity", "as_of", "moment") if c in there]
    early = join(rows.select(light).collect(), outcomes).filter(
        pl.col("outcome").is_not_null() & ~due(spec, naive(workspace.clock.now()))
    )
    if early.is_empty():
        return None
    last: datetime = early["moment"].max()  # type: ignore[assignment]  # a column of moments
    return early.height, last + spec.data.label.wait


def _count(content: bytes) -> dict[str, Any]:
    from charter.monitor.outcomes import from_parquet

    return {"rows": from_parquet(content).height}


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
    refuse_nameless(file)
    return read(source, Path.cwd(), workspace.settings)


def refuse_nameless(file: str | None) -> None:
    """Refuse a file whose name does not tell its format: a command states none beside it.

    Raises
    ------
    DataError
        Naming the endings that do.
    """
    from charter.data.io.sources import table_form

    if file is None:
        return
    try:
        table_form(file, None)
    except DataError as error:
        raise DataError(
            error.message,
            remedy="Give a file whose name ends in .csv, .parquet, .jsonl or .arrow (or .csv.gz ...).",
        ) from error


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
