"""Forecasts as observations: one row per series, origin and step, with what is known of its target ahead of time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.errors import DataError
from charter.data.grid import AS_OF, FILLED, SERIES, STEP, SeriesPlan, name_series, series_plan
from charter.data.split import SPLIT, hash_text
from charter.spec.scope import known_columns
from charter.spec.types import ModelSpec, Split

HELD_OUT = "__held_out"
"""True in rows of series that no training row is of."""
_PERIOD, _FIRST, _ORIGIN = "__period", "__first", "__origin"
_DRAWN_ROWS = 50_000
_FEWEST, _APART, _ALIKE = 8, 4, 0.9
"""When rows are taken for those of longer periods: this many, so far apart, and this share of the distances alike."""
_LONGER = {
    ("day", 7): "week",
    ("day", 30): "month",
    ("day", 31): "month",
    ("week", 4): "month",
    ("week", 5): "month",
}


def forecast_rows(sources: Mapping[str, pl.DataFrame], spec: ModelSpec) -> pl.DataFrame:
    """Form the rows that a forecast is trained and tested on.

    Parameters
    ----------
    sources
        Prepared frames, regular (see `charter.data.grid.on_grid`).

    Returns
    -------
    One row per series, origin and step: the key columns, ``series``, ``as_of`` (the origin), ``step`` (Int32), the
    target's time under the name of the source's time column, its known-ahead columns, the attributes, the label
    (Float64), ``__split`` and ``__held_out``. The target lies ``gap + step - 1`` periods after the origin.

    Test rows are all steps from the last ``split.origins`` origins whose whole horizon is known. Training rows have
    targets before the first of these, each with ``train.steps_per_target`` steps drawn by the seed, the series and the
    target alone: a new week adds rows and leaves the others as they are. ``fold`` rows are what is left of all steps
    from the origins that folds judge; no model is fitted on them. A series takes part from its second period on.

    Raises
    ------
    DataError
        When too few periods are known for the origins that are asked for, or rows are of longer periods than
        ``data.observations.every`` says.
    """
    plan = series_plan(spec.data)
    if plan is None or spec.train.split.origins is None:
        raise DataError("the observations are no series")
    grid = plan.grid
    known = [name for name in known_columns(spec.data).columns if name not in (*plan.keys, plan.time)]
    label = spec.data.label.name
    history = sources[plan.source]
    real = ~pl.col(FILLED) if plan.missing == "last" and FILLED in history.columns else pl.lit(True)
    rows = (
        history.with_columns(
            grid.number(pl.col(plan.time)).alias(_PERIOD),
            grid.number(pl.col(plan.time)).min().over(SERIES).alias(_FIRST),
        )
        .filter(pl.col(plan.label).is_not_null() & real)
        .select(
            *plan.keys,
            SERIES,
            plan.time,
            *known,
            pl.col(plan.label).cast(pl.Float64).alias(label),
            _PERIOD,
            _FIRST,
        )
    )
    if not rows.height:
        raise DataError(f"source {plan.source}: no row has a known {plan.label}")
    there = rows if FILLED not in history.columns else history.filter(~pl.col(FILLED))
    _check_every(there.select(grid.number(pl.col(plan.time)).unique().sort()).to_series(), plan)
    origins = last_origins(plan, spec.train.split, int(rows[_PERIOD].min()), int(rows[_PERIOD].max()))  # type: ignore[arg-type]
    held = _held_out(rows, spec)
    rows = rows.with_columns(held.alias(HELD_OUT))
    seen = rows.filter((pl.col(_PERIOD) < origins[0]) & ~pl.col(HELD_OUT))
    drawn = _draw(seen, plan, spec).with_columns(pl.lit("train").alias(SPLIT))
    tested = _every_step(rows, origins, plan).with_columns(pl.lit("test").alias(SPLIT))
    judged = fold_origins(plan, spec.train.split, origins[0] - 1)
    folded = _every_step(seen, judged, plan).with_columns(pl.lit("fold").alias(SPLIT))
    folded = folded.join(drawn, on=[SERIES, _ORIGIN, STEP], how="anti", maintain_order="left")
    if not drawn.height or not tested.height:
        side = "training" if not drawn.height else "test"
        raise DataError(
            f"no {side} rows: the series are too short for {len(origins)} test origins and {plan.horizon} steps",
            remedy="Lower train.split.origins, or bring more periods.",
        )
    frame = pl.concat([part.select(sorted(drawn.columns)) for part in (drawn, folded, tested)])
    frame = frame.with_columns(grid.start(pl.col(_ORIGIN)).alias(AS_OF))
    frame = frame.select(*plan.keys, SERIES, AS_OF, STEP, plan.time, *known, label, SPLIT, HELD_OUT)
    return join_attributes(frame, plan, sources)


def _check_every(there: pl.Series, plan: SeriesPlan) -> None:
    """Refuse rows that are of weeks or months where ``every`` says days or weeks: most steps would have no target.

    Parameters
    ----------
    there
        Numbers of the periods with a row of any series, ascending.
    """
    apart = there.diff().drop_nulls().cast(pl.Float64)
    usual = apart.median()
    if there.len() < _FEWEST or not isinstance(usual, float) or usual < _APART:
        return
    if ((apart - usual).abs() <= usual / 4).mean() < _ALIKE:  # type: ignore[operator]
        return
    whole = int(there[-1]) - int(there[0]) + 1
    absent = whole - there.len()
    longer = _LONGER.get((plan.every, round(usual)))
    hint = f"Write `every: {longer}`, or bring" if longer is not None else "Bring"
    raise DataError(
        f"data.observations.every is {plan.every}, and {absent:,} of the {whole:,} {plan.every}s of source "
        f"{plan.source} ({absent / whole:.0%}) have no row of any series: its rows are {usual:g} {plan.every}s apart",
        remedy=f"{hint} a row for each {plan.every}, with a {plan.label} of 0 where there was none.",
    )


def last_origins(plan: SeriesPlan, split: Split, first: int, last: int) -> list[int]:
    """Numbers of the test origins, ascending.

    Parameters
    ----------
    first, last
        First and last period with a known label.

    Raises
    ------
    DataError
        When the first test origin leaves nothing to train on.

    Examples
    --------
    >>> plan = SeriesPlan("sales", ("shop",), "week", "week", "monday", 12, 0, "leave", "units")
    >>> last_origins(plan, Split(kind="origins", origins=3), 40, 160)
    [147, 148, 149]
    """
    newest = last - plan.reach + 1
    found = sorted(newest - split.spacing * i for i in range(split.origins or 1))
    if found[0] <= first + 1:
        raise DataError(
            f"{last - first + 1} {plan.every}s are known; {split.origins} test origins with {plan.reach} {plan.every}s "
            "after each leave nothing to train on",
            remedy="Lower train.split.origins or data.observations.horizon, or bring more periods.",
        )
    return found


def fold_origins(plan: SeriesPlan, split: Split, last: int) -> list[int]:
    """Numbers of the origins that the folds judge, ascending; the last one's whole horizon lies in the training rows.

    Parameters
    ----------
    last
        Last period that training knows.
    """
    newest = last - plan.reach + 1
    return sorted(newest - split.fold_periods * i for i in range(split.folds))


def locate(frame: pl.DataFrame, plan: SeriesPlan, sources: Mapping[str, pl.DataFrame]) -> pl.DataFrame:
    """Say which series and step the rows of a request are, and bring the attributes.

    Parameters
    ----------
    frame
        Key columns, ``as_of`` and the target's time; n rows.
    sources
        Frames of the attributes' sources.

    Returns
    -------
    ``frame`` with ``series``, ``step`` (Int32; outside 1..horizon where the target is not ahead of the origin or too
    far) and the attributes; n rows in the same order.
    """
    grid = plan.grid
    step = grid.number(pl.col(plan.time)) - grid.number(pl.col(AS_OF)) - plan.gap + 1
    frame = frame.with_columns(name_series(plan.keys), step.cast(pl.Int32).alias(STEP))
    return join_attributes(frame, plan, sources)


def join_attributes(
    frame: pl.DataFrame, plan: SeriesPlan, sources: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Add the columns of the attributes' sources; null where there is no row.

    Raises
    ------
    DataError
        When a source is not there, or has two rows for one value.
    """
    for source, key in plan.attributes:
        if source not in sources:
            raise DataError(f"attributes come from source {source!r}, which is not here")
        table = sources[source].drop(SERIES, strict=False)
        twice = table.filter(pl.col(key).is_duplicated())
        if twice.height:
            raise DataError(
                f"source {source}: {key} {twice[key][0]} has {twice.filter(pl.col(key) == twice[key][0]).height} rows; "
                "attributes have one",
                remedy=f"Keep one row for each {key}.",
            )
        taken = sorted((set(table.columns) - {key}) & set(frame.columns))
        frame = frame.drop(taken).join(
            table.with_columns(pl.col(key).cast(frame.schema[key])), on=key, how="left", maintain_order="left"
        )
    return frame


