"""Gates: what was measured against what the specification requires. Pure; what was not measured is not good enough."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from charter.core.decision import Check, Decision, Verdict
from charter.core.quantity import Requirement
from charter.govern.card_sections import sections
from charter.spec.vocabulary import METRICS, SERIES_METHODS

if TYPE_CHECKING:
    from charter.spec.types import ModelSpec

Json = Mapping[str, Any]
Where = Callable[[tuple[str, ...]], str]

FAIRNESS_LIMITS = (
    "demographic_parity_difference",
    "equal_opportunity_difference",
    "false_positive_rate_difference",
    "disparate_impact_ratio",
)


def judge(
    evaluation: Json,
    measurement: Json | None,
    parity: Json | None,
    spec: ModelSpec,
    where: Where,
    evidence: Mapping[str, str] | None = None,
) -> Decision:
    """Judge a model by its specification alone.

    The measured value is judged, not its interval; a note says when the interval reaches across the limit. A number
    that is missing or undefined gives ``unknown``, which releases nothing. KPIs that come from outside are shown with
    ``warn`` and hold nothing up.

    Parameters
    ----------
    evaluation
        ``Evaluation.to_json()``.
    measurement
        ``latency_p95_ms``, ``memory_mb``, ``package_mb`` of the packaged model.
    parity
        ``max_abs_difference`` between the trained and the portable model, and its ``limit``.
    where
        Place of a path of the specification, for example ``model.yaml:63``.
    evidence
        Name to digest of what was looked at.
    """
    checks = [
        *requirements(evaluation, spec, where),
        *_new_series(evaluation, spec, where),
        *_threshold(evaluation, spec, where),
        *fairness(evaluation, spec, where),
        *_protected(spec, where),
        *_kpis(evaluation, spec, where),
        _baseline(evaluation, spec, where),
        *_added(evaluation, spec, where),
        *_worth(evaluation, spec, where),
        *_budget(measurement or {}, spec, where),
        _parity(parity or {}),
        *sections(spec, where),
    ]
    return Decision.of("gate", checks, evidence)


def requirements(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    """Hold each metric against what ``evaluate.require`` asks of it; arguments as `judge`."""
    for name, text in spec.evaluate.require.items():
        yield _against(name, _metric(evaluation, name), text, where(("evaluate", "require", name)))


def _new_series(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    """Hold series that were forecast as if they had no past against what is required of such, by what is new."""
    report = _mapping(evaluation.get("forecast"))
    measured = {part.get("value"): _mapping(part.get("metrics")) for part in report.get("new_series") or ()}
    for kind, required in spec.evaluate.require_new_series.items():
        for name, text in required.items():
            place = where(("evaluate", "require_new_series", kind, name))
            yield _against(f"{name}, {kind}", _mapping(measured.get(kind)).get(name), text, place)


def _threshold(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    declared = spec.evaluate.threshold
    if declared is None or not declared.subject_to:
        return
    chosen = _mapping(evaluation.get("threshold"))
    met = chosen.get("met")
    required = ", ".join(f"{name} {text}" for name, text in declared.subject_to.items())
    place = where(("evaluate", "threshold", "subject_to"))
    if met is True:
        yield Check("threshold", "found", required, Verdict.PASS, place)
    elif met is False:
        unmet = ", ".join(map(str, chosen.get("unmet") or ())) or "all of it"
        note = f"no threshold meets this on the training rows' out-of-fold predictions; unmet: {unmet}"
        yield Check("threshold", "none", required, Verdict.FAIL, place, note)
    else:
        yield Check("threshold", "not measured", required, Verdict.UNKNOWN, place)


def fairness(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    """Hold the differences between groups against the limits of ``evaluate.fairness``; arguments as `judge`."""
    declared = spec.evaluate.fairness
    if declared is None:
        return
    measured = _mapping(evaluation.get("fairness"))
    for limit in FAIRNESS_LIMITS:
        text = getattr(declared, limit)
        if text is None:
            continue
        for attribute in declared.by:
            found = _mapping(measured.get(attribute)).get(limit)
            yield _against(f"{limit} by {attribute}", found, text, where(("evaluate", "fairness", limit)))


def _protected(spec: ModelSpec, where: Where) -> Iterator[Check]:
    """Say which protected columns the model sees: columns of the rows themselves, unless they are excluded."""
    observed = spec.data.observations
    if observed.source is None or observed.entity is not None or observed.series:
        return  # of entities and series the model sees what is computed from the rows
    columns = spec.data.sources[observed.source].columns
    seen = [
        name for name, column in columns.items()
        if column.sensitivity == "protected" and name not in (*spec.features.exclude, spec.data.label.column)
    ]  # fmt: skip
    if seen:
        note = "the model sees them; write them under features.exclude, or say in the card why it must"
        yield Check(
            "protected columns",
            ", ".join(seen),
            "none among the features",
            Verdict.WARN,
            where(("features",)),
            note,
        )


def _kpis(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    for name, kpi in spec.kpis.items():
        place = where(("kpis", name))
        if kpi.metric is None:
            per = f" per {kpi.per}" if kpi.per else ""
            note = "external, not a gate: it is known only in operation"
            yield Check(f"kpi {name}", "external", kpi.require + per, Verdict.WARN, place, note)
        else:
            yield _against(f"kpi {name} ({kpi.metric})", _metric(evaluation, kpi.metric), kpi.require, place)


def _baseline(evaluation: Json, spec: ModelSpec, where: Where) -> Check:
    """Hold the model against the best thing that needs no learning; an equal one has not been beaten."""
    beat = spec.evaluate.beat_baseline
    metric = beat.metric or spec.train.metric
    found = _mapping(evaluation.get("against_baseline"))
    baseline = found.get("baseline")
    name = f"{metric} over {baseline or 'the best baseline'}"
    text = f">= {beat.by!r}" if beat.by > 0 else "> 0"
    place = where(("evaluate", "beat_baseline"))
    if found.get("metric") != metric or not isinstance(baseline, str):
        return Check(
            name, "not measured", text, Verdict.UNKNOWN, place, "no baseline was measured on this metric"
        )
    difference = found.get("difference")
    word = METRICS.get(metric)
    if word is not None and word.better == "down":
        difference = _negated(difference)
    check = _against(name, difference, text, place)
    if check.verdict is not Verdict.FAIL or beat.by > 0:
        return check
    # Nobody may have written this down, and then the place is that of `evaluate`.
    note = "built in; evaluate.beat_baseline.metric says what is compared, by asks for more"
    method = baseline.replace(" ", "_")
    if spec.train.task == "forecast" and method in SERIES_METHODS and method not in spec.train.learners:
        note += f"; {method} in train.learners may become the model"
    return replace(check, note="; ".join(filter(None, (check.note, note))))


def _added(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    """Hold a forecast against the best baseline of each part of the horizon, by the share of its error taken away."""
    share = spec.evaluate.beat_baseline.by_share
    if share is None:
        return
    place = where(("evaluate", "beat_baseline", "by_share"))
    report = _mapping(evaluation.get("forecast"))
    parts = [("all steps", report.get("overall"))]
    parts += [(f"steps {_mapping(block).get('value')}", block) for block in report.get("blocks") or ()]
    for words, part in parts:
        found = [_mapping(a) for a in _mapping(part).get("added") or ()]
        rivals = [a for a in found if _number(a.get("other")) is not None]
        best: Json = min(rivals, key=lambda a: float(a["other"]), default={})
        name = f"{best.get('metric', 'error')} below {best.get('baseline', 'the best baseline')}, {words}"
        yield _against(name, best.get("improvement"), f">= {share!r}", place)


def _worth(evaluation: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    """Hold the decisions, too, against what needs no model: at the threshold they must be worth more.

    A baseline that breaks the constraints under which the threshold was chosen is no alternative and does not count.
    """
    objective = _mapping(evaluation.get("threshold")).get("objective")
    word = METRICS.get(objective) if isinstance(objective, str) else None
    if word is None:
        return
    declared = spec.evaluate.threshold
    limits = {n: Requirement.parse(t) for n, t in declared.subject_to.items()} if declared is not None else {}
    rivals = {}
    for name, metrics in _mapping(evaluation.get("baselines")).items():
        value = _number(_mapping(_mapping(metrics).get(word.name)).get("value"))
        kept = {n: _number(_mapping(_mapping(metrics).get(n)).get("value")) for n in limits}
        if value is not None and all(v is not None and limits[n].met_by(v) for n, v in kept.items()):
            rivals[name] = value
    if not rivals:
        return
    sign = 1 if word.better == "up" else -1
    best = max(rivals, key=lambda name: sign * rivals[name])
    own = _number(_mapping(_metric(evaluation, word.name)).get("value"))
    gain = None if own is None else sign * (own - rivals[best])
    place = where(("evaluate", "threshold")) if declared is not None else ""
    yield _against(f"{word.name} of the decisions over {best}", gain, "> 0", place)


def _budget(measurement: Json, spec: ModelSpec, where: Where) -> Iterator[Check]:
    for name in ("latency_p95_ms", "memory_mb", "package_mb"):
        limit = getattr(spec.budget, name)
        if limit is not None:
            yield _against(name, measurement.get(name), f"<= {limit!r}", where(("budget", name)))


def _parity(parity: Json) -> Check:
    from charter.train.parity import PARITY_LIMIT

    limit = _number(parity.get("limit"))
    limit = PARITY_LIMIT if limit is None else min(limit, PARITY_LIMIT)
    note = "largest difference between the trained and the packaged model"
    observed = _number(parity.get("max_abs_difference"))
    required = f"<= {limit:g}"
    if observed is None:
        return Check("parity", "not measured", required, Verdict.UNKNOWN, note=note)
    verdict = Verdict.PASS if observed <= limit else Verdict.FAIL
    return Check("parity", f"{observed:.2g}", required, verdict, note=note)


def _metric(evaluation: Json, name: str) -> Any:
    return _mapping(evaluation.get("metrics")).get(name)


def _against(name: str, found: Any, text: str, place: str) -> Check:
    """Judge a number, or an estimate with ``value``, ``low`` and ``high``."""
    requirement = Requirement.parse(text)
    estimate = found if isinstance(found, Mapping) else {"value": found}
    value = _number(estimate.get("value"))
    if value is None:
        why = str(estimate.get("note") or "") or "it was not measured, or is undefined on these rows"
        return Check(name, "unknown", str(requirement), Verdict.UNKNOWN, place, why)
    low, high = _number(estimate.get("low")), _number(estimate.get("high"))
    met = requirement.met_by(value)
    observed, note = _shown(value, requirement), ""
    if low is not None and high is not None:
        observed += f" [{number(low)}, {number(high)}]"
        if not all(requirement.met_by(end) is met for end in (low, high)):
            note = "the interval reaches across the limit"
    return Check(name, observed, str(requirement), Verdict.PASS if met else Verdict.FAIL, place, note)


def number(value: float, *, more: int = 0) -> str:
    """Write a measured number as people read it: digits that carry meaning, thousands apart.

    Parameters
    ----------
    more
        Decimals beyond the usual.

    Examples
    --------
    >>> number(0.78123), number(187500.4), number(12.3456), number(-0.00012)
    ('0.781', '187,500', '12.3', '-0.00012')
    """
    size = abs(value)
    if size >= 1000:
        return f"{value:,.{more}f}"
    if size >= 10:
        return f"{value:.{1 + more}f}"
    if size >= 1:
        return f"{value:.{2 + more}f}"
    if size >= 0.01 or value == 0:
        return f"{value:.{3 + more}f}"
    return f"{value:.{2 + more}g}"


def _shown(value: float, requirement: Requirement) -> str:
    """Write a number with as many decimals as it takes to see on which side of the limit it lies."""
    met = requirement.met_by(value)
    shown = (number(value, more=more) for more in range(12))
    return next(
        (text for text in shown if requirement.met_by(float(text.replace(",", ""))) is met), repr(value)
    )


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def _mapping(value: Any) -> Json:
    return value if isinstance(value, Mapping) else {}


def _negated(found: Any) -> Any:
    """Turn 'less is better' into 'more is better'; the interval's ends change places."""
    if not isinstance(found, Mapping):
        value = _number(found)
        return None if value is None else -value
    ends = {"value": "value", "low": "high", "high": "low"}
    flipped = {to: _number(found.get(of)) for to, of in ends.items()}
    return {**found, **{k: None if v is None else -v for k, v in flipped.items()}}
