"""What the specification alone tells: does machine learning fit, is it feasible, does it pay."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from charter.core.decision import Decision
from charter.framing.feasibility import FeasibilityReport, feasibility
from charter.framing.suitability import suitability
from charter.framing.value import ValueReport, assess_value
from charter.spec.types import ModelSpec


@dataclass(frozen=True, slots=True)
class Assessment:
    """Suitability, feasibility and value of one specification."""

    name: str
    suitability: Decision
    feasibility: FeasibilityReport
    value: ValueReport | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "schema": 1,
            "name": self.name,
            "suitability": self.suitability.to_json(),
            "feasibility": self.feasibility.to_json(),
            "value": None if self.value is None else self.value.to_json(),
        }


def assess(spec: ModelSpec) -> Assessment:
    """Assess a specification; no data is read."""
    return Assessment(spec.name, suitability(spec), feasibility(spec), assess_value(spec))
