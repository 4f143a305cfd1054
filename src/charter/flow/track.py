"""Forecasts of earlier runs, held against what has come since."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice
from charter.flow.outlook import Outlook, read_table

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.monitor.forecasts import Tracked


def tracked(outlook: Outlook, written: Sequence[Path], actual: Path | None) -> Tracked:
    """Hold forecasts that were written earlier against what has come since.

    Parameters
    ----------
    written
        Files of `charter forecast --out` or `charter score`, oldest first.
    actual
        A file with keys, time and the label; None takes the released source.
    """
    import polars as pl

    from charter.data.grid import name_series
    from charter.monitor.forecasts import track

    plan = outlook.plan
    parts = [read_written(file, plan) for file in written]
    if not parts:
        raise UsageError("no forecast to look at", remedy="Name the files that earlier runs wrote.")
    came = outlook.history if actual is None else read_table(actual).with_columns(name_series(plan.keys))
    for name in (plan.time, plan.label):
        if name not in came.columns:
            raise DataError(f"{actual}: there is no column {name!r}", remedy=advice(name, came.columns))
    came = came.select(
        "series",
        _moment(came, plan.time).alias("target"),
        pl.col(plan.label).cast(pl.Float64).alias("actual"),
    ).drop_nulls()
    return track(pl.concat(parts), came, share=outlook.spec.train.interval)


def read_written(file: Path, plan: SeriesPlan) -> pl.DataFrame:
    """Read what `charter forecast --out` or `charter score` wrote, with the columns that tracking reads."""
    import polars as pl

    from charter.data.grid import AS_OF, STEP, name_series

    frame = read_table(file)
    if "level" in frame.columns:
        frame = frame.filter(pl.col("level") == "series")
    frame = frame.rename(
        {"score": "forecast"} if "forecast" not in frame.columns and "score" in frame.columns else {}
    )
    if "target" not in frame.columns and plan.time in frame.columns:
        frame = frame.with_columns(pl.col(plan.time).alias("target"))
    for name in (*plan.keys, AS_OF, "target", "forecast", "lower", "upper"):
        if name not in frame.columns:
            raise DataError(
                f"{file}: there is no column {name!r}, so it is no forecast",
                remedy=advice(name, frame.columns),
            )
    frame = frame.with_columns(name_series(plan.keys), *(_moment(frame, name) for name in (AS_OF, "target")))
    number = plan.grid.number
    step = number(pl.col("target")) - number(pl.col(AS_OF)) - plan.gap + 1
    return frame.select(
        "series", AS_OF, step.cast(pl.Int32).alias(STEP), "target",
        pl.col("forecast", "lower", "upper").cast(pl.Float64),
    )  # fmt: skip


def _moment(frame: pl.DataFrame, name: str) -> pl.Expr:
    import polars as pl

    if frame.schema[name] == pl.String:
        return pl.col(name).str.to_datetime(time_unit="us", strict=True)
    return pl.col(name).cast(pl.Datetime("us"))
