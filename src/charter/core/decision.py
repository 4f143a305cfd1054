"""One ``Decision`` for gates, approvals, rollout, retraining and redeployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Verdict(StrEnum):
    """Outcome of a check or a decision. ``unknown`` is never good enough to go on: governance fails closed."""

    PASS = "pass"  # noqa: S105
    WARN = "warn"
    FAIL = "fail"
    UNKNOWN = "unknown"

    @property
    def allows(self) -> bool:
        """Whether work may go on."""
        return self in (Verdict.PASS, Verdict.WARN)


@dataclass(frozen=True, slots=True)
class Check:
    """One requirement, judged.

    Attributes
    ----------
    name
        What was measured, for example ``roc_auc`` or ``equal_opportunity_difference by SEX``.
    observed, required
        In words and numbers as a person reads them: ``0.781 [0.771, 0.790]`` and ``>= 0.760``.
    where
        Place of the requirement in the specification, ``model.yaml:63``; empty for built-in rules.
    note
        Why, or what to do next.
    """

    name: str
    observed: str
    required: str
    verdict: Verdict
    where: str = ""
    note: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """A judgement with its reasons and the digests of the evidence that it rests on."""

    subject: str
    verdict: Verdict
    checks: tuple[Check, ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, subject: str, checks: Iterable[Check], evidence: Mapping[str, str] | None = None) -> Decision:
        """Judge by the worst check. No check at all is ``unknown``: nobody looked.

        Examples
        --------
        >>> Decision.of("gate", [Check("roc_auc", "0.78", ">= 0.76", Verdict.PASS)]).verdict
        <Verdict.PASS: 'pass'>
        >>> Decision.of("gate", []).verdict
        <Verdict.UNKNOWN: 'unknown'>
        """
        checks = tuple(checks)
        order = (Verdict.FAIL, Verdict.UNKNOWN, Verdict.WARN, Verdict.PASS)
        worst = next((v for v in order if any(c.verdict is v for c in checks)), Verdict.UNKNOWN)
        return cls(subject, worst, checks, dict(evidence or {}))

    @property
    def allows(self) -> bool:
        """Whether work may go on."""
        return self.verdict.allows

    @property
    def reasons(self) -> tuple[Check, ...]:
        """The checks that stand in the way."""
        return tuple(c for c in self.checks if not c.verdict.allows)

    def to_json(self) -> dict[str, Any]:
        """Plain data, digestible and printable."""
        return {
            "subject": self.subject,
            "verdict": self.verdict.value,
            "checks": [
                {
                    "name": c.name,
                    "observed": c.observed,
                    "required": c.required,
                    "verdict": c.verdict.value,
                    "where": c.where,
                    "note": c.note,
                }
                for c in self.checks
            ],
            "evidence": dict(self.evidence),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Decision:
        """Inverse of `to_json`."""
        checks = tuple(Check(**{**c, "verdict": Verdict(c["verdict"])}) for c in data["checks"])
        return cls(data["subject"], Verdict(data["verdict"]), checks, dict(data["evidence"]))
