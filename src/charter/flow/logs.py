"""The prediction log of a workspace: looked at, exported, compacted, and deleted when its time is over."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import UsageError
from charter.core.quantity import parse_duration
from charter.flow.lock import hold
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import polars as pl

    from charter.serve.io.compaction import Compacted
    from charter.serve.io.retention import Deletion

_FORMS = (".parquet", ".csv", ".jsonl")


@dataclass(frozen=True, slots=True)
class Filter:
    """Which rows of the log.

    Attributes
    ----------
    since, until
        A day, a moment (ISO 8601; UTC where no offset is given), or a duration back from now such as ``2h``.
    request
        Identifier of one request.
    where
        Condition in the specification's expression language over the log's columns.
    """

    model: str | None = None
    version: str | None = None
    since: str | None = None
    until: str | None = None
    request: str | None = None
    decision: str | None = None
    where: str | None = None


def log_folder(workspace: Workspace) -> Path:
    """Where the servers of a workspace log."""
    return workspace.state / "log"


def rows(workspace: Workspace, wanted: Filter) -> pl.LazyFrame:
    """Rows of the log, lazily.

    Raises
    ------
    UsageError
        When a filter cannot be understood.
    """
    import polars as pl

    from charter.serve.log_reader import scan

    found = scan(
        log_folder(workspace),
        model=wanted.model,
        version=wanted.version,
        since=moment(wanted.since, "--since", workspace),
        until=moment(wanted.until, "--until", workspace),
    )
    if wanted.request is not None:
        found = found.filter(pl.col("id") == wanted.request)
    if wanted.decision is not None:
        found = found.filter(pl.col("decision") == wanted.decision)
    return found if wanted.where is None else _where(found, wanted.where)


def latest(workspace: Workspace, wanted: Filter, *, limit: int) -> pl.DataFrame:
    """Newest rows first."""
    return (
        rows(workspace, wanted)
        .sort("time", "id", "row", descending=[True, False, False])
        .head(limit)
        .collect()
    )


def export(workspace: Workspace, wanted: Filter, to: Path) -> int:
    """Write rows to a file, which appears only when it is whole; returns how many.

    Raises
    ------
    UsageError
        When the file's ending is none that can be written.
    """
    import polars as pl

    if to.suffix not in _FORMS:
        raise UsageError(f"{to}: a log is exported to {', '.join(_FORMS)}", remedy="Give --to such a name.")
    found = rows(workspace, wanted)
    half = to.with_name(f".{to.name}.{os.getpid()}")
    try:
        if to.suffix == ".parquet":
            found.sink_parquet(half)
        elif to.suffix == ".jsonl":
            found.sink_ndjson(half)
        else:  # a list has no place in a table of text
            lists = pl.col([n for n, t in found.collect_schema().items() if isinstance(t, pl.List)])
            flat = found.with_columns(lists.cast(pl.List(pl.String)).list.join("; "))
            flat.with_columns(_no_formula(pl.col(pl.String))).sink_csv(half)
        half.replace(to)
    finally:
        half.unlink(missing_ok=True)
    return _count(to)


def _no_formula(texts: pl.Expr) -> pl.Expr:
    """Put ``'`` before a text that a spreadsheet would compute: a caller chooses ids and inputs (CWE-1236)."""
    import polars as pl

    computed = texts.str.contains(r"^[=+\-@\t\r]")
    return pl.when(~computed).then(texts).otherwise(pl.concat_str(pl.lit("'"), texts))


def compact(workspace: Workspace) -> Compacted:
    """Turn closed segments into Parquet."""
    from charter.serve.io.compaction import compact as carry_out

    return carry_out(log_folder(workspace))


