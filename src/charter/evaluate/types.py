"""What an evaluation found, as frozen data. An undefined number is None, so that JSON can say it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Estimate:
    """A measured number and how sure we are of it.

    Attributes
    ----------
    value
        None where the metric is undefined; ``note`` says why.
    low, high
        Ends of the confidence interval; None where the rows are too few for one, and ``note`` says so.
    method
        ``wilson``, ``delong``, ``bca`` or ``basic`` (bootstrap), ``newcombe``, ``mover``, ``wald``, or ``none``.
    n
        Rows that it rests on.
    """

    value: float | None
    low: float | None
    high: float | None
    method: str
    n: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class CalibrationBin:
    """Rows of similar score: what was said and what happened; ``low`` and ``high`` are Wilson's for ``observed``."""

    lowest: float
    highest: float
    n: int
    predicted: float
    observed: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Decile:
    """One tenth of the rows, the highest scores first.

    Attributes
    ----------
    positives
        Expected number where a tie crosses the border: a tied group's positives are spread evenly over it.
    lift
        Share of positives in this tenth over the share in all rows.
    gain
        Share of all positives found up to and with this tenth.
    cumulative_lift
        ``gain`` over the share of rows looked at.
    """

    decile: int
    n: int
    positives: float
    rate: float
    lift: float
    gain: float
    cumulative_lift: float


@dataclass(frozen=True, slots=True)
class SliceResult:
    """One part of the test rows.

    Attributes
    ----------
    slice
        The specification's words: a column or a condition.
    value
        The column's value, a range, or ``true`` for a condition.
    judged
        False where the slice has fewer rows than the specification's ``min_slice_rows``, or the metric is undefined.
    primary
        The search metric, with interval.
    gap
        ``primary`` less the metric over all rows, with interval.
    p_value
        Of the gap, two-sided, after Holm's correction for the number of slices judged.
    """

    slice: str
    value: str
    n: int
    positives: int | None
    judged: bool
    primary: Estimate
    gap: Estimate
    p_value: float | None
    metrics: dict[str, float | None]
    note: str = ""


@dataclass(frozen=True, slots=True)
class GroupRates:
    """Rates of one group at the decision threshold; ``unjudged`` names the rates that rest on too few rows."""

    group: str
    n: int
    positives: int
    selection_rate: Estimate
    tpr: Estimate
    fpr: Estimate
    unjudged: tuple[str, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class FairnessResult:
    """Differences between the groups of one protected attribute."""

    attribute: str
    groups: tuple[GroupRates, ...]
    demographic_parity_difference: Estimate
    equal_opportunity_difference: Estimate
    false_positive_rate_difference: Estimate
    disparate_impact_ratio: Estimate


@dataclass(frozen=True, slots=True)
class Difference:
    """Model less baseline on one metric, on the same rows; ``better`` when the whole interval favours the model."""

    baseline: str
    metric: str
    model: float | None
    other: float | None
    difference: Estimate
    better: bool


@dataclass(frozen=True, slots=True)
class ValueAdded:
    """What a forecast adds over a simple method, on the rows that both forecast.

    Attributes
    ----------
    difference
        The metric of the model less that of the baseline.
    improvement
        ``1 - model / baseline``: share of the baseline's error that the model does away with.
    better
        Whether the whole interval of ``difference`` favours the model.
    """

    baseline: str
    metric: str
    n: int
    model: float | None
    other: float | None
    difference: Estimate
    improvement: Estimate
    better: bool


@dataclass(frozen=True, slots=True)
class ForecastPart:
    """Some rows of a forecast, measured.

    Attributes
    ----------
    by, value
        ``overall`` and ``all``, ``block`` and ``1-4``, ``step`` and ``3``, ``origin`` and its moment, ``new_series``
        and ``new store``, or a slice in the specification's words and its value.
    judged
        False for slices with too few rows.
    """

    by: str
    value: str
    n: int
    series: int
    judged: bool
    metrics: dict[str, Estimate]
    added: tuple[ValueAdded, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class ForecastReport:
    """Forecasts held against what happened on the test origins.

    Attributes
    ----------
    metric
        What baselines are compared on, and what the worst slice is the worst in.
    n, unknown
        Rows with an actual value, and rows without, which are left out.
    level
        Share of actuals that the intervals promise to hold; None without intervals.
    over_time
        The same numbers over all rows, with intervals by resampling target periods instead of series; empty where it
        is not known which rows share a period.
    periods
        Target periods among the rows; 0 where that is not known.
    new_series
        The same origins, some series being forecast as if they had no past: one part for each kind of newness (a new
        store, a new product). Its ``series`` are the stores that were new at a time, which its intervals resample.
    """

    metric: str
    n: int
    unknown: int
    series: int
    origins: int
    horizon: int
    level: float | None
    confidence: float
    resamples: int
    seed: int
    overall: ForecastPart
    blocks: tuple[ForecastPart, ...]
    steps: tuple[ForecastPart, ...]
    by_origin: tuple[ForecastPart, ...]
    slices: tuple[ForecastPart, ...]
    worst_slice: ForecastPart | None
    over_time: Mapping[str, Estimate] = field(default_factory=dict)
    periods: int = 0
    new_series: tuple[ForecastPart, ...] = ()
