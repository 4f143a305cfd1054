"""Judging a forecast: its test origins through the serving scorer, beside methods that look at one series alone."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING

from charter.core.errors import UsageError
from charter.core.spread import HERE, Spread

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from charter.data.grid import SeriesPlan

METHODS = ("naive", "moving_average", "seasonal_naive", "ets")
"""Baselines of every forecast; exponential smoothing where statsforecast is installed."""


def tested_frame(
    rows: pl.DataFrame,
    scored: pl.DataFrame,
    plan: SeriesPlan,
    sources: Mapping[str, pl.DataFrame],
    label: str,
    itself: str | None,
    spread: Spread,
) -> pl.DataFrame:
    """Put forecasts, actual values and baselines of the test origins side by side.

    Parameters
    ----------
    rows
        Test rows of the data set.
    scored
        What the scorer said of them: ``score``, ``lower``, ``upper``.
    sources
        Regular frames, see `charter.data.grid.on_grid`.
    itself
        The baseline that the model is, where it is one: nothing can be better than itself.
    spread
        Forecasts the origins by the baselines.

    Returns
    -------
    The rows with ``actual``, ``forecast``, ``lower``, ``upper`` and a Float64 column for every baseline.
    """
    import polars as pl

    frame = rows.with_columns(
        pl.col(label).cast(pl.Float64).alias("actual"),
        scored["score"].alias("forecast"),
        scored["lower"],
        scored["upper"],
    )
    said = baselines(sources, plan, rows["as_of"].unique().sort().to_list(), spread)
    said = said.drop(itself or (), strict=False)
    return frame.join(said, on=["series", "as_of", "step"], how="left", maintain_order="left")


def baselines(
    sources: Mapping[str, pl.DataFrame], plan: SeriesPlan, origins: list[datetime], spread: Spread = HERE
) -> pl.DataFrame:
    """Forecast every series from every origin by `METHODS`."""
    import polars as pl

    from charter.train.statistical import statistical_forecasts

    history = sources[plan.source].select(
        "series",
        pl.col(plan.time).cast(pl.Datetime("us")).alias("time"),
        pl.col(plan.label).cast(pl.Float64).alias("actual"),
    )

    def ask(methods: tuple[str, ...]) -> pl.DataFrame:
        return statistical_forecasts(
            history,
            origins,
            grid=plan.grid,
            horizon=plan.horizon,
            gap=plan.gap,
            methods=methods,
            processes=spread.processes,
            spread=spread,
        )

    try:
        return ask(METHODS)
    except UsageError:  # the extra that holds statsforecast is not installed
        return ask(METHODS[:-1])


def names_of(frame: pl.DataFrame) -> tuple[str, ...]:
    """Baselines that stand in a frame of `tested_frame`."""
    return tuple(name for name in METHODS if name in frame.columns)


def rivals(frame: pl.DataFrame) -> dict[str, dict[str, np.ndarray | None]]:
    """Baselines as `charter.evaluate.evaluation.evaluate` takes them."""
    return {
        name.replace("_", " "): {"score": frame[name].to_numpy(), "decision": None}
        for name in names_of(frame)
    }
