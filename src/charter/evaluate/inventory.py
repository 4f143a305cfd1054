"""How much to order: the newsvendor's answer from forecasts and how wrong they have been.

Stock is reviewed every R periods and an order arrives L periods later, so what is ordered now must last, with what is
there and under way, for the L + R periods until the next order arrives. With D the demand of these, the order-up-to
level is

    S = smallest s with P(D <= s) >= c_u / (c_u + c_o),

c_u what a unit short costs (margin and goodwill lost), c_o what a unit over costs (keeping it until the next review;
its markdown too, where it does not keep until then). Silver, Pyke & Thomas, "Inventory and Production Management in
Supply Chains", 4th ed. 2017: the order-up-to level under periodic review, and the newsvendor.

No more is kept than is expected to sell within the shelf life, as far as the forecast reaches: after a promotion the
stock that was enough for it would spoil.

The distribution of D is empirical: the ratios actual / forecast of sums over L + R successive periods of the past, of
series of similar volume. So it holds whatever shape the errors have and however they follow each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from charter.core.errors import DataError, UsageError
from charter.evaluate.hierarchy import SERIES
from charter.evaluate.types import Floats

_GRID = 200
_MIN_SUMS = 100


@dataclass(frozen=True, slots=True)
class StockCosts:
    """What stock costs, in the specification's currency per unit, and when it can be ordered.

    Attributes
    ----------
    margin
        Gained with a unit sold.
    holding_per_period
        Lost with a unit in stock at the end of a period.
    stockout
        Lost with a unit asked for and not there, beside its margin.
    markdown
        Lost with a unit that is older than ``shelf_life``.
    lead_time, review
        Periods from an order to its arrival (0: before the shop opens), and from one order to the next.
    shelf_life
        Periods that a unit keeps; None is for ever.
    """

    margin: float
    holding_per_period: float
    stockout: float = 0.0
    markdown: float = 0.0
    lead_time: int = 1
    review: int = 1
    shelf_life: int | None = None

    @property
    def periods(self) -> int:
        """Periods that an order must last for."""
        return self.lead_time + self.review

    @property
    def short(self) -> float:
        """What a unit short costs, c_u."""
        return self.margin + self.stockout

    @property
    def over(self) -> float:
        """What a unit over costs, c_o."""
        spoils = self.shelf_life is not None and self.shelf_life <= self.periods
        return self.holding_per_period * self.review + (self.markdown if spoils else 0.0)

    @property
    def service_level(self) -> float:
        """Probability of lasting that pays best, c_u / (c_u + c_o).

        Examples
        --------
        >>> StockCosts(margin=4, holding_per_period=1).service_level
        0.8
        """
        return self.short / (self.short + self.over)


@dataclass(frozen=True, slots=True)
class DemandShape:
    """How demand lies around its forecast, by the size of the forecast.

    Attributes
    ----------
    periods
        Successive periods that are summed.
    edges
        Shape (b - 1,): the forecast, in units, at which one band ends and the next begins.
    ratios
        Shape (b, 200): actual / forecast at the probabilities 0.0025, 0.0075, ..., 0.9975.
    n
        Sums that the smallest band rests on.
    """

    periods: int
    edges: Floats
    ratios: Floats
    n: int

    def outcomes(self, forecast: Floats) -> Floats:
        """Equally likely demands, shape (n, 200), of sums forecast as ``forecast``, shape (n,)."""
        found: Floats = forecast[:, None] * self.ratios[np.searchsorted(self.edges, forecast, side="right")]
        return found

    def quantile(self, forecast: Floats, level: float) -> Floats:
        """Demand that is not exceeded with probability ``level``, in units, shape (n,)."""
        found: Floats = np.quantile(self.outcomes(forecast), level, axis=1)
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "periods": self.periods,
            "edges": self.edges.tolist(),
            "ratios": self.ratios.tolist(),
            "n": self.n,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> DemandShape:
        """Inverse of `to_json`."""
        ratios = np.asarray(data["ratios"], dtype=np.float64).reshape(-1, _GRID)
        return cls(data["periods"], np.asarray(data["edges"], dtype=np.float64), ratios, data["n"])


def demand_shape(
    past: pl.DataFrame, periods: int, *, forecast: str = "forecast", bands: int = 5
) -> DemandShape:
    """Learn how sums of demand over successive periods lay around their forecasts.

    Parameters
    ----------
    past
        Out-of-fold forecasts: ``series``, ``as_of``, ``step``, ``target``, ``actual`` and the forecast. Of several
        forecasts of one target the one from the latest origin counts.
    periods
        L + R. Successive rows of a series whose targets lie more than ``periods`` of its usual distances apart are no
        successive periods and form no sum.
    forecast
        Column of the forecast.
    bands
        Bands of equally many sums by size of the forecast; fewer where a band would rest on less than 100.

    Raises
    ------
    DataError
        When no sum can be formed.
    """
    rows = (
        past.filter((pl.col("actual") >= 0) & (pl.col(forecast) > 0))
        .sort(SERIES, "target", "step")
        .unique([SERIES, "target"], keep="first", maintain_order=True)
        .with_columns(pl.col("target").cast(pl.Datetime("us")).to_physical().alias("__at"))
    )
    distance = rows.select(pl.col("__at").diff().over(SERIES))["__at"].drop_nulls()
    usual = float(distance.median()) if len(distance) else 0.0  # type: ignore[arg-type]
    sums = rows.select(
        pl.col("actual").rolling_sum(periods).over(SERIES),
        pl.col(forecast).rolling_sum(periods).over(SERIES).alias("forecast"),
        (pl.col("__at") - pl.col("__at").shift(periods - 1)).over(SERIES).alias("__span"),
    ).filter(pl.col("forecast").is_not_null() & (pl.col("__span") <= 1.1 * usual * (periods - 1)))
    if sums.is_empty():
        raise DataError(
            f"inventory: no series has {periods} successive periods with a forecast and an actual value",
            remedy="Lower value.orders.lead_time or review, or bring more history.",
        )
    mean = sums["forecast"].to_numpy().astype(np.float64)
    ratio = sums["actual"].to_numpy().astype(np.float64) / mean
    count = int(np.clip(len(mean) // _MIN_SUMS, 1, bands))
    edges = np.unique(np.quantile(mean, np.arange(1, count) / count))
    band = np.searchsorted(edges, mean, side="right")
    at = (np.arange(_GRID) + 0.5) / _GRID
    ratios = np.stack([np.quantile(ratio[band == b], at) for b in range(len(edges) + 1)])
    return DemandShape(periods, edges, ratios, int(np.bincount(band).min()))


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
    periods = costs.periods
    if shape.periods != periods:
        raise UsageError(f"the demand's shape is of {shape.periods} periods; the costs speak of {periods}")
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
            remedy="Lengthen data.observations.horizon, or shorten value.orders.",
        )
    held = pl.DataFrame(schema={SERIES: pl.String, "on_hand": pl.Float64, "on_order": pl.Float64})
    if stock is not None:
        held = stock.select(SERIES, pl.col("on_hand", "on_order").cast(pl.Float64))
    table = table.join(held, on=SERIES, how="left", maintain_order="left").with_columns(
        pl.col("on_hand", "on_order").fill_null(0.0)
    )
    expected = table["expected"].to_numpy().astype(np.float64)
    demand = shape.outcomes(expected)
    up_to = np.quantile(demand, costs.service_level, axis=1)
    if costs.shelf_life is not None:
        up_to = np.minimum(up_to, _sells_in_time(forecasts, table[SERIES], costs.shelf_life))
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


def _sells_in_time(forecasts: pl.DataFrame, series: pl.Series, shelf_life: int) -> Floats:
    """Units expected to sell within the shelf life; no bound for series that are not forecast as far."""
    sums = (
        forecasts.filter(pl.col("step") <= shelf_life)
        .group_by(SERIES)
        .agg(pl.when(pl.len() == shelf_life).then(pl.col("forecast").sum()).alias("bound"))
    )
    joined = series.to_frame().join(sums, on=SERIES, how="left", maintain_order="left")
    return joined["bound"].fill_null(np.inf).to_numpy().astype(np.float64)
