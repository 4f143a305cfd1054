"""Questions to a released forecast: what is ahead, at every level, and how much to order."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.errors import DataError, UsageError
from charter.core.text import some
from charter.flow.decide import FILE, stock_costs, with_target
from charter.flow.keyed_file import LARGEST, read_keyed, read_table
from charter.flow.recent import with_recent_history
from charter.flow.released import released_model
from charter.flow.score_levels import sum_up
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.evaluate.inventory import StockCosts
    from charter.serve.scorer import Scorer
    from charter.serve.types import Input
    from charter.spec.types import ModelSpec

DRAWS = 200
"""Equally likely demands that orders of series without a past are made from."""


@dataclass(frozen=True)
class Outlook:
    """A released forecast, ready to be asked.

    Attributes
    ----------
    spec
        The specification that the version was released with.
    decisions
        What `charter.flow.decide.decide` learned and measured; empty for packages of an earlier version.
    history
        The observed source as it is today, with ``series``.
    """

    name: str
    version: str
    spec: ModelSpec
    plan: SeriesPlan
    scorer: Scorer
    decisions: Mapping[str, Any]
    history: pl.DataFrame

    @property
    def keys(self) -> list[Input]:
        """Columns that name a series, as a request holds them."""
        return [i for i in self.scorer.signature.inputs if i.name in self.plan.keys]

    @property
    def known_ahead(self) -> tuple[str, ...]:
        """Columns that a request holds and that may be changed."""
        asked = {i.name for i in self.scorer.signature.inputs}
        return tuple(c for c in self.spec.data.observations.known_ahead if c in asked)


def open_outlook(workspace: Workspace, loaded: Loaded, version: int | None = None) -> Outlook:
    """Load a released version.

    Raises
    ------
    UsageError
        When the model is no forecast.
    Refusal
        When nothing is released.
    """
    import polars as pl

    from charter.flow.features import packaged_spec
    from charter.serve.io.loading import load_model

    model = with_recent_history(workspace, released_model(workspace, loaded, version))
    spec = packaged_spec(model.package)
    if spec.train.task != "forecast":
        raise UsageError(
            f"{model.name} {model.version} is no forecast: its task is {spec.train.task}",
            remedy="`charter predict` and `charter score` answer for it.",
        )
    scorer = load_model(model).scorer
    assert scorer.series is not None
    plan = scorer.series.plan
    file = model.package / FILE
    decisions = json.loads(file.read_bytes()) if file.is_file() else {}
    history = pl.read_parquet(model.history[plan.source])
    from charter.data.grid import name_series

    return Outlook(
        model.name, model.version, spec, plan, scorer, decisions, history.with_columns(name_series(plan.keys))
    )


def rows_ahead(outlook: Outlook, source: Path | None) -> tuple[pl.DataFrame, bool]:
    """Rows to be forecast, in the types of a request, and whether they are of the past.

    Parameters
    ----------
    source
        A Parquet or CSV file with a row for each series and period ahead: keys, time, what is known ahead. None takes
        such rows from the released source, where its label is missing; where there are none, the last periods that are
        known are forecast once more from the origin before them.
    """
    import polars as pl

    from charter.data.contract import conform
    from charter.data.grid import AS_OF, check_future
    from charter.serve.batch import Contract

    plan, series = outlook.plan, outlook.scorer.series
    assert series is not None
    grid = plan.grid
    number = grid.number(pl.col(plan.time))
    replayed = False
    if source is not None:
        raw = read_table(source)
        inputs, reasons, broken = Contract(outlook.scorer.signature.inputs).judge(raw)
        if reasons is not None:
            raise DataError(
                f"{source}: {sum(broken.values()):,} values break the contract: {'; '.join(broken)}",
                remedy="Mend the file.",
            )
    else:
        ahead = number - series.newest - plan.gap
        frame = outlook.history.filter(pl.col(plan.label).is_null() & ahead.is_between(0, plan.horizon - 1))
        origin = series.newest
        if frame.is_empty():
            replayed, origin = True, series.newest - plan.reach
            ahead = number - origin - plan.gap
            frame = outlook.history.filter(ahead.is_between(0, plan.horizon - 1))
        frame = frame.with_columns(pl.lit(grid.begin(origin), dtype=pl.Datetime("us")).alias(AS_OF))
        columns = {
            i.name: outlook.spec.data.sources[plan.source].columns.get(i.name)
            for i in outlook.scorer.signature.inputs
        }
        inputs = conform(frame, {n: c for n, c in columns.items() if c is not None}).select(
            i.name for i in outlook.scorer.signature.inputs
        )
    if inputs.is_empty():
        raise DataError("there are no rows to forecast", remedy="Bring a row for each series and period.")
    inputs = series.fill(inputs)
    if not replayed:
        check_future(inputs, plan, series.closed)
    if inputs[AS_OF].n_unique() > 1:
        raise UsageError("a forecast is from one origin", remedy="Give rows of one as_of.")
    return inputs, replayed


def forecast(outlook: Outlook, inputs: pl.DataFrame) -> pl.DataFrame:
    """Forecast rows: the long frame of series, keys, attributes, ``as_of``, ``step``, ``target`` and the answers.

    ``new`` says whether a row's series has no past.
    """
    import polars as pl

    scorer = outlook.scorer
    assert scorer.series is not None
    scored = scorer.run(inputs, decide=False)
    assert scored.bounds is not None
    located = with_target(scorer.series.locate(inputs), outlook.plan)
    return located.with_columns(
        pl.Series("forecast", scored.score),
        pl.Series("lower", scored.bounds[0], nan_to_null=True),
        pl.Series("upper", scored.bounds[1], nan_to_null=True),
        pl.Series("new", scorer.series.new(located)),
    )


def levels_of(outlook: Outlook, frame: pl.DataFrame) -> pl.DataFrame:
    """Forecasts of every level; of the series and their total where no hierarchy is declared."""
    from charter.evaluate.levels import LevelPlan, Spread, all_levels

    kept = outlook.decisions.get("levels")
    if kept:
        return sum_up(frame, kept, outlook.plan, outlook.history)
    unknown = Spread(float("nan"), float("nan"), 0, exact=False)
    spreads = {"total": unknown, "series": unknown}
    share = outlook.spec.train.interval
    return all_levels(frame, LevelPlan({}, "bottom_up", None, share, spreads, None, (), {}))


def read_stock(outlook: Outlook, frame: pl.DataFrame, file: Path) -> tuple[pl.DataFrame, list[str]]:
    """Read what is there and under way, and say what the file leaves open.

    Parameters
    ----------
    frame
        Forecasts, with ``series``.
    file
        A row for each series: keys, ``on_hand`` (negative: owed to customers), ``on_order``.

    Raises
    ------
    DataError
        Naming file, series, column and rule; see `charter.flow.keyed_file.read_keyed`.
    """
    import polars as pl

    from charter.serve.types import Input

    raw, notes = read_table(file), []
    if "on_order" not in raw.columns:
        raw = raw.with_columns(pl.lit(0.0).alias("on_order"))
        notes.append(f"{file} has no column on_order: nothing is taken to be under way")
    units = [
        Input("on_hand", "float", min=-LARGEST, max=LARGEST),
        Input("on_order", "float", min=0.0, max=LARGEST),
    ]
    asked, known = frame["series"].unique().sort(), outlook.history["series"].unique()
    held = read_keyed(file, raw, outlook.plan, [*outlook.keys, *units], known={*asked, *known})
    absent = asked.filter(~asked.is_in(held["series"].implode())).to_list()
    if absent:
        notes.append(
            f"no row in {file}, so ordered as if without stock: {len(absent):,} series ({some(absent)})"
        )
    return held, notes


def orders(outlook: Outlook, frame: pl.DataFrame, stock: pl.DataFrame | None) -> pl.DataFrame:
    """How much of each series to order now; columns as of `charter.evaluate.orders.reorder`.

    Series without a past are ordered by errors that were rehearsed for what is new about them; ``rests_on`` says so,
    and why an order is null.

    Raises
    ------
    UsageError
        When the specification does not say what stock costs.
    """
    import polars as pl

    from charter.evaluate.inventory import DemandShape
    from charter.evaluate.orders import ORDERED, reorder

    costs = stock_costs(outlook.spec)
    shape = outlook.decisions.get("demand")
    if costs is None or (shape is None and not outlook.decisions.get("notes")):
        raise UsageError(
            f"{outlook.name} {outlook.version} does not say what stock costs",
            remedy="Declare `inventory` (margin, holding_per_period, lead_time, review), apply and release.",
        )
    nothing = pl.DataFrame(schema={**ORDERED, "rests_on": pl.String()})
    found = [nothing, _orders_of_new(outlook, frame.filter("new"), costs, stock)]
    known = frame.filter(~pl.col("new"))
    if shape is not None and known.height:
        found.append(
            reorder(known, costs, DemandShape.from_json(dict(shape)), stock).with_columns(
                rests_on=pl.lit("its own past")
            )
        )
    elif known.height:
        why = f"nothing: {'; '.join(outlook.decisions['notes'])}"
        found.append(known.select("series", pl.lit(why).alias("rests_on")).unique())
    keys = frame.select("series", *outlook.plan.keys).unique()
    table = pl.concat(found, how="diagonal")
    ordered = keys.join(table, on="series", how="left").sort("series").drop("series")
    return ordered.select(pl.exclude("rests_on"), "rests_on")


def _orders_of_new(
    outlook: Outlook, new: pl.DataFrame, costs: StockCosts, held: pl.DataFrame | None
) -> pl.DataFrame:
    """Orders of series without a past: from what was rehearsed, or null with the reason."""
    import numpy as np
    import polars as pl

    from charter.evaluate.orders import reorder_new
    from charter.spec.newness import kind_words

    past = outlook.scorer.series
    assert past is not None
    if new.is_empty():
        return pl.DataFrame()
    if past.newcomers is None:
        why = pl.lit("nothing: the version was trained before series without a past were rehearsed")
        return new.select("series", why.alias("rests_on")).unique()
    inputs = new.select(i.name for i in outlook.scorer.signature.inputs)
    draws = (np.arange(DRAWS) + 0.5) / DRAWS
    demands, kinds = past.newcomers.outcomes(inputs, new, outlook.scorer.learned, draws.tolist())
    words = {}
    for kind in np.unique(kinds).tolist():
        like = f"series like it ({kind_words(outlook.plan.keys, kind)}"
        words[kind] = like + (
            ")" if past.newcomers.rehearsed(kind) else ", as wrong as the worst kind that was rehearsed)"
        )
    lacking = "nothing: no series like them sold lately"
    if past.newcomers.cold.intervals is None:
        lacking = "nothing: too few series could be rehearsed as if they had no past"
    basis = new.select("series", pl.Series("rests_on", [words[k] for k in kinds.tolist()])).unique("series")
    sound = pl.Series(np.isfinite(demands).all(axis=1))
    without = new.filter(~sound).select("series").unique()
    basis = basis.with_columns(
        pl.when(pl.col("series").is_in(without["series"].implode()))
        .then(pl.lit(lacking))
        .otherwise("rests_on")
        .alias("rests_on")
    )
    able = ~new["series"].is_in(without["series"].implode())
    if not able.any():
        return basis
    found = reorder_new(new.filter(able), demands[able.to_numpy()], costs, held)
    return basis.join(found, on="series", how="left")
