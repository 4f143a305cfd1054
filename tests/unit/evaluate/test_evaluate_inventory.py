"""Orders: the newsvendor's quantile, a simulation by hand, and the value over the moving average."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import polars as pl
import pytest
from scipy import stats

from charter.core.errors import DataError, PackageError, UsageError
from charter.evaluate.inventory import DemandShape, StockCosts, demand_shape, last_to_pay
from charter.evaluate.orders import reorder, reorder_new
from charter.evaluate.stock import compare_policies, moving_average_levels, order_levels, simulate

START = datetime(2024, 1, 1)  # noqa: DTZ001
COSTS = StockCosts(margin=4.0, holding_per_period=1.0, lead_time=1, review=1)


def past(n: int = 40, weeks: int = 60, sigma: float = 0.3, seed: int = 0) -> pl.DataFrame:
    rng = np.random.default_rng(seed)
    level = np.repeat(np.linspace(10, 200, n), weeks)
    week = np.tile(np.arange(weeks), n)
    return pl.DataFrame(
        {
            "series": [f"s{i:03d}" for i in np.repeat(np.arange(n), weeks)],
            "as_of": [START + timedelta(weeks=int(w)) for w in week],
            "step": np.ones(n * weeks, dtype=np.int32),
            "target": [START + timedelta(weeks=int(w)) for w in week],
            "actual": level * np.exp(rng.normal(0, sigma, n * weeks)),
            "forecast": level,
        }
    )


def test_the_service_level_comes_from_the_costs() -> None:
    assert replace(COSTS, stockout=2.0, holding_per_period=0.5, review=4).service_level == pytest.approx(
        6 / 8
    )
    assert replace(COSTS, markdown=3.0, shelf_life=2).service_level == pytest.approx(0.5)
    assert replace(COSTS, markdown=3.0, shelf_life=3).service_level == pytest.approx(0.8)


def test_one_period_gives_the_newsvendors_quantile() -> None:
    """Log-normal demand: S is its quantile at c_u / (c_u + c_o)."""
    costs = replace(COSTS, lead_time=0)
    shape = demand_shape(past(weeks=400), 1)
    table = reorder(past(n=5, weeks=1), costs, shape)
    true = np.linspace(10, 200, 5) * stats.lognorm.ppf(costs.service_level, 0.3)
    np.testing.assert_allclose(table["order_up_to"].to_numpy(), true, rtol=0.03)
    np.testing.assert_allclose(table["stockout_risk"].to_numpy(), 0.2, atol=0.006)


def test_no_other_level_is_worth_more() -> None:
    """Expected cost c_u E(D - s)+ + c_o E(s - D)+ is least at the order-up-to level."""
    shape = demand_shape(past(), 2)
    demand = shape.outcomes(["s001"], np.array([100.0]))
    level = last_to_pay(demand, COSTS)[0]

    def cost(s: float) -> float:
        return float(
            (COSTS.short * np.maximum(demand - s, 0) + COSTS.over * np.maximum(s - demand, 0)).mean()
        )

    assert cost(level) <= min(cost(level * factor) for factor in (0.8, 0.95, 1.05, 1.2)) + 1e-9


def test_errors_of_successive_periods_partly_cancel() -> None:
    """Four independent periods: the sum's relative spread is half of one period's."""
    frame = past(weeks=400, sigma=0.1)
    one, four = (
        np.quantile(demand_shape(frame, k, bands=1).outcomes(["s001"], np.array([100.0])), 0.9)
        for k in (1, 4)
    )
    assert four - 100 == pytest.approx((one - 100) / 2, rel=0.06)


def test_a_gap_forms_no_sum() -> None:
    frame = past(n=2, weeks=30)
    holed = frame.filter(pl.col("target").rank("dense").over("series") % 3 != 0)
    assert demand_shape(frame, 2).n == 58
    assert demand_shape(holed, 2, bands=1).n == 20
    with pytest.raises(DataError, match="3 successive periods"):
        demand_shape(holed, 3)


def test_what_is_there_and_under_way_is_not_ordered_again() -> None:
    shape = demand_shape(past(), 2)
    two = pl.concat([past(n=3, weeks=1).with_columns(step=pl.lit(s, dtype=pl.Int32)) for s in (1, 2)])
    stock = pl.DataFrame({"series": ["s001", "s002"], "on_hand": [1e6, 10.0], "on_order": [0.0, 5.0]})
    table = reorder(two, COSTS, shape, stock)
    up_to, order = table["order_up_to"].to_list(), table["order"].to_list()
    assert order == [up_to[0], 0.0, pytest.approx(up_to[2] - 15.0)]
    assert table["stockout_risk"].to_list()[1] == 0.0
    assert (table["expected_over"] > table["expected_short"]).all()


def test_a_horizon_that_is_too_short_is_refused() -> None:
    with pytest.raises(UsageError, match="must last for 2 periods"):
        reorder(past(n=2, weeks=1), COSTS, demand_shape(past(), 2))
    with pytest.raises(UsageError, match="one origin"):
        reorder(past(n=2, weeks=3), replace(COSTS, lead_time=0), demand_shape(past(), 1))


def test_orders_of_a_new_series_last_as_often_as_what_pays_best_says() -> None:
    """A level that is wrong in all weeks alike, and weeks that vary: the quantiles of weeks are added up."""
    rng, n, costs = np.random.default_rng(3), 4000, StockCosts(margin=9, holding_per_period=0.5, review=3)
    level, weeks = rng.normal(0, 0.5, (n, 1)), rng.normal(0, 0.2, (n, costs.periods))
    came = (50 * np.exp(level + weeks)).sum(axis=1)
    at = np.quantile(50 * np.exp(rng.normal(0, np.hypot(0.5, 0.2), 100_000)), (np.arange(200) + 0.5) / 200)
    ahead = pl.DataFrame({"series": ["new"] * 4, "step": [1, 2, 3, 4], "forecast": [50.0] * 4})
    found = reorder_new(ahead, np.tile(at, (4, 1)), costs)
    assert found["order"][0] == pytest.approx(4 * np.quantile(at, costs.service_level), rel=0.02)
    lasted = float((came <= found["order"][0]).mean())
    assert costs.service_level - 0.005 < lasted < costs.service_level + 0.03
    assert found["stockout_risk"][0] == pytest.approx(1 - costs.service_level, abs=0.006)
    spoiling = replace(costs, markdown=40.0, shelf_life=6)
    more = pl.concat([ahead, ahead.with_columns(pl.col("step") + 4)])
    fresh = reorder_new(more, np.tile(at, (8, 1)), spoiling)
    assert fresh["order"][0] < found["order"][0]


def test_what_the_next_review_would_not_order_bears_its_whole_markdown() -> None:
    """A promotion now and little afterwards: what is enough for it would not sell within the shelf life."""
    last = DemandShape(4, np.empty(0), np.ones((1, 200)), 100)
    wide = DemandShape(1, np.empty(0), np.full((1, 200), 3.0), 100, lasting=last)
    rows = pl.DataFrame(
        [{"series": "a", "as_of": START, "step": h, "target": START + timedelta(weeks=h - 1),
          "forecast": 100.0 if h == 1 else 10.0} for h in range(1, 6)]
    )  # fmt: skip
    costs = replace(COSTS, lead_time=0, markdown=8.0, shelf_life=4)
    assert reorder(rows, replace(costs, markdown=0.0), wide)["order_up_to"].to_list() == [300.0]
    # With its whole markdown of 8 against a margin of 4 no unit beyond the 130 pays; a quarter of it would.
    assert reorder(rows, costs, wide)["order_up_to"].to_list() == [130.0]
    steady = rows.with_columns(forecast=pl.lit(100.0))
    assert reorder(steady, costs, wide)["order_up_to"].to_list() == [300.0]
    assert reorder(steady, replace(costs, markdown=80.0), wide)["order_up_to"].to_list() == [300.0]
    # The forecast ends after the fifth week; what is left of it goes on.
    assert order_levels(rows, costs, wide)[2].tolist() == [[130.0, 30.0, 30.0, 30.0, 30.0]]


def test_no_level_of_perishable_stock_is_worth_more_in_the_long_run() -> None:
    """Independent weeks: held against levels tried one by one in the simulation that marks down what is too old."""
    rng = np.random.default_rng(3)
    weeks = rng.gamma(0.5, 20.0, (150, 300))
    costs = StockCosts(margin=1.0, holding_per_period=0.02, markdown=3.0, lead_time=0, review=1, shelf_life=3)
    sums = np.array([weeks[:, i : i + 3].sum(axis=1) for i in range(0, 297, 3)]).ravel()
    plain = last_to_pay(weeks.reshape(1, -1)[:, :20_000], costs)[0]
    level = last_to_pay(weeks.reshape(1, -1)[:, :20_000], costs, sums[None, :20_000], 1 / 3)[0]

    def value(s: float) -> float:
        return float(simulate(weeks, np.full(weeks.shape, s), np.zeros(150), costs).value.mean())

    best = max(value(s) for s in np.linspace(0.2 * level, 2 * plain, 20))
    assert plain > 2 * level
    assert value(level) > 0.95 * best
    assert value(plain) < 0.5 * best


def test_a_calm_product_does_not_pay_for_a_volatile_one() -> None:
    calm, wild = (past(n=40, weeks=100, sigma=sigma, seed=seed) for sigma, seed in ((0.1, 1), (0.8, 2)))
    both = pl.concat([calm, wild.with_columns(series="w" + pl.col("series"))])
    shape = demand_shape(both, 2, shelf_life=4)
    calmly, wildly = np.quantile(shape.outcomes(["s001", "ws001"], np.full(2, 100.0)), 0.95, axis=1)
    assert calmly == pytest.approx(100 * stats.lognorm.ppf(0.95, 0.1 / np.sqrt(2)), rel=0.03)
    assert wildly > 1.8 * calmly
    assert calmly < np.quantile(shape.outcomes(["never seen"], np.full(1, 100.0)), 0.95) <= wildly * 1.1
    again = DemandShape.from_json(shape.to_json())
    assert again.lasting is not None
    np.testing.assert_array_equal(
        again.outcomes(["ws001"], np.ones(1)), shape.outcomes(["ws001"], np.ones(1))
    )
    with pytest.raises(PackageError, match="earlier version"):
        DemandShape.from_json({"periods": 2, "edges": [], "ratios": [], "n": 1})


def test_a_simulation_by_hand() -> None:
    """Lead time 1, level 10: start 4; demand 6, 3, unknown, 9."""
    run = simulate(np.array([[6.0, 3.0, np.nan, 9.0]]), np.full((1, 4), 10.0), np.array([4.0]), COSTS)
    # t0 orders 6, sells 4 of 6; t1 gets 6, orders 4, sells 3, keeps 3; t2 gets 4, orders 3, keeps 7;
    # t3 gets 3, has 10, sells 9, keeps 1.
    assert run.sold.tolist() == [16.0]
    assert run.lost.tolist() == [2.0]
    assert run.average_stock.tolist() == [(0 + 3 + 7 + 1) / 4]
    assert (run.in_stock.tolist(), run.periods.tolist()) == ([2.0], [3.0])
    assert run.value.tolist() == [4 * 16 - 11]


def test_what_does_not_keep_is_marked_down() -> None:
    costs = StockCosts(margin=4, holding_per_period=0, markdown=2, lead_time=0, shelf_life=2)
    run = simulate(np.array([[3.0, 0.0, 0.0]]), np.array([[10.0, 10.0, 0.0]]), np.zeros(1), costs)
    # t0 gets 10, sells 3; t1 gets 3, of the 7 old ones none is sold: marked down; t2 the other 3.
    assert run.markdown.tolist() == [10.0]
    assert run.value.tolist() == [12.0 - 20.0]


def test_units_are_neither_made_nor_lost() -> None:
    rng = np.random.default_rng(0)
    demand, level = rng.gamma(2, 5, (50, 20)), rng.gamma(4, 10, (50, 20))
    for costs in (COSTS, replace(COSTS, shelf_life=3, lead_time=2, review=2)):
        run = simulate(demand, level, np.full(50, 5.0), costs)
        np.testing.assert_allclose(run.sold + run.lost, demand.sum(axis=1))


def test_the_textbooks_level() -> None:
    sales = np.array([[10.0, 14.0, np.nan, 12.0, 99.0]])
    level = moving_average_levels(sales, 4, 1, COSTS)
    z = stats.norm.ppf(0.8)
    assert level[0, 0] == pytest.approx(2 * 12 + z * np.sqrt(2) * 2.0)


def test_levels_come_from_the_newest_forecast() -> None:
    rows = [
        {"series": "a", "as_of": START + timedelta(weeks=o), "step": h, "target": START + timedelta(weeks=o + h - 1),
         "forecast": 100.0 * (o + 1) + h}
        for o in (0, 1) for h in (1, 2, 3)
    ]  # fmt: skip
    flat = DemandShape(2, np.empty(0), np.ones((1, 200)), 100)
    series, targets, levels = order_levels(pl.DataFrame(rows), COSTS, flat)
    assert series == ["a"]
    assert targets == [START, START + timedelta(weeks=1), START + timedelta(weeks=2)]
    assert levels.tolist() == [[101.0 + 102, 201.0 + 202, 202.0 + 203]]


def test_a_forecast_that_knows_promotions_is_worth_more() -> None:
    rng = np.random.default_rng(2)
    n, weeks, first = 60, 60, 48
    promotion = rng.random((n, weeks)) < 0.25
    sales = (
        np.linspace(20, 80, n)[:, None]
        * np.where(promotion, 4.0, 1.0)
        * np.exp(rng.normal(0, 0.15, (n, weeks)))
    )
    known = np.linspace(20, 80, n)[:, None] * np.where(promotion, 4.0, 1.0)
    history, rows = [], []
    for i in range(n):
        for w in range(weeks):
            at = START + timedelta(weeks=w)
            history.append({"series": f"{i}", "target": at, "actual": sales[i, w]})
            if w >= first:
                rows += [
                    {"series": f"{i}", "as_of": START + timedelta(weeks=o), "step": w - o + 1, "target": at,
                     "forecast": known[i, w]}
                    for o in range(first, min(first + 4, w + 1))
                ]  # fmt: skip
    shape = DemandShape(2, np.empty(0), np.exp(rng.normal(0, 0.12, (1, 200))), 200)
    report = compare_policies(pl.DataFrame(rows), pl.DataFrame(history), COSTS, shape, resamples=200)
    assert report is not None
    assert report.gain.low is not None
    assert report.gain.low > 0
    assert report.forecast.average_stock < report.moving_average.average_stock
    assert report.forecast.lost < report.moving_average.lost
    assert report.periods == 11
    again = compare_policies(pl.DataFrame(rows), pl.DataFrame(history), COSTS, shape, resamples=200)
    assert again == report
