"""From the specification's words to what the statistics need."""

from __future__ import annotations

from charter.core.effect import Effect
from charter.core.errors import UsageError
from charter.core.measure import Measure
from charter.core.quantity import parse_volume
from charter.iterate.power import Design, Question, design
from charter.iterate.types import ExperimentPlan
from charter.spec.types.iteration import ExperimentSpec

DAYS_PER_MONTH = 365.25 / 12


def ordered_arms(spec: ExperimentSpec) -> dict[str, float]:
    """Shares by arm, the control first."""
    return {
        spec.control: spec.arms[spec.control],
        **{a: s for a, s in spec.arms.items() if a != spec.control},
    }


def question(spec: ExperimentSpec) -> Question:
    """Return what the experiment is to find out.

    Raises
    ------
    UsageError
        When the specification does not say what the metric is today.
    """
    if spec.baseline is None:
        raise UsageError(
            "release.experiment does not say what the metric is today",
            remedy="Give 'baseline', and 'spread' unless it is a proportion.",
        )
    return Question(
        spec.baseline,
        Effect.parse(spec.mde),
        ordered_arms(spec),
        spec.spread,
        spec.alpha,
        spec.power,
        spec.correlation,
        spec.sequential,
    )


def designed(spec: ExperimentSpec) -> Design:
    """Size of the experiment, and its duration where the traffic is stated."""
    return design(question(spec), units_per_day=units_per_day(spec.traffic) if spec.traffic else None)


def units_per_day(volume: str) -> float:
    """Units a day of a volume such as ``5000 per day``.

    Examples
    --------
    >>> round(units_per_day("5000 per day"))
    5000
    """
    return parse_volume(volume) / DAYS_PER_MONTH


def plan(spec: ExperimentSpec, *, arm: str = "arm") -> ExperimentPlan:
    """How the results are to be read; ``arm`` is the column that holds the arm.

    The planned size is the design's where the specification says what the metric is today.
    """
    mde = Effect.parse(spec.mde)
    return ExperimentPlan(
        spec.unit,
        arm,
        ordered_arms(spec),
        Measure.parse(spec.metric),
        mde,
        mde.direction,
        {Measure.parse(metric): Effect.parse(most) for metric, most in spec.guardrails.items()},
        spec.covariate,
        spec.segments,
        spec.alpha,
        spec.sequential,
        designed(spec).total if spec.baseline is not None else None,
    )
