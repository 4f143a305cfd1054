"""Alerts from windows: which rules hold, since when, and what changed. Pure: the same windows give the same alerts.

A rule is judged over all windows in order, each time anew. So a pass that was killed, repeated, or that finds an old
window changed by late outcomes comes to the same alerts; what was told already is known by its identifier.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from charter.core.digest import digest_json
from charter.core.quantity import Requirement
from charter.spec.alerts import ANY, AlertRule, Condition
from charter.spec.measures import MEASURES
from charter.spec.types import AlertSpec, ModelSpec
from charter.spec.vocabulary import METRICS


@dataclass(frozen=True, slots=True)
class Window:
    """What was measured of a version over a window.

    Attributes
    ----------
    measures
        Name to number, such as ``recall``, ``psi(AGE)``, ``p95_latency_ms``; what could not be measured is left out.
    """

    version: str
    start: datetime
    end: datetime
    measures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with its name, its place in the specification and what follows from it."""

    name: str
    rule: AlertRule
    spec: AlertSpec
    where: tuple[str, ...]


class Turn(StrEnum):
    """How an alert changes."""

    FIRED = "fired"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """An alert begins or ends.

    Attributes
    ----------
    id
        Equal for equal rule, version, window and turn: what was told once is not told again.
    began
        ``id`` of the turn by which the alert began; its own where it begins.
    observed
        The measures that did it, in words.
    """

    id: str
    began: str
    name: str
    turn: Turn
    severity: str
    action: str
    group: str | None
    version: str
    window: datetime
    observed: str
    required: str
    description: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "id": self.id,
            "began": self.began,
            "name": self.name,
            "turn": self.turn.value,
            "severity": self.severity,
            "action": self.action,
            "group": self.group,
            "version": self.version,
            "window": self.window.isoformat(),
            "observed": self.observed,
            "required": self.required,
            "description": self.description,
        }


@dataclass(frozen=True, slots=True)
class Alert:
    """Where a rule stands for a version.

    Attributes
    ----------
    firing
        Whether it is on.
    since
        Start of the first window of the present run, or of the first that led to the alert while it is on; None while
        there is neither.
    event
        ``id`` of the turn by which it began; empty while it is off.
    windows
        Length of the present run of windows in which the rule is true.
    """

    rule: Rule
    version: str
    firing: bool
    since: datetime | None
    windows: int
    observed: str
    event: str = ""


def rules(spec: ModelSpec) -> tuple[Rule, ...]:
    """All rules of a model: those that it declares, and those that follow from what it requires.

    What a model had to show before its release it must show after it: each line of ``evaluate.require`` and each KPI
    that is a metric becomes a rule over mature windows, and so does the latency budget. A metric has to miss what is
    required with its whole interval.

    Examples
    --------
    ``evaluate.require: {roc_auc: ">= 0.76"}`` gives ``high(roc_auc) < 0.76 when maturity >= 0.8``.
    """
    found = [
        Rule(name, AlertRule.parse(a.when), a, ("monitor", "alerts", name))
        for name, a in spec.monitor.alerts.items()
    ]
    mature = Condition("maturity", None, Requirement(">=", spec.monitor.mature))
    taken = {r.name for r in found}
    asked: list[tuple[str, str, str, tuple[str, ...]]] = [
        (f"requires_{m}", m, text, ("evaluate", "require", m)) for m, text in spec.evaluate.require.items()
    ]
    asked += [
        (f"kpi_{n}", k.metric, k.require, ("kpis", n)) for n, k in spec.kpis.items() if k.metric is not None
    ]
    for name, metric, text, where in asked:
        if name in taken or metric not in METRICS:
            continue
        broken = _broken(Requirement.parse(text))
        # The end of the interval that is the last to break it: few rows, or a value at the limit, fire nothing.
        surely = "high" if broken.operator in ("<", "<=") else "low"
        rule = AlertRule(Condition(surely, metric, broken), mature, 1, None)
        found.append(Rule(name, rule, AlertSpec(when=str(rule), severity="critical"), where))
    if spec.budget.latency_p95_ms is not None and "budget_latency" not in taken:
        limit = Requirement(">", spec.budget.latency_p95_ms)
        rule = AlertRule(Condition("p95_latency_ms", None, limit), None, 1, None)
        found.append(Rule("budget_latency", rule, AlertSpec(when=str(rule)), ("budget", "latency_p95_ms")))
    return tuple(found)


