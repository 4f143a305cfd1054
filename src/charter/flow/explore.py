"""Exploring a file: profile, findings, and a page to read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.progress import NoProgress, Progress

if TYPE_CHECKING:
    import polars as pl

    from charter.data.column import ColumnProfile
    from charter.data.eda.explore import Whole
    from charter.data.eda.types import Exploration

LOOKED_AT_CELLS = 12_000_000
"""Correlations, tests and quantiles of a larger file (Parquet, or a large CSV) rest on evenly spaced rows; its profile
on all."""
_FEWEST_ROWS = 10_000


def explore_file(
    path: Path, *, target: str | None = None, time: str | None = None, progress: Progress | None = None
) -> Exploration:
    """Explore a table; one of very many cells a few columns at a time, where it is Parquet or CSV."""
    from charter.data.eda.explore import explore
    from charter.data.io.tables import by_columns, column_names, is_parquet, parquet_rows, read_table

    tell = progress or NoProgress()
    tell.start(f"reading {path.name}")
    with by_columns(path) as file:
        columnar = is_parquet(file) and file.is_file()
        if columnar and parquet_rows(file) * len(column_names(file)) > LOOKED_AT_CELLS:
            frame, whole = _stream(file, tell)
        else:
            frame, whole = read_table(file), None
    tell.finish()
    tell.start("looking for what is odd")
    found = explore(frame, target=target, time=time, whole=whole)
    tell.finish()
    return found


def write_page(found: Exploration, name: str, to: Path) -> None:
    """Write the exploration as a self-contained page."""
    from charter.core.io.files import write_atomic
    from charter.data.eda.page import page

    write_atomic(to, page(found, name).encode())


def _stream(path: Path, tell: Progress) -> tuple[pl.DataFrame, Whole]:
    """Profile all rows, and keep evenly spaced ones."""
    import polars as pl

    from charter.data.eda.explore import Whole, row_hashes
    from charter.data.io.tables import column_groups, column_names
    from charter.data.profile import Profile, profile

    width = len(column_names(path))
    columns: dict[str, ColumnProfile] = {}
    parts: list[pl.DataFrame] = []
    hashes: pl.Series | None = None
    for group in column_groups(path):
        step = max(1, -(-group.height // max(_FEWEST_ROWS, LOOKED_AT_CELLS // width)))
        columns.update(profile(group).columns)
        own = row_hashes(group)
        # The hash of a whole row is that of the hashes of its parts.
        hashes = own if hashes is None else row_hashes(pl.DataFrame({"before": hashes, "own": own}))
        parts.append(group.gather_every(step))
        tell.advance(group.width, f"of {width} columns")
    rows = 0 if hashes is None else hashes.len()
    repeated = 0 if hashes is None else rows - hashes.n_unique()
    return pl.concat(parts, how="horizontal"), Whole(Profile(rows, columns), repeated)
