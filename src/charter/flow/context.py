"""What a stage works with: the specification, the stores, the clock, and who acts."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.digest import Digest
from charter.core.errors import DataError, UsageError
from charter.core.progress import Progress
from charter.core.spread import HERE, Spread
from charter.flow.plan import Plan, Stage
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.registry.io.blobs import Blobs
    from charter.registry.io.records import Records


GROUP_ROWS = 131_072
"""Rows of a group in a Parquet file that is written a part at a time."""


@dataclass(frozen=True, slots=True)
class Context:
    """Everything that a stage may touch."""

    workspace: Workspace
    loaded: Loaded
    records: Records
    blobs: Blobs
    progress: Progress
    actor: str
    tracked: bool = True
    """Whether runs are written to MLflow; a reproduction is not a run."""
    reason: str = ""
    """Why a person lets a version follow that the redeployment rules leave to one."""
    spread: Spread = HERE
    """Who makes the calls of a stage that know nothing of each other; no result depends on it."""

    @property
    def spec(self) -> ModelSpec:
        """The specification."""
        return self.loaded.spec

    def audit(self, action: str, subject: str, detail: Mapping[str, Any]) -> None:
        """Append to the audit trail in the name of whoever acts."""
        from charter.govern.io.trail import Trail

        Trail(self.records, self.workspace.anchor_file).append(
            at=self.workspace.clock.now(), actor=self.actor, action=action, subject=subject, detail=detail
        )

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Lend an empty folder inside the workspace, removed afterwards; leftovers of a crash are removed first."""
        base = self.workspace.state / "scratch"
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        folder = Path(tempfile.mkdtemp(dir=base))
        try:
            yield folder
        finally:
            shutil.rmtree(base, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class Output:
    """What a stage produced.

    Attributes
    ----------
    digest
        Of its blobs.
    summary
        What the records and people should know of it.
    records
        What else the records say because of it, written in one transaction with the result; gives what the summary
        says of that. A stage itself records nothing: whoever is killed in between leaves no half of it.
    """

    digest: Digest
    summary: Mapping[str, Any] = field(default_factory=dict)
    records: Callable[[Records], Mapping[str, Any]] | None = None

    def kept(self, records: Records) -> Output:
        """Write what else the records say, and return the output with its whole summary."""
        if self.records is None:
            return self
        return Output(self.digest, {**self.summary, **self.records(records)})


@dataclass(frozen=True, slots=True)
class Done:
    """Outputs of the stages before this one."""

    outputs: Mapping[Stage, Output]

    @classmethod
    def of(cls, plan: Plan) -> Done:
        """Take what the plan found recorded."""
        return cls(
            {s.stage: Output(s.result.output, s.result.summary) for s in plan.steps if s.result is not None}
        )

    def output(self, stage: Stage) -> Digest:
        """Digest of an earlier stage's output."""
        return self.outputs[stage].digest

    def summary(self, stage: Stage) -> Mapping[str, Any]:
        """Summary of an earlier stage."""
        return self.outputs[stage].summary


@contextmanager
def of_source(loaded: Loaded, name: str) -> Iterator[None]:
    """Say of an error inside which source it is about, and where that stands in the specification."""
    try:
        yield
    except UsageError as error:
        place = loaded.source.where(("data", "sources", name))
        kind = DataError if isinstance(error, DataError) else UsageError
        raise kind(f"{place}  source {name}: {error.message}", remedy=error.remedy) from error


def write_frame(frame: pl.DataFrame, path: Path) -> None:
    """Write a Parquet file.

    Encoded in memory first: when Polars itself meets a full disk, it calls that a fault of the format.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be written.
    """
    import io

    encoded = io.BytesIO()
    frame.write_parquet(encoded)
    path.write_bytes(encoded.getbuffer())


def write_rows(rows: pl.LazyFrame, path: Path) -> None:
    """Write a Parquet file in bounded memory; its bytes depend on the rows alone, not on how they come.

    Raises
    ------
    OSError
        When the disk is full or the folder cannot be written.
    """
    from charter.data.io.disk import writing

    with writing(path):
        rows.sink_parquet(path, row_group_size=GROUP_ROWS, engine="streaming")


def read_frame(blobs: Blobs, tree: Digest, name: str) -> pl.DataFrame:
    """Read a Parquet file out of a tree."""
    import io

    import polars as pl

    return pl.read_parquet(io.BytesIO(blobs.get(blobs.tree(tree)[name])))


def read_json(blobs: Blobs, tree: Digest, name: str) -> Any:
    """Read a JSON file out of a tree."""
    import json

    return json.loads(blobs.get(blobs.tree(tree)[name]))
