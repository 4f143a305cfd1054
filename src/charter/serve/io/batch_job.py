"""A scoring job on disk: what is to be done, and what is done of it. Survives the death of everybody involved.

A work folder holds ``job.json``, and in ``chunks`` for each finished chunk ``<n>.arrow`` (scored rows, possibly none),
``<n>.rejected.arrow`` (where there are rejected rows) and, written last, ``<n>.json`` (counts): a chunk without it was
not finished and is scored again. Each file appears whole or not at all.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from charter.core.digest import canonical_json
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.registry.io.packages import verify
from charter.serve.batch import Contract, Counts, Options, score_chunk
from charter.serve.deployment import DeployedModel, Deployment
from charter.serve.io.batch_source import Chunk, Source
from charter.serve.io.loading import read_history
from charter.serve.scorer import Scorer

SCHEMA_VERSION = 2
JOB, CHUNKS = "job.json", "chunks"
_BATCH_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be scored, by what, and how.

    Attributes
    ----------
    identity
        What makes it this job and no other: digests of source and package, and the options. A folder that holds
        another job is not gone on with.
    columns
        Columns of the source that are read.
    started_at
        When it was begun first, ISO.
    notes
        What whoever reads the answers should know of the rows as a whole, in words without values of any row.
    """

    identity: Mapping[str, Any]
    model: DeployedModel
    source: Source
    chunks: tuple[Chunk, ...]
    rows: int | None
    columns: tuple[str, ...]
    options: Options
    started_at: str
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema_version": SCHEMA_VERSION,
            "identity": dict(self.identity),
            "deployment": Deployment((self.model,)).to_json(),
            "source": self.source.to_json(),
            "chunks": [c.to_json() for c in self.chunks],
            "rows": self.rows,
            "columns": list(self.columns),
            "options": self.options.to_json(),
            "started_at": self.started_at,
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Job:
        """Inverse of `to_json`."""
        (model,) = Deployment.from_json(data["deployment"], Path("/")).models
        return cls(
            data["identity"],
            model,
            Source.from_json(data["source"]),
            tuple(Chunk(*c) for c in data["chunks"]),
            data["rows"],
            tuple(data["columns"]),
            Options.from_json(data["options"]),
            data["started_at"],
            tuple(data["notes"]),
        )


def write_job(work: Path, job: Job) -> None:
    """Begin a job; chunks that an earlier one left, whose removal was interrupted, are not taken for its own."""
    shutil.rmtree(work / CHUNKS, ignore_errors=True)
    (work / CHUNKS).mkdir()
    write_atomic(work / JOB, canonical_json(job.to_json()))


def read_job(work: Path) -> Job | None:
    """Read the job of a folder; None when there is none.

    Raises
    ------
    UsageError
        When another version of Charter left it, or it is damaged.
    """
    try:
        data = json.loads((work / JOB).read_bytes())
        if data["schema_version"] == SCHEMA_VERSION:
            return Job.from_json(data)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError):
        pass
    raise UsageError(
        f"{work / JOB} is damaged or of another version of Charter", remedy="Begin anew with --restart."
    )


class Runner:
    """A worker's share: the model loaded once, chunks scored as they are handed out.

    Raises
    ------
    PackageError, DataError
        When the package does not prove itself or its history is not there.
    """

    def __init__(self, work: Path, job: Job) -> None:
        verify(job.model.package, job.model.trusted_keys)
        self._work, self._job = work / CHUNKS, job
        history = read_history(job.model.package, job.model.history.get)
        self._scorer = Scorer.load(job.model.package, history)
        self._contract = Contract(self._scorer.signature.inputs, job.options.formats)

    def run(self, index: int) -> Counts:
        """Score a chunk and leave the result in the work folder."""
        job = self._job
        raw = job.source.read(job.chunks[index], job.columns)
        done = score_chunk(self._scorer, self._contract, raw, job.options)
        # In small batches: ranking reads slices, and a slice holds on to the whole batches that it touches.
        _write(
            scored_file(self._work, index),
            lambda path: done.scored.write_ipc(path, record_batch_size=_BATCH_ROWS),
        )
        if done.counts.rejected:
            _write(rejected_file(self._work, index), done.rejected.write_ipc)
        content = canonical_json(done.counts.to_json())
        _write(self._work / f"{index:06d}.json", lambda path: path.write_bytes(content))
        return done.counts


def finished(work: Path) -> dict[int, Counts]:
    """Chunks that are done, with their counts."""
    found = {}
    for path in sorted((work / CHUNKS).glob("[0-9]*.json")):
        found[int(path.stem)] = Counts(**json.loads(path.read_bytes()))
    return found


def scored_file(folder: Path, index: int) -> Path:
    """Scored rows of a chunk."""
    return folder / f"{index:06d}.arrow"


def rejected_file(folder: Path, index: int) -> Path:
    """Rejected rows of a chunk."""
    return folder / f"{index:06d}.rejected.arrow"


def _write(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file that appears whole; its folder must be there: a job that was called off has none."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    write(temporary)
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def schema_of(work: Path) -> pl.Schema:
    """Columns of the scored rows."""
    return pl.scan_ipc(scored_file(work / CHUNKS, 0)).collect_schema()
