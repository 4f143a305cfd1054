"""A report for one audience: a verdict, what to do next, a few numbers, their course, and the tables behind. Pure."""

from __future__ import annotations

from charter.monitor import audience_business, audience_operations, audience_quality
from charter.monitor.advice import advice
from charter.monitor.audience_types import Page
from charter.monitor.facts import Audience, Facts

_PARTS = {
    "operations": audience_operations,
    "data-science": audience_quality,
    "business": audience_business,
}
_TITLES = {"operations": "Operations", "data-science": "Data science", "business": "Business"}
_HEADS = {
    "pass": "all is as it should be",
    "warn": "something should be looked at",
    "fail": "something must be done",
}


def page(facts: Facts, audience: Audience) -> Page:
    """Write the report of one audience; the same facts give the same page."""
    own = tuple(a for a in advice(facts) if audience in a.audiences)
    verdict = "fail" if any(a.severity == "critical" for a in own) else "warn" if own else "pass"
    if verdict == "warn" and all(a.severity == "info" for a in own) and not facts.on:
        verdict = "pass"
    since = f" since {facts.since:%Y-%m-%d}" if facts.since is not None else ""
    serving = f"{facts.serving} serves{since}" if facts.serving is not None else "nothing serves"
    last = f"; last window from {facts.newest['start'][:10]}" if facts.newest is not None else ""
    own_part = _PARTS[audience]
    return Page(
        model=facts.spec.name,
        audience=audience,
        at=f"{facts.at:%Y-%m-%d %H:%M} UTC",
        title=f"{facts.spec.name}: {_HEADS[verdict]}",
        lead=f"{_TITLES[audience]}. {serving}{last}.",
        verdict=verdict,
        advice=own,
        tiles=tuple(own_part.tiles(facts)),
        charts=tuple(c for c in own_part.charts(facts) if facts.windows),
        tables=tuple(own_part.tables(facts)),
    )
