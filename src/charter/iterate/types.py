"""What an experiment is to tell, and what it told. Frozen; an undefined number is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from charter.core.decision import Decision
from charter.core.effect import Effect
from charter.core.errors import UsageError
from charter.core.measure import Measure
from charter.evaluate.types import Estimate


class Outcome(StrEnum):
    """What to do next."""

    SHIP = "ship"
    STOP = "do not ship"
    CONTINUE = "keep running"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class ExperimentPlan:
    """How results are to be read; fixed before they are looked at.

    Attributes
    ----------
    unit, arm
        Columns: who was assigned, and to what.
    shares
        Intended share by arm, the control first.
    primary
        The metric that decides.
    mde
        Smallest change of it that matters; None where any change in the better direction does. Its sign says which
        direction is better.
    better
        1.0 where a rise is better, -1.0 where a fall is.
    guardrails
        Metric to the most that it may move in the wrong direction, which the sign tells: ``-1%``, ``+10%``.
    covariate
        Column known before the exposure (CUPED).
    segments
        Columns by which the effect is shown; they decide nothing.
    alpha
        Two-sided, over all arms together.
    sequential
        Whether the results may be read at any time, and as often as one likes.
    planned_units
        Of all arms together; None where the size was not planned.
    """

    unit: str
    arm: str
    shares: Mapping[str, float]
    primary: Measure
    mde: Effect | None = None
    better: float = 1.0
    guardrails: Mapping[Measure, Effect] = field(default_factory=dict)
    covariate: str | None = None
    segments: tuple[str, ...] = ()
    alpha: float = 0.05
    sequential: bool = False
    planned_units: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.shares) < 2 or any(not s > 0 for s in self.shares.values()):
            raise UsageError("an experiment has two arms at least, each with a share above 0")
        if not 0 < self.alpha < 0.5:
            raise UsageError(f"alpha is {self.alpha:g}", remedy="It lies between 0 and 0.5; usual is 0.05.")
        if self.mde is not None and self.mde.direction != self.better:
            raise UsageError(f"an effect of {self.mde} is not in the better direction")
        quantiles = [m for m in (self.primary, *self.guardrails) if m.quantile is not None]
        if self.sequential and quantiles:
            raise UsageError(
                f"{quantiles[0]}: quantiles cannot be read at any time",
                remedy="Read a fixed-horizon experiment, or use the share of units beyond a limit as the metric.",
            )

    @property
    def control(self) -> str:
        """The arm that the others are compared with."""
        return next(iter(self.shares))

    @property
    def others(self) -> tuple[str, ...]:
        """The arms that are compared with the control."""
        return tuple(self.shares)[1:]


@dataclass(frozen=True, slots=True)
class ArmResult:
    """One arm: its units, and each metric with an interval for itself."""

    arm: str
    units: int
    rows: int
    metrics: Mapping[str, Estimate]
    spread: float | None
    """Standard deviation of the primary metric between units, for designing the next experiment."""


@dataclass(frozen=True, slots=True)
class ArmEffect:
    """An arm less the control on one metric.

    Attributes
    ----------
    difference
        In the metric's unit.
    relative
        Relative to the control; without a value where the control is not surely above 0.
    p_value
        Of no difference; of several arms corrected for their number.
    variance_kept
        Share of the variance that the covariate left; 1 without one.
    segment, value
        Of a segment's effect; empty for all units.
    """

    metric: str
    arm: str
    difference: Estimate
    relative: Estimate
    p_value: float | None
    variance_kept: float = 1.0
    segment: str = ""
    value: str = ""


@dataclass(frozen=True, slots=True)
class ExperimentReport:
    """Results, read."""

    plan: ExperimentPlan
    arms: tuple[ArmResult, ...]
    effects: tuple[ArmEffect, ...]
    segments: tuple[ArmEffect, ...]
    outcome: Outcome
    arm: str
    """The arm that the decision is about."""
    decision: Decision
    remarks: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        plan = self.plan
        return {
            "outcome": self.outcome.value,
            "arm": self.arm,
            "decision": self.decision.to_json(),
            "arms": [asdict(a) for a in self.arms],
            "effects": [asdict(e) for e in self.effects],
            "segments": [asdict(e) for e in self.segments],
            "remarks": list(self.remarks),
            "plan": {
                "unit": plan.unit,
                "arm": plan.arm,
                "shares": dict(plan.shares),
                "primary": str(plan.primary),
                "mde": str(plan.mde) if plan.mde is not None else None,
                "better": "up" if plan.better > 0 else "down",
                "guardrails": {str(m): str(e) for m, e in plan.guardrails.items()},
                "covariate": plan.covariate,
                "segments": list(plan.segments),
                "alpha": plan.alpha,
                "sequential": plan.sequential,
                "planned_units": plan.planned_units,
                "seed": plan.seed,
            },
        }
