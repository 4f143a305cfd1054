"""Why the model exists, and what it is worth."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from charter.spec.types.words import Expression, Money, Part, RequirementText, Sentence, Share, VolumeText


class Owner(Part):
    """Who answers for the model."""

    team: Sentence
    contact: Sentence


class Today(Part):
    """The process that the model is to improve on."""

    process: Sentence
    rule: Expression | None = None
    """Executable: true means positive. The baseline that the model must beat."""
    score: Expression | None = None
    """Executable: the larger, the likelier positive. Ranks the rule's rows where a metric needs a ranking."""


class Purpose(Part):
    """Why the model exists."""

    problem: Sentence
    objective: Sentence
    decision: Sentence
    users: tuple[Sentence, ...] = Field(min_length=1)
    today: Today
    harms: tuple[Sentence, ...] = ()
    assumptions: tuple[Sentence, ...] = ()
    risks: tuple[Sentence, ...] = ()
    limits: tuple[Sentence, ...] = ()
    """Where the model must not be used."""


class Answer(Part):
    """A yes or no with its reason."""

    answer: bool
    because: Sentence


class Suitability(Part):
    """Is machine learning the right tool? Three conditions for, five warnings against."""

    learns_complex_patterns: Answer | None = None
    quality_data: Answer | None = None
    predicts_unseen: Answer | None = None
    rule_suffices: Answer | None = None
    plain_retrieval: Answer | None = None
    static_reporting: Answer | None = None
    deterministic_output: Answer | None = None
    full_transparency: Answer | None = None
    """Is this a regulated decision whose every step must be transparent?"""


class Need(Part):
    """What is needed, what there is, and how the gap is closed."""

    needed: Sentence
    have: Sentence
    gap: Sentence | None = None
    closed_by: Sentence | None = None


class Feasibility(Part):
    """Five kinds of requirement."""

    data: Need | None = None
    algorithm: Need | None = None
    infrastructure: Need | None = None
    deployment: Need | None = None
    scale: Need | None = None


class PerDecision(Part):
    """Money gained (or, negative, lost) per decision of each kind."""

    true_positive: Money
    false_positive: Money
    false_negative: Money
    true_negative: Money


class Costs(Part):
    """What the model costs."""

    build: Money = Field(0, ge=0)
    run_per_month: Money = Field(0, ge=0)
    train_per_month: Money = Field(0, ge=0)
    compute_per_hour: Annotated[Money, Field(gt=0)] | None = None
    """An hour of one processor, for the cost of a prediction."""


class Target(Part):
    """Quality that the business case counts on, used by `assess` before there is a model."""

    recall: Share
    precision: Annotated[float, Field(gt=0, le=1)]


class Value(Part):
    """What outcomes are worth."""

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]
    per_decision: PerDecision
    volume: VolumeText
    """Decisions, for example ``30000 per month``."""
    positives: Share | None = None
    """Expected share of positives, for `assess` before data is seen."""
    today: Target | None = None
    """Recall and precision of today's process, if known, for `assess`."""
    target: Target | None = None
    costs: Costs = Costs()
    not_counted: tuple[Sentence, ...] = ()
    """Benefits that cannot be counted."""


class Kpi(Part):
    """A measure of success: a metric of this model, or a figure that comes from outside."""

    metric: str | None = None
    source: Literal["external"] | None = None
    require: RequirementText
    per: Literal["day", "week", "month", "quarter", "year"] | None = None
    description: Sentence | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> Kpi:
        if (self.metric is None) == (self.source is None):
            raise ValueError(
                "needs either 'metric' (a metric of this model) or 'source: external', and not both"
            )
        return self
