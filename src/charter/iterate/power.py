"""How many units an experiment needs, and how long that takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from charter.core.effect import Effect
from charter.core.errors import UsageError
from charter.iterate.boundary import fixed_boundary, planned_boundary
from charter.iterate.multiplicity import dunnett_boundary

_MOST_UNITS = 1e12


@dataclass(frozen=True, slots=True)
class Question:
    """What an experiment is to find out.

    Attributes
    ----------
    baseline
        The metric under the control, in its unit.
    mde
        Smallest change that matters.
    spread
        Standard deviation between units, of a ratio as `ratio_spread` gives it; None for a proportion, whose spread
        follows from the baseline.
    shares
        Share of the traffic by arm, the control first.
    alpha
        Chance of a false finding, two-sided, over all arms together.
    power
        Chance to find the effect in an arm that has it.
    correlation
        Of the metric with a covariate known before exposure (CUPED); 0 for none.
    sequential
        Whether the results may be read at any time.
    """

    baseline: float
    mde: Effect
    shares: Mapping[str, float]
    spread: float | None = None
    alpha: float = 0.05
    power: float = 0.8
    correlation: float = 0.0
    sequential: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1 or not self.alpha / 2 < self.power < 1:
            raise UsageError(
                f"alpha {self.alpha:g} and power {self.power:g} do not fit",
                remedy="Both lie between 0 and 1, and the power above alpha / 2; usual are 0.05 and 0.8.",
            )
        if len(self.shares) < 2 or any(s <= 0 for s in self.shares.values()):
            raise UsageError("an experiment has two arms at least, each with a share above 0")
        if sum(self.shares.values()) > 1 + 1e-9:
            raise UsageError(
                f"the arms' shares add up to {sum(self.shares.values()):g}, which is more than 1"
            )
        if not -1 < self.correlation < 1:
            raise UsageError(f"correlation {self.correlation:g} is not between -1 and 1")
        if self.spread is None and not (0 < self.baseline < 1 and 0 < self.target < 1):
            raise UsageError(
                f"a proportion of {self.baseline:g} cannot change by {self.mde}",
                remedy="Both proportions lie between 0 and 1; for a mean give its standard deviation, too.",
            )
        if self.spread is not None and not self.spread > 0:
            raise UsageError(f"a standard deviation of {self.spread:g} is not above 0")
        if self.mde.relative and self.baseline == 0:
            raise UsageError("a relative effect needs a baseline that is not 0")

    @property
    def target(self) -> float:
        """The metric with the effect."""
        return self.baseline + self.mde.of(self.baseline)


@dataclass(frozen=True, slots=True)
class Design:
    """How large the experiment must be.

    Attributes
    ----------
    units
        By arm.
    total
        Of all arms.
    boundary
        Standard errors that an effect must overcome.
    days
        At the traffic given; None without.
    inflation
        Units over those of the same question read once, at the end.
    """

    question: Question
    units: Mapping[str, int]
    total: int
    boundary: float
    days: int | None
    inflation: float

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        asked = {
            **asdict(self.question),
            "mde": str(self.question.mde),
            "shares": dict(self.question.shares),
        }
        return {
            "question": asked,
            "target": self.question.target,
            "units": dict(self.units),
            "total": self.total,
            "boundary": self.boundary,
            "days": self.days,
            "inflation": self.inflation,
        }


def ratio_spread(
    mean: float, denominator_mean: float, spread: float, denominator_spread: float, correlation: float
) -> float:
    """Spread of a ratio of sums between units: ``sqrt(s_y^2 - 2 R c s_y s_x + R^2 s_x^2) / m_x``, ``R = m_y / m_x``.

    The delta method (Deng, Knoblich and Lu, 2018).

    Examples
    --------
    >>> ratio_spread(0.5, 10.0, 0.7, 3.0, 0.0).__round__(4)
    0.0716
    """
    ratio = mean / denominator_mean
    variance = (
        spread**2 - 2 * ratio * correlation * spread * denominator_spread + (ratio * denominator_spread) ** 2
    )
    return math.sqrt(variance) / denominator_mean


def design(question: Question, *, units_per_day: float | None = None) -> Design:
    """Find the number of units with which the smallest effect that matters is found with the power asked for.

    Parameters
    ----------
    units_per_day
        New units that reach the experiment, all arms together.

    Notes
    -----
    With shares ``w`` the difference of an arm and the control has the variance ``V / N``. Under no effect ``V0``, under
    the effect ``V1``; ``N = ((b sqrt(V0) + z_power sqrt(V1)) / effect)^2``. Proportions: ``V0`` from the pooled share,
    as the test has it (Fleiss, Levin and Paik, 2003, 4.2; statsmodels' ``samplesize_proportions_2indep_onetail``).
    Means and ratios: ``V0 = V1``, plus Guenther's (1981) quarter of ``b^2`` units an arm for Student's distribution.
    ``b`` is the normal quantile for one arm and Dunnett's for several; in a sequence its boundary at the planned size,
    which is the most that can be needed: on average it stops earlier. CUPED multiplies variances by ``1 -
    correlation^2``.

    Examples
    --------
    >>> two = {"control": 0.5, "treatment": 0.5}
    >>> design(Question(0.05, Effect.parse("+10%"), two)).units
    {'control': 31234, 'treatment': 31234}
    """
    boundary = _boundary(question)
    exact = _total(question, boundary)
    once = _total(replace(question, sequential=False), _boundary(replace(question, sequential=False)))
    if not exact < _MOST_UNITS:
        raise UsageError(
            f"to see {question.mde} takes {exact:.3g} units",
            remedy="Look for a larger effect, or for a metric that varies less.",
        )
    whole = sum(question.shares.values())
    units = {arm: math.ceil(exact * share / whole - 1e-9) for arm, share in question.shares.items()}
    total = sum(units.values())
    days = None
    if units_per_day is not None:
        if not units_per_day > 0:
            raise UsageError(f"a traffic of {units_per_day:g} units a day never gets there")
        days = math.ceil(total / (units_per_day * whole))
    return Design(question, units, total, boundary, days, exact / once)


def smallest_effect(question: Question, total: float) -> Effect:
    """Find the smallest change that so many units show with the power asked for; in the metric's unit.

    Examples
    --------
    >>> two = {"control": 0.5, "treatment": 0.5}
    >>> round(smallest_effect(Question(0.05, Effect.parse("+1%"), two), 62_468).size, 5)
    0.005
    """
    from scipy.optimize import brentq

    boundary, sign = _boundary(question), question.mde.direction
    largest = (1 - question.baseline if sign > 0 else question.baseline) if question.spread is None else 0.0
    most = largest * (1 - 1e-9) if largest else 1e6 * (question.spread or 1.0)

    def gap(log_size: float) -> float:
        tried = replace(question, mde=Effect(sign * math.exp(log_size), False))
        return math.log(_total(tried, boundary)) - math.log(total)

    ends = math.log(most * 1e-12), math.log(most)
    if gap(ends[1]) > 0:
        raise UsageError(f"{total:,.0f} units show no effect at all", remedy="Bring more units.")
    return Effect(sign * math.exp(float(brentq(gap, *ends))), False)


def _boundary(question: Question) -> float:
    arms = list(question.shares.values())
    if question.sequential:
        return planned_boundary(question.alpha / (len(arms) - 1))
    loadings = [math.sqrt(share / (arms[0] + share)) for share in arms[1:]]  # v = 1 / share
    return dunnett_boundary(question.alpha, loadings)


def _total(question: Question, boundary: float) -> float:
    """Units of all arms, not rounded, for the arm that needs most."""
    control, *others = (share / sum(question.shares.values()) for share in question.shares.values())
    change = question.mde.of(question.baseline)
    kept = 1 - question.correlation**2
    needed = []
    for other in others:
        if question.spread is None:
            p0, p1 = question.baseline, question.target
            pooled = (control * p0 + other * p1) / (control + other)
            under_effect = p0 * (1 - p0) / control + p1 * (1 - p1) / other
            under_none = pooled * (1 - pooled) * (1 / control + 1 / other)
            if question.sequential or question.correlation:
                under_none = under_effect  # those intervals do not pool
            small = 0.0
        else:
            under_none = under_effect = (question.spread or 0.0) ** 2 * (1 / control + 1 / other)
            small = boundary**2 / 4 / min(control, other) if not question.sequential else 0.0
        reach = boundary * math.sqrt(under_none * kept) + fixed_boundary(
            2 * (1 - question.power)
        ) * math.sqrt(under_effect * kept)
        needed.append((reach / change) ** 2 + small)
    return max(needed)
