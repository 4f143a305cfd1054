"""Batch scoring: a source in, a target out, and a record of what became of every row.

Everything between lies in a work folder beside the target, so that a job that was killed goes on where it stopped, and
a target appears whole or not at all. The work folder goes when the record is written.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from itertools import repeat
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.digest import digest_file, digest_json
from charter.core.errors import Busy, DataError, Refusal, UsageError
from charter.core.io.files import write_atomic
from charter.core.progress import NoProgress, Progress
from charter.core.spread import processors
from charter.flow.lock import hold
from charter.flow.recent import with_recent_history
from charter.flow.released import released_model
from charter.flow.score_levels import with_levels
from charter.flow.score_plan import begin
from charter.flow.score_record import describe, remember
from charter.flow.score_request import (
    Place,
    ScoreRequest,
    place,
    refuse_same,
    rejection_limit,
    which_version,
)
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.serve.batch import Counts
    from charter.serve.io.batch_job import Job
    from charter.serve.io.batch_pool import Outcome


_FEW_CHUNKS = 4


@dataclass(frozen=True, slots=True)
class Scored:
    """A finished job.

    Attributes
    ----------
    record
        What is written to ``record_file``, plain data.
    resumed
        Chunks that an earlier attempt had done already.
    differences
        What could change a score between where the model was made and here, in words; in the record, too.
    """

    record: Mapping[str, Any]
    record_file: Path
    resumed: int
    differences: tuple[str, ...] = ()


def score(
    workspace: Workspace, loaded: Loaded, request: ScoreRequest, progress: Progress | None = None
) -> Scored:
    """Score every row of a source with a released version.

    Raises
    ------
    UsageError
        When source, target or options cannot work, or the work folder holds another job.
    DataError
        When the source cannot be read or lacks a column.
    Refusal
        When the version was never released, or more rows are rejected than allowed.
    Busy
        When another process works on the same target.
    """
    from charter.serve.deployment import Deployment
    from charter.serve.io.loading import verify_all

    source, target = place(request.source, target=False), place(request.target, target=True)
    refuse_same(source, target)
    rejection_limit(request.max_rejected, 0)
    version = which_version(request.model, loaded.spec.name)
    # Always from the events: a table must not be what a store happened to hold.
    model = replace(released_model(workspace, loaded, version), features=None)
    model = with_recent_history(workspace, model, progress)
    differences = verify_all([Deployment((model,))])
    work = _work_folder(workspace, target, request)
    began = time.monotonic()
    with _working(workspace, work, request):
        job = begin(workspace, work, model, source, target, request)
        stamps = _stamps(job.source.files)
        counts, resumed = _run(work, job, request, progress or NoProgress())
        _refuse_changed(job.source.files, stamps)
        beside = _beside(workspace, target, job)
        digests = _finish(work, job, target, beside, counts, request)
        record = describe(job, request, counts, digests)
        record["environment_differences"] = differences
        record |= {"finished_at": iso(workspace.clock.now()), "seconds": round(time.monotonic() - began, 3)}
        file = Path(f"{beside}.run.json")
        write_atomic(file, json.dumps(record, indent=2, ensure_ascii=False).encode())
        remember(workspace, loaded, job, record)
        (work / "job.json").unlink()
        shutil.rmtree(work)
    return Scored(record, file, resumed, tuple(differences))


# ------------------------------------------------------------------------------------------------ work folder
def _work_folder(workspace: Workspace, target: Place, request: ScoreRequest) -> Path:
    """Where the job's chunks lie: beside a file, so that publishing is a rename; for a database in the workspace."""
    if target.path is None:
        return workspace.state / "scoring" / f".{digest_json([target.url, target.table])[:16]}"
    work = target.path.with_name(f".{target.path.name}.scoring")
    if not target.path.parent.is_dir():
        raise UsageError(
            f"{target.path}: there is no folder {target.path.parent}",
            remedy="Make it, or name another target.",
        )
    if target.path.exists() and not request.replace and not (work / "job.json").exists():
        raise UsageError(
            f"{target.path} is there already",
            remedy="Name another target, or give --replace to write it anew.",
        )
    if target.path.is_dir() != (target.kind == "folder") and target.path.exists():
        raise UsageError(f"{target.path} is no {target.kind}", remedy="Name another target.")
    return work


def _beside(workspace: Workspace, target: Place, job: Job) -> Path:
    """What the names of the files beside the target begin with."""
    if target.path is not None:
        return target.path
    return workspace.state / "scoring" / str(digest_json(dict(job.identity)))[:16]


@contextmanager
def _working(workspace: Workspace, work: Path, request: ScoreRequest) -> Iterator[None]:
    try:
        work.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"{work.parent} cannot be written: {error.strerror}", remedy="Name a target in a folder of yours."
        ) from error
    from charter.serve.io.batch_job import finished

    actor, lock = workspace.settings.actor, work / "lock"
    with hold(lock, doing=f"charter score {request.source}", actor=actor, clock=workspace.clock):
        if not lock.exists():  # its holder finished between our opening the file and our locking it
            raise Busy("another process has just finished this job", remedy="See what it wrote.")
        try:
            yield
        finally:
            if work.exists() and not finished(work):  # nothing worth going on with
                shutil.rmtree(work)


