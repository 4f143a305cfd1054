"""Read the results of an experiment: first whether they may be read, then what they say."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from charter.core.decision import Verdict
from charter.core.measure import Measure
from charter.evaluate.proportion import wilson
from charter.evaluate.slices import column_labels
from charter.evaluate.types import Estimate, Integers
from charter.iterate.boundary import DEFAULT_PLANNED, mixture_weight
from charter.iterate.effects import (
    QuantileDraws,
    boundary_of,
    doubt,
    mean_effect,
    proportion_effect,
    quantile_draws,
    quantile_effect,
    relative,
    unvaried,
)
from charter.iterate.moments import Moments, adjusted, linearised, moments
from charter.iterate.multiplicity import benjamini_hochberg, dunnett_boundary, dunnett_tail
from charter.iterate.ratio_check import check_missing, check_ratio
from charter.iterate.results import Results, numbers_of, per_unit, read_results
from charter.iterate.types import ArmEffect, ArmResult, ExperimentPlan, ExperimentReport
from charter.iterate.verdict import conclude, withheld

MIN_SEGMENT_UNITS = 100
_FEW_UNITS = 100


@dataclass(frozen=True, slots=True)
class _Arm:
    """One arm on one metric: its moments between units, hits of a proportion, draws of a quantile.

    ``weighty`` is how many units of like weight would tell as much (Kish, 1965): of rows that are nearly all one
    unit's, one.
    """

    moments: Moments
    hits: float | None = None
    draws: QuantileDraws | None = None
    weighty: float = 0.0


def analyse(frame: pl.DataFrame, plan: ExperimentPlan) -> ExperimentReport:
    """Read a table of results.

    Parameters
    ----------
    frame
        One row a unit, or several (visits, orders), which then are added up by unit: a mean becomes the mean over
        rows, with the delta method's variance between units.

    Returns
    -------
    ExperimentReport
        Without any effect where the numbers of units by arm are not what they should be: whatever made some of them
        disappear may make the effect, too.

    Examples
    --------
    >>> rng = np.random.default_rng(7)
    >>> arm = np.repeat(["old", "new"], 5000)
    >>> hit = rng.random(10_000) < np.where(arm == "new", 0.14, 0.10)
    >>> frame = pl.DataFrame({"id": np.arange(10_000), "arm": arm, "hit": hit})
    >>> report = analyse(frame, ExperimentPlan("id", "arm", {"old": 0.5, "new": 0.5}, Measure("hit")))
    >>> report.outcome.value, report.effects[0].difference.value.__round__(4)
    ('ship', 0.041)
    """
    results = read_results(frame, plan)
    validity = (*results.checks, check_ratio(results.counts, plan.shares))
    if any(check.verdict is Verdict.FAIL for check in validity):
        return withheld(plan, _arm_counts(results), validity, results.remarks)
    weight = None
    if plan.sequential:
        weight = mixture_weight(plan.planned_units or DEFAULT_PLANNED, plan.alpha / len(plan.others))
    effects: list[ArmEffect] = []
    values: dict[str, dict[str, Estimate]] = {arm: {} for arm in plan.shares}
    arms: dict[str, _Arm] = {}
    for measure in (plan.primary, *plan.guardrails):
        found = _arms(results.rows, measure, plan)
        if measure == plan.primary:
            arms = found
        for arm, one in found.items():
            values[arm][str(measure)] = _value(one, plan.alpha, weight)
        effects += _effects(found, measure, plan, weight)
    segments = _segments(results, plan, weight)
    told = tuple(
        ArmResult(
            arm,
            results.counts[arm],
            int((results.rows["__arm"] == arm).sum()),
            values[arm],
            _finite(math.sqrt(float(arms[arm].moments.variance))) if arms[arm].draws is None else None,
        )
        for arm in plan.shares
    )
    missing = check_missing(results.counts, {arm: int(one.moments.n) for arm, one in arms.items()})
    validity = (*validity, *([missing] if missing is not None else []))
    outcome, arm, decision = conclude(plan, results.counts, validity, effects)
    return ExperimentReport(
        plan, told, tuple(effects), segments, outcome, arm, decision,
        (*results.remarks, *_remarks(results, plan, effects, segments)),
    )  # fmt: skip


def _arm_counts(results: Results) -> tuple[ArmResult, ...]:
    rows = dict(results.rows.group_by("__arm").len().iter_rows())
    return tuple(ArmResult(arm, n, rows[arm], {}, None) for arm, n in results.counts.items())


def _arms(rows: pl.DataFrame, measure: Measure, plan: ExperimentPlan) -> dict[str, _Arm]:
    """Moments of every arm, without the covariate's help."""
    if measure.quantile is not None:
        return _quantiles(rows, measure, plan)
    covariate = plan.covariate if measure == plan.primary else None
    units = per_unit(rows, measure, covariate)
    simple = not measure.denominator and bool((units["x"] == 1).all())
    binary = simple and bool(units["y"].is_in([0.0, 1.0]).all())
    found = {}
    for arm in plan.shares:
        y, x, z = numbers_of(units, arm, "y", "x", "z")
        if len(y) < 2 or x.sum() <= 0:
            found[arm] = _Arm(Moments(float(len(y)), math.nan, math.nan))
            continue
        own = moments(y if simple else linearised(y, x), z if covariate is not None else None)
        hits = float(y.sum()) if binary else None
        if plan.sequential and hits is not None and own.variance == 0:
            own = replace(own, variance=unvaried(hits, float(own.n)))
        found[arm] = _Arm(own, hits, weighty=float(x.sum() ** 2 / (x**2).sum()))
    return found


