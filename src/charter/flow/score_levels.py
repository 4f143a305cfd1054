"""Sums of a scored forecast: every level of the hierarchy in the table that `charter score` writes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.errors import DataError
from charter.flow.decide import BASE, FILE

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.serve.deployment import DeployedModel
    from charter.serve.io.batch_target import Piece


def sum_up(
    frame: pl.DataFrame, levels: Mapping[str, Any], plan: SeriesPlan, history: pl.DataFrame
) -> pl.DataFrame:
    """Forecast every level from forecasts of the series.

    Parameters
    ----------
    frame
        ``series``, the levels' columns, ``as_of``, ``step``, ``target``, ``forecast``, ``lower``, ``upper``.
    levels
        What `charter.evaluate.levels.LevelPlan` reads.
    history
        The observed source with ``series``; read where sums have base forecasts of their own.
    """
    import polars as pl

    from charter.evaluate.levels import LevelPlan, all_levels
    from charter.train.statistical import statistical_forecasts

    chosen = LevelPlan.from_json(levels)
    if chosen.base is not None:
        simple = statistical_forecasts(
            history.select(
                "series",
                pl.col(plan.time).cast(pl.Datetime("us")).alias("time"),
                pl.col(plan.label).cast(pl.Float64).alias("actual"),
            ),
            frame["as_of"].unique().sort().to_list(),
            grid=plan.grid,
            horizon=plan.horizon,
            gap=plan.gap,
            methods=(BASE,),
        )
        frame = frame.join(simple, on=["series", "as_of", "step"], how="left", maintain_order="left")
        # Of a series without a past the simple method knows nothing: it must not pull the sums down.
        frame = frame.with_columns(pl.col(chosen.base).fill_null(pl.col("forecast")))
    return all_levels(frame.with_columns(_new(frame, plan, history)), chosen)


def _new(frame: pl.DataFrame, plan: SeriesPlan, history: pl.DataFrame) -> pl.Series:
    """Whether a row's series has no known period before its origin."""
    import polars as pl

    number = plan.grid.number
    first = (
        history.filter(pl.col(plan.label).is_not_null())
        .group_by("series")
        .agg(number(pl.col(plan.time)).min().alias("__first"))
    )
    found = frame.select("series", number(pl.col("as_of")).alias("__origin"))
    found = found.join(first, on="series", how="left", maintain_order="left")
    return (~(found["__first"] < found["__origin"]).fill_null(False)).alias("new")


def with_levels(
    model: DeployedModel, work: Path, pieces: list[Piece], rename: Mapping[str, str], rejected: int = 0
) -> list[Piece]:
    """Put ``level`` and ``node`` before the scored rows, and the sums after them; nothing where there are no levels.

    The rows of the series are rewritten piece by piece; the sums are made from their few numbers alone.

    Parameters
    ----------
    rename
        Column of the pieces to the model's name for it.
    rejected
        Rows that stand in no piece because the model broke on them.

    Raises
    ------
    DataError
        When rows have no forecast: sums over the others would pass for whole.
    """
    import polars as pl

    from charter.data.grid import name_series
    from charter.data.io.disk import writing
    from charter.serve.bundle import read_bundle
    from charter.serve.io.batch_target import Piece

    plan = read_bundle(model.package).signature.series
    file = model.package / FILE
    levels = json.loads(file.read_bytes()).get("levels") if plan is not None and file.is_file() else None
    if plan is None or not levels:
        return pieces
    own_names = {new: old for old, new in rename.items()}
    keys = [pl.col(own_names.get(k, k)).cast(pl.String).alias(k) for k in plan.keys]
    numbers = ("as_of", "step", "forecast", "lower", "upper")
    rows = pl.concat([p.scan().select(*keys, *numbers) for p in pieces]).collect()
    period = plan.grid.number(pl.col("as_of")) + plan.gap + pl.col("step") - 1
    rows = rows.with_columns(name_series(plan.keys), plan.grid.start(period).alias("target"))
    unknown = rows.filter(pl.col("forecast").is_null())
    if rejected or unknown.height:
        example = f", such as series {unknown['series'][0]}" if unknown.height else ""
        raise DataError(
            f"the model gave no forecast for {rejected + unknown.height:,} rows{example}; sums over the other "
            "series would lack them",
            remedy="Ask about such a row with `charter predict`, or leave the whole series out.",
        )
    if rows.is_empty():
        return pieces
    table = sum_up(_with_attributes(rows, model, plan), levels, plan, _history(model, plan))
    own = table.filter(pl.col("level") == "series").select(pl.col("node").alias("series"), *numbers)
    folder = work / "levels"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    made = []
    for number, piece in enumerate(pieces):
        frame = piece.scan().collect()
        schema = frame.schema
        named = frame.select(*keys, "as_of", "step").with_columns(name_series(plan.keys))
        # What reconciling did to the series stands in their rows, too.
        moved = named.join(own, on=["series", "as_of", "step"], how="left", maintain_order="left")
        frame = frame.with_columns(moved[c] for c in ("forecast", "lower", "upper"))
        made.append(Piece(folder / f"{number:06d}.arrow"))
        with writing(made[-1].path):
            frame.select(pl.lit("series").alias("level"), named["series"].alias("node"), *schema).write_ipc(
                made[-1].path
            )
    sums = table.filter(pl.col("level") != "series")
    at = own_names.get(plan.time, plan.time)
    values = {own_names.get(c, c): pl.col(c) for c in (*plan.keys, *numbers) if c in sums.columns}
    if "warnings" in schema:
        values["warnings"] = (
            pl.when(pl.col("without_interval") > 0)
            .then(_told("{} of {} series have no interval, so that their sum has none", "without_interval"))
            .when(pl.col("without_past") > 0)
            .then(_told("{} of {} series have no past, which makes the interval wider", "without_past"))
            .otherwise(pl.lit([], dtype=pl.List(pl.String)))
        )
    values[at] = pl.col("target").dt.date() if schema.get(at) in (pl.String, pl.Date) else pl.col("target")
    columns = [values.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in schema.items()]
    made.append(Piece(folder / f"{len(made):06d}.arrow"))
    with writing(made[-1].path):
        sums.select("level", "node", *columns).write_ipc(made[-1].path)
    return made


def _told(words: str, count: str) -> pl.Expr:
    import polars as pl

    return pl.concat_list(pl.format(words, pl.col(count), pl.col("series_summed")))


def _with_attributes(rows: pl.DataFrame, model: DeployedModel, plan: SeriesPlan) -> pl.DataFrame:
    import polars as pl

    from charter.features.forecasts import join_attributes

    frames = {name: pl.read_parquet(model.history[name]) for name, _ in plan.attributes}
    return join_attributes(rows, plan, frames)


def _history(model: DeployedModel, plan: SeriesPlan) -> pl.DataFrame:
    import polars as pl

    from charter.data.grid import name_series

    return pl.read_parquet(
        model.history[plan.source], columns=[*plan.keys, plan.time, plan.label]
    ).with_columns(name_series(plan.keys))
