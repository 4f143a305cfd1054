"""How one model follows another: the experiment between them, and who decides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from charter.core.effect import Effect
from charter.core.measure import Measure
from charter.spec.types.rollout import RolloutSpec, SlotSpec
from charter.spec.types.words import Category, Column, Name, Part, Share, VolumeText


def _effect(text: str) -> str:
    return str(Effect.parse(text))


def _measure(text: str) -> str:
    return str(Measure.parse(text))


EffectText = Annotated[
    str,
    AfterValidator(_effect),
    WithJsonSchema({"type": "string", "pattern": "^\\s*[-+]?\\s*[0-9.]+\\s*%?\\s*$"}),
]
"""A change: ``+10%`` of what it is, or ``-0.005`` in the metric's own unit."""
MeasureText = Annotated[str, AfterValidator(_measure), WithJsonSchema({"type": "string"})]
"""A column, a ratio of sums ``clicks / views``, or a quantile ``p95(latency_ms)``."""


class ExperimentSpec(Part):
    """An A/B test, declared before it starts."""

    unit: Column
    """Who is assigned to an arm and keeps it, such as ``customer_id``: a column of requests and of results."""
    arms: dict[Name, Share]
    """Arm to its share of all units."""
    control: Name = "champion"
    """The arm that the others are compared with."""
    metric: MeasureText
    """What decides, per unit: ``converted``, ``clicks / views``, ``median(minutes)``."""
    mde: EffectText
    """Smallest change that matters, such as ``+10%``; its sign says which direction is better."""
    baseline: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The metric today, for the size: of a proportion between 0 and 1."""
    spread: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """Standard deviation between units, for the size; not of a proportion."""
    guardrails: dict[MeasureText, EffectText] = {}
    """Metric to the most that it may move in the wrong direction: ``{retention: -1%, p95(latency_ms): +10%}``."""
    covariate: Column | None = None
    """Known of each unit before the experiment; narrows the intervals (CUPED)."""
    correlation: Annotated[float, Field(gt=-1, lt=1)] = 0.0
    """Of the metric with the covariate, for the size."""
    segments: tuple[Column, ...] = ()
    """Columns by which the effect is shown, too; they decide nothing."""
    alpha: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Chance of a false finding, two-sided, over all arms together."""
    power: Annotated[float, Field(ge=0.5, lt=1)] = 0.8
    """Chance to find a change as large as ``mde``."""
    sequential: bool = True
    """Whether results may be read at any time; false: once, at the planned size, which is about half as large."""
    traffic: VolumeText | None = None
    """New units, for the duration: ``5000 per day``."""
    stratum: Column | None = None
    """Field of requests by which shares may differ, such as ``region``."""
    strata: dict[Category, dict[Name, Share]] = {}
    """Value of ``stratum`` to its own shares: ``{EU: {champion: 1}}``. Others have those of ``arms``."""
    exclude: tuple[Category, ...] = ()
    """Units that get no arm, such as testers; the champion answers them."""
    holdout: SlotSpec | None = None
    """Units that no experiment touches, so that it can be seen what all of them did together."""
    layer: SlotSpec | None = None
    """The units that this experiment may use; those of one layer whose slots do not overlap never meet."""


class RedeploySpec(Part):
    """When a better model may replace what serves without a person, with one, or not at all.

    Shares are relative: 0.01 is one per cent of the champion's value.
    """

    judges: Literal["retraining", "releases"] = "retraining"
    """``retraining``: the rules judge what ``charter retrain`` has trained. ``releases``: whatever ``charter apply``
    would release in place of another version, too: what they reject is refused, and what they leave to a person needs
    the signatures of ``approve`` or, where it asks for none, ``charter apply --reason``."""
    automatic: bool = True
    """False: a person always decides."""
    min_gain: Share = 0.01
    """Of the search metric: by itself only above this."""
    suspicious_gain: Share = 0.05
    """Above this it is too good to be true: a person looks."""
    max_drop: Share = 0.005
    """Of any required metric: by itself only below this."""
    reject_drop: Share = 0.02
    """Above this the candidate is rejected."""
    tolerate: dict[Name, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = {}
    """Required metric to how much worse it may get, in its own unit, in place of ``max_drop`` and ``reject_drop``: for
    errors near 0, of which a share says little, such as ``{expected_calibration_error: 0.05}``. Above this it is
    rejected."""
    max_latency_rise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.10
    max_memory_rise: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.25
    max_shift: Share = 0.05
    """Share of rows whose score moves by more than ``shift_by``."""
    shift_by: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """Of a probability as it is; of a number in standard deviations of the champion's predictions."""

    @model_validator(mode="after")
    def _in_order(self) -> RedeploySpec:
        if self.min_gain > self.suspicious_gain:
            raise ValueError("'min_gain' must not be above 'suspicious_gain'")
        if self.max_drop > self.reject_drop:
            raise ValueError("'max_drop' must not be above 'reject_drop'")
        return self


class ReleaseSpec(Part):
    """How one model follows another."""

    rollout: RolloutSpec | None = None
    experiment: ExperimentSpec | None = None
    redeploy: RedeploySpec = RedeploySpec()
    verify: Literal["none", "light", "robust"] = "none"
    """Release only what passed ``charter verify`` with at least this profile, on exactly these bytes."""