def judge(
    windows: Sequence[Window], wanted: Iterable[Rule], *, serving: Collection[str] | None = None
) -> tuple[tuple[Alert, ...], tuple[AlertEvent, ...]]:
    """Say where every rule stands for every version, and list every turn there ever was.

    Parameters
    ----------
    windows
        Of any versions, in any order.
    serving
        Versions that answer, or are tried, now: an alert of another is over, since no window of it will come; None
        where that is not known.

    Notes
    -----
    A rule fires when it was true in as many windows in a row as it asks for (of a duration, as many as it covers),
    and is over after as many in a row in which it was false as it names (``over_after``, two where it names none), so
    that it does not flap at its limit. Windows in which its measure is missing or its condition does not hold say
    nothing and interrupt nothing.
    """
    by_version: dict[str, list[Window]] = {}
    for window in sorted(windows, key=lambda w: (w.version, w.start)):
        by_version.setdefault(window.version, []).append(window)
    alerts: list[Alert] = []
    events: list[AlertEvent] = []
    for one in wanted:
        for version, own in by_version.items():
            alert, turns = _follow(one, version, own)
            if alert.firing and serving is not None and version not in serving:
                over = f"{version} serves no more"
                turns.append(_event(one, version, own[-1], Turn.RESOLVED, over, began=alert.event))
                alert = Alert(one, version, False, None, 0, over)
            alerts.append(alert)
            events += turns
    return tuple(alerts), tuple(sorted(events, key=lambda e: (e.window, e.name, e.version, e.turn)))


def _follow(one: Rule, version: str, windows: Sequence[Window]) -> tuple[Alert, list[AlertEvent]]:
    began, run, quiet, observed = "", 0, 0, ""
    since: datetime | None = None
    events: list[AlertEvent] = []
    for window in windows:
        truth = _holds(one.rule, window)
        if truth is None:
            continue
        holds, observed = truth
        if holds:
            since = window.start if since is None else since
            run, quiet = run + 1, 0
            if not began and run >= _needed(one.rule, window.end - window.start):
                events.append(_event(one, version, window, Turn.FIRED, observed))
                began = events[-1].id
        else:
            run, quiet = 0, quiet + 1
            if began and quiet >= one.spec.over_after:
                events.append(_event(one, version, window, Turn.RESOLVED, observed, began=began))
                began = ""
            if not began:
                since = None
    return Alert(one, version, bool(began), since, run, observed, began), events


def _holds(rule: AlertRule, window: Window) -> tuple[bool, str] | None:
    """Whether a rule is true in a window, and by what; None where it says nothing."""
    if rule.when is not None:
        found = _measured(rule.when, window.measures)
        if not found or not all(rule.when.limit.met_by(v) for v in found.values()):
            return None
    found = _measured(rule.condition, window.measures)
    if not found:
        return None
    true = {name: v for name, v in found.items() if rule.condition.limit.met_by(v)}
    shown = true or found
    worst = sorted(shown.items(), key=lambda one: (-abs(one[1]), one[0]))[:5]
    if not any(shown.values()) and rule.condition.measure in MEASURES and (
        MEASURES[rule.condition.measure].of == "column"
    ):  # fmt: skip
        return bool(
            true
        ), f"{rule.condition.name}: no change beyond chance"  # kept as 0, which nobody measured
    return bool(true), ", ".join(f"{name} = {value:.4g}" for name, value in worst)


def _measured(condition: Condition, measures: Mapping[str, float]) -> dict[str, float]:
    if condition.of != ANY:
        names = [condition.name] if condition.name in measures else []
    else:
        names = [name for name in measures if name.startswith(f"{condition.measure}(")]
    return {name: measures[name] for name in names if math.isfinite(measures[name])}


def _needed(rule: AlertRule, window: timedelta) -> int:
    return rule.windows if rule.lasting is None else max(1, math.ceil(rule.lasting / window))


def _event(
    one: Rule, version: str, window: Window, turn: Turn, observed: str, *, began: str = ""
) -> AlertEvent:
    identity = digest_json([one.name, str(one.rule), version, window.start.isoformat(), turn.value])[:24]
    return AlertEvent(
        id=identity,
        began=began or identity,
        name=one.name,
        turn=turn,
        severity=one.spec.severity,
        action=one.spec.action,
        group=one.spec.group,
        version=version,
        window=window.start,
        observed=observed,
        required=str(one.rule),
        description=one.spec.description or "",
    )


_OPPOSITE = {">=": "<", "<=": ">", ">": "<=", "<": ">="}


def _broken(required: Requirement) -> Requirement:
    """Turn what is required into what is bad news; a requirement to be equal is broken on either side, and rare."""
    return Requirement(_OPPOSITE.get(required.operator, "<"), required.limit)
