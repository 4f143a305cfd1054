"""What forecasts are used for, learned and measured when a model is judged: sums, differences, orders.

Everything that is learned (how to reconcile, intervals of sums and of differences, the shape of demand) comes from
out-of-fold forecasts; the test origins only measure it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from charter.core.errors import DataError
from charter.spec.types import ModelSpec

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.evaluate.inventory import StockCosts
    from charter.evaluate.reconcile import Method

SCHEMA_VERSION = 1
FILE = "decisions.json"
BASE = "moving_average"
"""Method whose sums MinTrace weighs against the sums of the model's forecasts; it needs no library at scoring time."""


def decide(
    oof: pl.DataFrame,
    known: pl.DataFrame,
    tested: pl.DataFrame,
    plan: SeriesPlan,
    sources: Mapping[str, pl.DataFrame],
    spec: ModelSpec,
) -> dict[str, Any]:
    """Learn and measure what forecasts are used for.

    Parameters
    ----------
    oof
        Out-of-fold rows of the train stage: ``__row``, ``label``, ``calibrated_score``.
    known
        Training rows, with ``__row``.
    tested
        As `charter.flow.judge_forecast.tested_frame` gives it.
    sources
        Regular frames, see `charter.data.grid.on_grid`.

    Returns
    -------
    Plain data: ``effect``; ``levels`` and ``measured.levels`` where the specification declares a hierarchy; ``demand``
    and ``measured.inventory`` where it says what stock costs. A part that the data does not allow is None, and
    ``notes`` says why.
    """
    import polars as pl

    past = past_forecasts(oof, known, plan, sources)
    tested = with_target(with_attributes(tested, plan, sources), plan)
    known_ahead = [c for c in spec.data.observations.known_ahead if c in past.columns]
    found: dict[str, Any] = {"schema_version": SCHEMA_VERSION, "notes": [], "measured": {}}
    hierarchy = spec.evaluate.hierarchy
    levels = {name: list(columns) for name, columns in hierarchy.levels.items()} if hierarchy else {}

    from charter.evaluate.effect import effect_spread

    found["effect"] = _noted(
        found, lambda: effect_spread(past, levels, known_ahead, share=spec.train.interval).to_json()
    )
    if hierarchy is not None:
        found["levels"] = _noted(found, lambda: _levels(found, past, tested, spec))
    if spec.inventory is not None:
        sold = sources[plan.source].select(
            "series",
            pl.col(plan.time).cast(pl.Datetime("us")).alias("target"),
            pl.col(plan.label).cast(pl.Float64).alias("actual"),
        )
        found["demand"] = _noted(found, lambda: _demand(found, past, tested, sold, spec))
    return found


