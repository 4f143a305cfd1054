"""What to do next, in words: what changed, how sure that is, what it costs, and the command. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from charter.core.quantity import span
from charter.core.text import some
from charter.govern.incident import Incident
from charter.monitor.facts import AUDIENCES, SEVERITIES, Facts, estimate_of, lasting, money
from charter.monitor.lifecycle import Standing

_LIVE = ("p50_latency_ms", "p95_latency_ms", "p99_latency_ms", "fallback_share", "warning_share", "rows")


@dataclass(frozen=True, slots=True)
class Advice:
    """One thing that somebody should know or do.

    Attributes
    ----------
    severity
        ``critical``, ``warning`` or ``info``.
    audiences
        Whom it concerns.
    what, sure, cost, then
        What changed; how sure that is; what it costs; what to do next.
    """

    severity: str
    audiences: tuple[str, ...]
    what: str
    sure: str
    cost: str
    then: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def advice(facts: Facts) -> tuple[Advice, ...]:
    """Say what to do next, the worst first; nothing where all is as it was at release."""
    if facts.newest is None:
        then = "Send requests to the server, then `charter monitor run`."
        waiting = Advice(
            "info", AUDIENCES, "Nothing was answered yet", "certain", "nothing is known yet", then
        )
        return (*_silent(facts), waiting)
    found = [
        *_silent(facts),
        *(_alert(facts, s) for s in facts.on),
        *_surprise(facts),
        *_concept(facts),
        *_checks(facts),
        *_forecast(facts),
        *_base_rate(facts),
        *_drift(facts),
        *_shortfall(facts),
        *_unknown(facts),
        *_review(facts),
        *_incidents(facts),
    ]
    return tuple(sorted(found, key=lambda a: SEVERITIES.index(a.severity)))


def _silent(facts: Facts) -> list[Advice]:
    found = []
    if facts.stopped_for is not None:
        found.append(
            Advice(
                "critical",
                AUDIENCES,
                f"The monitor has finished no pass for {span(facts.stopped_for)}",
                "certain: what stands here is old",
                "trouble since then would not be seen",
                "`charter monitor run`, and see why its schedule stopped.",
            )
        )
    if facts.undelivered:
        found.append(
            Advice(
                "warning",
                ("operations",),
                f"{facts.undelivered:,} notices were taken by nobody",
                "certain",
                "somebody does not know what the monitor knows",
                "See the address in monitor.notify; each pass tries again.",
            )
        )
    return found


def _alert(facts: Facts, standing: Standing) -> Advice:
    alert = standing.alert
    rule, spec = alert.rule, alert.rule.spec
    asked = rule.rule.condition
    end = asked.of if asked.measure in ("low", "high") else None  # of the interval of a metric
    measure = end or asked.measure
    since = f" since {alert.since:%Y-%m-%d}" if alert.since is not None else ""
    seen = f", {standing.words}" if standing.words != "on" else ""
    then = {
        "retrain": f"`charter retrain --reason 'alert {rule.name}'`",
        "rollback": f"`charter rollback --reason 'alert {rule.name}'`",
        "incident": _incident_of(facts, alert.event),
    }.get(spec.action, f"`charter alerts acknowledge {rule.name}`, then see why.")
    audiences: tuple[str, ...] = ("operations",)  # they answer the call, whatever it is about
    if spec.severity == "critical" or (measure not in _LIVE and (end or asked.of is None)):
        audiences = AUDIENCES
    elif measure not in _LIVE:
        audiences = ("operations", "data-science")
    return Advice(
        spec.severity,
        audiences,
        f"{rule.name}: {alert.observed}{since}{seen}" + (f". {spec.description}" if spec.description else ""),
        f"{rule.rule} held in {alert.windows} window{'s' if alert.windows != 1 else ''}; {_sure(facts, measure)}",
        _cost(facts) if measure not in _LIVE else "answers come late or from the fallback",
        then,
    )


def _incident_of(facts: Facts, event: str) -> str:
    own = next((i for i in facts.incidents if i.evidence.get("alert") == event), None)
    return (
        f"`charter incident show {own.name}`"
        if own is not None
        else "`charter monitor run` opens an incident."
    )


def _sure(facts: Facts, measure: str) -> str:
    """How much a figure of the last window rests on."""
    last = facts.newest or {}
    realised = estimate_of(last, "realised", measure)
    if realised is not None and realised["low"] is not None:
        return (
            f"{measure} lies in [{realised['low']:.3f}, {realised['high']:.3f}], {realised['n']:,} outcomes"
        )
    return f"{last['quality']['rows']:,} answers in the last window"


def _cost(facts: Facts) -> str:
    """What the last window earned less than the business case counts on, in words."""
    last = facts.newest
    worth = last["worth"] if last is not None else None
    if worth is None:
        return "not known: value.per_decision is not stated"
    if worth["case"] is None:
        earned = money(worth["benefit"], worth["currency"])
        return f"benefit is {earned} in this window; without value.target there is no business case to hold it against"
    short = worth["case"] - worth["benefit"]
    if short <= 0:
        return "nothing yet: the business case is met"
    return f"not known by itself; the window earned {money(short, worth['currency'])} less than its business case"


def _surprise(facts: Facts) -> list[Advice]:
    shown = [w for w in facts.known if w["quality"]["surprise"]][-1:]
    found = []
    for window in shown:
        names = ", ".join(window["quality"]["surprise"][:3])
        found.append(
            Advice(
                "warning",
                ("data-science",),
                f"In the window of {window['start'][:10]} the outcomes were worse than the model promised ({names})",
                f"the intervals of estimated and realised do not touch, {window['quality']['labelled']:,} outcomes",
                _cost(facts),
                "The relation between inputs and outcome has changed, or outcomes are missing in a biased way: look "
                "at the data first, then `charter retrain`.",
            )
        )
    return found


def _concept(facts: Facts) -> list[Advice]:
    grown = [w for w in facts.windows if any(c["at"] is not None for c in w.get("concept", ()))]
    if not grown:
        return []
    told = [c["detector"].replace("_", "-") for c in grown[-1]["concept"] if c["at"] is not None]
    return [
        Advice(
            "warning",
            ("data-science",),
            f"Errors grew in the window of {grown[-1]['start'][:10]} beyond what the model promised",
            f"told by {' and '.join(told)} over mature outcomes; no shift of the inputs alone does that",
            _cost(facts),
            "Look at how the outcomes came about, then retrain: `charter retrain`.",
        )
    ]


def _checks(facts: Facts) -> list[Advice]:
    last = facts.newest
    return [
        Advice(
            "critical" if check["verdict"] == "fail" else "warning",
            ("operations", "data-science") if check["verdict"] == "fail" else ("data-science",),
            f"{check['name'].capitalize()}: {check['observed']}",
            f"required {check['required']}",
            "answers are not those that were judged before the release"
            if check["verdict"] == "fail"
            else _cost(facts),
            check["note"] or "See `charter monitor report --for data-science`.",
        )
        for check in (last.get("checks", ()) if last is not None else ())
        if check["verdict"] in ("warn", "fail")
    ]


def _forecast(facts: Facts) -> list[Advice]:
    known = [w["forecast"] for w in facts.windows if w.get("forecast")]
    if not known:
        return []
    better = [a for a in known[-1]["parts"][0]["added"] if (a["difference"]["low"] or 0.0) > 0]
    return [
        Advice(
            "warning",
            ("data-science", "business"),
            f"{added['baseline'].replace('_', ' ').capitalize()} forecasts better than the model",
            f"{added['metric']} {added['other']:.3f} against {added['model']:.3f} on {added['n']:,} rows, no chance",
            _cost(facts),
            "Look at the series first that the report names, then retrain.",
        )
        for added in better
    ]


def _base_rate(facts: Facts) -> list[Advice]:
    shown = [w for w in facts.known if w["quality"]["base_rate_moved"]][-1:]
    found = []
    for window in shown:
        q = window["quality"]
        share = q["positives"] / q["labelled"]
        holds = facts.primary not in q["surprise"]
        found.append(
            Advice(
                "warning",
                ("data-science", "business"),
                f"In the window of {window['start'][:10]} {share:.1%} were positive where the scores promised "
                f"{q['promised']:.1%}: by season, or with the people",
                f"more than 4 standard errors apart, {q['labelled']:,} outcomes",
                _cost(facts),
                "The ranking holds: calibrate again and choose the threshold anew before training another model."
                if holds
                else "The ranking does not hold either: `charter retrain`.",
            )
        )
    return found


def _drift(facts: Facts) -> list[Advice]:
    last = facts.newest
    moved = lasting(last["drift"]) if last is not None else []
    if not moved or last is None:
        return _just_moved(last)
    names = some([f["column"] for f in moved])
    known = facts.known[-1:]
    holds = bool(known) and not known[0]["quality"]["surprise"]
    return [
        Advice(
            "info",
            ("data-science",),
            f"The inputs moved: {names}",
            "large enough, not by chance after control of false discoveries, and lasting; "
            f"{moved[0]['rows']['current']:,} rows",
            "none seen: quality holds where it is known" if holds else _cost(facts),
            "See whether the source changed or the people did: `charter data drift`."
            + (" Retraining can wait." if holds else ""),
        )
    ]


def _just_moved(window: Mapping[str, Any] | None) -> list[Advice]:
    """Columns that moved in the last window and not for as many as the specification asks for."""
    found = [f for f in window["drift"] if f["level"]] if window is not None else []
    names = ", ".join(dict.fromkeys(f["column"] for f in found))
    return [
        Advice(
            "info",
            ("data-science",),
            f"The inputs moved in this window: {names}",
            "large enough and not by chance, but in this window alone",
            "none seen yet",
            "The next window will tell whether they stay there: `charter data drift`.",
        )
        for _ in found[:1]
    ]


def _shortfall(facts: Facts) -> list[Advice]:
    last = facts.newest
    worth = last["worth"] if last is not None else None
    if last is None or worth is None or worth["case"] is None or worth["benefit"] >= worth["case"]:
        return []
    sure = last["quality"]["maturity"]
    return [
        Advice(
            "warning" if worth["benefit"] >= 0 else "critical",
            ("business",),
            f"Benefit was {money(worth['benefit'], worth['currency'])} in the window of {last['start'][:10]}, the "
            f"business case counts on {money(worth['case'], worth['currency'])}",
            f"outcomes of {sure:.0%} of its decisions are known; the rest is expected from the scores",
            money(worth["case"] - worth["benefit"], worth["currency"]) + " in this window",
            "Compare with what today's rule would have earned, then ask whether threshold or model should change: "
            "`charter monitor report --for data-science`.",
        )
    ]


def _unknown(facts: Facts) -> list[Advice]:
    if facts.known:
        return []
    if facts.waiting is not None:
        count, until = facts.waiting
        what, then = f"{count:,} outcomes are known early and count from label.known_after on", (
            f"Wait: the last of them counts from {until:%Y-%m-%d %H:%M}. Then `charter monitor run`."
        )  # fmt: skip
    else:
        what, then = "No outcome is known yet", "`charter outcomes import FILE`"
    return [
        Advice(
            "info",
            ("data-science", "business"),
            what,
            "quality is estimated from the inputs alone, which holds while errors come about as in training"
            if facts.spec.train.task == "regression"
            else "quality is estimated from the scores alone, which holds while their probabilities do",
            "a change of the relation between inputs and outcome would not be seen",
            then,
        )
    ]


def _review(facts: Facts) -> list[Advice]:
    if facts.review is None:
        return []
    found = []
    if facts.review.overdue:
        oldest = facts.review.oldest_hours or 0.0
        found.append(
            Advice(
                "warning",
                ("operations", "business"),
                f"{facts.review.overdue:,} decisions wait for a person longer than they should",
                f"certain: the oldest for {oldest:.0f} h",
                "whoever is concerned waits",
                "`charter review list`",
            )
        )
    whole = facts.review.of("why random")
    if whole is not None and whole.low is not None and whole.low > 0.05:
        found.append(
            Advice(
                "warning",
                ("data-science", "business"),
                f"Persons would decide {whole.share:.0%} of all answers otherwise",
                f"[{whole.low:.0%}, {whole.high:.0%}] by {whole.reviewed:,} spot checks",
                _cost(facts),
                "Read the reasons: `charter review report`.",
            )
        )
    return found


def _incidents(facts: Facts) -> list[Advice]:
    by_alert = {s.alert.event for s in facts.on}
    return [
        Advice(
            "critical" if i.severity == "critical" else "warning",
            AUDIENCES,
            f"Incident {i.name} is open for {span(facts.at - i.opened_at)}: {i.title}",
            f"opened by {i.opened_by}, {i.source}",
            "see its evidence",
            f"`charter incident show {i.name}`, then {_step(i)}",
        )
        for i in facts.incidents
        if i.is_open and i.evidence.get("alert") not in by_alert
    ]


def _step(incident: Incident) -> str:
    left = [text for n, text in enumerate(incident.playbook, 1) if n not in incident.steps_done]
    return f"{left[0]}." if left else f"`charter incident close {incident.name} --cause ...`"
