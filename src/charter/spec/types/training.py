"""How the model is made."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, FiniteFloat, model_validator

from charter.spec.types.words import Column, Expression, Moment, Part, Share, days_between
from charter.spec.vocabulary import DEFAULT_METRIC

Task = Literal["binary", "multiclass", "regression", "forecast"]


class HoldOut(Part):
    """Series that no training row is of, to see how a forecast does for stores it has not learned from.

    Their past is known. Forecasts of series without a past are measured in any case.
    """

    column: Column
    """Column of ``observations.series``; its values are held out whole."""
    share: Annotated[float, Field(gt=0, lt=1)]


class Split(Part):
    """How test rows are held out, and how folds are cut from the rest."""

    kind: Literal["random", "grouped", "time", "origins"]
    stratify: bool = False
    test: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share held out; random and grouped."""
    group: Column | None = None
    train_from: Moment | None = None
    """First moment of training observations; time. ``latest - 730d`` lets the oldest rows go as new ones come."""
    train_until: Moment | None = None
    """Last moment of training observations; time."""
    test_from: Moment | None = None
    test_until: Moment | None = None
    folds: Annotated[int, Field(ge=2, le=20)] = 5
    origins: Annotated[int, Field(ge=1, le=200)] | None = None
    """Forecasts: how many origins test, the last ones whose whole horizon is known. Training ends before the first."""
    spacing: Annotated[int, Field(ge=1, le=100)] = 1
    """Forecasts: periods from one test origin to the next."""
    fold_periods: Annotated[int, Field(ge=1, le=100)] = 4
    """Forecasts: periods from the origin that one fold is judged on to the next fold's; its model has seen what was
    known at its origin."""
    hold_out: HoldOut | None = None

    @model_validator(mode="after")
    def _fits_kind(self) -> Split:
        if (self.kind == "origins") != (self.origins is not None):
            raise ValueError("'origins' (how many of them test) and 'kind: origins' go together")
        if self.kind != "origins" and self.hold_out is not None:
            raise ValueError("'hold_out' is for 'kind: origins'")
        if self.kind == "origins":
            others = (self.test, *self.moments, self.group)
            if self.stratify or any(given is not None for given in others):
                raise ValueError("a split by origins takes no share, no group and no dates")
            return self
        if self.kind == "time":
            if self.train_until is None or self.test_from is None:
                raise ValueError("a time split needs 'train_until' and 'test_from'")
            if not _apart(self.train_until, self.test_from, timedelta(days=1)):
                raise ValueError("'test_from' must be later than 'train_until'")
            if self.test_until is not None and not _apart(self.test_from, self.test_until):
                raise ValueError("'test_until' must not be earlier than 'test_from'")
            if self.train_from is not None and not _apart(self.train_from, self.train_until):
                raise ValueError("'train_until' must not be earlier than 'train_from'")
            if self.test is not None or self.stratify:
                raise ValueError("a time split takes neither 'test' nor 'stratify'")
        else:
            if self.test is None:
                raise ValueError(f"a {self.kind} split needs 'test', the share held out")
            if any(d is not None for d in self.moments):
                raise ValueError(f"a {self.kind} split takes no dates")
        if (self.kind == "grouped") != (self.group is not None):
            raise ValueError("'group' and 'kind: grouped' go together")
        return self

    @property
    def moments(self) -> tuple[Moment | None, ...]:
        """The moments of a split by time."""
        return self.train_from, self.train_until, self.test_from, self.test_until


def _apart(earlier: Moment, later: Moment, least: timedelta = timedelta(0)) -> bool:
    """Whether ``later`` is so much later; true where only the data can tell."""
    found = days_between(earlier, later)
    return found is None or found >= least


class Search(Part):
    """Bayesian search over the learners' parameters."""

    trials: Annotated[int, Field(ge=1, le=2000)] = 40
    """Over all learners together."""
    fixed: dict[str, dict[str, int | FiniteFloat]] = {}
    """Parameters that are stated and not searched, by learner: ``lightgbm: {min_data_in_leaf: 500}``."""
    metric: str | None = None
    """Default: average_precision (binary), log_loss (multiclass), root_mean_squared_error (regression),
    wmape (forecast)."""


class TrainSpec(Part):
    """How the model is made."""

    task: Task
    split: Split
    learners: tuple[str, ...] = Field(min_length=1)
    """Searched together. Forecasts: beside learners of features, methods that know each series' own past alone
    (``moving_average``, ``seasonal_naive``, ``ets``, ``auto_arima``, ...); the best on the folds is the model."""
    ensemble: bool = False
    """Forecasts: whether the mean of what the best searched learner and the methods say is a candidate, too."""
    step_blocks: tuple[Annotated[int, Field(ge=1, le=400)], ...] = ()
    """Forecasts: last steps of the blocks of the horizon that have trees of their own, such as ``[4, 8, 12]``; empty:
    one model learns all steps."""
    two_stage: Column | None = None
    """Forecasts: a column, such as ``brand``, by whose values a second stage corrects the searched learner, learned
    from its out-of-fold errors; a candidate beside it."""
    search: Search = Search()
    imbalance: Literal["none", "class_weight", "over_sample", "under_sample", "smote"] = "none"
    reweigh: tuple[Column, ...] = ()
    """Mitigation, binary tasks: protected columns. Training rows get weights under which the label does not depend on
    these groups (Kamiran & Calders 2012). The model does not see the groups, neither in training nor in serving."""
    calibrate: Literal["none", "sigmoid", "isotonic"] = "none"
    """Fitted on out-of-fold predictions."""
    monotone: dict[Column, Literal["increasing", "decreasing"]] = {}
    """The score may only rise (or fall) with the feature; learners that cannot promise it are refused."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    transform: Literal["none", "log1p"] = "none"
    """Forecasts: what is learned. ``log1p`` learns log(1 + label); answers are in the label's unit again, the
    median or (Duan 1983) the mean, whichever the search's metric prefers out of fold."""
    loss: Literal["squared", "absolute"] = "squared"
    """Regressions and forecasts: what trees make small. ``squared`` errors give the mean of what is learned;
    ``absolute`` ones its median, which few extreme rows do not move, and which is 0 where most labels are."""
    weight: Expression | None = None
    """Forecasts: how much a training row counts, from the row's columns and the label, such as ``price * units``."""
    steps_per_target: Annotated[int, Field(ge=1, le=400)] = 2
    """Forecasts: from how many origins, drawn by ``seed``, each period of each series is trained on; 1 where the
    horizon is 1."""
    interval: Annotated[Share, Field(gt=0, lt=1)] = 0.9
    """Forecasts: share of the actual values that lie between ``lower`` and ``upper`` of the answers."""
    interval_scale: Expression | None = None
    """Forecasts: what errors grow with, from the model's features, such as ``sales_sd_8w + 0.1``: an interval is wide
    where this is large. Where it has no value its median stands."""

    @property
    def metric(self) -> str:
        """What models are chosen, compared and watched by."""
        return self.search.metric or DEFAULT_METRIC[self.task]
