"""What to order now: each series' level less what is there, and how likely it runs out all the same."""

from __future__ import annotations

import numpy as np
import polars as pl

from charter.core.errors import UsageError
from charter.evaluate.hierarchy import SERIES
from charter.evaluate.inventory import DemandShape, StockCosts, beyond, level_of, order_up_to
from charter.evaluate.types import Floats

ORDERED = {
    SERIES: pl.String(),
    **dict.fromkeys(("expected", "order_up_to", "on_hand", "on_order", "order"), pl.Float64()),
    **dict.fromkeys(("stockout_risk", "expected_short", "expected_over"), pl.Float64()),
}
"""Columns of orders."""


def reorder(
    forecasts: pl.DataFrame, costs: StockCosts, shape: DemandShape, stock: pl.DataFrame | None = None
) -> pl.DataFrame:
    """Say how much of each series to order now, and how likely it runs out all the same.

    Parameters
    ----------
    forecasts
        Of one origin: ``series``, ``step`` from 1 on, ``forecast``, in units.
    stock
        ``series``, ``on_hand`` and ``on_order`` (units there and under way); a series without a row has none, and
        without a frame nobody has.

    Returns
    -------
    polars.DataFrame
        One row per series, sorted: ``expected`` (demand of the L + R periods), ``order_up_to``, ``on_hand``,
        ``on_order``, ``order`` (never negative), ``stockout_risk`` (probability that demand exceeds what is there,
        under way and ordered), ``expected_short`` (units), ``expected_over`` (units left).

    Raises
    ------
    UsageError
        When the horizon is shorter than L + R, or the forecasts are of several origins.
    """
    if shape.periods != costs.periods:
        raise UsageError(
            f"the demand's shape is of {shape.periods} periods; the costs speak of {costs.periods}"
        )
    table = _held(forecasts, costs, stock)
    ahead = _by_step(table, forecasts, "forecast")
    series, expected = table[SERIES].to_list(), table["expected"].to_numpy().astype(np.float64)
    return _orders(table, order_up_to(series, ahead, costs, shape), shape.outcomes(series, expected))


def reorder_new(
    forecasts: pl.DataFrame, outcomes: Floats, costs: StockCosts, stock: pl.DataFrame | None = None
) -> pl.DataFrame:
    """The same for series without a past, whose errors are not those of series with one.

    What nobody knows of such a series is its level, and that is wrong in all periods alike. So demands of successive
    periods are added quantile by quantile, as if they were wrong to one side by the same rank: the sum of comonotonic
    demands. No other dependence makes the sum more spread (Dhaene et al., "The concept of comonotonicity in actuarial
    science and finance", Insurance: Mathematics and Economics 31, 2002), so that stock errs on the safe side where a
    unit short costs more than one over.

    Parameters
    ----------
    forecasts, stock
        As of `reorder`; m rows.
    outcomes
        Shape (m, k): equally likely demands of each row, ascending.

    Returns
    -------
    As of `reorder`.

    Examples
    --------
    >>> ahead = pl.DataFrame({"series": ["new", "new"], "step": [1, 2], "forecast": [10.0, 20.0]})
    >>> demands = np.array([[8.0, 9, 10, 11, 12], [10.0, 15, 20, 25, 30]])
    >>> found = reorder_new(ahead, demands, StockCosts(margin=3, holding_per_period=2))
    >>> found.select("expected", "order", "stockout_risk").row(0)
    (30.0, 30.0, 0.4)
    """
    table = _held(forecasts, costs, stock)
    row = _by_step(table, forecasts.with_row_index("__row"), "__row")
    known = np.isfinite(row)
    paths = np.where(known[..., None], outcomes[np.where(known, row, 0).astype(np.int64)], np.nan)
    (n, steps), k = row.shape, outcomes.shape[1]

    def demand(first: int, periods: int) -> Floats:
        ahead = paths[:, first:].swapaxes(1, 2).reshape(n * k, steps - first)
        return beyond(ahead, periods).reshape(n, k)

    shelf = costs.shelf_life
    lasting = shelf if shelf is not None and shelf > costs.periods else None
    return _orders(table, level_of(demand, steps, costs, lasting), demand(0, costs.periods))


def _held(forecasts: pl.DataFrame, costs: StockCosts, stock: pl.DataFrame | None) -> pl.DataFrame:
    """Series, sorted: the demand that is expected until the next order arrives, and what is there and under way."""
    periods = costs.periods
    if "as_of" in forecasts.columns and forecasts["as_of"].n_unique() > 1:
        raise UsageError("an order is placed at one origin", remedy="Choose the forecasts of one as_of.")
    table = (
        forecasts.filter(pl.col("step") <= periods)
        .group_by(SERIES)
        .agg(pl.col("forecast").sum().alias("expected"), pl.len().alias("__steps"))
        .sort(SERIES)
    )
    if table.is_empty() or table["__steps"].min() != periods:  # gaps or a short horizon
        raise UsageError(
            f"an order must last for {periods} periods (lead time {costs.lead_time}, review {costs.review}), and the "
            "forecast does not reach as far for every series",
            remedy="Lengthen data.observations.horizon, or shorten inventory.lead_time or review.",
        )
    held = pl.DataFrame(schema={SERIES: pl.String, "on_hand": pl.Float64, "on_order": pl.Float64})
    if stock is not None:
        held = stock.select(SERIES, pl.col("on_hand", "on_order").cast(pl.Float64))
    return table.join(held, on=SERIES, how="left", maintain_order="left").with_columns(
        pl.col("on_hand", "on_order").fill_null(0.0)
    )


def _by_step(table: pl.DataFrame, forecasts: pl.DataFrame, column: str) -> Floats:
    """Numbers of the table's series, period by period, shape (n, steps); NaN where there is none."""
    wide = forecasts.pivot("step", index=SERIES, values=column, sort_columns=True)
    found = table.select(SERIES).join(wide, on=SERIES, how="left", maintain_order="left").drop(SERIES)
    return found.to_numpy().astype(np.float64)


def _orders(table: pl.DataFrame, up_to: Floats, demand: Floats) -> pl.DataFrame:
    """Orders up to a level, and what comes of them under equally likely demands, shape (n, k)."""
    position = (table["on_hand"] + table["on_order"]).to_numpy()
    order = np.maximum(up_to - position, 0.0)
    reach = (position + order)[:, None]
    return table.select(
        SERIES,
        "expected",
        pl.Series("order_up_to", up_to),
        "on_hand",
        "on_order",
        pl.Series("order", order),
        pl.Series("stockout_risk", (demand > reach).mean(axis=1)),
        pl.Series("expected_short", np.maximum(demand - reach, 0.0).mean(axis=1)),
        pl.Series("expected_over", np.maximum(reach - demand, 0.0).mean(axis=1)),
    )
