"""From scored chunks to one file or folder, in order, without holding more than a range of rows."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.io.files import sync_folder
from charter.data.io.disk import writing
from charter.serve.batch import REASONS, ROW, Counts
from charter.serve.io.batch_job import CHUNKS, rejected_file, scored_file
from charter.serve.ranking import RANGE_ROWS, cuts, needs_sorting, places, sample

RANK = "rank"
_PIECE_ROWS = 262_144
_SCORE = "score"


@dataclass(frozen=True, slots=True)
class Piece:
    """Rows on disk; ``before`` is what their row numbers are counted from."""

    path: Path
    before: int = 0

    def scan(self) -> pl.LazyFrame:
        """Rows with their numbers in the whole source."""
        frame = pl.scan_ipc(self.path)
        if self.before and ROW in frame.collect_schema():
            frame = frame.with_columns(pl.col(ROW) + self.before)
        return frame


def in_source_order(work: Path, counts: Sequence[Counts]) -> list[Piece]:
    """Scored chunks one after the other."""
    return [Piece(scored_file(work / CHUNKS, i), before) for i, before in enumerate(_before(counts))]


def rejected(work: Path, counts: Sequence[Counts]) -> list[Piece]:
    """Rejected rows in the order of the source."""
    folder = work / CHUNKS
    return [
        Piece(rejected_file(folder, i), before)
        for i, before in enumerate(_before(counts))
        if counts[i].rejected
    ]


def ranked(work: Path, counts: Sequence[Counts], *, range_rows: int = RANGE_ROWS) -> list[Piece]:
    """Put all scored rows in order of falling score, with their rank; ties stand in the order of the source.

    The chunks must be in that order each by itself. Writes the pieces beside them.
    """
    chunks = in_source_order(work, counts)
    at = cuts([sample(_falling(c)) for c in chunks], range_rows=range_rows)
    spans = [places(_falling(c), at, n.scored).tolist() for c, n in zip(chunks, counts, strict=True)]
    folder = work / "ranked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    pieces: list[Piece] = []
    rank = 1
    for frame in _collected(_ranges(chunks, spans)):
        numbers = pl.int_range(rank, rank + frame.height, dtype=pl.UInt64, eager=True)
        pieces.append(Piece(folder / f"{len(pieces):06d}.arrow"))
        columns = [c for c in frame.columns if c != _SCORE]
        at_score = frame.columns.index(_SCORE)
        named = frame.with_columns(numbers.alias(RANK))
        with writing(pieces[-1].path):
            named.select(*columns[:at_score], RANK, _SCORE, *columns[at_score:]).write_ipc(pieces[-1].path)
        rank += frame.height
    return pieces


def _falling(chunk: Piece) -> npt.NDArray[np.float64]:
    return pl.scan_ipc(chunk.path).select(_SCORE).collect().to_series().drop_nulls().to_numpy()


def _ranges(chunks: Sequence[Piece], spans: Sequence[Sequence[int]]) -> Iterator[pl.DataFrame]:
    for place in range(len(spans[0]) - 1):
        slices = (
            chunk.scan().slice(span[place], span[place + 1] - span[place]).collect()
            for chunk, span in zip(chunks, spans, strict=True)
            if span[place + 1] > span[place]
        )
        if needs_sorting(place, len(spans[0]) - 1):
            together = list(slices)
            if together:
                yield pl.concat(together).sort(_SCORE, descending=True, maintain_order=True)
        else:
            yield from slices
    yield chunks[0].scan().head(0).collect()


def _collected(frames: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Put small frames together, so that few files are written; at least one, possibly without rows."""
    waiting: list[pl.DataFrame] = []
    rows = 0
    written = False
    for frame in frames:
        waiting.append(frame)
        rows += frame.height
        if rows >= _PIECE_ROWS:
            yield pl.concat(waiting)
            waiting, rows, written = [], 0, True
    if rows or not written:
        yield pl.concat(waiting)


def write_parquet(pieces: Sequence[Piece], path: Path) -> None:
    """Write one Parquet file, streaming."""
    with writing(path):
        pl.concat([p.scan() for p in pieces]).sink_parquet(path)


def write_csv(pieces: Sequence[Piece], path: Path) -> None:
    """Write one CSV file, streaming; lists become texts parted by semicolons."""
    with writing(path):
        pl.concat([flat(p.scan()) for p in pieces]).sink_csv(path)


def write_folder(pieces: Sequence[Piece], path: Path) -> None:
    """Write a folder of Parquet files, a part a piece."""
    path.mkdir()
    for number, piece in enumerate(pieces):
        with writing(part := path / f"part-{number:05d}.parquet"):
            piece.scan().sink_parquet(part)


WRITERS: dict[str, Callable[[Sequence[Piece], Path], None]] = {
    "parquet": write_parquet,
    "csv": write_csv,
    "folder": write_folder,
}


def flat(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Turn columns of lists into texts, for formats that know no lists."""
    lists = [name for name, dtype in frame.collect_schema().items() if isinstance(dtype, pl.List)]
    texts = []
    for name in lists:
        each = pl.element()
        if name == REASONS and frame.collect_schema()[name] != pl.List(pl.String):
            each = each.struct.field("text")
        texts.append(pl.col(name).list.eval(each).list.join("; "))
    return frame.with_columns(texts)


def publish(made: Path, target: Path) -> None:
    """Put what was made, in a folder beside it, in the place of the target: all at once for a file."""
    for path in made.rglob("*") if made.is_dir() else [made]:
        with path.open("rb") as file:
            os.fsync(file.fileno())
    old = made.with_name("replaced")
    if target.is_dir():
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
    made.replace(target)
    sync_folder(target.parent)
    shutil.rmtree(old, ignore_errors=True)


def _before(counts: Sequence[Counts]) -> Iterator[int]:
    rows = 0
    for count in counts:
        yield rows
        rows += count.read
