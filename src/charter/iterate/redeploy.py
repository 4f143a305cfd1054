"""Whether a new model may replace the one that serves: by itself, with a person's word, or not at all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from charter.core.decision import Check, Decision, Verdict
from charter.data.metrics import direction
from charter.evaluate.comparison import MetricChange, ModelComparison, surely_worse
from charter.iterate.words import figure, percent
from charter.spec.types.iteration import RedeploySpec

_WHERE = "release.redeploy"
SIGNIFICANT = 0.05


class Redeployment(StrEnum):
    """Who decides."""

    AUTOMATIC = "automatic"
    MANUAL = "manual"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class Changes:
    """What is different about how the candidate came to be; each always asks a person.

    Attributes
    ----------
    new_features, lost_features
        That only the candidate, and only the champion sees.
    algorithm
        Of champion and candidate, where they differ.
    label
        Changes of what is predicted, in words.
    rules
        Changes of how an answer becomes a decision (threshold, bands, fallback, worth of outcomes), in words.
    """

    new_features: tuple[str, ...] = ()
    lost_features: tuple[str, ...] = ()
    algorithm: tuple[str, str] | None = None
    label: tuple[str, ...] = ()
    rules: tuple[str, ...] = ()


def judge_redeployment(
    comparison: ModelComparison,
    policy: RedeploySpec,
    changes: Changes,
    *,
    required: Iterable[str] = (),
    gate: Decision | None = None,
) -> Decision:
    """Judge by every rule.

    Parameters
    ----------
    comparison
        Candidate and champion on the same rows.
    required
        Metrics that the specification requires; with the primary one they must not drop.
    gate
        The candidate's own gate: requirements, fairness, budget. What fails it is rejected.

    Returns
    -------
    Decision
        ``pass`` is automatic, ``unknown`` manual (nothing goes on without a person), ``fail`` rejected; the word stands
        in the evidence under ``outcome``.
    """
    checks = [
        _gate(gate),
        *_quality(comparison, policy, required),
        *_resources(comparison.resources or {}, policy),
        _shift(comparison, policy),
        *_slices(comparison),
        *_changes(changes),
    ]
    if not policy.automatic:
        checks.append(
            _check(
                "by itself",
                "no",
                "release.redeploy.automatic",
                Verdict.UNKNOWN,
                "a person always decides",
                "automatic",
            )
        )
    found = Decision.of("redeployment", checks)
    outcome = {Verdict.PASS: Redeployment.AUTOMATIC, Verdict.FAIL: Redeployment.REJECTED}.get(
        found.verdict, Redeployment.MANUAL
    )
    evidence = {"outcome": outcome.value, "champion": comparison.champion, "candidate": comparison.candidate}
    return Decision(found.subject, found.verdict, found.checks, evidence)


def _check(name: str, seen: str, required: str, verdict: Verdict, note: str = "", field: str = "") -> Check:
    return Check(name, seen, required, verdict, where=f"{_WHERE}.{field}" if field else "", note=note)


def _gate(gate: Decision | None) -> Check:
    if gate is None:
        return _check("gate", "not judged", "every requirement met", Verdict.UNKNOWN, "run `charter apply`")
    failed = [c for c in gate.checks if not c.verdict.allows]
    if not failed and gate.allows:
        return _check("gate", f"{len(gate.checks)} requirements met", "every requirement met", Verdict.PASS)
    names = ", ".join(c.name for c in failed) or gate.verdict.value
    return _check(
        "gate", names, "every requirement met", Verdict.FAIL, "a model that fails its gate replaces nothing"
    )


def _quality(comparison: ModelComparison, policy: RedeploySpec, required: Iterable[str]) -> Iterator[Check]:
    yield _gain(comparison.change(comparison.primary), comparison.primary, policy)
    for metric in dict.fromkeys([comparison.primary, *required]):
        change = comparison.change(metric)
        if change is not None:
            tolerated = policy.tolerate.get(metric)
            yield _drop(change, policy) if tolerated is None else _worse_by(change, tolerated)


def _gain(change: MetricChange | None, metric: str, policy: RedeploySpec) -> Check:
    name = f"gain in {metric}"
    required = f"more than {percent(policy.min_gain)}, surely better"
    gain = change.gain if change is not None else None
    if gain is None or gain.value is None:
        note = gain.note if gain is not None else "not measured"
        return _check(name, "not known", required, Verdict.UNKNOWN, note, "min_gain")
    seen = _gained(gain.value, gain.low, gain.high)
    if gain.value > policy.suspicious_gain:
        most = f"at most {percent(policy.suspicious_gain)}"
        note = "too good to be true: look for a leak or an easier set of rows"
        return _check(name, seen, most, Verdict.UNKNOWN, note, "suspicious_gain")
    if gain.value <= policy.min_gain:
        return _check(
            name, seen, required, Verdict.UNKNOWN, "too little to replace a model by itself", "min_gain"
        )
    if gain.low is None or gain.low <= 0:
        return _check(
            name, seen, required, Verdict.UNKNOWN, "the data cannot tell better from no better", "min_gain"
        )
    return _check(name, seen, required, Verdict.PASS, "", "min_gain")


def _drop(change: MetricChange, policy: RedeploySpec) -> Check:
    name, gain = f"drop in {change.metric}", change.gain
    required = f"less than {percent(policy.max_drop)}, surely less than {percent(policy.reject_drop)}"
    if gain.value is None:
        return _check(name, "not known", required, Verdict.UNKNOWN, gain.note, "max_drop")
    ends = (None, None) if gain.low is None or gain.high is None else (0.0 - gain.high, 0.0 - gain.low)
    seen = _gained(0.0 - gain.value, *ends)  # a drop is what the candidate loses, whichever way is better
    if -gain.value > policy.reject_drop:
        sure = surely_worse(change)
        note = "worse" if sure else "on these rows; the data cannot tell it from chance, and caution decides"
        return _check(name, seen, f"at most {percent(policy.reject_drop)}", Verdict.FAIL, note, "reject_drop")
    if -gain.value >= policy.max_drop:
        note = "surely worse" if surely_worse(change) else "worse, but the data cannot tell it from chance"
        return _check(name, seen, required, Verdict.UNKNOWN, note, "max_drop")
    if gain.low is None or -gain.low > policy.reject_drop:
        note = f"the data cannot rule out a drop of more than {percent(policy.reject_drop)}"
        return _check(name, seen, required, Verdict.UNKNOWN, note, "reject_drop")
    return _check(name, seen, required, Verdict.PASS, "better" if gain.value > 0 else "", "max_drop")


def _worse_by(change: MetricChange, tolerated: float) -> Check:
    """Judge a change in the metric's own unit: a share of a metric near 0 is large where nobody notices."""
    name, field = f"drop in {change.metric}", f"tolerate.{change.metric}"
    sign = -1.0 if direction(change.metric) == "up" else 1.0
    found = change.compared.difference
    required = f"surely at most {figure(tolerated)}"
    if found.value is None:
        return _check(name, "not known", required, Verdict.UNKNOWN, found.note, field)
    seen = figure(sign * found.value)
    if found.low is None or found.high is None:
        return _check(name, seen, required, Verdict.UNKNOWN, "how sure that is, is not known", field)
    low, high = sorted((sign * found.low, sign * found.high))
    seen = f"{seen} [{figure(low)}, {figure(high)}]"
    if sign * found.value > tolerated:
        return _check(name, seen, f"at most {figure(tolerated)}", Verdict.FAIL, "worse", field)
    if high > tolerated:
        note = f"the data cannot rule out a drop of more than {figure(tolerated)}"
        return _check(name, seen, required, Verdict.UNKNOWN, note, field)
    return _check(name, seen, required, Verdict.PASS, "worse" if low > 0 else "", field)


