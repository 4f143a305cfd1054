"""What a comparison of two profiles found, as frozen data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from charter.core.decision import Check, Decision, Verdict
from charter.data.column import Kind

Role = Literal["feature", "prediction"]
Aspect = Literal["distribution", "missing", "unseen", "absent"]


@dataclass(frozen=True, slots=True)
class Measured:
    """One aspect of one column, current rows against reference rows; not judged yet.

    Attributes
    ----------
    aspect
        ``distribution`` of the values; share of ``missing`` ones; share of ``unseen`` categories; ``absent``: the
        column is not there any more.
    effects
        How large the change is. Of a distribution: ``psi``, ``jensen_shannon``, and of numbers ``ks`` and
        ``wasserstein`` (in standard deviations of the reference). Else ``change`` (of the share) or ``share``.
    p_value
        Chance of as much where nothing changed; None where it cannot be told, and ``note`` says why.
    freedom
        Degrees of freedom of the test of a distribution.
    base
        Share in both together, of missing values.
    n_reference, n_current
        Rows that this rests on.
    """

    column: str
    kind: Kind
    aspect: Aspect
    effects: Mapping[str, float]
    p_value: float | None
    n_reference: int
    n_current: int
    role: Role = "feature"
    freedom: int = 0
    base: float = 0.0
    note: str = ""

    @property
    def key(self) -> tuple[Role, str, Aspect]:
        """What is followed from window to window."""
        return self.role, self.column, self.aspect


@dataclass(frozen=True, slots=True)
class Finding:
    """A measured aspect, judged.

    Attributes
    ----------
    measured
        Of the latest window.
    q_value
        The p-value adjusted for all tests of the report (Benjamini-Hochberg).
    level
        Of the latest window by itself: 0 no change or none that is significant, 1 moderate, 2 large.
    windows
        How many windows in a row, up to the latest, show at least a moderate and significant change.
    smallest_visible
        The effect (PSI, or change of the share) that a test of this size finds in four of five cases.
    verdict
        ``fail`` for a large change that persists, ``warn`` for a moderate one; ``unknown`` where even a large one could
        not have been seen.
    """

    measured: Measured
    q_value: float | None
    level: int
    windows: int
    smallest_visible: float | None
    verdict: Verdict
    required: str
    note: str = ""

    @property
    def persists(self) -> bool:
        """Whether it is large enough, no chance, and there for long enough."""
        return self.verdict in (Verdict.FAIL, Verdict.WARN)

    @property
    def name(self) -> str:
        """Name as a check has it."""
        m = self.measured
        of = "score" if m.role == "prediction" else m.column
        words = {"distribution": "", "missing": ", missing values", "unseen": ", unseen values", "absent": ""}
        return f"{'prediction' if m.role == 'prediction' else 'drift'} of {of}{words[m.aspect]}"

    def check(self, where: str = "") -> Check:
        """Say it in the form of all checks."""
        return Check(self.name, observed(self), self.required, self.verdict, where, self.note)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        m = self.measured
        return {
            "column": m.column,
            "role": m.role,
            "kind": m.kind,
            "aspect": m.aspect,
            "effects": dict(m.effects),
            "p_value": m.p_value,
            "q_value": self.q_value,
            "rows": {"reference": m.n_reference, "current": m.n_current},
            "smallest_visible": self.smallest_visible,
            "level": self.level,
            "windows": self.windows,
            "verdict": self.verdict.value,
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Drift of features and predictions over one or more windows.

    Attributes
    ----------
    findings
        One for each column and aspect, the worst first.
    windows, tests
        How many windows were looked at, and how many tests were made in them.
    further
        Checks of other kinds: the domain classifier, importance, skew.
    """

    subject: str
    findings: tuple[Finding, ...]
    windows: int
    tests: int
    persistence: int
    false_discovery_rate: float
    further: tuple[Check, ...] = ()
    remarks: tuple[str, ...] = field(default_factory=tuple)

    @property
    def decision(self) -> Decision:
        """All findings as one judgement."""
        return Decision.of(self.subject, (*(f.check() for f in self.findings), *self.further))

    @property
    def drifted(self) -> tuple[str, ...]:
        """Columns with a change that persists, the worst first, each once."""
        found = (f.measured.column for f in self.findings if f.persists)
        return tuple(dict.fromkeys(found))

    def to_json(self) -> dict[str, Any]:
        """Plain data, with a schema version."""
        return {
            "schema_version": 1,
            "windows": self.windows,
            "tests": self.tests,
            "persistence": self.persistence,
            "false_discovery_rate": self.false_discovery_rate,
            "drifted": list(self.drifted),
            "findings": [f.to_json() for f in self.findings],
            "remarks": list(self.remarks),
            "decision": self.decision.to_json(),
        }


_SHORT = {"psi": "PSI", "ks": "KS", "jensen_shannon": "JS", "wasserstein": "Wasserstein"}


def observed(finding: Finding) -> str:
    """What was measured, in words and numbers."""
    m = finding.measured
    chance = "" if finding.q_value is None else f", {chance_words(finding.q_value)}"
    match m.aspect:
        case "distribution":
            parts = [f"{_SHORT[k]} {v:.3f}" for k, v in m.effects.items() if k in ("psi", "ks")]
            return ", ".join(parts) + chance
        case "missing":
            return f"{m.effects['change']:+.1%}{chance}"
        case "unseen":
            return f"{m.effects['share']:.1%} of the rows{chance}"
        case _:
            return "the column is not there"


def chance_words(q: float) -> str:
    """Write an adjusted p-value."""
    return "q < 0.0001" if q < 1e-4 else f"q {q:.4f}" if q < 0.1 else f"q {q:.2f}"