def delivered(
    tested: pl.DataFrame, made: Mapping[str, Any], plan: SeriesPlan, sources: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Give tested rows the forecasts and intervals that users get of them, which reconciling may have moved.

    Parameters
    ----------
    tested
        As `charter.flow.judge_forecast.tested_frame` gives it.
    made
        What `decide` made.
    """
    import polars as pl

    from charter.evaluate.levels import LevelPlan, all_levels

    levels = made.get("levels")
    if levels is None or levels["covariance"] is None:
        return tested
    frame = with_target(with_attributes(tested, plan, sources), plan)
    table = all_levels(frame, LevelPlan.from_json(levels)).filter(pl.col("level") == "series")
    key = ["series", "as_of", "step"]
    moved = tested.select(key).join(
        table.select(pl.col("node").alias("series"), *key[1:], "forecast", "lower", "upper"),
        on=key, how="left", maintain_order="left",
    )  # fmt: skip
    return tested.with_columns(moved[name] for name in ("forecast", "lower", "upper"))


def stock_costs(spec: ModelSpec) -> StockCosts | None:
    """What stock costs, as the specification says; None where it does not."""
    from charter.evaluate.inventory import StockCosts

    if spec.inventory is None:
        return None
    return StockCosts(**spec.inventory.model_dump(exclude={"currency"}))


def past_forecasts(
    oof: pl.DataFrame, known: pl.DataFrame, plan: SeriesPlan, sources: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Put out-of-fold forecasts, what happened and the moving average side by side, in the label's unit."""
    import polars as pl

    from charter.train.statistical import statistical_forecasts

    said = oof.select("__row", pl.col("label").alias("actual"), pl.col("calibrated_score").alias("forecast"))
    frame = said.join(known.drop("actual", "forecast", strict=False), on="__row", how="inner")
    frame = with_target(with_attributes(frame, plan, sources), plan)
    history = sources[plan.source].select(
        "series",
        pl.col(plan.time).cast(pl.Datetime("us")).alias("time"),
        pl.col(plan.label).cast(pl.Float64).alias("actual"),
    )
    origins = frame["as_of"].unique().sort().to_list()
    simple = statistical_forecasts(
        history, origins, grid=plan.grid, horizon=plan.horizon, gap=plan.gap, methods=(BASE,)
    )
    return frame.join(simple, on=["series", "as_of", "step"], how="left", maintain_order="left")


def with_attributes(
    frame: pl.DataFrame, plan: SeriesPlan, sources: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Bring the attributes, which may make levels without being features."""
    from charter.features.forecasts import join_attributes

    return join_attributes(frame, plan, sources)


def with_target(frame: pl.DataFrame, plan: SeriesPlan) -> pl.DataFrame:
    """Give the target's time the name that forecasts are judged under."""
    import polars as pl

    return frame.with_columns(pl.col(plan.time).cast(pl.Datetime("us")).alias("target"))


def _levels(
    found: dict[str, Any], past: pl.DataFrame, tested: pl.DataFrame, spec: ModelSpec
) -> dict[str, Any]:
    from charter.evaluate.levels import METHODS, all_levels, measure_levels, plan_levels

    hierarchy = spec.evaluate.hierarchy
    assert hierarchy is not None
    methods: tuple[Method, ...] = METHODS if hierarchy.reconcile == "best" else (hierarchy.reconcile,)
    base = BASE if BASE in tested.columns else None  # the model is no rival of itself
    chosen = plan_levels(past, dict(hierarchy.levels), base=base, methods=methods, share=spec.train.interval)
    table = all_levels(tested, chosen)
    plain = all_levels(tested, plan_levels(past, dict(hierarchy.levels), share=spec.train.interval))
    sums = dict(measure_levels(plain).select("level", "wmape").iter_rows())
    found["measured"]["levels"] = [
        row | {"wmape_bottom_up": sums[row["level"]]} for row in measure_levels(table).to_dicts()
    ]
    found["measured"]["incoherence"] = _incoherence(table)
    return chosen.to_json()


def _incoherence(table: pl.DataFrame) -> float:
    """Largest difference between the sums of two levels at one origin and step, over the sum."""
    import polars as pl

    sums = table.group_by("level", "as_of", "step").agg(pl.col("forecast").sum())
    apart = sums.group_by("as_of", "step").agg(
        (pl.col("forecast").max() - pl.col("forecast").min())
        / pl.max_horizontal(pl.col("forecast").max(), 1.0)
    )
    return float(apart["forecast"].to_numpy().max(initial=0.0))


def _demand(
    found: dict[str, Any], past: pl.DataFrame, tested: pl.DataFrame, sold: pl.DataFrame, spec: ModelSpec
) -> dict[str, Any]:
    from charter.evaluate.inventory import demand_shape
    from charter.evaluate.stock import compare_policies

    costs = stock_costs(spec)
    assert costs is not None
    shape = demand_shape(past, costs.periods, shelf_life=costs.shelf_life)
    report = compare_policies(
        tested,
        sold,
        costs,
        shape,
        resamples=spec.evaluate.resamples,
        confidence=spec.evaluate.confidence,
        seed=spec.train.seed,
    )
    found["measured"]["inventory"] = asdict(report) if report is not None else None
    return shape.to_json()


def _noted(found: dict[str, Any], work: Callable[[], dict[str, Any]]) -> dict[str, Any] | None:
    """Do a part of the work; what the data does not allow is noted, and the model is judged without it."""
    try:
        return work()
    except DataError as error:
        found["notes"].append(error.message)
        return None
