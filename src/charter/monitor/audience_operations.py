"""What operations read: latency, answers, fallbacks, alerts, incidents. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from charter.monitor.audience_types import (
    Chart,
    Table,
    Tile,
    decimal,
    incidents_table,
    percent,
)
from charter.monitor.facts import Facts
from charter.monitor.trend import Series


def tiles(facts: Facts) -> Iterable[Tile]:
    """The numbers at the top."""
    last = facts.newest
    if last is not None:
        p95, limit = last["operations"]["p95_latency_ms"], facts.spec.budget.latency_p95_ms
        if p95 is not None:
            met = "" if limit is None else "pass" if p95 <= limit else "fail"
            yield Tile("95 % of answers within", f"{p95:.1f} ms", f"<= {limit:g} ms" if limit else "", met)
        yield Tile("answers in the last window", f"{last['quality']['rows']:,}")
        yield Tile("by the fallback", percent(last["operations"]["fallback_share"]))
        yield Tile("with a warning", percent(last["operations"]["warning_share"]))
        yield from _server(last["server"])
    if facts.since is not None:
        yield Tile("last deployment", f"{facts.since:%Y-%m-%d %H:%M}", facts.serving or "")
    on = len(facts.on)
    yield Tile("alerts on", f"{on:,}", "", "pass" if not on else "warn")
    open_ = sum(i.is_open for i in facts.incidents)
    yield Tile("open incidents", f"{open_:,}", "", "pass" if not open_ else "warn")
    if facts.review is not None:
        late = "fail" if facts.review.overdue else "pass"
        yield Tile(
            "decisions that wait", f"{facts.review.waiting:,}", f"{facts.review.overdue:,} overdue", late
        )


def _server(found: Mapping[str, float]) -> Iterable[Tile]:
    """What the servers' own metrics said, where they were asked."""
    if not found:
        return
    met = "pass" if found["instances"] else "fail"
    yield Tile("processes that answer", f"{found['instances']:.0f}", "", met)
    shown = (
        ("memory", "memory_mb", "{:,.0f} MiB"),
        ("up for", "uptime_hours", "{:,.1f} hours"),
        ("processor cores in use", "cpu_cores", "{:.2f}"),
        ("requests a second", "requests_per_second", "{:,.1f}"),
        ("requests that failed", "error_share", "{:.2%}"),
        ("requests refused as invalid", "refused_share", "{:.2%}"),
    )
    for label, name, form in shown:
        if name in found:
            yield Tile(label, form.format(found[name]))


def charts(facts: Facts) -> Iterable[Chart]:
    """Their course over windows."""
    names = tuple(w["start"][:10] for w in facts.windows)
    latency = tuple(
        Series(label, [w["operations"][f"{label}_latency_ms"] for w in facts.windows])
        for label in ("p50", "p95")
    )
    limit = facts.spec.budget.latency_p95_ms
    yield Chart("Latency, ms", "half and 95 % of the answers within", names, latency, limit, zero=True)
    rows = [float(w["quality"]["rows"]) for w in facts.windows]
    yield Chart("Answers", "in each window", names, (Series("answers", rows),), zero=True)
    shares = (
        Series("fallback", [w["operations"]["fallback_share"] for w in facts.windows]),
        Series("warned", [w["operations"]["warning_share"] for w in facts.windows]),
    )
    yield Chart("Fallbacks and warnings", "share of the answers", names, shares, zero=True)


def tables(facts: Facts) -> Iterable[Table]:
    """The figures behind."""
    yield Table(
        "Alerts",
        ("severity", "alert", "standing", "since", "observed", "rule", "action"),
        tuple(
            (s.alert.rule.spec.severity, s.alert.rule.name, s.words, _day(s), s.alert.observed,
             str(s.alert.rule.rule), s.alert.rule.spec.action)
            for s in facts.standings if s.alert.firing and s.alert.version == facts.serving
        ),
        empty="none is on",
    )  # fmt: skip
    yield incidents_table(facts)
    yield Table(
        "Windows",
        ("window", "answers", "p50 ms", "p95 ms", "p99 ms", "fallback", "warned"),
        tuple(
            (w["start"][:10], f"{w['quality']['rows']:,}",
             *(decimal(w["operations"][f"p{q}_latency_ms"], 1) for q in (50, 95, 99)),
             percent(w["operations"]["fallback_share"]), percent(w["operations"]["warning_share"]))
            for w in reversed(facts.windows)
        ),
        right=(1, 2, 3, 4, 5, 6),
    )  # fmt: skip
    if facts.silences:
        rows = tuple(
            (s.name, f"{s.until:%Y-%m-%d %H:%M}", s.said.actor, s.said.reason) for s in facts.silences
        )
        yield Table("Silent", ("alert or group", "until", "by", "reason"), rows)


def _day(standing: Any) -> str:
    since = standing.alert.since
    return f"{since:%Y-%m-%d}" if since is not None else ""
