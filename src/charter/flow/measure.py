"""Finding the windows that have changed since the last pass, and measuring them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.digest import canonical_json, digest_json, plain
from charter.core.io.files import write_atomic
from charter.core.progress import Progress
from charter.flow.outcomes import outcomes_folder
from charter.flow.windows import answers, due, end_of, known_by, measure, reference
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

FORMAT = 2
"""Raised when the meaning of what is kept of a window changes."""
_ROWS_AT_ONCE = 1_000_000
"""Answers that are read together, with their inputs."""


def measure_new(workspace: Workspace, loaded: Loaded, folder: Path, progress: Progress) -> int:
    """Measure the windows whose answers, outcomes or specification are not those of the last pass; how many."""
    import polars as pl

    from charter.monitor.io import outcomes as store
    from charter.monitor.outcomes import join, latest

    spec = loaded.spec
    rows = answers(workspace, spec)
    there = rows.collect_schema().names()
    light = ("id", "row", "time", "entity", "as_of", "version", "moment", "window", "score")
    now = workspace.clock.now().astimezone(UTC).replace(tzinfo=None)
    outcomes = latest(store.read(outcomes_folder(workspace, spec.name)))
    asked = join(rows.select([c for c in light if c in there]).collect(), outcomes).with_columns(
        due(spec, now)
    )
    new = _changed(asked, spec, folder)
    progress.start("measuring windows", len(new))
    references = {one.version: reference(workspace, spec, one.version) for one in new}
    for together in _together(new):
        # One look at the log for all of them, and only at the days on which they were answered.
        wanted = pl.DataFrame(
            [(one.version, one.start) for one in together],
            asked.select("version", "window").schema,
            orient="row",
        )
        theirs = asked.join(wanted, on=["version", "window"], how="semi")
        first, last = theirs.select(pl.col("time").min(), pl.col("time").max().alias("last")).row(0)
        read = answers(workspace, spec, since=first, until=last + timedelta(microseconds=1))
        own = join(read.join(wanted.lazy(), on=["version", "window"], how="semi").collect(), outcomes)
        parts = own.with_columns(due(spec, now)).partition_by("version", "window", as_dict=True)
        for one in together:
            found = measure(
                parts[one.version, one.start],
                spec,
                references[one.version],
                past=one.past,
                key=one.key,
                version=one.version,
                start=one.start,
            )
            write_atomic(one.path, canonical_json(plain(found.to_json())))
            progress.advance()
    progress.finish()
    return len(new)


def _changed(asked: pl.DataFrame, spec: ModelSpec, folder: Path) -> list[_New]:
    """Windows that are not kept under the digest of what they would be made from now."""
    import polars as pl

    content = pl.struct("id", "row", "outcome").hash(seed=1).sum()
    seen = asked.group_by("version", "window").agg(
        pl.len().alias("rows"), pl.col("due").sum(), content.alias("content")
    )
    words = digest_json([FORMAT, plain(spec.model_dump(mode="json"))])
    new = []
    for version, start, *made_of in seen.sort("version", "window").iter_rows():
        earlier = asked.filter((pl.col("version") == version) & (pl.col("window") < start))
        past = known_by(end_of(start, spec), earlier, spec)
        key = digest_json(
            [words, version, start.isoformat(), *made_of, *past.select(pl.len(), content).row(0)]
        )
        path = folder / "windows" / version / f"{start:%Y-%m-%d}.json"
        if not path.exists() or json.loads(path.read_bytes())["key"] != key:
            new.append(_New(version, start, made_of[0], past, key, path))
    return new


@dataclass(frozen=True, slots=True)
class _New:
    """A window to be measured."""

    version: str
    start: datetime
    rows: int
    past: pl.DataFrame
    key: str
    path: Path


def _together(new: Sequence[_New]) -> Iterator[list[_New]]:
    """Windows whose answers are read together: as many as memory should hold at once."""
    group: list[_New] = []
    for one in new:
        if group and sum(other.rows for other in group) + one.rows > _ROWS_AT_ONCE:
            yield group
            group = []
        group.append(one)
    if group:
        yield group
