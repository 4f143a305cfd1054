"""Series without a past: rehearsed when a model is trained, measured when it is judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.features.featureset import FeatureSet
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
) -> tuple[Rehearsal, Families]:
    """Choose rows that folds judge, treat them as new, and ask about their siblings.

    Parameters
    ----------
    rows
        Training rows, those that folds judge among them.
    folds
        Row numbers to fit on and to judge by.
    sources
        Regular frames, see `charter.data.grid.on_grid`.
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
    ahead = [name for name in plan.known_ahead if name in rows.columns]
    asked = borrowed.questions(subjects.select(*plan.keys, "as_of", plan.time, *ahead))
    questions = complete(locate(asked, plan, sources), features, sources)
    told = subjects.select(
        "series", *plan.keys, "as_of", "step", pl.col(label).cast(pl.Float64).alias("actual")
    )
    return Rehearsal(told, fold[place], borrowed, questions), families


def learned(rehearsal: Rehearsal, families: Families, trained: Trained, spec: ModelSpec) -> ColdStart | None:
    """How new series are forecast by what was trained, and how wrong that was; None where nothing was rehearsed."""
    from charter.train.cold_start import learn_cold_start

    if trained.as_new is None:
        return None
    return learn_cold_start(
        rehearsal,
        trained.as_new,
        families,
        transform=spec.train.transform,
        level=spec.train.interval,
        metric=spec.train.metric,
        horizon=families.plan.horizon,
    )


def with_traits(asked: Signature, cold: ColdStart | None) -> Signature:
    """Let the history that answers hold the columns by which siblings are found."""
    plan = asked.series
    if plan is None or cold is None:
        return asked
    told = {trait.name for trait in cold.likeness.traits if trait.name in plan.known_ahead}
    columns = tuple(sorted({*asked.history[plan.source], *told}))
    return replace(asked, history={**asked.history, plan.source: columns})
