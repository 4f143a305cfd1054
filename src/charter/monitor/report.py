"""What a window holds once it is measured: plain data that is kept, the measures that rules read, and words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from charter.core.decision import Check, Verdict
from charter.monitor.alerts import Window
from charter.monitor.concept import Losses
from charter.monitor.drift_types import Finding
from charter.monitor.feedback import Feedback
from charter.monitor.quality import Quality, Worth
from charter.monitor.seen import TRAINING

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Operations:
    """How answers were given: latencies in milliseconds from a request's arrival to its score, and shares of rows."""

    p50_latency_ms: float | None
    p95_latency_ms: float | None
    p99_latency_ms: float | None
    fallback_share: float
    warning_share: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A window of one version, measured.

    Attributes
    ----------
    key
        Digest of all that it was made from: the same key needs no second measurement.
    answered_from
        Moment of the first answer.
    months
        Length of the window.
    drift
        Findings of each column, by what the window is compared with: ``training``, and what the specification adds.
    feedback
        How far its decisions made the data that it is judged by; None where nothing is decided.
    forecast
        Errors by block of the horizon, value added over simple methods, series to look at; of forecasts.
    losses
        Of mature rows beyond what their scores promised, by which concept drift is followed from window to window.
    profile
        Of inputs and scores, for comparing windows with each other.
    checks
        What else was judged: skew, importance.
    figures
        Further numbers that a rule can name.
    not_measured
        What could not be measured, and why.
    """

    key: str
    version: str
    start: datetime
    end: datetime
    answered_from: datetime
    months: float
    quality: Quality
    worth: Worth | None
    operations: Operations
    drift: Mapping[str, tuple[Finding, ...]] = field(default_factory=dict)
    feedback: Feedback | None = None
    forecast: Mapping[str, Any] | None = None
    losses: Losses | None = None
    profile: Mapping[str, Any] = field(default_factory=dict)
    checks: tuple[Check, ...] = ()
    figures: Mapping[str, float] = field(default_factory=dict)
    not_measured: Mapping[str, str] = field(default_factory=dict)

    def measures(self) -> dict[str, float]:
        """Every number that an alert rule can name."""
        q, o = self.quality, self.operations
        found: dict[str, float | None] = {
            "rows": float(q.rows),
            "maturity": q.maturity,
            "fallback_share": o.fallback_share,
            "warning_share": o.warning_share,
            "p50_latency_ms": o.p50_latency_ms,
            "p95_latency_ms": o.p95_latency_ms,
            "p99_latency_ms": o.p99_latency_ms,
            "surprises": float(len(q.surprise)),
        }
        found |= {name: one.value for name, one in q.realised.items()}
        # A rule on an end of the interval asks to be sure: `high(recall) < 0.7` is no chance of few outcomes.
        found |= {f"low({name})": one.low for name, one in q.realised.items()}
        found |= {f"high({name})": one.high for name, one in q.realised.items()}
        found |= {f"estimation_error({name})": off for name, off in q.estimation_error.items()}
        found |= {f"estimated({name})": one.value for name, one in q.estimated.items()}
        if self.worth is not None and self.months > 0:
            found["net_value_per_month"] = self.worth.net / self.months
            found["benefit_per_month"] = self.worth.benefit / self.months
        for reference, findings in self.drift.items():
            found |= _drift_measures(findings, "" if reference == TRAINING else f"_{reference}")
        found |= self.figures
        return {name: value for name, value in found.items() if value is not None}

    def to_json(self) -> dict[str, Any]:
        """Plain data, as it is kept."""
        q, w = self.quality, self.worth
        return {
            "schema_version": SCHEMA_VERSION,
            "key": self.key,
            "version": self.version,
            "start": self.start.isoformat(),
            "end": self.end.isoformat(),
            "answered_from": self.answered_from.isoformat(),
            "months": self.months,
            "quality": asdict(q)
            | {
                "maturity": q.maturity,
                "base_rate_moved": q.base_rate_moved,
                "surprise": list(q.surprise),
                "estimation_error": q.estimation_error,
            },
            "worth": None
            if w is None
            else asdict(w) | {"net": w.net, "benefit": w.benefit, "return_on_cost": w.return_on_cost},
            "operations": asdict(self.operations),
            "feedback": self.feedback.to_json() if self.feedback is not None else None,
            "forecast": dict(self.forecast) if self.forecast is not None else None,
            "losses": asdict(self.losses) if self.losses is not None else None,
            "measures": self.measures(),
            "drift": [f.to_json() for f in self.drift.get(TRAINING, ())],
            "drift_against": {
                name: [f.to_json() for f in findings]
                for name, findings in self.drift.items()
                if name != TRAINING
            },
            "profile": dict(self.profile),
            "checks": [asdict(c) for c in self.checks],
            "not_measured": dict(self.not_measured),
        }


def _drift_measures(findings: Sequence[Finding], suffix: str) -> dict[str, float]:
    """Effects by column, such as ``psi(AGE)`` or, against another reference than training, ``psi_previous(AGE)``.

    What could not be judged (bins of another version, too few rows) is left out: it is not known to be no change.
    """
    judged = [f for f in findings if f.verdict is not Verdict.UNKNOWN]
    if not judged:
        return {}
    found = {f"drifted_columns{suffix}": float(len({f.measured.column for f in judged if f.persists}))}
    for finding in judged:
        m = finding.measured
        for effect, size in m.effects.items():
            word = {"distribution": effect, "missing": "missing_change", "unseen": "unseen_share"}.get(
                m.aspect
            )
            if word is not None:
                # What may be chance counts as no change: rules must not fire on noise.
                found[f"{word}{suffix}({m.column})"] = abs(size) if finding.level else 0.0
    return found


def stored_windows(kept: Iterable[Mapping[str, Any]]) -> list[Window]:
    """Windows as alert rules see them, from what was kept."""
    return [
        Window(
            one["version"],
            datetime.fromisoformat(one["start"]),
            datetime.fromisoformat(one["end"]),
            one["measures"],
        )
        for one in kept
    ]