def _held_out(rows: pl.DataFrame, spec: ModelSpec) -> pl.Series:
    apart = spec.train.split.hold_out
    if apart is None:
        return pl.repeat(False, rows.height, dtype=pl.Boolean, eager=True)
    values = rows[apart.column].cast(pl.String).fill_null("")
    names = sorted(values.unique().to_list(), key=lambda text: hash_text(spec.train.seed, text))
    count = max(round(apart.share * len(names)), 1)
    if count >= len(names):
        raise DataError(
            f"train.split.hold_out: {apart.column} has {len(names)} values; holding {count} out leaves none to train on"
        )
    return values.is_in(names[:count])


def _every_step(rows: pl.DataFrame, origins: list[int], plan: SeriesPlan) -> pl.DataFrame:
    """Rows of all steps from some origins, of the series that have a past by then."""
    steps = pl.DataFrame(
        {
            _ORIGIN: np.repeat(np.array(origins, np.int64), plan.horizon),
            STEP: np.tile(np.arange(1, plan.horizon + 1, dtype=np.int32), len(origins)),
        }
    ).with_columns((pl.col(_ORIGIN) + plan.gap + pl.col(STEP) - 1).alias(_PERIOD))
    found = steps.join(rows, on=_PERIOD, how="inner", maintain_order="left_right")
    return found.filter(pl.col(_FIRST) < pl.col(_ORIGIN))


