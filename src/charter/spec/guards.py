"""The language of a rollout's guards: a measure of the candidate held against a limit; true is bad news.

``MEASURE > NUMBER``, of the measures in `MEASURES`. A guard is judged over all requests since the stage began, with an
interval, so it needs neither windows nor a duration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from charter.core.nearest import did_you_mean
from charter.spec.alerts import AlertRule

SHADOW_ONLY = frozenset({"disagreement"})
NOT_IN_SHADOW = frozenset({"p95_latency_rise"})
"""A shadow's latency is that of scoring alone, without the request's way, so it is not compared with the champion's."""
VALUE = frozenset({"value_drop"})
"""Needs ``value.per_decision`` and outcomes."""

MEASURES: Mapping[str, str] = {
    "error_share": "share of requests that it could not answer: its fallback did, or the champion in its place",
    "error_share_rise": "that share less the champion's",
    "p50_latency_ms": "latency of a request that half of them stay below",
    "p95_latency_ms": "latency of a request that 95 % of them stay below",
    "p99_latency_ms": "latency of a request that 99 % of them stay below",
    "p95_latency_rise": "that latency over the champion's, less 1",
    "score_shift": "largest distance between the distributions of the scores of candidate and champion, 0 to 1",
    "disagreement": "share of rows that the candidate decides otherwise than the champion; in shadow",
    "value_drop": "what a decision of the candidate is worth less than one of the champion, by known outcomes",
}


@dataclass(frozen=True, slots=True)
class Guard:
    """A measure of the candidate and the most that it may be."""

    measure: str
    limit: float

    @classmethod
    def parse(cls, text: str) -> Guard:
        """Read a guard.

        Raises
        ------
        ValueError
            When it is none; says how one is written.

        Examples
        --------
        >>> str(Guard.parse("error_share>0.010"))
        'error_share > 0.01'
        """
        rule = AlertRule.parse(text)
        measure, limit = rule.condition.name, rule.condition.limit
        if measure not in MEASURES:
            hint = did_you_mean(measure, MEASURES)
            raise ValueError(f"{measure!r} is no measure of a guard; {hint or 'see docs/rollout.md'}")
        if limit.operator != ">" or rule.when is not None or rule.windows != 1 or rule.lasting is not None:
            raise ValueError(f"must read '{measure} > NUMBER': more than that is bad news")
        return cls(measure, limit.limit)

    def __str__(self) -> str:
        return f"{self.measure} > {self.limit:g}"
