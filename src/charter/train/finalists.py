"""What may become the model: the best of the search, and beside it what is not searched, each judged on the same folds.

Every finalist forecasts the rows that a fold judges from what was known at that fold's origin, and is measured by the
search's metric; the searched one by fits with its final parameters, without early stopping. These were chosen on the
same folds, which is a small head start. The test origins have no say. What the winner said out of fold is what
intervals, levels and stock are learned from, whoever it is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.data import metrics
from charter.data.grid import AS_OF, SERIES, STEP, series_plan
from charter.features.encoders import Encoder, fit_one_hot
from charter.features.featureset import Feature
from charter.features.preprocess import Preprocessor
from charter.train import calibrate
from charter.train.combined import Blend, SecondStage, average
from charter.train.search import Candidate, measure
from charter.train.second_stage import Corrections, fit_corrections, known_by_fold
from charter.train.series_methods import SeriesMethods, methods_of

if TYPE_CHECKING:
    from charter.spec.types import ModelSpec
    from charter.train.cold_start import Rehearsal
    from charter.train.folds import Fold
    from charter.train.ports import Fitted

ENSEMBLE, TWO_STAGE = "ensemble", "two_stage"
MOST_CATEGORIES = 200
"""Of a second stage."""


@dataclass(frozen=True, slots=True, eq=False)
class Finalist:
    """One that may become the model.

    Attributes
    ----------
    name
        A learner, a statistical method, ``two_stage`` or ``ensemble``.
    said
        Per fold what it says of the rows to judge, on the scale that is learned, rounded to float32 as served.
    fold_scores
        The search metric per fold.
    params
        What there is to know of it.
    """

    name: str
    said: tuple[np.ndarray, ...]
    fold_scores: tuple[float, ...]
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """Mean over the folds."""
        return math.fsum(self.fold_scores) / len(self.fold_scores)


class Finals:
    """The finalists of one training, and the model that the best of them is.

    Parameters
    ----------
    folds
        Ready to be judged on.
    dataset
        Training rows, those that folds judge among them; n rows.
    y
        Shape (n,): what is learned.
    """

    def __init__(self, folds: Sequence[Fold], spec: ModelSpec, dataset: pl.DataFrame, y: np.ndarray) -> None:
        self._folds, self._spec, self._dataset, self._y = folds, spec, dataset, y
        self._metric = spec.train.metric
        self._found: list[Finalist] = []
        self._general: Finalist | None = None
        self._chosen: Finalist | None = None
        self._forecasts: pl.DataFrame | None = None
        self._as_new: Sequence[np.ndarray] = ()
        self._categories: Encoder | None = None

    def searched(self, name: str, said: Sequence[np.ndarray], as_new: Sequence[np.ndarray] = ()) -> None:
        """Add the best of the search, and what a second stage makes of it.

        Parameters
        ----------
        as_new
            Per fold what it says to the questions of a rehearsal, see `as_new`.
        """
        self._as_new = as_new
        self._general = self._judge(name, said)
        self._found.append(self._general)
        if self._spec.train.two_stage is not None:
            self._found.append(self._second_stage(self._spec.train.two_stage, self._general))

    def settle(self, forecasts: pl.DataFrame | None) -> Finalist:
        """Add the statistical methods, and the average of all; return the best, of equals the first.

        Averages of forecasts whose errors are not alike are often better than any of them (Bates and Granger, 1969,
        "The combination of forecasts"). All count the same: weights that are estimated from few origins seldom beat
        equal ones, since their own errors add to the forecast's (Claeskens et al., 2016, "The forecast combination
        puzzle: a simple theoretical explanation").

        Parameters
        ----------
        forecasts
            A column for each method, by row of the data set.
        """
        names = methods_of(self._spec.train.learners) if forecasts is not None else ()
        self._forecasts = forecasts
        table = forecasts.to_numpy() if forecasts is not None else np.empty((0, 0))
        alone = [
            self._judge(name, [table[fold.rows, at] for fold in self._folds]) for at, name in enumerate(names)
        ]
        self._found += alone
        if self._spec.train.ensemble:
            members = [one for one in (self._general, *alone) if one is not None]
            said = [np.mean([one.said[at] for one in members], axis=0) for at in range(len(self._folds))]
            self._found.append(self._judge(ENSEMBLE, said, {"members": [one.name for one in members]}))
        sign = 1.0 if metrics.direction(self._metric) == "up" else -1.0
        place = max(range(len(self._found)), key=lambda at: (sign * self._found[at].score, -at))
        self._chosen = self._found[place]
        return self._chosen

    def candidates(self, first: int) -> list[Candidate]:
        """Write down those that were not searched, numbered from ``first`` on."""
        others = [one for one in self._found if one is not self._general]
        return [
            Candidate(number, one.name, dict(one.params), (), one.fold_scores, one.score, pruned=False)
            for number, one in enumerate(others, first)
        ]

    @property
    def chosen(self) -> Finalist:
        """The best."""
        assert self._chosen is not None
        return self._chosen

    @property
    def reads_features(self) -> bool:
        """Whether the best needs the searched model."""
        return self._general is not None and (self.chosen.name in (self._general.name, TWO_STAGE, ENSEMBLE))

    @property
    def methods(self) -> SeriesMethods | None:
        """Statistical methods whose forecasts the best reads; None where it reads none."""
        every = methods_of(self._spec.train.learners)
        used = every if self.chosen.name == ENSEMBLE else [n for n in every if n == self.chosen.name]
        if not used:
            return None
        return SeriesMethods.of(used, self._spec.train.transform, self._spec.data.observations.every or "day")

    def complete(
        self, general: Fitted, preprocessor: Preprocessor, X: np.ndarray
    ) -> tuple[Fitted, Preprocessor, np.ndarray]:
        """Make the best from the searched model, which was fitted on all rows.

        Returns
        -------
        The model, what makes its matrix, and such a matrix of training rows.
        """
        width, params = len(preprocessor.names), {**self.chosen.params, "learner": self._name}
        if self.chosen.name == TWO_STAGE:
            assert self._categories is not None
            assert self._general is not None
            categories = [self._flags(self._dataset[fold.rows]) for fold in self._folds]
            actual = [fold.y_valid for fold in self._folds]
            found = fit_corrections(self._general.said, actual, categories, len(self._categories.names))
            model = SecondStage(general, width, found, params)
            both = Preprocessor((*preprocessor.encoders, self._categories), preprocessor.dropped)
            return model, both, both.transform(self._dataset[self._judged])
        if self.chosen.name == ENSEMBLE:
            own, columns = self._columns()
            X = np.hstack([preprocessor.transform(self._dataset[self._judged]), columns])
            both = Preprocessor((*preprocessor.encoders, *own.encoders), preprocessor.dropped)
            return Blend(general, width, columns.shape[1], params), both, X
        return general, preprocessor, X

    def by_methods(self) -> tuple[Fitted, Preprocessor, np.ndarray]:
        """Make the best from statistical methods alone; as `complete`."""
        preprocessor, X = self._columns()
        return average(X, self.chosen.params), preprocessor, X

    def as_new(self, rehearsal: Rehearsal) -> np.ndarray:
        """What the best says to the questions of a rehearsal: float64 [m], NaN where it knows nothing.

        Each fold's questions are answered by what was known at its origin, as all that a fold judges.
        """
        numbers = range(len(self._folds))
        general = [one.astype(np.float32).astype(np.float64) for one in self._as_new]
        if self.chosen.name == TWO_STAGE:
            assert self._general is not None
            found = self._corrections(self._general)
            general = [found[at].apply(general[at], self._flags(rehearsal.of_fold(at))) for at in numbers]
        if self.methods is None:
            return rehearsal.in_order(general)
        # The siblings were forecast from the same origins by what the folds judge.
        assert self._forecasts is not None
        place = [SERIES, AS_OF, STEP]
        table = self._dataset.select(place).hstack(self._forecasts.select(self.methods.columns))
        alone = rehearsal.questions.select(place).join(table, on=place, how="left", maintain_order="left")
        columns = alone.select(self.methods.columns).to_numpy().astype(np.float64)
        if self.chosen.name != ENSEMBLE or self._general is None:
            return np.asarray(columns.mean(axis=1))
        return np.asarray(np.column_stack([rehearsal.in_order(general), columns]).mean(axis=1))

    @property
    def _name(self) -> str:
        return self._general.name if self._general is not None else ""

    @property
    def _judged(self) -> np.ndarray:
        return np.unique(np.concatenate([fold.rows for fold in self._folds]))

    def _judge(
        self, name: str, said: Sequence[np.ndarray], params: Mapping[str, Any] | None = None
    ) -> Finalist:
        rounded = tuple(one.astype(np.float32).astype(np.float64) for one in said)
        scores = tuple(
            measure(
                self._metric,
                fold.actual,
                calibrate.apply(fold.calibration, one),
                self._spec.value,
                f"fold {number}",
            )
            for number, (fold, one) in enumerate(zip(self._folds, rounded, strict=True))
        )
        return Finalist(name, rounded, scores, params or {})

    def _columns(self) -> tuple[Preprocessor, np.ndarray]:
        """Columns of the methods as a matrix of the judged rows."""
        assert self.methods is not None
        assert self._forecasts is not None
        names = self.methods.columns
        preprocessor = Preprocessor(tuple(Encoder(name, "numeric", (name,)) for name in names))
        return preprocessor, preprocessor.transform(self._forecasts[self._judged])

    def _second_stage(self, column: str, general: Finalist) -> Finalist:
        values = self._dataset[column].cast(pl.String)
        if values.n_unique() > MOST_CATEGORIES:
            raise DataError(
                f"train.two_stage: {column} has {values.n_unique():,} values; a second stage is for up to "
                f"{MOST_CATEGORIES}",
                remedy="Name a coarser column.",
            )
        made = fit_one_hot(values, Feature(column, "category"))
        self._categories = replace(made, names=tuple(f"{name} (second stage)" for name in made.names))
        said = [
            found.apply(one, self._flags(self._dataset[fold.rows]))
            for found, one, fold in zip(self._corrections(general), general.said, self._folds, strict=True)
        ]
        return self._judge(TWO_STAGE, said, {"category": column})

    def _corrections(self, general: Finalist) -> list[Corrections]:
        """What each fold knew of the general model's errors by then."""
        assert self._categories is not None
        plan = series_plan(self._spec.data)
        assert plan is not None
        number = plan.grid.number
        target = self._dataset.select(number(pl.col(plan.time))).to_series().to_numpy()
        origin = self._dataset.select(number(pl.col(AS_OF))).to_series().to_numpy()
        return known_by_fold(
            general.said,
            [fold.y_valid for fold in self._folds],
            [self._flags(self._dataset[fold.rows]) for fold in self._folds],
            len(self._categories.names),
            target=[target[fold.rows] for fold in self._folds],
            origin=[int(origin[fold.rows[0]]) for fold in self._folds],
        )

    def _flags(self, rows: pl.DataFrame) -> np.ndarray:
        assert self._categories is not None
        return Preprocessor((self._categories,)).transform(rows)
