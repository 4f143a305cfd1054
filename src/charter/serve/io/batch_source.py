"""Files to score: cut into chunks that any worker can read by itself, in constant memory."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError

T = TypeVar("T")
_BLOCK_BYTES = 8 << 20
_LONGEST_BYTES = 32 << 20
"""A CSV record that is longer has a quote that nobody closes; it would be read into memory to the end of the file."""
_QUOTE, _NEWLINE = 0x22, 0x0A


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a source.

    Attributes
    ----------
    file
        Place among the source's files.
    start, size
        Rows of a Parquet file, bytes of a CSV file.
    """

    file: int
    start: int
    size: int

    def to_json(self) -> list[int]:
        """Plain data."""
        return [self.file, self.start, self.size]


@dataclass(frozen=True, slots=True)
class Source:
    """Files of one kind, read one after the other.

    Attributes
    ----------
    kind
        ``parquet`` or ``csv``.
    """

    kind: str
    files: tuple[Path, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data, with absolute paths."""
        return {"kind": self.kind, "files": [str(f.absolute()) for f in self.files]}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Source:
        """Inverse of `to_json`."""
        return cls(str(data["kind"]), tuple(Path(f) for f in data["files"]))

    def schema(self) -> pl.Schema:
        """Columns and types of the files; CSV is text throughout.

        Raises
        ------
        DataError
            When a file is not there, empty, damaged, or has other columns than the first.
        """
        first, *others = [self._schema_of(f) for f in self.files]
        for file, schema in zip(self.files[1:], others, strict=True):
            if schema != first:
                odd = sorted({f"{n} {t}" for n, t in {*schema.items()} ^ {*first.items()}})
                raise DataError(
                    f"{file} has other columns than {self.files[0].name}: {', '.join(odd[:4])}",
                    remedy="Score files of different shapes one by one.",
                )
        return first

    def plan(self, chunk_rows: int) -> tuple[tuple[Chunk, ...], int | None]:
        """Cut the source into chunks of about ``chunk_rows`` rows.

        Returns
        -------
        The chunks in order, at least one, and the number of rows where the files tell it without being read.
        """
        if self.kind == "csv":
            return tuple(c for i, f in enumerate(self.files) for c in _csv_chunks(i, f, chunk_rows)), None
        counts = [
            self._read(f, lambda f: pl.scan_parquet(f).select(pl.len()).collect().item()) for f in self.files
        ]
        chunks = tuple(
            Chunk(i, start, min(chunk_rows, rows - start))
            for i, rows in enumerate(counts)
            for start in range(0, rows, chunk_rows)
        )
        return chunks or (Chunk(0, 0, 0),), sum(counts)

    def read(self, chunk: Chunk, columns: Sequence[str]) -> pl.DataFrame:
        """Read a chunk's rows.

        Raises
        ------
        DataError
            When the file is damaged there.
        """
        file = self.files[chunk.file]
        if self.kind == "csv":
            return self._read(file, lambda f: _read_csv(f, chunk, columns))
        scan = pl.scan_parquet(file).slice(chunk.start, chunk.size).select(columns)
        return self._read(file, lambda _: scan.collect())

    def _schema_of(self, file: Path) -> pl.Schema:
        if file.is_file() and not file.stat().st_size:
            raise DataError(f"{file} is empty", remedy="Check how it was written.")
        if self.kind == "csv":
            return self._read(file, lambda f: pl.read_csv(io.BytesIO(_header(f)), infer_schema=False).schema)
        return self._read(file, lambda f: pl.scan_parquet(f).collect_schema())

    def _read(self, file: Path, action: Callable[[Path], T]) -> T:
        try:
            return action(file)
        except FileNotFoundError as error:
            raise DataError(f"{file} is not there", remedy="Check the path.") from error
        except (OSError, pl.exceptions.PolarsError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0][:300]
            remedy = "The file is damaged or was cut off; copy it again."
            if "utf" in reason.lower():
                remedy = "Write it as UTF-8, for example: iconv -f latin1 -t utf-8 OLD > NEW"
            elif self.kind == "csv":
                remedy = "Check how the file was written: commas between fields, one record a line."
            raise DataError(f"{file} cannot be read as {self.kind}: {reason}", remedy=remedy) from error


def _read_csv(path: Path, chunk: Chunk, columns: Sequence[str]) -> pl.DataFrame:
    """Parse some records under the header of their file."""
    header = _header(path)
    with path.open("rb") as file:
        file.seek(chunk.start)
        body = file.read(chunk.size)
    separator = b"" if header.endswith(b"\n") else b"\n"
    return pl.read_csv(io.BytesIO(header + separator + body), columns=list(columns), infer_schema=False)


def _header(path: Path) -> bytes:
    """First record of a file, which may hold line breaks within quotes."""
    with path.open("rb") as file:
        end = next(_record_ends(file, 0, [1]), path.stat().st_size)
        file.seek(0)
        return file.read(end)


def _csv_chunks(index: int, path: Path, chunk_rows: int) -> list[Chunk]:
    size, begin = path.stat().st_size, len(_header(path))
    with path.open("rb") as file:
        file.seek(begin)
        head = file.read(1 << 20)
        per_row = max(len(head) / max(head.count(b"\n"), 1), 1.0)
        step = int(chunk_rows * per_row)
        ends = [*_record_ends(file, begin, range(begin + step, size, step)), size]
    places = sorted({begin, *ends})
    return [Chunk(index, a, b - a) for a, b in pairwise(places)] or [Chunk(index, begin, 0)]


def _record_ends(file: BinaryIO, begin: int, wanted: Iterable[int]) -> Iterator[int]:
    """For each wanted place the end of the record that it lies in; line breaks within quotes end nothing.

    A quote within a quoted field is written twice (RFC 4180), so a line break ends a record exactly when an even number
    of quotes stands before it.
    """
    file.seek(begin)
    place, inside, left = begin, False, deque(wanted)
    while left and (block := file.read(_BLOCK_BYTES)):
        plain = not inside and b'"' not in block
        breaks = None if plain else _breaks(block, inside)
        while left and left[0] <= place + len(block):
            first = max(left[0] - place - 1, 0)
            found = block.find(b"\n", first) if breaks is None else _next(breaks, first)
            if found < 0:
                if place + len(block) - left[0] > _LONGEST_BYTES:
                    raise DataError(
                        f"{file.name}: the record at byte {left[0]:,} does not end within {_LONGEST_BYTES >> 20} MB",
                        remedy="A quote before it may not be closed; quotes within a quoted field are written twice.",
                    )
                break
            yield place + found + 1
            while left and left[0] <= place + found + 1:
                left.popleft()
        inside ^= block.count(b'"') % 2 == 1
        place += len(block)


def _breaks(block: bytes, inside: bool) -> npt.NDArray[np.intp]:
    """Places of the line breaks outside quotes."""
    content = np.frombuffer(block, np.uint8)
    quoted = (np.cumsum(content == _QUOTE) + inside) % 2 == 1
    return np.flatnonzero((content == _NEWLINE) & ~quoted)


def _next(breaks: npt.NDArray[np.intp], first: int) -> int:
    at = int(np.searchsorted(breaks, first))
    return int(breaks[at]) if at < len(breaks) else -1
