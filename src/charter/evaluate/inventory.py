"""How much to order: the newsvendor's answer from forecasts and how wrong they have been.

Stock is reviewed every R periods and an order arrives L periods later, so what is ordered now must last, with what is
there and under way, for the L + R periods until the next order arrives. With D the demand of these, the order-up-to
level is

    S = smallest s with P(D <= s) >= c_u / (c_u + c_o),

c_u what a unit short costs (margin and goodwill lost), c_o what a unit over costs (keeping it until the next review;
its markdown too, where it does not keep until then). Silver, Pyke & Thomas, "Inventory and Production Management in
Supply Chains", 4th ed. 2017: the order-up-to level under periodic review, and the newsvendor.

What keeps longer than until the next review, but not for ever, spoils when the demand D_m of its shelf life of m
periods does not reach it. Its markdown w makes S the smallest s with

    c_u P(D <= s) + c_o P(D <= s) + w k P(D_m <= s) >= c_u

where k = R / m for a place on the shelf that every review would fill again: it spoils once in m periods (the bound of
Chazan & Gal, "A Markovian model for a perishable product inventory", Management Science 23, 1977). Stock for a
promotion is wanted now and not at the next review: what would not be ordered then bears its markdown alone, k = 1
(Nahmias, "Myopic approximations for the perishable inventory problem", Management Science 22, 1976). So S is the level
of the next review's forecast, kept between the solutions for k = 1 and for k = R / m.

The distribution of D is empirical: the ratios actual / forecast of sums over as many successive periods of the past, of
series whose forecasts were similarly wrong. So it holds whatever shape the errors have and however they follow each
other; and a calm product does not pay for what a volatile one needs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import polars as pl

from charter.core.errors import DataError, PackageError
from charter.evaluate.hierarchy import SERIES
from charter.evaluate.types import Floats

_GRID = 200
_MIN_SUMS = 100
_SHRINK = 10
"""A series' volatility counts as many errors of the usual size beside its own."""


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
    def perishable(self) -> bool:
        """Whether stock that is still there when the next order arrives may spoil later."""
        return self.markdown > 0 and self.shelf_life is not None and self.shelf_life > self.periods

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
    """How demand lies around its forecast, by how wrong a series' forecasts have been.

    Attributes
    ----------
    periods
        Successive periods that are summed.
    edges
        Shape (b - 1,): the volatility at which one band of series ends and the next begins.
    ratios
        Shape (b, 200): actual / forecast at the probabilities 0.0025, 0.0075, ..., 0.9975.
    n
        Sums that the smallest band rests on.
    volatility
        By series: the root mean square of log((1 + actual) / (1 + forecast)), drawn towards that of all series.
    usual
        Of all series; a series that was never forecast has it.
    lasting
        The same over the shelf life; None where units keep for ever, or not until the next order.
    """

    periods: int
    edges: Floats
    ratios: Floats
    n: int
    volatility: Mapping[str, float] = field(default_factory=dict)
    usual: float = 0.0
    lasting: DemandShape | None = None

    def outcomes(self, series: Sequence[str], forecast: Floats) -> Floats:
        """Equally likely demands, shape (n, 200), of sums that are forecast as ``forecast``, shape (n,)."""
        own = np.array([self.volatility.get(name, self.usual) for name in series], dtype=np.float64)
        found: Floats = forecast[:, None] * self.ratios[np.searchsorted(self.edges, own, side="right")]
        return found

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "periods": self.periods,
            "edges": self.edges.tolist(),
            "ratios": self.ratios.tolist(),
            "n": self.n,
            "volatility": dict(self.volatility),
            "usual": self.usual,
            "lasting": None if self.lasting is None else self.lasting.to_json(),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DemandShape:
        """Inverse of `to_json`.

        Raises
        ------
        PackageError
            When the data is of a version that banded series by their size.
        """
        if "volatility" not in data:
            raise PackageError(
                "the demand's shape is of an earlier version of Charter", remedy="Evaluate and release again."
            )
        ratios = np.asarray(data["ratios"], dtype=np.float64).reshape(-1, _GRID)
        edges, lasting = np.asarray(data["edges"], dtype=np.float64), data["lasting"]
        return cls(
            data["periods"], edges, ratios, data["n"], dict(data["volatility"]), data["usual"],
            None if lasting is None else cls.from_json(lasting),
        )  # fmt: skip


