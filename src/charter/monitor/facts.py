"""Everything that a report may tell of a model, and how its windows are read. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from charter.govern.incident import Incident
from charter.govern.review_report import ReviewReport
from charter.monitor.lifecycle import Silence, Standing
from charter.spec.types import ModelSpec

Audience = Literal["operations", "data-science", "business"]
AUDIENCES: tuple[Audience, ...] = ("operations", "data-science", "business")
SEVERITIES = ("critical", "warning", "info")
"""Of alerts and of advice, the worst first."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that a report may tell of a model.

    Attributes
    ----------
    at
        Aware.
    serving, since
        Version that serves and since when; None where nothing is released.
    windows
        What is kept of each window of that version, oldest first.
    primary
        Metric that models are chosen by.
    stopped_for
        How long the monitor has finished no pass, where that is too long.
    undelivered
        Notices that an address has not taken.
    incidents
        Of the model, oldest first.
    review
        None where no decision goes to a person.
    waiting
        Outcomes that are known before ``label.known_after`` is over, and when the last of them counts.
    """

    spec: ModelSpec
    at: datetime
    serving: str | None
    since: datetime | None
    windows: Sequence[Mapping[str, Any]]
    primary: str
    standings: Sequence[Standing] = ()
    silences: Sequence[Silence] = ()
    stopped_for: timedelta | None = None
    undelivered: int = 0
    incidents: Sequence[Incident] = ()
    review: ReviewReport | None = None
    waiting: tuple[int, datetime] | None = None

    @property
    def on(self) -> list[Standing]:
        """Alerts of the version that serves that are on, the worst first."""
        own = [s for s in self.standings if s.is_on and s.alert.version == self.serving]
        return sorted(own, key=lambda s: (SEVERITIES.index(s.alert.rule.spec.severity), s.alert.rule.name))

    @property
    def newest(self) -> Mapping[str, Any] | None:
        """The last window."""
        return self.windows[-1] if self.windows else None

    @property
    def known(self) -> list[Mapping[str, Any]]:
        """Windows of which the primary metric is realised, oldest first."""
        return [w for w in self.windows if estimate_of(w, "realised", self.primary) is not None]


def lasting(findings: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Findings of drift that are large, significant and persistent, one for each column, the largest first."""
    moved = [f for f in findings if f["verdict"] in ("warn", "fail")]
    first: dict[str, Mapping[str, Any]] = {}
    for one in sorted(moved, key=lambda f: (-(f["effects"].get("psi") or 0.0), f["column"])):
        first.setdefault(one["column"], one)
    return list(first.values())


def estimate_of(window: Mapping[str, Any], kind: str, metric: str) -> Mapping[str, Any] | None:
    """A metric of a window, ``realised`` or ``estimated``, where it has a value."""
    found = window["quality"][kind].get(metric)
    return found if found is not None and found["value"] is not None else None


def money(amount: float, currency: str) -> str:
    """Write an amount.

    Examples
    --------
    >>> money(1234.5, "EUR"), money(-0.2, "EUR")
    ('EUR 1,234', 'EUR 0')
    """
    whole = f"{amount:,.0f}"
    return f"{currency} {'0' if whole == '-0' else whole}"