def _gained(value: float, low: float | None, high: float | None) -> str:
    text = percent(value, "+")
    return text if low is None or high is None else f"{text} [{percent(low, '+')}, {percent(high, '+')}]"


def _resources(
    resources: Mapping[str, tuple[float | None, float | None]], policy: RedeploySpec
) -> Iterator[Check]:
    limits = (
        ("latency_p95_ms", "p95 latency", "ms", policy.max_latency_rise, "max_latency_rise"),
        ("memory_mb", "memory", "MB", policy.max_memory_rise, "max_memory_rise"),
    )
    for key, name, unit, most, field in limits:
        before, after = resources.get(key, (None, None))
        required = f"at most {percent(most, '+')}"
        if before is None or after is None or before <= 0:
            yield _check(name, "not measured", required, Verdict.UNKNOWN, "measure both versions", field)
            continue
        rise = after / before - 1
        seen = f"{figure(before)} to {figure(after)} {unit} ({percent(rise, '+')})"
        yield _check(name, seen, required, Verdict.PASS if rise <= most else Verdict.UNKNOWN, "", field)


def _shift(comparison: ModelComparison, policy: RedeploySpec) -> Check:
    shift = comparison.shift
    share = shift.share.value or 0.0
    seen = f"{percent(share)} of rows move by more than {figure(shift.by)} (PSI {shift.psi:.3f})"
    if share >= policy.max_shift:
        return _check("shift", seen, f"less than {percent(policy.max_shift)}", Verdict.UNKNOWN,
                      "many answers change; whoever acts on them should know", "max_shift")  # fmt: skip
    return _check("shift", seen, f"less than {percent(policy.max_shift)}", Verdict.PASS, "", "max_shift")


def _slices(comparison: ModelComparison) -> Iterator[Check]:
    judged = [s for s in comparison.slices if s.change is not None and s.p_value is not None]
    if not judged:
        return
    worse = [
        s
        for s in judged
        if s.change is not None and surely_worse(s.change) and (s.p_value or 1.0) < SIGNIFICANT
    ]
    required = "none surely worse"
    if not worse:
        yield _check("slices", f"{len(judged)} judged, none surely worse", required, Verdict.PASS)
        return
    names = ", ".join(s.slice if s.value == "true" else f"{s.slice} = {s.value}" for s in worse)
    yield _check(
        "slices", names, required, Verdict.UNKNOWN, f"worse there, after correction for {len(judged)} slices"
    )


def _changes(changes: Changes) -> Iterator[Check]:
    found = (
        ("new features", ", ".join(changes.new_features)),
        ("lost features", ", ".join(changes.lost_features)),
        ("algorithm", " to ".join(changes.algorithm) if changes.algorithm is not None else ""),
        ("label", "; ".join(changes.label)),
        ("business rules", "; ".join(changes.rules)),
    )
    for name, seen in found:
        if seen:
            yield _check(name, seen, "none by itself", Verdict.UNKNOWN, "always asks a person")
    if not any(seen for _, seen in found):
        yield _check(
            "changes", "same features, algorithm, label and business rules", "none by itself", Verdict.PASS
        )
