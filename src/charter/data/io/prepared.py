"""From sources to judged rows in bounded memory: parts are read, judged, and kept on disk until all have been seen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from itertools import chain, islice
from pathlib import Path

import polars as pl

from charter.core.progress import NoProgress, Progress
from charter.core.settings import Settings
from charter.data.io.disk import writing
from charter.data.io.sources import read_parts
from charter.data.preparation import Preparation
from charter.data.prepare import in_order
from charter.data.types import Judged
from charter.spec.types import SourceSpec

Within = Callable[[str], AbstractContextManager[None]]


def prepare_sources(
    sources: Mapping[str, SourceSpec],
    base: Path,
    settings: Settings,
    *,
    now: datetime,
    folder: Path,
    results: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    within: Within = lambda name: nullcontext(),
) -> dict[str, Judged]:
    """Read sources and judge their rows by their contracts.

    Parameters
    ----------
    base
        Folder of the specification; relative paths start there.
    now
        When the data is read.
    folder
        Where judged rows are kept; the frames that are returned read them there.
    results
        By source, the column that rows of the future have no value of; see `charter.data.grid.results`.
    within
        Context in which a source is read, by its name: says of an error where in the specification the source stands.

    Returns
    -------
    Judged rows by source, in the order of ``sources``.

    Raises
    ------
    DataError
        When a source cannot be read or prepared, or sources refer to each other in a circle.
    OSError
        When the disk is full.
    """
    progress = progress or NoProgress()
    done: dict[str, Judged] = {}
    for name in in_order(sources):
        progress.start(f"reading and checking {name}")
        references = {other: judged.frame for other, judged in done.items()}
        result = (results or {}).get(name)
        work = Preparation(name, sources[name], now=now, references=references, result=result)

        def parts(name: str = name) -> Iterator[pl.DataFrame]:
            with within(name):
                yield from read_parts(sources[name], base, settings, progress)

        whole: list[pl.DataFrame] = []
        if sources[name].duplicates != "keep":  # equal rows are known only when all have been seen
            rest = parts()
            first = list(islice(rest, 2))
            whole = first if len(first) == 1 else []  # what comes in one piece is not asked for twice
            work.compare(pl.concat(work.hashes(part) for part in chain(first, rest)))
        done[name] = work.finish(_kept(map(work.add, whole or parts()), folder / name))
        progress.finish()
    return {name: done[name] for name in sources}


def _kept(parts: Iterable[pl.DataFrame], folder: Path) -> pl.LazyFrame:
    """Write parts to disk, and read them from there."""
    folder.mkdir(parents=True)
    files = []
    for number, part in enumerate(parts):
        files.append(folder / f"{number:06d}.arrow")
        with writing(files[-1]):
            part.write_ipc(files[-1], compression="lz4")
    return pl.scan_ipc(files)
