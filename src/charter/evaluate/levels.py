"""Forecasts at every level of the hierarchy: coherent, with intervals.

What is chosen here (how to reconcile) and estimated (the errors' covariance, how far sums lie from their forecasts)
comes from forecasts of the past whose model had not seen what happened: out-of-fold rows, never test rows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.evaluate.hierarchy import SERIES, Hierarchy, cells, node_names
from charter.evaluate.reconcile import Covariance, Method, estimate, from_json, reconcile, to_json
from charter.evaluate.types import Floats, Integers

METHODS: tuple[Method, ...] = ("bottom_up", "wls_struct", "wls_var", "mint_shrink")
_WORSE = 0.01
"""Reconciled forecasts are worse than the plain sums by more than this share at no level, and better on average."""
_FULL = 0.8
_MIN_CELLS = 8


@dataclass(frozen=True, slots=True)
class Spread:
    """How far the actual sums of a level lie from their forecasts, as ratios actual / forecast.

    Attributes
    ----------
    low, high
        Conformal bounds: an actual lies between ``low`` and ``high`` times its forecast with the promised share.
    n
        Past sums that they rest on.
    exact
        False where the periods are too few for the promised share; then the bounds are the most extreme ones seen.
    periods
        Different target periods among the sums: what the promise counts.
    """

    low: float
    high: float
    n: int
    exact: bool
    periods: int = 0


@dataclass(frozen=True, slots=True)
class LevelPlan:
    """How forecasts of series become forecasts of all levels; plain data, kept with the evaluation.

    Attributes
    ----------
    levels
        Aggregated levels (without ``total``) and their columns.
    method
        How they are made to add up.
    base
        Column whose sums are the aggregates' base forecasts; None for ``bottom_up``.
    share
        Share of actual values that lie within the intervals.
    spreads
        By level.
    covariance
        Of the base forecasts' errors, nodes then series; None for ``bottom_up``.
    names
        Levels and nodes in the order of the covariance.
    losses
        WMAPE of each candidate by level, on the past origins that were not used to estimate it.
    """

    levels: Mapping[str, tuple[str, ...]]
    method: Method
    base: str | None
    share: float
    spreads: Mapping[str, Spread]
    covariance: Covariance | None
    names: tuple[tuple[str, str], ...]
    losses: Mapping[str, Mapping[str, float]]

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema_version": 1,
            "levels": {name: list(columns) for name, columns in self.levels.items()},
            "method": self.method,
            "base": self.base,
            "share": self.share,
            "spreads": {level: asdict(spread) for level, spread in self.spreads.items()},
            "covariance": None if self.covariance is None else to_json(self.covariance),
            "names": [list(pair) for pair in self.names],
            "losses": {name: dict(by) for name, by in self.losses.items()},
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> LevelPlan:
        """Inverse of `to_json`."""
        return cls(
            {name: tuple(columns) for name, columns in data["levels"].items()},
            data["method"],
            data["base"],
            data["share"],
            {level: Spread(**spread) for level, spread in data["spreads"].items()},
            None if data["covariance"] is None else from_json(data["covariance"]),
            tuple((level, node) for level, node in data["names"]),
            data["losses"],
        )


def plan_levels(
    past: pl.DataFrame,
    levels: Mapping[str, Sequence[str]],
    *,
    base: str | None = None,
    methods: Sequence[Method] = METHODS,
    share: float = 0.9,
) -> LevelPlan:
    """Choose how to reconcile, and measure how far sums lie from their forecasts.

    Parameters
    ----------
    past
        Out-of-fold forecasts: ``series``, the levels' columns, ``as_of``, ``step``, ``target``, ``actual``,
        ``forecast`` and ``base``. Rows without an actual are left out.
    base
        Column with another forecast of the series (a moving average) whose sums are the base forecasts of the sums:
        what MinTrace weighs against the sums of the model's forecasts. None leaves only ``bottom_up``.
    methods
        The one to take, or candidates. Their covariances are estimated on the earlier half of the moments and judged
        on the later one. One is chosen that is worse than ``bottom_up`` by more than 1 % at no level, and among these
        the one with the least mean WMAPE relative to ``bottom_up``, unless that gains less than 1 %.
    share
        What the intervals promise, 0..1.

    Raises
    ------
    DataError
        Without a row whose actual is known, and for what `Hierarchy.of` refuses.

    Notes
    -----
    Intervals are split-conformal with the score abs(log(actual / forecast)): the sums of a few origins err on one side
    together, and whether the weeks to come sell more or less than was expected cannot be learned from them, so each
    error counts with either sign, as those of the series do. Sums of one target period share its shock, however many
    nodes, origins and steps it has. Exchangeable are the periods: each has the weight 1 / (G + 1) of G, shared by its
    sums, and the rest of the weight lies at infinity (Lee, Barber & Willett, "Distribution-free inference with
    hierarchical data", 2023). Below 9 periods (at 90 %) the most extreme error seen stands in.
    """
    known = past.filter(pl.col("actual").is_not_null() & pl.col("forecast").is_not_null())
    if known.is_empty():
        raise DataError("levels: no forecast of the past has a known actual")
    hierarchy = Hierarchy.of(known, levels)
    key, period = _moments(known, hierarchy.n_series)
    forecast, actual = (cells(hierarchy, known, name, key) for name in ("forecast", "actual"))
    truth, summed = _stack(hierarchy, actual), _stack(hierarchy, forecast)
    groups = _groups(hierarchy)
    losses: dict[str, dict[str, float]] = {}
    method: Method = "bottom_up"
    covariance = None
    if base is not None and set(methods) != {"bottom_up"} and forecast.shape[1] >= 4:
        given = _stack(hierarchy, cells(hierarchy, known, base, key))
        given[len(hierarchy.nodes) :] = forecast
        method, losses = _choose(hierarchy, truth, given, summed, groups, methods)
        covariance = estimate(method, hierarchy, truth - given)
        summed = reconcile(hierarchy, given, covariance)
    else:
        losses = {"bottom_up": _wmape(truth, summed, groups)}
    return LevelPlan(
        {name: tuple(columns) for name, columns in levels.items()},
        method,
        base if covariance is not None else None,
        share,
        {name: _spread(truth[rows], summed[rows], share, period) for name, rows in groups.items()},
        covariance,
        tuple((level, node) for level, node in hierarchy.node_frame().iter_rows()) if covariance else (),
        losses,
    )


def all_levels(frame: pl.DataFrame, plan: LevelPlan) -> pl.DataFrame:
    """Forecast every node of every level.

    Parameters
    ----------
    frame
        Forecasts of the series: ``series``, the levels' columns, ``as_of``, ``step``, ``target``, ``forecast``, and
        where known ``lower``, ``upper`` (null where no interval is promised), ``new`` (whether the series had no past),
        ``actual`` and the plan's ``base``.

    Returns
    -------
    polars.DataFrame
        ``level``, ``node``, the levels' columns (null where summed over), ``as_of``, ``step``, ``target``,
        ``forecast``, ``lower``, ``upper``, ``actual`` (of a sum only where all its actuals are known),
        ``series_summed``, ``without_past`` (how many of these are new) and ``without_interval`` (how many have none;
        then the sum has none either); sorted by level from ``total`` to ``series``, node, origin and step. The sums of
        ``forecast`` are equal at all levels.

    Raises
    ------
    DataError
        For what `Hierarchy.of` refuses, and a series with two rows for one origin and step.

    Notes
    -----
    The past sums that a sum's interval rests on had no series without a past. Where a sum has some, with intervals of
    their own, its interval is that of the others' sum, widened: how far the new ones may be off, all to the same side,
    and the others' distance are added as squares, since a new store's surprise is not the week's. Taking the new ones
    to err together is on the safe side.
    """
    if frame.select(SERIES, "as_of", "step").is_duplicated().any():
        raise DataError("levels: a series has two forecasts for one origin and step")
    hierarchy = Hierarchy.of(frame, plan.levels)
    moments = frame.select("as_of", "step", "target").unique(["as_of", "step"]).sort("as_of", "step")
    moments = moments.with_row_index("moment")
    key = frame.join(moments, on=["as_of", "step"], how="left", maintain_order="left")["moment"]
    at = key.to_numpy().astype(np.int64)
    forecast = cells(hierarchy, frame, "forecast", at)
    values = _stack(hierarchy, forecast)
    if plan.covariance is not None and plan.base is not None:
        given = _stack(hierarchy, cells(hierarchy, frame, plan.base, at))
        given[len(hierarchy.nodes) :] = forecast
        values = reconcile(hierarchy, given, _placed(plan, hierarchy))
    return _long(hierarchy, frame, plan, moments, at, values)


def _long(
    hierarchy: Hierarchy,
    frame: pl.DataFrame,
    plan: LevelPlan,
    moments: pl.DataFrame,
    at: Integers,
    values: Floats,
) -> pl.DataFrame:
    """Write a matrix of nodes and moments as rows, with intervals."""
    m, t = len(hierarchy.nodes), moments.height
    present = np.isfinite(values[m:])
    count = np.concatenate([hierarchy.sums(present.astype(np.float64)), present.astype(np.float64)])
    actual = np.full_like(values, np.nan)
    if "actual" in frame.columns:
        own = cells(hierarchy, frame, "actual", at)
        own = np.where(
            present & np.isnan(own), np.inf, np.where(present, own, 0.0)
        )  # one unknown, the sum unknown
        actual = np.concatenate([hierarchy.sums(own), own])
        actual[~np.isfinite(actual)] = np.nan
    low, high = np.full_like(values, np.nan), np.full_like(values, np.nan)
    without, newly = np.zeros_like(values), np.zeros_like(values)
    for name, rows in _groups(hierarchy).items():
        spread = plan.spreads[name]
        low[rows], high[rows] = values[rows] * spread.low, values[rows] * spread.high
    if "lower" in frame.columns and "upper" in frame.columns:
        # A series has intervals of its own; what reconciling did to its forecast is done to them, too: they are
        # stretched with it, and shifted where there was nothing to stretch.
        before = cells(hierarchy, frame, "forecast", at)
        with np.errstate(divide="ignore", invalid="ignore"):
            times = np.where(before > 0, values[m:] / before, 1.0)
        plus = np.where(before > 0, 0.0, values[m:] - before)
        low[m:], high[m:] = (cells(hierarchy, frame, c, at) * times + plus for c in ("lower", "upper"))
        without[m:] = present & ~np.isfinite(low[m:])
        without[:m] = hierarchy.sums(without[m:])
        if "new" in frame.columns:
            new = newly[m:] = cells(hierarchy, frame, "new", at) > 0
            newly[:m] = hierarchy.sums(newly[m:])
            for end in (low, high):
                own = np.where(new & (without[m:] == 0), values[m:] - end[m:], 0.0)
                others = hierarchy.sums(np.where(present & ~new, values[m:], 0.0))
                with np.errstate(divide="ignore", invalid="ignore"):
                    apart = np.where(values[:m] > 0, 1 - end[:m] / values[:m], 0.0) * others
                wider = np.hypot(apart, hierarchy.sums(own))
                end[:m] = np.where(newly[:m] > 0, values[:m] + (wider if end is high else -wider), end[:m])
        low[without > 0] = high[without > 0] = np.nan
    nodes = hierarchy.node_frame().with_row_index("place")
    table = pl.DataFrame(
        {
            "place": np.repeat(np.arange(len(values), dtype=np.uint32), t),
            "moment": np.tile(np.arange(t, dtype=np.uint32), len(values)),
            "forecast": values.ravel(),
            "lower": np.maximum(low, 0.0).ravel(),
            "upper": high.ravel(),
            "actual": actual.ravel(),
            "series_summed": count.ravel().astype(np.int32),
            "without_past": newly.ravel().astype(np.int32),
            "without_interval": without.ravel().astype(np.int32),
        }
    ).filter(pl.col("series_summed") > 0)
    columns = list(dict.fromkeys(c for used in plan.levels.values() for c in used))
    result: pl.DataFrame = (
        table.join(nodes.hstack(_node_columns(hierarchy, frame, columns)), on="place", how="left")
        .join(moments, on="moment", how="left")
        .sort("place", "moment")
    )
    return result.select(
        "level", "node", *columns, "as_of", "step", "target", "forecast",
        pl.col("lower", "upper", "actual").fill_nan(None), "series_summed", "without_past", "without_interval",
    )  # fmt: skip


def measure_levels(table: pl.DataFrame) -> pl.DataFrame:
    """Measure forecasts level by level.

    Parameters
    ----------
    table
        As `all_levels` gives it; rows without an actual are left out.

    Returns
    -------
    ``level``, ``rows``, ``wmape`` (sum |forecast - actual| / sum actual), ``bias`` (sum of forecast less actual over
    sum actual), ``coverage`` (share of actuals within the interval).
    """
    error = pl.col("forecast") - pl.col("actual")
    return (
        table.filter(pl.col("actual").is_not_null())
        .group_by("level", maintain_order=True)
        .agg(
            pl.len().alias("rows"),
            (error.abs().sum() / pl.col("actual").sum()).alias("wmape"),
            (error.sum() / pl.col("actual").sum()).alias("bias"),
            pl.col("actual").is_between("lower", "upper").mean().alias("coverage"),
        )
    )


def _moments(known: pl.DataFrame, n_series: int) -> tuple[Integers, Integers]:
    """Number what is added up: a moment is an origin and a step where (nearly) all series are forecast at it.

    Where rows have few steps drawn for each series and target, it is a target, and a series' first, second, ...
    forecast of it. Such a sum mixes steps, as the rows do.

    Returns
    -------
    The moment of each row, 0..t-1, and shape (t,) the number of each moment's target period.
    """
    counts = known.group_by("as_of", "step").len()
    if (counts["len"] >= _FULL * n_series).sum() >= min(_MIN_CELLS, counts.height):
        order: tuple[str, ...] = ("as_of", "step")
        frame = known
    else:
        order = ("target", "turn")
        turn = pl.int_range(pl.len()).over([SERIES, "target"], order_by=["as_of", "step"])
        frame = known.with_columns(turn.alias("turn"))
    places = frame.select(pl.struct(order).rank("dense") - 1).to_series().to_numpy().astype(np.int64)
    targets = frame.select(pl.col("target").rank("dense") - 1).to_series().to_numpy().astype(np.int64)
    period = np.zeros(int(places.max()) + 1, dtype=np.int64)
    period[places] = targets
    return places, period


def _choose(
    hierarchy: Hierarchy,
    truth: Floats,
    given: Floats,
    summed: Floats,
    groups: Mapping[str, Integers],
    methods: Sequence[Method],
) -> tuple[Method, dict[str, dict[str, float]]]:
    """The best of several methods, or the only one, with what each loses on the later half of the moments."""
    half = truth.shape[1] // 2
    later, base = truth[:, half:], given[:, half:]
    losses = {"base": _wmape(later, base, groups), "bottom_up": _wmape(later, summed[:, half:], groups)}
    fit: list[Method] = []
    for method in methods:
        covariance = estimate(method, hierarchy, truth[:, :half] - given[:, :half])
        if covariance is not None:
            losses[method] = _wmape(later, reconcile(hierarchy, base, covariance), groups)
        if all(losses[method][g] <= (1 + _WORSE) * losses["bottom_up"][g] for g in groups):
            fit.append(method)
    if len(methods) == 1:
        return methods[0], losses
    gain = {
        method: np.mean([losses[method][g] / max(losses["bottom_up"][g], 1e-12) for g in groups])
        for method in fit
    }
    best = min(fit, key=lambda method: gain[method])
    return best if gain[best] <= 1 - _WORSE else "bottom_up", losses


def _wmape(truth: Floats, forecast: Floats, groups: Mapping[str, Integers]) -> dict[str, float]:
    return {
        name: float(np.nansum(np.abs(truth[rows] - forecast[rows])) / max(np.nansum(truth[rows]), 1e-12))
        for name, rows in groups.items()
    }


def _spread(truth: Floats, forecast: Floats, share: float, period: Integers) -> Spread:
    usable = np.isfinite(truth) & (forecast > 0) & (truth >= 0)
    if not usable.any():
        return Spread(0.0, 1.0, 0, exact=False)
    with np.errstate(divide="ignore"):
        score = np.abs(np.log(truth[usable] / forecast[usable]))  # infinite where nothing was sold
    _, group, size = np.unique(
        np.broadcast_to(period, truth.shape)[usable], return_inverse=True, return_counts=True
    )
    order = np.argsort(score, kind="stable")
    held = np.cumsum(1.0 / size[group[order]]) / (len(size) + 1)
    place = int(np.searchsorted(held, share - 1e-9))
    exact = place < len(score)
    bound = float(score[order[min(place, len(score) - 1)]])
    finite = score[np.isfinite(score)]
    high = float(np.exp(min(bound, float(finite.max(initial=0.0)))))
    return Spread(float(np.exp(-bound)), high, len(score), exact, len(size))


def _stack(hierarchy: Hierarchy, series: Floats) -> Floats:
    return np.concatenate([hierarchy.sums(np.nan_to_num(series)), series])


def _groups(hierarchy: Hierarchy) -> dict[str, Integers]:
    """Rows of each level in a stacked matrix."""
    named = [level for level, _ in hierarchy.nodes]
    starts = {level: named.index(level) for level in hierarchy.levels}
    counts = {level: named.count(level) for level in hierarchy.levels}
    found = {level: np.arange(starts[level], starts[level] + counts[level]) for level in hierarchy.levels}
    found[SERIES] = np.arange(len(named), len(named) + hierarchy.n_series)
    return found


def _placed(plan: LevelPlan, hierarchy: Hierarchy) -> Covariance:
    """Bring the covariance into the order of these nodes and series; one never seen gets the mean of its level."""
    assert plan.covariance is not None
    known = {pair: i for i, pair in enumerate(plan.names)}
    wanted = list(hierarchy.node_frame().iter_rows())
    places = np.array([known.get(pair, -1) for pair in wanted])
    diagonal = np.where(places >= 0, plan.covariance.diagonal[places], np.nan)
    level_of = np.array([level for level, _ in plan.names])
    for i in np.flatnonzero(places < 0):
        same = plan.covariance.diagonal[level_of == wanted[i][0]]
        diagonal[i] = same.mean() if len(same) else plan.covariance.diagonal.mean()
    factors = np.where(places >= 0, plan.covariance.factors[:, places], 0.0)
    return Covariance(diagonal, factors, plan.covariance.shrinkage)


def _node_columns(hierarchy: Hierarchy, frame: pl.DataFrame, columns: Sequence[str]) -> pl.DataFrame:
    """Values of the levels' columns for each node; null where a node sums over them."""
    table = frame.select(SERIES, *columns).unique().sort(SERIES)
    empty = {c: pl.Series(c, [None], dtype=table.schema[c]) for c in columns}
    parts = [pl.DataFrame(empty)]
    for level, used in list(hierarchy.levels.items())[1:]:
        own = table.select(node_names(used).alias("__node"), *used).unique("__node").sort("__node")
        parts.append(
            own.select(*(c if c in used else pl.lit(None, table.schema[c]).alias(c) for c in columns))
        )
        assert len(parts[-1]) == sum(name == level for name, _ in hierarchy.nodes)
    parts.append(table.select(columns))
    return pl.concat(parts)