def _quantiles(rows: pl.DataFrame, measure: Measure, plan: ExperimentPlan) -> dict[str, _Arm]:
    known = rows.filter(pl.col(measure.column).is_not_null())
    found = {}
    for i, arm in enumerate(plan.shares):
        (values,) = numbers_of(known, arm, measure.column)
        unit: Integers = np.unique(
            known.filter(pl.col("__arm") == arm)["__unit"].to_numpy(), return_inverse=True
        )[1].astype(np.int64)
        n = float(unit.max() + 1) if len(unit) else 0.0
        if n < 2:
            found[arm] = _Arm(Moments(n, math.nan, math.nan))
            continue
        draws = quantile_draws(values, unit, measure.quantile or 0.5, seed=plan.seed + i)
        found[arm] = _Arm(Moments(n, draws.value, n * float(np.var(draws.draws))), draws=draws)
    return found


def _value(arm: _Arm, alpha: float, weight: float | None) -> Estimate:
    """The metric of one arm, with an interval of its own."""
    own, n = arm.moments, int(arm.moments.n)
    value = float(own.mean)
    if not math.isfinite(value):
        return Estimate(None, None, None, "none", n, "too few units")
    if arm.draws is not None:
        low, high = np.quantile(arm.draws.draws, [alpha / 2, 1 - alpha / 2]).tolist()
        return Estimate(value, low, high, "order statistics", n)
    if arm.hits is not None and weight is None:
        return Estimate(value, *wilson(arm.hits, float(own.n), 1 - alpha), "wilson", n)
    half = boundary_of(float(own.n), alpha, weight) * math.sqrt(float(own.of_mean))
    return Estimate(value, value - half, value + half, "wald" if weight is None else "sequence", n)


def _effects(
    found: Mapping[str, _Arm], measure: Measure, plan: ExperimentPlan, weight: float | None
) -> list[ArmEffect]:
    """Every arm less the control, with intervals that hold together."""
    helped = measure == plan.primary and plan.covariate is not None and measure.quantile is None
    plain = {arm: one.moments for arm, one in found.items()}
    after = dict(zip(plain, adjusted(list(plain.values())), strict=True)) if helped else plain
    control = plan.control
    each = _alpha_each(after, plan, weight)
    effects = []
    for arm in plan.others:
        a, b = found[control], found[arm]
        n = int(float(a.moments.n) + float(b.moments.n))
        if not (math.isfinite(float(a.moments.variance)) and math.isfinite(float(b.moments.variance))):
            nothing = Estimate(None, None, None, "none", n, "too few units")
            effects.append(ArmEffect(str(measure), arm, nothing, nothing, None))
            continue
        proportions = a.hits is not None and weight is None and not helped
        why = doubt([after[control], after[arm]], [a.weighty, b.weighty], sequential=weight is not None)
        if why and a.draws is None and not proportions:
            gap = float(after[arm].mean - after[control].mean)
            nothing = Estimate(None, None, None, "none", n, why)
            effects.append(ArmEffect(str(measure), arm, replace(nothing, value=gap), nothing, None))
            continue
        if a.draws is not None and b.draws is not None:
            told = quantile_effect(a.draws, b.draws, each)
        elif proportions and a.hits is not None and b.hits is not None:
            told = proportion_effect(a.hits, float(a.moments.n), b.hits, float(b.moments.n), each)
        else:
            told = mean_effect(after[control], after[arm], each, weight)
        before = float(plain[control].of_mean + plain[arm].of_mean)
        kept = float(after[control].of_mean + after[arm].of_mean) / before if before > 0 else 1.0
        change = relative(after[control], after[arm], boundary_of(n, each, weight))
        effects.append(
            ArmEffect(
                str(measure),
                arm,
                Estimate(told.difference, told.low, told.high, told.method, n),
                Estimate(None, None, None, "none", n, "the metric is not surely above 0")
                if change is None
                else Estimate(*change, told.method, n),
                _joint_p(told.p_value, after, plan, weight),
                kept,
            )
        )
    return effects