# ------------------------------------------------------------------------------------------------------- work
def _run(work: Path, job: Job, request: ScoreRequest, progress: Progress) -> tuple[list[Counts], int]:
    """Score what is not scored yet; returns the counts of all chunks in order, and how many were there."""
    from charter.serve.batch import total
    from charter.serve.io.batch_job import finished

    done = finished(work)
    resumed = len(done)
    sofar = total(done.values())
    todo = [i for i in range(len(job.chunks)) if i not in done]
    progress.start(f"scoring {Path(request.source).name}", job.rows)
    progress.advance(sofar.read)
    began, before = time.monotonic(), sofar.read
    outcomes = _outcomes(work, job, todo, request)
    try:
        for index, counts in outcomes:
            done[index] = counts
            sofar = sofar + counts
            rate = (sofar.read - before) / max(time.monotonic() - began, 1e-9)
            progress.advance(counts.read, f"{rate:,.0f} rows/s")
            _refuse_too_many(sofar, job.rows, request)
    finally:
        outcomes.close()
        progress.finish()
    _refuse_too_many(sofar, sofar.read, request)
    return [done[i] for i in range(len(job.chunks))], resumed


def _outcomes(
    work: Path, job: Job, todo: Sequence[int], request: ScoreRequest
) -> Generator[Outcome, None, None]:
    from charter.serve.io.batch_pool import run_here, run_workers

    # A process of its own takes as long to start as some chunks take to score.
    few = len(todo) <= _FEW_CHUNKS and not request.explain
    workers = min(request.workers or (1 if few else processors()), max(len(todo), 1))
    if request.engine == "ray":
        return _on_cluster(work, todo, workers)
    return run_here(work, job, todo) if workers == 1 else run_workers(work, todo, workers)


def _on_cluster(work: Path, todo: Sequence[int], workers: int) -> Generator[Outcome, None, None]:
    """The same chunks on a Ray cluster, whose machines must see the work folder and the packages."""
    from charter.flow.cluster import Cluster
    from charter.serve.io.batch_pool import outcome
    from charter.serve.io.batch_worker import answer

    with Cluster(workers) as cluster, closing(cluster.map(answer, repeat(work), todo)) as answers:
        yield from map(outcome, answers)


def _refuse_too_many(counts: Counts, rows: int | None, request: ScoreRequest) -> None:
    limit = rejection_limit(request.max_rejected, rows) if rows is not None else None
    if limit is not None and counts.rejected > limit:
        worst = sorted(counts.rejections.items(), key=lambda pair: -pair[1])[:3]
        raise Refusal(
            f"{counts.rejected:,} of the {counts.read:,} rows read so far are rejected; --max-rejected is "
            f"{request.max_rejected}. Rules broken: {'; '.join(f'{rule} ({n:,} rows)' for rule, n in worst)}",
            remedy="Mend the source, or allow more: what is scored is kept for the next attempt.",
        )


def _finish(
    work: Path, job: Job, target: Place, beside: Path, counts: Sequence[Counts], request: ScoreRequest
) -> dict[str, str]:
    """Put the chunks together where they belong; returns the digests of the files made."""
    from charter.serve.batch import total
    from charter.serve.io import batch_target as made

    pieces = made.ranked(work, counts) if request.rank else made.in_source_order(work, counts)
    pieces = with_levels(job.model, work, pieces, job.options.rename, total(counts).rejected)
    digests: dict[str, str] = {}
    if target.path is None:
        from charter.flow.score_sql import write_table

        write_table(target, pieces, str(digest_json(dict(job.identity)))[:16])
    else:
        result = work / f"result-{target.path.name}"
        if result.is_dir():
            shutil.rmtree(result)
        made.WRITERS[target.kind](pieces, result)
        if result.is_file():
            digests["target"] = digest_file(result)
        made.publish(result, target.path)
    rejects = Path(f"{beside}.rejects.parquet")
    rejects.unlink(missing_ok=True)  # of an earlier job with this target
    rejected = made.rejected(work, counts)
    if rejected:
        result = work / "rejects.parquet"
        made.write_parquet(rejected, result)
        digests["rejects"] = digest_file(result)
        made.publish(result, rejects)
    return digests


def _refuse_changed(files: Sequence[Path], stamps: Sequence[tuple[int, int]]) -> None:
    for file, before, now in zip(files, stamps, _stamps(files), strict=True):
        if before != now:
            raise DataError(
                f"{file} was changed while it was being scored",
                remedy="Score it again with --restart when it is whole.",
            )


def _stamps(files: Sequence[Path]) -> list[tuple[int, int]]:
    return [(s.st_size, s.st_mtime_ns) for s in (f.stat() for f in files)]
