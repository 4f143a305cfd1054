"""Series without a past: rehearsed when a model is trained, measured when it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

MEASURED_SERIES = 20
"""Series of each test origin and kind of newness that are forecast as if they were new."""

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.evaluate.types import ForecastPart
    from charter.features.featureset import FeatureSet
    from charter.serve.scorer import Scorer
    from charter.serve.types import Signature
    from charter.spec.types import ModelSpec
    from charter.train.cold_start import ColdStart, Rehearsal
    from charter.train.siblings import Families
    from charter.train.types import Trained


def rehearse(
    rows: pl.DataFrame,
    folds: Sequence[tuple[np.ndarray, np.ndarray]],
    sources: Mapping[str, pl.DataFrame],
    features: FeatureSet,
    plan: SeriesPlan,
    spec: ModelSpec,
) -> tuple[Rehearsal | None, Families]:
    """Choose rows that folds judge, treat them as new, and ask about their siblings.

    Parameters
    ----------
    rows
        Training rows, those that folds judge among them.
    folds
        Row numbers to fit on and to judge by.
    sources
        Regular frames, see `charter.data.grid.on_grid`.

    Returns
    -------
    None instead of a rehearsal where no series has siblings; and where siblings are found.
    """
    import numpy as np
    import polars as pl

    from charter.features.featureset import complete
    from charter.features.forecasts import locate
    from charter.train.cold_start import Rehearsal, borrow, draw
    from charter.train.siblings import Families, Likeness

    history, label = sources[plan.source], spec.data.label.name
    known = history.filter(
        pl.col(plan.time).cast(pl.Datetime("us")) <= rows[plan.time].cast(pl.Datetime("us")).max()
    )
    likeness = Likeness.learn(known, plan, sources, features.names)
    families = Families(likeness, history, plan, sources)
    judged = np.concatenate([valid for _, valid in folds])
    fold = np.repeat(np.arange(len(folds)), [len(valid) for _, valid in folds])
    place, hidden = draw(rows[judged], plan, spec.train.seed)
    subjects = rows[judged[place]]
    borrowed = borrow(families, subjects, hidden)
    if not len(borrowed.row):
        return None, families
    ahead = [name for name in plan.known_ahead if name in rows.columns]
    asked = borrowed.questions(subjects.select(*plan.keys, "as_of", plan.time, *ahead))
    questions = complete(locate(asked, plan, sources), features, sources)
    told = subjects.select(
        "series", *plan.keys, "as_of", "step", pl.col(label).cast(pl.Float64).alias("actual")
    )
    return Rehearsal(told, fold[place], borrowed, questions), families


def learned(rehearsal: Rehearsal | None, families: Families, trained: Trained, spec: ModelSpec) -> ColdStart:
    """How new series are forecast by what was trained, and how wrong that was as far as it was rehearsed."""
    from charter.train.calibrate import Calibration
    from charter.train.cold_start import ColdStart, learn_cold_start

    if rehearsal is None or trained.as_new is None:
        return ColdStart(families.likeness, spec.train.transform, Calibration("log1p"), None)
    return learn_cold_start(
        rehearsal,
        trained.as_new,
        families,
        transform=spec.train.transform,
        level=spec.train.interval,
        metric=spec.train.metric,
        horizon=families.plan.horizon,
    )


def with_traits(asked: Signature, cold: ColdStart) -> Signature:
    """Let the history that answers hold the columns by which siblings are found."""
    plan = asked.series
    if plan is None:
        return asked
    told = {trait.name for trait in cold.likeness.traits if trait.name in plan.known_ahead}
    columns = tuple(sorted({*asked.history[plan.source], *told}))
    return replace(asked, history={**asked.history, plan.source: columns})


def measured(scorer: Scorer, tested: pl.DataFrame, spec: ModelSpec) -> tuple[ForecastPart, ...]:
    """Forecast some of the test rows as if their series had no past, and hold that against what happened.

    Parameters
    ----------
    tested
        As `charter.flow.judge_forecast.tested_frame` gives it.

    Returns
    -------
    A part for each kind of newness. Baselines are what a planner without a model has: the mean of the siblings' moving
    averages, and that of all series (of last values, where the model is a moving average itself).
    """
    import numpy as np
    import polars as pl

    from charter.data.grid import AS_OF, SERIES, STEP, name_series
    from charter.evaluate.forecast import evaluate_forecast
    from charter.features.forecasts import locate
    from charter.spec.newness import kind_words
    from charter.train.cold_start import draw, units

    series = scorer.series
    if series is None or series.newcomers is None:
        return ()
    plan = series.plan
    place, hidden = draw(tested, plan, spec.train.seed, series=MEASURED_SERIES)
    subjects = tested[place]
    inputs = subjects.select(i.name for i in scorer.signature.inputs if i.name in subjects.columns)
    found = series.newcomers.answer(inputs, locate(inputs, plan, series.sources), scorer.learned, hidden)
    borrowed = found.borrowed
    keys = [SERIES, AS_OF, STEP]
    method = next((m for m in ("moving_average", "naive") if m in tested.columns), None)
    frame = subjects.select(AS_OF, STEP, "actual").with_columns(
        pl.Series("series", units(subjects, plan.keys, borrowed.unknown)),
        pl.Series("kind", borrowed.unknown),
        pl.Series("forecast", found.score),
        pl.Series("lower", found.lower, nan_to_null=True),
        pl.Series("upper", found.upper, nan_to_null=True),
    )
    baselines = []
    if method is not None:
        words = method.replace("_", " ")
        simple = tested.select(*keys, pl.col(method).alias("said"))
        siblings = borrowed.keys.with_columns(name_series(plan.keys)).select(SERIES)
        asked = siblings.hstack(subjects[borrowed.row].select(AS_OF, STEP))
        said = asked.join(simple, on=keys, how="left", maintain_order="left")["said"]
        known = np.isfinite(said.fill_null(np.nan).to_numpy())
        n = subjects.height
        count = np.bincount(borrowed.row[known], minlength=n)
        total = np.bincount(borrowed.row[known], weights=said.to_numpy()[known], minlength=n)
        with np.errstate(invalid="ignore"):
            frame = frame.with_columns(pl.Series(f"{words} of siblings", total / count))
        every = _mean_of_all(tested.select(AS_OF, STEP), tested[method])
        frame = frame.with_columns(pl.Series(f"{words} of all", every[place]))
        baselines = [f"{words} of siblings", f"{words} of all"]
    parts = []
    for code in sorted(set(borrowed.unknown.tolist())):
        own = frame.filter((pl.col("kind") == code) & pl.col("forecast").is_finite())
        if own.is_empty():
            continue
        report = evaluate_forecast(
            own,
            baselines=baselines,
            level=spec.train.interval,
            metric=spec.train.metric,
            confidence=spec.evaluate.confidence,
            resamples=spec.evaluate.resamples,
            seed=spec.train.seed,
            also=("absolute_bias", "coverage_error"),  # they can be required
        )
        parts.append(replace(report.overall, by="new_series", value=kind_words(plan.keys, code)))
    return tuple(parts)


def _mean_of_all(moments: pl.DataFrame, said: pl.Series) -> np.ndarray:
    """What is said of all series at each row's origin and step, in the mean: float64 [n], NaN where nothing is known.

    Summed in the order of the rows; Polars adds up a group's parts in an order that its threads decide.
    """
    import numpy as np
    import polars as pl

    group = moments.select(pl.struct(pl.all()).rank("dense") - 1).to_series().to_numpy()
    values = said.cast(pl.Float64).fill_null(np.nan).to_numpy()
    known = np.isfinite(values)
    groups = int(group.max(initial=0)) + 1
    total = np.bincount(group[known], weights=values[known], minlength=groups)
    with np.errstate(invalid="ignore"):
        mean: np.ndarray = (total / np.bincount(group[known], minlength=groups))[group]
    return mean
