"""What a way of ordering is worth: stock simulated over the test periods, against the moving-average policy.

Sales stand for demand. Where a shelf was empty, more was asked for than was sold, which nobody wrote down: both
policies then look better than they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import polars as pl

from charter.evaluate.hierarchy import SERIES
from charter.evaluate.intervals import bca
from charter.evaluate.inventory import DemandShape, StockCosts, order_up_to
from charter.evaluate.proportion import normal_quantile
from charter.evaluate.resample import Draws
from charter.evaluate.types import Estimate, Floats

WINDOW = 13
_MIN_SERIES = 10


@dataclass(frozen=True, slots=True)
class StockRun:
    """What became of each series' stock; every array has shape (n,), units summed over the periods.

    Attributes
    ----------
    in_stock
        Periods in which nobody was sent away, of those with demand known.
    periods
        Periods with demand known.
    average_stock
        Mean of the stock at the end of a period.
    markdown
        Units that outlived their shelf life.
    value
        Margin of what was sold less the costs of what was kept, missing and marked down.
    """

    sold: Floats
    lost: Floats
    average_stock: Floats
    markdown: Floats
    in_stock: Floats
    periods: Floats
    value: Floats


def simulate(demand: Floats, order_up_to: Floats, start: Floats, costs: StockCosts) -> StockRun:
    """Run an order-up-to policy over successive periods, all series at once.

    In a period first what was ordered ``lead_time`` periods ago arrives, then (every ``review`` periods) an order is
    placed that brings stock and what is under way up to the level, then demand takes the oldest units first, and what
    has outlived its shelf life is marked down. What is not there is lost.

    Parameters
    ----------
    demand
        Shape (n, t), units; NaN where nothing is known: nothing is taken, and the period is not counted.
    order_up_to
        Shape (n, t): the level S at each period; read at reviews only.
    start
        Shape (n,): units there at the beginning, fresh.

    Examples
    --------
    >>> costs = StockCosts(margin=2, holding_per_period=0.5, lead_time=0)
    >>> run = simulate(np.array([[3.0, 5.0]]), np.array([[4.0, 4.0]]), np.zeros(1), costs)
    >>> run.sold.tolist(), run.lost.tolist(), run.value.tolist()
    ([7.0], [1.0], [13.5])
    """
    n, t = demand.shape
    ages = 1 if costs.shelf_life is None else max(costs.shelf_life, 1)
    shelf = np.zeros((n, ages))  # oldest first
    shelf[:, -1] = start
    way = np.zeros((n, t + costs.lead_time + 1))
    sold, lost, kept, spoilt, served, known = (np.zeros(n) for _ in range(6))
    for now in range(t):
        if now % costs.review == 0:
            position = shelf.sum(axis=1) + way[:, now:].sum(axis=1)
            way[:, now + costs.lead_time] += np.maximum(order_up_to[:, now] - position, 0.0)
        shelf[:, -1] += way[:, now]
        way[:, now] = 0.0
        there = np.isfinite(demand[:, now])
        asked = np.where(there, demand[:, now], 0.0)
        before = np.cumsum(shelf, axis=1) - shelf  # units older than each age
        taken = np.clip(asked[:, None] - before, 0.0, shelf)
        shelf = shelf - taken
        sales = taken.sum(axis=1)
        sold += sales
        lost += asked - sales
        served += there & (asked - sales <= 1e-9 * np.maximum(asked, 1.0))
        known += there
        if costs.shelf_life is not None:
            spoilt += shelf[:, 0]
            shelf = np.concatenate([shelf[:, 1:], np.zeros((n, 1))], axis=1)
        kept += shelf.sum(axis=1)
    value = (
        costs.margin * sold
        - costs.stockout * lost
        - costs.holding_per_period * kept
        - costs.markdown * spoilt
    )
    return StockRun(sold, lost, kept / max(t, 1), spoilt, served, known, value)


@dataclass(frozen=True, slots=True)
class PolicyResult:
    """A policy over all series.

    Attributes
    ----------
    in_stock
        Share of series and periods in which nobody was sent away.
    fill_rate
        Units sold over units asked for.
    average_stock
        Units, mean over periods, all series together.
    lost, markdown
        Units, all periods and series together.
    value
        In the currency, all periods and series together.
    """

    in_stock: float
    fill_rate: float
    average_stock: float
    lost: float
    markdown: float
    value: float


@dataclass(frozen=True, slots=True)
class InventoryReport:
    """Ordering by the forecast against ordering by the moving average.

    Attributes
    ----------
    gain
        Value of the first less value of the second; its interval is over series.
    """

    service_level: float
    periods: int
    series: int
    forecast: PolicyResult
    moving_average: PolicyResult
    gain: Estimate


def order_levels(
    forecasts: pl.DataFrame, costs: StockCosts, shape: DemandShape
) -> tuple[list[str], list[object], Floats]:
    """Order-up-to levels of each series and period, from the newest forecast that was there.

    Parameters
    ----------
    forecasts
        Of successive origins: ``series``, ``as_of``, ``step``, ``target``, ``forecast``. A period is decided on with
        the latest origin that is not after it; after the last origin its later steps go on to be used.

    Returns
    -------
    Series, sorted; periods (targets), sorted, as far as ``periods`` of forecasts reach; levels in units, shape (n, t).
    A period that a series has no forecast of needs no stock.
    """
    latest = (
        forecasts.sort(SERIES, "target", "step")
        .select(SERIES, "as_of", "step", "target", "forecast")
        .with_columns(pl.col("target").rank("dense").cast(pl.Int64).alias("__t"))
    )
    series = latest[SERIES].unique().sort().to_list()
    targets = latest["target"].unique().sort().to_list()
    n, t = len(series), len(targets)
    row = latest[SERIES].cast(pl.Enum(series)).to_physical().to_numpy().astype(np.int64)
    column = latest["__t"].to_numpy() - 1
    step = latest["step"].to_numpy().astype(np.int64)
    origin = column - step + 1  # place of the period that the first step is of, gaps left out
    cube = np.full((n, t, t), np.nan)  # series, origin, target
    cube[row, np.clip(origin, 0, t - 1), column] = latest["forecast"].to_numpy()
    origins = np.unique(origin)
    levels = []
    for now in range(t - costs.periods + 1):
        usable = origins[origins <= now]
        ahead = cube[:, usable[-1], now:] if len(usable) else cube[:, :0, 0]
        levels.append(order_up_to(series, ahead, costs, shape))
    return series, targets[: len(levels)], np.stack(levels, axis=1) if levels else np.empty((n, 0))


def moving_average_levels(
    sales: Floats, first: int, count: int, costs: StockCosts, *, window: int = WINDOW
) -> Floats:
    r"""Order-up-to levels of the textbook: :math:`S = (L + R) \bar x + z \sqrt{L + R} \, s`.

    Silver, Pyke & Thomas (2017), periodic review with an order-up-to level: mean and standard deviation of the last
    ``window`` periods, and z the normal quantile of the same service level.

    Parameters
    ----------
    sales
        Shape (n, T): all periods, NaN where nothing is known.
    first, count
        Place of the first period that is decided on, and how many.

    Returns
    -------
    Shape (n, count); a period is decided on with what was sold before it.
    """
    z = normal_quantile(costs.service_level)
    found = []
    for now in range(first, first + count):
        past = sales[:, max(now - window, 0) : now]
        known = np.isfinite(past)
        m = np.maximum(known.sum(axis=1), 1)
        mean = np.where(known, past, 0.0).sum(axis=1) / m
        square = (np.where(known, past - mean[:, None], 0.0) ** 2).sum(axis=1)
        deviation = np.sqrt(square / np.maximum(m - 1, 1))
        found.append(np.maximum(costs.periods * mean + z * np.sqrt(costs.periods) * deviation, 0.0))
    return np.stack(found, axis=1) if found else np.empty((len(sales), 0))


def compare_policies(
    forecasts: pl.DataFrame,
    history: pl.DataFrame,
    costs: StockCosts,
    shape: DemandShape,
    *,
    resamples: int = 500,
    confidence: float = 0.95,
    seed: int = 0,
) -> InventoryReport | None:
    """Simulate both policies over the test periods.

    Parameters
    ----------
    forecasts
        Of successive test origins, as for `order_levels`.
    history
        ``series``, ``target``, ``actual``: what was sold, before and during the test.

    Returns
    -------
    InventoryReport or None
        None where the forecasts reach no L + R periods. Both policies start with (L + R) times the mean of the last 13
        periods before the test; the gain's interval is a BCa bootstrap over series, none below 10 series.
    """
    series, targets, levels = order_levels(forecasts, costs, shape)
    if not targets or not series:
        return None
    sold = (
        history.filter(pl.col(SERIES).is_in(series))
        .select(SERIES, "target", "actual")
        .unique([SERIES, "target"])
    )
    times = sorted({*sold["target"].unique().to_list(), *targets})
    sales = _matrix(sold, series, times)
    first, count = times.index(targets[0]), len(targets)
    usual = moving_average_levels(sales, first, count, costs)
    demand = sales[:, first : first + count]
    past = np.where(
        np.isfinite(sales[:, max(first - WINDOW, 0) : first]), sales[:, max(first - WINDOW, 0) : first], 0.0
    )
    start = costs.periods * past.mean(axis=1) if past.shape[1] else np.zeros(len(sales))
    ours, theirs = simulate(demand, levels, start, costs), simulate(demand, usual, start, costs)
    return InventoryReport(
        costs.service_level,
        count,
        len(demand),
        _result(ours),
        _result(theirs),
        _gain(ours.value - theirs.value, resamples, confidence, seed),
    )


def _matrix(frame: pl.DataFrame, series: list[str], times: list[object]) -> Floats:
    row = frame[SERIES].cast(pl.Enum(series)).to_physical().to_numpy().astype(np.int64)
    place: Mapping[object, int] = {at: i for i, at in enumerate(times)}
    column = np.array([place[at] for at in frame["target"].to_list()], dtype=np.int64)
    matrix = np.full((len(series), len(times)), np.nan)
    matrix[row, column] = frame["actual"].cast(pl.Float64).fill_null(np.nan).to_numpy()
    return matrix


def _result(run: StockRun) -> PolicyResult:
    asked = float((run.sold + run.lost).sum())
    return PolicyResult(
        float(run.in_stock.sum() / max(run.periods.sum(), 1)),
        float(run.sold.sum()) / asked if asked else 1.0,
        float(run.average_stock.sum()),
        float(run.lost.sum()),
        float(run.markdown.sum()),
        float(run.value.sum()),
    )


def _gain(difference: Floats, resamples: int, confidence: float, seed: int) -> Estimate:
    n, total = len(difference), float(difference.sum())
    if n < _MIN_SERIES:
        return Estimate(total, None, None, "none", n, f"{n} series are too few for an interval")
    draws = Draws.of(n, resamples=resamples, seed=seed)
    boot = np.concatenate([weights @ difference for weights in draws.bootstrap(n)])
    jack = np.concatenate([weights @ difference * n / weights.sum(axis=1) for weights in draws.jackknife(n)])
    low, high = bca(total, boot, jack, confidence)
    return Estimate(total, low, high, "bca", n)