def demand_shape(
    past: pl.DataFrame,
    periods: int,
    *,
    shelf_life: int | None = None,
    forecast: str = "forecast",
    bands: int = 5,
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
    shelf_life
        Periods that a unit keeps; the sums over these are learned, too, where they are more than ``periods``. Where
        no series has so many successive periods, their ratios are taken to be those of ``periods``.
    forecast
        Column of the forecast.
    bands
        Bands of equally many sums by the series' volatility; fewer where a band would rest on less than 100.

    Raises
    ------
    DataError
        When no sum can be formed.

    Examples
    --------
    >>> past = pl.DataFrame({"series": ["a"] * 4, "as_of": range(4), "step": [1] * 4, "target": range(4),
    ...                      "actual": [9.0, 11, 10, 10], "forecast": [10.0] * 4})
    >>> round(float(demand_shape(past, 2).outcomes(["a"], np.array([20.0])).mean()), 1)
    20.2
    """
    rows = (
        past.filter((pl.col("actual") >= 0) & (pl.col(forecast) > 0))
        .sort(SERIES, "target", "step")
        .unique([SERIES, "target"], keep="first", maintain_order=True)
        .with_columns(pl.col("target").cast(pl.Datetime("us")).to_physical().alias("__at"))
    )
    square = ((pl.col("actual") + 1).log() - (pl.col(forecast) + 1).log()) ** 2
    usual = rows.select(square.mean()).item() or 0.0
    own = rows.group_by(SERIES, maintain_order=True).agg(
        ((square.sum() + _SHRINK * usual) / (pl.len() + _SHRINK)).sqrt().alias("volatility")
    )
    volatility = {name: float(value) for name, value in own.iter_rows()}
    rows = rows.join(own, on=SERIES, how="left", maintain_order="left")
    shape = _shape(rows, periods, forecast, bands)
    if shape is None:
        raise DataError(
            f"inventory: no series has {periods} successive periods with a forecast and an actual value",
            remedy="Lower inventory.lead_time or review, or bring more history.",
        )
    edges, ratios, n = shape
    lasting = None
    if shelf_life is not None and shelf_life > periods:
        longer = _shape(rows, shelf_life, forecast, bands)
        lasting = DemandShape(shelf_life, *(longer or shape), volatility, float(np.sqrt(usual)))
    return DemandShape(periods, edges, ratios, n, volatility, float(np.sqrt(usual)), lasting)


def _shape(rows: pl.DataFrame, periods: int, forecast: str, bands: int) -> tuple[Floats, Floats, int] | None:
    """Edges, ratios and least count of the bands of sums over some periods; None where there is no sum."""
    distance = rows.select(pl.col("__at").diff().over(SERIES))["__at"].drop_nulls()
    usual = float(distance.median()) if len(distance) else 0.0  # type: ignore[arg-type]
    sums = rows.select(
        pl.col("actual").rolling_sum(periods).over(SERIES),
        pl.col(forecast).rolling_sum(periods).over(SERIES).alias("forecast"),
        (pl.col("__at") - pl.col("__at").shift(periods - 1)).over(SERIES).alias("__span"),
        "volatility",
    ).filter(pl.col("forecast").is_not_null() & (pl.col("__span") <= 1.1 * usual * (periods - 1)))
    if sums.is_empty():
        return None
    ratio, spread = (sums["actual"] / sums["forecast"]).to_numpy(), sums["volatility"].to_numpy()
    count = int(np.clip(len(ratio) // _MIN_SUMS, 1, bands))
    edges = np.unique(np.quantile(spread, np.arange(1, count) / count, method="higher"))
    edges = edges[edges > spread.min()]
    band = np.searchsorted(edges, spread, side="right")
    at = (np.arange(_GRID) + 0.5) / _GRID
    ratios = np.stack([np.quantile(ratio[band == b], at) for b in range(len(edges) + 1)])
    return edges, ratios, int(np.bincount(band).min())


def order_up_to(series: Sequence[str], ahead: Floats, costs: StockCosts, shape: DemandShape) -> Floats:
    """Find the stock whose last unit just pays; see the head of this module.

    Parameters
    ----------
    series
        Names, n of them.
    ahead
        Shape (n, steps), steps >= L + R: the forecast period by period, from the order on; NaN where there is none.

    Returns
    -------
    Shape (n,), units.
    """

    def outcomes(first: int, periods: int) -> Floats:
        if shape.lasting is not None and periods == shape.lasting.periods:
            return shape.lasting.outcomes(series, beyond(ahead[:, first:], periods))
        near = ahead[:, first:]
        whole = np.nansum(near[:, :periods], axis=1) if not first else beyond(near, periods)
        return shape.outcomes(series, whole)

    return level_of(outcomes, ahead.shape[1], costs, None if shape.lasting is None else shape.lasting.periods)


def level_of(
    outcomes: Callable[[int, int], Floats], steps: int, costs: StockCosts, lasting: int | None
) -> Floats:
    """Find the order-up-to level, whatever demand is drawn from.

    Parameters
    ----------
    outcomes
        Equally likely demands, shape (n, k), of so many successive periods (the second argument) that begin after the
        first so many ahead (the first argument).
    steps
        Periods that are forecast.
    lasting
        Periods that a unit keeps, where it may spoil after the next order has come; else None.

    Returns
    -------
    Shape (n,), units.
    """
    demand = outcomes(0, costs.periods)
    if lasting is None:
        return last_to_pay(demand, costs)
    rate, kept = costs.review / lasting, outcomes(0, lasting)
    once, again = (last_to_pay(demand, costs, kept, k) for k in (1.0, rate))
    if steps <= costs.review:
        return again
    later = last_to_pay(outcomes(costs.review, costs.periods), costs, outcomes(costs.review, lasting), rate)
    return np.asarray(np.clip(later, once, again))


def last_to_pay(
    demand: Floats, costs: StockCosts, lasting: Floats | None = None, spoils: float = 0.0
) -> Floats:
    """Find the smallest stock whose last unit costs as much as it saves.

    Parameters
    ----------
    demand
        Shape (n, k): equally likely demands until the next order arrives.
    lasting
        Shape (n, j): of the shelf life; None where nothing spoils between.
    spoils
        How often the last unit is marked down, where the demand of the shelf life does not reach it.

    Returns
    -------
    Shape (n,), units.

    Examples
    --------
    >>> costs = StockCosts(margin=4, holding_per_period=1, markdown=8)
    >>> week = np.arange(1.0, 101)[None]
    >>> last_to_pay(week, costs).tolist(), last_to_pay(week, costs, np.full((1, 1), 60.0), 0.25).tolist()
    ([80.0], [60.0])
    """
    values, weights = demand, np.full(demand.shape, (costs.short + costs.over) / demand.shape[1])
    if lasting is not None:
        values = np.concatenate([demand, lasting], axis=1)
        marked = np.full(lasting.shape, costs.markdown * spoils / lasting.shape[1])
        weights = np.concatenate([weights, marked], axis=1)
    order = np.argsort(values, axis=1, kind="stable")
    gone = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    first = np.argmax(gone >= costs.short * (1 - 1e-12), axis=1)[:, None]
    found: Floats = np.take_along_axis(values, np.take_along_axis(order, first, axis=1), axis=1)[:, 0]
    return found


def beyond(forecast: Floats, periods: int) -> Floats:
    """Sum the first periods ahead; where the forecast ends earlier, its mean goes on.

    Parameters
    ----------
    forecast
        Shape (n, steps): period by period, NaN where a series is not forecast.

    Returns
    -------
    Shape (n,); 0 for a series without any forecast.

    Examples
    --------
    >>> beyond(np.array([[1.0, 2.0, 9.0]]), 2).tolist(), beyond(np.array([[1.0, 2.0, np.nan]]), 4).tolist()
    ([3.0], [6.0])
    """
    near = forecast[:, :periods]
    known = np.isfinite(near)
    total: Floats = np.where(known, near, 0.0).sum(axis=1) * periods / np.maximum(known.sum(axis=1), 1)
    return total