def prune(
    workspace: Workspace, loaded: Loaded, *, before: date | None = None
) -> tuple[Compacted, list[Deletion]]:
    """Compact the log, then delete the days that are older than the released specification keeps them.

    Each deletion is told of in the audit trail: how many rows of which days, and the digest of a record that names
    every file with its digest; the record is kept as a blob. That proves later what was deleted, and when.

    Parameters
    ----------
    before
        First day to keep, instead of what the specification says.

    Raises
    ------
    Busy
        When a compaction or a deletion is under way.
    Refusal
        When the audit trail was tampered with. What is deleted by then is told of once it is whole again.
    """
    from charter.serve.io.compaction import Compacted
    from charter.serve.io.retention import DELETIONS, pending
    from charter.serve.io.retention import prune as delete

    log, name = log_folder(workspace), loaded.spec.name
    if not log.is_dir():
        return Compacted(0, 0, 0, 0, 0), []
    compacted = compact(workspace)
    if before is None:
        before = _first_kept(workspace, loaded)
    if before is not None:
        delete(log, name, before)
    done = [deletion for _, deletion in pending(log)] if (log / DELETIONS).is_dir() else []
    if done:
        _tell(workspace, loaded)
    return compacted, done


def _first_kept(workspace: Workspace, loaded: Loaded) -> date | None:
    """First day that the released specification keeps; None where it keeps all, or nothing is released."""
    from charter.flow.features import packaged_spec
    from charter.flow.released import released_model

    with workspace.records(loaded.spec.name, readonly=True) as records:
        if records.deployment() is None:
            return None
    keep = packaged_spec(released_model(workspace, loaded).package).serve.log.keep
    return None if keep is None else (workspace.clock.now() - parse_duration(keep)).astimezone(UTC).date()


def _tell(workspace: Workspace, loaded: Loaded) -> None:
    """Take deletions over into blobs and audit trail; only then are they forgotten in the log."""
    from charter.govern.io.trail import Trail
    from charter.serve.io.retention import description, pending

    actor, clock = workspace.settings.actor, workspace.clock
    lock = hold(workspace.lock_file, doing="charter log prune", actor=actor, clock=clock, wait_seconds=600)
    with lock, workspace.records(loaded.spec.name) as records:
        trail, blobs = Trail(records, workspace.anchor_file), workspace.blobs()
        for path, deletion in pending(log_folder(workspace)):
            detail = description(deletion, blobs.put_bytes(deletion.to_bytes()))
            trail.append(
                at=clock.now(), actor=actor, action="log.deleted", subject=deletion.model, detail=detail
            )
            path.unlink()


def day(text: str | None, option: str) -> date | None:
    """Read a day.

    Raises
    ------
    UsageError
        When it is none.
    """
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise UsageError(f"{option} is {text!r}; it must be a day such as 2026-03-01") from None


def moment(text: str | None, option: str, workspace: Workspace) -> datetime | None:
    """Read a day, a moment, or a duration back from now; naive UTC.

    Raises
    ------
    UsageError
        When it is none of them.
    """
    if text is None:
        return None
    readers: tuple[Callable[[], datetime], ...] = (
        lambda: workspace.clock.now() - parse_duration(text),
        lambda: datetime.fromisoformat(text),
    )
    for read in readers:
        try:
            found = read()
        except (ValueError, OverflowError):
            continue
        return found if found.tzinfo is None else found.astimezone(UTC).replace(tzinfo=None)
    raise UsageError(
        f"{option} is {text!r}; it must be a day, a moment or a duration",
        remedy="For example 2026-03-01, 2026-03-01T12:00 or 2h.",
    )


def _where(found: pl.LazyFrame, text: str) -> pl.LazyFrame:
    import polars as pl

    from charter.core.nearest import did_you_mean
    from charter.features.expressions import compile_expression
    from charter.spec.expression import ExpressionError, parse

    names = found.collect_schema().names()
    try:
        parsed = parse(text)
        if parsed.aggregates:
            raise UsageError(f"--where: {text!r} is about many rows; it must be a condition on one")
        for name in parsed.names:
            if name not in names:
                raise UsageError(f"--where: the log has no column {name!r}; {did_you_mean(name, names)}")
        return found.filter(compile_expression(text).cast(pl.Boolean))
    except ExpressionError as error:
        raise UsageError(f"--where: {error}", remedy=error.hint) from error


def _count(path: Path) -> int:
    import polars as pl

    if path.suffix == ".parquet":
        found = pl.scan_parquet(path)
    else:
        found = pl.scan_csv(path) if path.suffix == ".csv" else pl.scan_ndjson(path)
    return int(found.select(pl.len()).collect().item())
