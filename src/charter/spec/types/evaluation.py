"""What is measured on held-out rows, and what is required."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from charter.spec.types.forecasting import HierarchySpec
from charter.spec.types.words import Column, Expression, Part, RequirementText, Share


class Threshold(Part):
    """How the decision threshold is chosen, on out-of-fold predictions."""

    maximise: str | None = None
    subject_to: dict[str, RequirementText] = {}
    fixed: Share | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Threshold:
        if (self.maximise is None) == (self.fixed is None):
            raise ValueError("needs either 'maximise' or 'fixed'")
        if self.fixed is not None and self.subject_to:
            raise ValueError("'fixed' leaves nothing to choose under 'subject_to'")
        return self


class Fairness(Part):
    """Limits on differences between groups of protected attributes, at the decision threshold."""

    by: tuple[Column, ...] = Field(min_length=1)
    demographic_parity_difference: RequirementText | None = None
    equal_opportunity_difference: RequirementText | None = None
    false_positive_rate_difference: RequirementText | None = None
    disparate_impact_ratio: RequirementText | None = None
    min_rows: Annotated[int, Field(ge=1)] = 100
    """Groups with fewer rows (or fewer positives where the rate is over positives) are named but not judged."""


class Beat(Part):
    """By how much the model must beat the best baseline."""

    metric: str | None = None
    """Default: the search metric."""
    by: Annotated[float, Field(ge=0)] = 0.0
    by_share: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Forecasts: by which share the error must be smaller than the best baseline's, over all steps and in each block of
    the horizon."""


class EvaluateSpec(Part):
    """What is measured on held-out rows, and what is required."""

    require: dict[str, RequirementText] = {}
    require_new_series: dict[str, dict[str, RequirementText]] = {}
    """Forecasts: what is required of series without a past, by what is new, as `charter show` calls it: ``new store``,
    ``new store, new brand`` (both at once), ``new store and brand together`` (both are known, but not together)."""
    beat_baseline: Beat = Beat()
    slices: tuple[Expression, ...] = ()
    """Columns (one slice per value) or conditions (``AGE < 30``)."""
    min_slice_rows: Annotated[int, Field(ge=1)] = 100
    fairness: Fairness | None = None
    threshold: Threshold | None = None
    """Binary only. Default: maximise net_value when ``value`` is given, else f1."""
    horizon_blocks: tuple[Annotated[int, Field(ge=1)], ...] = ()
    """Forecasts: last steps of the blocks that are reported; thirds of the horizon unless stated."""
    hierarchy: HierarchySpec | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=10_000)] = 500


class Budget(Part):
    """Limits measured on the packaged model, one row per request."""

    latency_p95_ms: Annotated[float, Field(gt=0)] | None = None
    memory_mb: Annotated[float, Field(gt=0)] | None = None
    package_mb: Annotated[float, Field(gt=0)] | None = None