def _draw(rows: pl.DataFrame, plan: SeriesPlan, spec: ModelSpec) -> pl.DataFrame:
    """Give each target some of the steps from which it could have been forecast."""
    parts = list(_drawn(rows, plan, spec.train.steps_per_target, spec.train.seed))
    return pl.concat(parts) if parts else rows.clear().with_columns(
        pl.lit(0, pl.Int64).alias(_ORIGIN), pl.lit(0, pl.Int32).alias(STEP)
    )  # fmt: skip


def _drawn(rows: pl.DataFrame, plan: SeriesPlan, count: int, seed: int) -> Iterator[pl.DataFrame]:
    names = rows[SERIES].unique()
    hashes = pl.DataFrame(
        {SERIES: names, "__hash": pl.Series([hash_text(seed, n) for n in names], dtype=pl.UInt64)}
    )
    steps = np.arange(1, plan.horizon + 1, dtype=np.uint64)
    for start in range(0, rows.height, _DRAWN_ROWS):
        part = rows[start : start + _DRAWN_ROWS]
        own = (
            part.select(SERIES)
            .join(hashes, on=SERIES, how="left", maintain_order="left")["__hash"]
            .to_numpy()
        )
        period = part[_PERIOD].to_numpy()
        # The origin must leave the series one period of past.
        furthest = period - plan.gap - part[_FIRST].to_numpy()
        with np.errstate(over="ignore"):
            lot = _mixed(_mixed(own ^ period.astype(np.uint64))[:, None] + steps[None, :])
        lot[steps[None, :].astype(np.int64) > furthest[:, None]] = np.iinfo(np.uint64).max
        order = np.argsort(lot, axis=1, kind="stable")[:, : min(count, plan.horizon)]
        chosen = np.sort(order, axis=1) + 1
        which, column = np.nonzero(chosen <= furthest[:, None])
        step = chosen[which, column]
        yield part[which].with_columns(
            pl.Series(STEP, step.astype(np.int32)),
            pl.Series(_ORIGIN, period[which] - plan.gap - step + 1, dtype=pl.Int64),
        )


def _mixed(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Finaliser of SplitMix64 (Steele, Lea & Flood 2014): neighbours become unrelated numbers."""
    with np.errstate(over="ignore"):
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))
