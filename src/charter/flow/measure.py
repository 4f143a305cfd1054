"""Finding the windows that have changed since the last pass, and measuring them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.clock import naive
from charter.core.digest import canonical_json, digest_json, plain
from charter.core.io.files import write_atomic
from charter.core.progress import Progress
from charter.flow.followed import Followed, follow, forecasts_in_files
from charter.flow.kept import follow_concept, read_window
from charter.flow.outcomes import kept_outcomes
from charter.flow.released import InForce
from charter.flow.views import version_number
from charter.flow.windows import (
    Reference,
    answers,
    due_of,
    end_of,
    known_by,
    measure,
    reference,
    seen_again,
    year_before,
)
from charter.flow.workspace import Workspace
from charter.monitor.seen import PREVIOUS, YEAR_AGO, Seen
from charter.spec.loader import Loaded
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import polars as pl

FORMAT = 7
"""Raised when the meaning of what is kept of a window changes."""
_ROWS_AT_ONCE = 1_000_000
"""Answers that are read together, with their inputs."""
_Window = tuple[str, datetime]
"""Version and start."""


def measure_new(
    workspace: Workspace,
    force: InForce,
    folder: Path,
    progress: Progress,
    references: dict[str, Reference] | None = None,
) -> tuple[int, str]:
    """Measure the windows whose answers, outcomes or specification are not those of the last pass.

    Parameters
    ----------
    force
        Specifications that versions are measured by.
    references
        What versions saw in training, where a caller keeps it from pass to pass; what is read is added.

    Returns
    -------
    How many, and what is to be said of answers that were left out.
    """
    import polars as pl

    from charter.monitor.outcomes import join, latest

    spec = force.loaded.spec
    now = naive(workspace.clock.now())
    outcomes = latest(kept_outcomes(workspace, spec.name))
    with workspace.records(spec.name, readonly=True) as records:
        versions = [version.name for version in records.versions()]
    followed, beside = _followed(workspace, force.loaded)

    def know(rows: pl.DataFrame) -> pl.DataFrame:
        """Add ``outcome``, ``known_at`` and ``due``."""
        if followed is not None:
            return followed.attach(rows, now)
        waits = {version: force.of(version).data.label.wait for version in versions}
        return join(rows, outcomes).with_columns(due_of(waits, now))

    light = ["id", "row", "time", "entity", "as_of", "version", "moment", "window", "score"]
    if followed is not None:
        light += ["series", "target", "lower", "upper", "input_as_of"]
        light += [f"input_{name}" for name in (*followed.plan.keys, followed.plan.time)]
    rows = answers(workspace, spec, beside=beside)
    there = rows.collect_schema().names()
    logged, left_out = of_versions(rows.select([c for c in light if c in there]).collect(), versions)
    asked = know(logged)
    new = _changed(asked, force, folder)
    progress.start("measuring windows", len(new))
    references = references if references is not None else {}
    for version in dict.fromkeys(one.version for one in new):
        if version not in references:
            references[version] = reference(workspace, force.of(version), version, folder)
    for together in _together(new):
        # One look at the log for all of them, and only at the days on which they were answered.
        wanted = pl.DataFrame(
            [(one.version, one.start) for one in together],
            asked.select("version", "window").schema,
            orient="row",
        )
        theirs = asked.join(wanted, on=["version", "window"], how="semi")
        first, last = theirs.select(pl.col("time").min(), pl.col("time").max().alias("last")).row(0)
        read = answers(workspace, spec, beside=beside, since=first, until=last + timedelta(microseconds=1))
        own = know(read.join(wanted.lazy(), on=["version", "window"], how="semi").collect())
        parts = own.partition_by("version", "window", as_dict=True)
        for one in together:
            found = measure(
                parts[one.version, one.start],
                force.of(one.version),
                references[one.version],
                past=one.past,
                before=[_seen(folder, earlier) for earlier in one.before],
                year_ago=_seen_a_year_ago(workspace, spec, folder, one, asked, beside, references),
                followed=followed,
                dealt_by=force.dealt_by,
                key=one.key,
                version=one.version,
                start=one.start,
            )
            write_atomic(one.path, canonical_json(plain(found.to_json())))
            progress.advance()
    progress.finish()
    follow_concept(folder)
    return len(new), left_out


def of_versions(logged: pl.DataFrame, versions: Sequence[str]) -> tuple[pl.DataFrame, str]:
    """Answers of versions that are recorded, and what is to be said of others; empty where there are none.

    Whoever writes to the log, or names another version to a server, must not keep the rest from being measured.
    """
    import polars as pl

    known = logged.filter(pl.col("version").is_in(list(versions)))
    others = logged.filter(~pl.col("version").is_in(list(versions)).fill_null(value=False))
    if others.is_empty():
        return known, ""
    names = others["version"].unique().sort().head(3).to_list()
    named = ", ".join(repr(str(name)[:80]) for name in names)
    return known, f"{others.height:,} answers are left out, of versions that are not recorded: {named}"


def _followed(workspace: Workspace, loaded: Loaded) -> tuple[Followed | None, pl.DataFrame | None]:
    """Of forecasts, what they are held against, and those that stand in files."""
    if loaded.spec.train.task != "forecast":
        return None, None
    with workspace.records(loaded.spec.name, readonly=True) as records:
        if records.deployment() is None:
            return None, None
    followed = follow(workspace, loaded)
    return followed, forecasts_in_files(workspace, loaded.spec, followed.plan)


def _changed(asked: pl.DataFrame, force: InForce, folder: Path) -> list[_New]:
    """Windows that are not kept under the digest of what they would be made from now, oldest first."""
    import polars as pl

    content, answered = (
        pl.struct(*names).hash(seed=1) for names in (("id", "row", "outcome"), ("id", "row"))
    )
    seen = asked.group_by("version", "window").agg(
        pl.len().alias("rows"),
        answered.sum().alias("answered"),
        pl.col("due").sum(),
        content.sum().alias("content"),
    )
    versions = asked["version"].unique().to_list()
    words = {v: digest_json([FORMAT, plain(force.of(v).model_dump(mode="json"))]) for v in versions}
    usable = {v: _Usable.of(asked.filter(pl.col("version") == v), force.of(v), content) for v in versions}
    there = {
        (version, start): digest
        for version, start, digest in seen.select("version", "window", "answered").iter_rows()
    }
    there = dict.fromkeys(_kept(folder), 0) | there
    ends = end_of(pl.col("window"), force.loaded.spec).alias("end")
    new = []
    for version, start, rows, _, *made_of, end in (
        seen.sort("window", "version").with_columns(ends).iter_rows()
    ):
        spec = force.of(version)
        before, year_ago = _before(version, start, spec, there), _year_ago(version, start, spec, there)
        compared = [there[one] for one in (*before, year_ago) if one is not None]
        known = usable[version].before(start, end)
        made_of = [rows, there[version, start], *made_of, *known, compared]
        key = digest_json([words[version], version, start.isoformat(), *made_of])
        path = _path(folder, version, start)
        kept = read_window(path) if path.exists() else None
        # Of a window whose answers are deleted by now, what was measured on all of them holds.
        if kept is None or (kept["key"] != key and kept["quality"]["rows"] <= rows):
            earlier = asked.filter((pl.col("version") == version) & (pl.col("window") < start))
            past = known_by(end, earlier, spec)
            new.append(_New(version, start, rows, past, before, year_ago, key, path))
    return new


@dataclass(frozen=True, slots=True)
class _Usable:
    """Answers of a version with an outcome: their window, from when the outcome counts, and a digest; shape (n,)."""

    window: npt.NDArray[np.datetime64]
    since: npt.NDArray[np.datetime64]
    digest: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, rows: pl.DataFrame, spec: ModelSpec, content: pl.Expr) -> _Usable:
        import polars as pl

        due = pl.col("moment") + pl.lit(spec.data.label.wait)
        known = rows.filter(pl.col("outcome").is_not_null()).select(
            "window", pl.max_horizontal("known_at", due).alias("since"), content.alias("digest")
        )
        return cls(*(known[c].to_numpy() for c in ("window", "since", "digest")))

    def before(self, start: datetime, end: datetime) -> tuple[int, int]:
        """How many of earlier windows counted by the end of a window, and the sum of their digests; see `known_by`."""
        import numpy as np

        mine = (self.window < np.datetime64(start)) & (self.since <= np.datetime64(end))
        return int(mine.sum()), int(self.digest[mine].sum(dtype=np.uint64))


def _before(
    version: str, start: datetime, spec: ModelSpec, there: Mapping[_Window, int]
) -> tuple[_Window, ...]:
    """Windows of the version that drift is judged with, oldest first."""
    limits = spec.monitor.drift
    own = sorted(one for one in there if one[0] == version and one[1] < start)
    count = max(limits.persistence - 1, int(PREVIOUS in limits.also_against))
    return tuple(own[max(len(own) - count, 0) :])


def _year_ago(version: str, start: datetime, spec: ModelSpec, there: Mapping[_Window, int]) -> _Window | None:
    """The window of the same season a year ago: of this version or, where there is none, the newest other."""
    if YEAR_AGO not in spec.monitor.drift.also_against:
        return None
    season = year_before(start, spec)
    own = (one for one in there if one[1] == season)
    return max(own, key=lambda one: (one[0] == version, version_number(one[0])), default=None)


def _kept(folder: Path) -> list[_Window]:
    return [(p.parent.name, datetime.fromisoformat(p.stem)) for p in (folder / "windows").glob("*/*.json")]


def _path(folder: Path, version: str, start: datetime) -> Path:
    return folder / "windows" / version / f"{start:%Y-%m-%d}.json"


def _seen(folder: Path, window: _Window) -> Seen:
    """What was seen and said in a window that is measured already."""
    return Seen.from_json(read_window(_path(folder, *window))["profile"])


def _seen_a_year_ago(
    workspace: Workspace,
    spec: ModelSpec,
    folder: Path,
    one: _New,
    asked: pl.DataFrame,
    beside: pl.DataFrame | None,
    references: Mapping[str, Reference],
) -> Seen | None:
    """What was seen in the same season a year ago, in the bins of this version.

    Another version counted in bins of its own, so that its answers are read again; None where the log has lost them.
    """
    import polars as pl

    if one.year_ago is None:
        return None
    version, start = one.year_ago
    if version == one.version:
        return _seen(folder, one.year_ago)
    theirs = (pl.col("version") == version) & (pl.col("window") == start)
    first, last = asked.filter(theirs).select(pl.col("time").min(), pl.col("time").max().alias("last")).row(0)
    if first is None:
        return None
    read = answers(workspace, spec, beside=beside, since=first, until=last + timedelta(microseconds=1))
    return seen_again(read.filter(theirs).collect(), references[one.version])


@dataclass(frozen=True, slots=True)
class _New:
    """A window to be measured."""

    version: str
    start: datetime
    rows: int
    past: pl.DataFrame
    before: tuple[_Window, ...]
    year_ago: _Window | None
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
