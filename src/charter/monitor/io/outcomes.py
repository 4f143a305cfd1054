"""Outcomes on disk: one file of Parquet per import, never changed."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from charter.core.io.files import write_atomic
from charter.monitor.outcomes import SCHEMA

_DIGITS = 8


def add(folder: Path, rows: pl.DataFrame) -> Path:
    """Keep outcomes, on disk when this returns. The caller holds the workspace's lock.

    Parameters
    ----------
    rows
        From `charter.monitor.outcomes.fresh`.
    """
    before = files(folder)
    number = int(before[-1].stem) + 1 if before else 1
    content = io.BytesIO()
    rows.select(SCHEMA.names()).write_parquet(content)
    path = folder / f"{number:0{_DIGITS}d}.parquet"
    write_atomic(path, content.getvalue())
    return path


def read(folder: Path) -> Sequence[pl.DataFrame]:
    """All imports in order; `charter.monitor.outcomes.latest` tells what holds."""
    return [pl.read_parquet(path, schema=SCHEMA) for path in files(folder)]


def files(folder: Path) -> list[Path]:
    """One for each import, in order."""
    return sorted(folder.glob(f"{'[0-9]' * _DIGITS}.parquet"))


def rows_of(file: Path) -> int:
    """How many outcomes a file holds."""
    return int(pl.scan_parquet(file).select(pl.len()).collect().item())
