"""Quality of what was answered in a window: estimated before the outcomes are known, realised once they are. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from charter.core.quantity import parse_volume
from charter.data.metrics import Sample
from charter.evaluate.intervals import estimate
from charter.evaluate.resample import Draws, Part, replicate
from charter.evaluate.types import Estimate
from charter.framing.value import assess_value
from charter.monitor.calibration import calibration_line
from charter.monitor.estimate import Estimated, cbpe
from charter.spec.measures import ESTIMABLE, watched
from charter.spec.types import ModelSpec, Value
from charter.spec.vocabulary import METRICS
from charter.train.calibrate import Calibration, apply, fit

RESAMPLES = 200
"""Enough for an interval that is looked at, few enough for a window of a million rows."""
RECALIBRATE_FROM = 500
"""Known outcomes, a tenth of them of the rarer kind, from which scores are calibrated again."""


@dataclass(frozen=True, slots=True)
class Quality:
    """How good the answers of a window were.

    Attributes
    ----------
    rows
        Answers.
    scored
        Answers that the model gave; the others are the fallback's.
    due
        Answers whose outcome should be known by now.
    labelled
        Answers whose outcome is known.
    realised
        Metric to estimate, from the labelled rows.
    estimated
        Metric to what was to be expected of all rows that were scored: of binary models from the scores alone, of
        regressions from what their out-of-fold errors depended on.
    expected
        The same for the labelled rows alone: what the realised metric is held against.
    recalibrated_on
        Outcomes of earlier windows, known by the end of this one, by which the scores were calibrated again before
        anything was estimated; 0 where there were too few.
    promised
        Share of positives among the labelled rows that their scores promised; binary models.
    """

    rows: int
    scored: int
    due: int
    labelled: int
    positives: int | None
    realised: Mapping[str, Estimate]
    estimated: Mapping[str, Estimated]
    expected: Mapping[str, Estimated]
    recalibrated_on: int = 0
    promised: float | None = None

    @property
    def base_rate_moved(self) -> bool:
        """Whether far more or fewer labelled rows were positive than the scores promised: 4 standard errors."""
        if self.positives is None or self.promised is None or not self.labelled:
            return False
        error = math.sqrt(self.promised * (1 - self.promised) / self.labelled)
        return abs(self.positives / self.labelled - self.promised) > 4 * error

    @property
    def maturity(self) -> float:
        """Share of the answers whose outcome is known and whose time has passed."""
        return self.labelled / self.rows if self.rows else 0.0

    @property
    def estimation_error(self) -> dict[str, float]:
        """Realised less expected, of the same rows: how far the estimates themselves are off."""
        return {
            name: real.value - hoped.value
            for name, real in self.realised.items()
            if (hoped := self.expected.get(name)) is not None
            and real.value is not None
            and hoped.value is not None
        }

    @property
    def surprise(self) -> tuple[str, ...]:
        """Metrics realised surely worse than expected, their intervals apart: more than the inputs has changed.

        Better than expected is no broken promise. With intervals at 95 % each they part by chance in about 1 case of
        200, on either side.
        """
        found = []
        for name, real in self.realised.items():
            hoped = self.expected.get(name)
            if (
                hoped is None
                or real.low is None
                or real.high is None
                or hoped.low is None
                or hoped.high is None
            ):
                continue
            better = METRICS[name].better
            if (better != "down" and real.high < hoped.low) or (better != "up" and real.low > hoped.high):
                found.append(name)
        return tuple(found)


def quality(
    rows: pl.DataFrame,
    spec: ModelSpec,
    *,
    classes: tuple[str, ...] = (),
    past: pl.DataFrame | None = None,
    losses: tuple[Mapping[str, Estimated], Mapping[str, Estimated]] | None = None,
    realised: Mapping[str, Estimate] | None = None,
    confidence: float = 0.95,
) -> Quality:
    """Measure a window.

    Parameters
    ----------
    rows
        One row per answer: ``score`` (Float64, null where the fallback answered without one; with several classes
        ``scores``), ``flagged`` (Boolean, binary models), ``outcome`` (String, null while unknown), ``due`` (Boolean).
    past
        ``score`` and ``outcome`` of earlier answers that were known by the end of this window. Of a binary model the
        scores are calibrated by them once more (Platt, on the log odds) before quality is estimated: calibration made
        on out-of-fold rows of the past need not hold for the model that was trained on all of them.

    losses
        Of a regression, the losses that its inputs let expect: of all answers, and of the labelled ones; see
        `charter.monitor.loss`.
    realised
        Of a forecast, what `charter.evaluate.forecast` measured: there, whole series are drawn.

    Notes
    -----
    An outcome that is known before its time counts for nothing: what becomes known early is not a fair sample of a
    window (a customer who leaves is known at once, one who stays is not).
    """
    task = spec.train.task
    scored = rows.filter(pl.col("score").is_finite())
    labelled = scored.filter(pl.col("outcome").is_not_null() & pl.col("due"))
    if realised is None:
        realised = _realised(labelled, spec, classes, confidence) if labelled.height else {}
    positives = int((labelled["outcome"] == "1").sum()) if task == "binary" else None
    estimated: Mapping[str, Estimated] = {}
    expected: Mapping[str, Estimated] = {}
    if losses is not None:
        estimated, expected = losses
    again, known = _recalibration(past) if task == "binary" else (Calibration(), 0)
    if task == "binary" and scored.height:
        estimated = _expected(scored, spec, again, confidence)
        alike = labelled.height == scored.height
        expected = estimated if alike else _expected(labelled, spec, again, confidence)
    return Quality(
        rows=rows.height,
        scored=scored.height,
        due=int(rows["due"].sum()),
        labelled=labelled.height,
        positives=positives,
        realised=realised,
        estimated=estimated,
        expected=expected,
        recalibrated_on=known,
        promised=float(labelled["score"].mean()) if task == "binary" and labelled.height else None,  # type: ignore[arg-type]
    )


def _recalibration(past: pl.DataFrame | None) -> tuple[Calibration, int]:
    """Calibrate by earlier outcomes, where there are enough of both kinds."""
    if past is None:
        return Calibration(), 0
    known = past.filter(pl.col("score").is_finite() & pl.col("outcome").is_not_null())
    y = (known["outcome"] == "1").cast(pl.Int64).to_numpy()
    if len(y) < RECALIBRATE_FROM or min(y.sum(), len(y) - y.sum()) < RECALIBRATE_FROM / 10:
        return Calibration(), 0
    return fit("sigmoid", np.clip(known["score"].to_numpy(), 0.0, 1.0), y), len(y)


def _expected(
    rows: pl.DataFrame, spec: ModelSpec, again: Calibration, confidence: float
) -> Mapping[str, Estimated]:
    names = [m for m in watched(spec) if m in ESTIMABLE]
    said = rows["flagged"].cast(pl.Float64).to_numpy()
    score = apply(again, np.clip(rows["score"].to_numpy(), 0.0, 1.0))
    return cbpe(score, said, value=spec.value, metrics=names, confidence=confidence)


def _realised(
    rows: pl.DataFrame, spec: ModelSpec, classes: tuple[str, ...], confidence: float
) -> Mapping[str, Estimate]:
    task = spec.train.task
    decision: npt.NDArray[np.float64] | None = None
    if task == "multiclass":
        places = {name: float(i) for i, name in enumerate(classes)}
        y = rows["outcome"].replace_strict(places, default=None, return_dtype=pl.Float64)
        rows, y = rows.filter(y.is_not_null()), y.drop_nulls()
        score = np.array(rows["scores"].to_list(), dtype=np.float64)
    else:
        y, score = rows["outcome"].cast(pl.Float64), rows["score"].to_numpy()
    if task == "binary":
        decision = rows["flagged"].cast(pl.Float64).to_numpy()
    if not len(y):
        return {}
    sample = Sample(y.to_numpy(), score, decision, spec.value)
    names = watched(spec)
    draws = Draws.of(sample.n, resamples=RESAMPLES, seed=spec.train.seed)
    (replicates,) = replicate([Part(sample, names)], draws)
    found = dict(estimate(names, sample, replicates, draws, confidence=confidence))
    return found | calibration_line(score, sample.y, confidence=confidence) if task == "binary" else found


@dataclass(frozen=True, slots=True)
class Worth:
    """What the decisions of a window were worth, in the specification's currency.

    Attributes
    ----------
    known
        Sum over decisions whose outcome is known.
    expected
        Sum over the others, from their probabilities.
    costs
        Of running and training over the window.
    alone
        What leaving everybody alone would have been worth, known and expected.
    case
        What the business case counts on over leaving everybody alone, after costs, for as many decisions; None where
        ``value.target`` or ``value.positives`` is not stated.
    rule
        Sum over the decisions with a known outcome, had today's rule decided; None where its inputs are not logged.
    """

    currency: str
    decisions: int
    known: float
    expected: float
    costs: float
    alone: float
    case: float | None
    rule: float | None

    @property
    def net(self) -> float:
        """Value less costs."""
        return self.known + self.expected - self.costs

    @property
    def benefit(self) -> float:
        """Over leaving everybody alone, after costs: what the business case speaks of."""
        return self.net - self.alone

    @property
    def return_on_cost(self) -> float | None:
        """Benefit per unit of cost."""
        return self.benefit / self.costs if self.costs > 0 else None


def worth(
    rows: pl.DataFrame, spec: ModelSpec, *, months: float, rule: pl.Series | None = None
) -> Worth | None:
    """Count the money of a window; None without ``value`` or for tasks that decide nothing.

    Parameters
    ----------
    rows
        As in `quality`. Rows without a decision count for nothing.
    months
        Length of the window.
    rule
        Boolean, what today's rule would have decided for each row.
    """
    value = spec.value
    if value is None or spec.train.task != "binary":
        return None
    if rule is not None:
        rows = rows.with_columns(rule.alias("rule"))
    decided = rows.filter(pl.col("flagged").is_not_null())
    sure = pl.col("outcome").is_not_null() & pl.col("due")
    known, open_ = decided.filter(sure), decided.filter(~sure & pl.col("score").is_finite())
    actual = (known["outcome"] == "1").cast(pl.Float64).to_numpy()
    chance = np.clip(open_["score"].to_numpy(), 0.0, 1.0)
    nobody, none_open = np.zeros(known.height, dtype=bool), np.zeros(open_.height, dtype=bool)
    target = assess_value(spec)
    case = target.target.net_benefit_per_month if target is not None and target.target is not None else None
    return Worth(
        currency=value.currency,
        decisions=decided.height,
        known=_total(value, known["flagged"].to_numpy(), actual),
        expected=_total(value, open_["flagged"].to_numpy(), chance),
        costs=(value.costs.run_per_month + value.costs.train_per_month) * months,
        alone=_total(value, nobody, actual) + _total(value, none_open, chance),
        case=None if case is None else case / parse_volume(value.volume) * decided.height,
        rule=_total(value, known["rule"].fill_null(value=False).to_numpy(), actual)
        if rule is not None
        else None,
    )


def _total(value: Value, said: npt.NDArray[np.bool_], chance: npt.NDArray[np.float64]) -> float:
    """Sum of the worth of decisions about rows that are positive with some probability."""
    per = value.per_decision
    hit = np.where(said, per.true_positive, per.false_negative)
    miss = np.where(said, per.false_positive, per.true_negative)
    return float((chance * hit + (1 - chance) * miss).sum())
