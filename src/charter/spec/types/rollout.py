"""The way of a version from approved to full traffic: stages, how long each lasts, and what ends it."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema

from charter.core.quantity import parse_duration
from charter.spec.guards import Guard
from charter.spec.types.words import Column, DurationText, Name, Part, Share, Slug


def _guard(text: str) -> str:
    return str(Guard.parse(text))


def _some_time(text: str) -> str:
    if not parse_duration(text):
        raise ValueError("must be longer than nothing")
    return text


GuardText = Annotated[str, AfterValidator(_guard), WithJsonSchema({"type": "string"})]
"""``MEASURE > NUMBER``: ``error_share > 0.01``, ``p95_latency_ms > 100``, ``score_shift > 0.2``."""
PatienceText = Annotated[DurationText, AfterValidator(_some_time)]
Salt = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,63}$")]


class ShadowStage(Part):
    """The candidate scores every request after it was answered; nobody is given what it says."""

    at_least: DurationText = "1d"
    min_rows: Annotated[int, Field(ge=1)] = 1000
    """Requests that the candidate must have scored."""
    at_most: PatienceText = "14d"
    """After so long without a verdict the rollout goes back to the champion."""
    guards: dict[Name, GuardText] = {}
    """Beside those of the rollout; one of the same name takes its place."""


class CanaryStage(Part):
    """The candidate answers a growing share of the units."""

    steps: tuple[Annotated[float, Field(gt=0, le=0.5)], ...] = (0.01, 0.05, 0.2, 0.5)
    """Shares of all units, growing."""
    at_least: DurationText = "1d"
    """Of each step."""
    min_rows: Annotated[int, Field(ge=1)] = 500
    """Requests that the candidate must have answered, of each step."""
    at_most: PatienceText = "14d"
    """Of each step; after so long without a verdict the rollout goes back to the champion."""
    guards: dict[Name, GuardText] = {}
    """Beside those of the rollout; one of the same name takes its place."""


class ExperimentStage(Part):
    """The declared experiment decides: candidate and champion by its arms and its metric."""

    at_least: DurationText = "7d"
    min_rows: Annotated[int, Field(ge=1)] = 500
    at_most: PatienceText = "60d"
    """After so long without a verdict the rollout goes back to the champion."""
    guards: dict[Name, GuardText] = {}
    """Beside those of the rollout; one of the same name takes its place."""


class RolloutRoles(Part):
    """Who may move a rollout; where no role is named, whoever may write the records."""

    start: Slug | None = None
    step: Slug | None = None
    stop: Slug | None = None
    """Who may end a rollout or an experiment, and stop the model altogether."""


class RolloutSpec(Part):
    """How a version comes to serve where another one does: shadow, canary, experiment, full; any subset in this order.

    An approval covers it: who changes it asks the approvers again.
    """

    unit: Column | None = None
    """Who keeps the same version over the canary, such as ``customer_id``: a field of requests. By default the unit of
    the experiment, or else each request for itself."""
    shadow: ShadowStage | None = None
    canary: CanaryStage | None = None
    experiment: ExperimentStage | None = None
    guards: dict[Name, GuardText] = {}
    """What ends the rollout in every stage. A stage without any guard is never left."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    """Of each guard over a whole stage, however often it is looked at."""
    roles: RolloutRoles = RolloutRoles()


class SlotSpec(Part):
    """A part of all units, by a salt that several experiments share."""

    salt: Salt
    """Such as ``layer-pricing``; equal for all experiments of a layer, and for nothing else."""
    start: Share = 0.0
    stop: Share = 1.0
