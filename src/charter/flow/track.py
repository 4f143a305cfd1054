"""Forecasts of earlier runs, held against what has come since."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice
from charter.flow.build import LARGEST_LABEL
from charter.flow.keyed_file import read_keyed, read_table
from charter.flow.outlook import Outlook

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.monitor.forecasts import Tracked
    from charter.serve.types import Input as Field


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

    from charter.monitor.forecasts import track
    from charter.serve.types import Input

    plan = outlook.plan
    parts = [read_written(file, plan) for file in written]
    if not parts:
        raise UsageError("no forecast to look at", remedy="Name the files that earlier runs wrote.")
    earlier = pl.concat(parts)
    came = outlook.history
    if actual is not None:
        known = {*earlier["series"].unique(), *outlook.history["series"].unique()}
        asked = [*outlook.keys, Input(plan.time, "datetime"), _label(outlook)]
        came = read_keyed(actual, read_table(actual), plan, asked, period=plan.time, known=known)
    came = came.select(
        "series",
        pl.col(plan.time).cast(pl.Datetime("us")).alias("target"),
        pl.col(plan.label).cast(pl.Float64).alias("actual"),
    ).drop_nulls()
    return track(earlier, came, share=outlook.spec.train.interval)


def _label(outlook: Outlook) -> Field:
    """What came: as the source's contract has it, and known."""
    from charter.serve.types import Input

    plan = outlook.plan
    spec = outlook.spec.data.sources[plan.source].columns.get(plan.label)
    low, high = (spec.min, spec.max) if spec is not None else (None, None)
    return Input(
        plan.label,
        "float",
        min=max(low, 0.0) if isinstance(low, int | float) else 0.0,
        max=high if isinstance(high, int | float) else LARGEST_LABEL,
    )


def read_written(file: Path, plan: SeriesPlan) -> pl.DataFrame:
    """Read what `charter forecast --out` or `charter score` wrote, with the columns that tracking reads."""
    import polars as pl

    from charter.data.grid import AS_OF, STEP
    from charter.serve.types import Input

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
    fields = [
        *(Input(key, "category") for key in plan.keys),
        Input(AS_OF, "datetime"),
        Input("target", "datetime"),
        *(Input(name, "float", nullable=True) for name in ("forecast", "lower", "upper")),
    ]
    frame = read_keyed(file, frame, plan, fields, period="target", unique=False)
    number = plan.grid.number
    step = number(pl.col("target")) - number(pl.col(AS_OF)) - plan.gap + 1
    return frame.select(
        "series", AS_OF, step.cast(pl.Int32).alias(STEP), "target", "forecast", "lower", "upper"
    )