def _loadings(arms: Mapping[str, Moments], plan: ExperimentPlan) -> list[float]:
    own = {arm: max(float(m.of_mean), 0.0) for arm, m in arms.items()}
    sums = [own[plan.control] + own[arm] for arm in plan.others]
    return [math.sqrt(own[plan.control] / s) if s > 0 else 0.0 for s in sums]


def _alpha_each(arms: Mapping[str, Moments], plan: ExperimentPlan, weight: float | None) -> float:
    """Chance of error of one interval so that those of all arms hold together: Dunnett's, in sequences Bonferroni's."""
    from scipy.special import ndtr

    if len(plan.others) == 1:
        return plan.alpha
    if weight is not None or not all(math.isfinite(float(m.variance)) for m in arms.values()):
        return plan.alpha / len(plan.others)
    return float(2 * ndtr(-dunnett_boundary(plan.alpha, _loadings(arms, plan))))


def _joint_p(p: float, arms: Mapping[str, Moments], plan: ExperimentPlan, weight: float | None) -> float:
    from scipy.special import ndtri

    if len(plan.others) == 1:
        return p
    if weight is not None:
        return min(1.0, p * len(plan.others))
    return dunnett_tail(float(-ndtri(max(p, 1e-300) / 2)), _loadings(arms, plan))


def _segments(results: Results, plan: ExperimentPlan, weight: float | None) -> tuple[ArmEffect, ...]:
    """The effect on the primary metric by segment; p-values corrected for their number (Benjamini and Hochberg)."""
    found: list[ArmEffect] = []
    for column in plan.segments:
        first = results.rows.group_by("__unit", maintain_order=True).agg(pl.col(column).first())
        labels = first.select("__unit", column_labels(first[column]).alias("__label"))
        rows = results.rows.join(labels, on="__unit")
        for label in sorted(labels["__label"].unique().to_list()):
            own = rows.filter(pl.col("__label") == label)
            arms = _arms(own, plan.primary, plan)
            few = min(float(one.moments.n) for one in arms.values())
            if few < MIN_SEGMENT_UNITS:
                note = f"too few to tell: {few:,.0f} units in an arm, {MIN_SEGMENT_UNITS} needed"
                nothing = Estimate(None, None, None, "none", int(few), note)
                found += [
                    ArmEffect(str(plan.primary), arm, nothing, nothing, None, 1.0, column, label)
                    for arm in plan.others
                ]
                continue
            found += [
                replace(e, segment=column, value=label) for e in _effects(arms, plan.primary, plan, weight)
            ]
    tested = [i for i, e in enumerate(found) if e.p_value is not None]
    corrected = benjamini_hochberg([found[i].p_value or 0.0 for i in tested])
    for i, p in zip(tested, corrected.tolist(), strict=True):
        found[i] = replace(found[i], p_value=p)
    return tuple(found)


def _remarks(
    results: Results, plan: ExperimentPlan, effects: Sequence[ArmEffect], segments: Sequence[ArmEffect]
) -> list[str]:
    remarks = []
    if results.repeated:
        remarks.append(
            f"units have several rows, which are added up by {plan.unit}; intervals are between units"
        )
    for measure in (plan.primary, *plan.guardrails):
        missing = results.rows.filter(pl.any_horizontal(pl.col(c).is_null() for c in measure.columns)).height
        if missing:
            remarks.append(f"{missing:,} rows without {measure} are left out of it")
    kept = [e.variance_kept for e in effects if e.metric == str(plan.primary) and e.variance_kept < 1]
    if plan.covariate is not None:
        told = f"{1 - min(kept):.0%} of the variance" if kept else "nothing"
        remarks.append(f"{plan.covariate}, which must have been known before the exposure, explains {told}")
    if plan.sequential:
        planned = plan.planned_units or DEFAULT_PLANNED
        remarks.append(f"intervals hold at any number of looks, and are narrowest at {planned:,} units")
    elif plan.planned_units is None:
        remarks.append("no size was planned, so this is taken for the one and only look at the results")
    if min(results.counts.values()) < _FEW_UNITS:
        remarks.append(f"an arm has fewer than {_FEW_UNITS} units; the intervals are rough")
    if segments:
        remarks.append(
            "segments show where to look next and decide nothing; their p-values are corrected (BH)"
        )
    if len(plan.others) > 1:
        how = "Bonferroni" if plan.sequential else "Dunnett"
        remarks.append(f"intervals and p-values are corrected for {len(plan.others)} arms ({how})")
    return remarks


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
