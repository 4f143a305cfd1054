"""Who must sign, how answers look, and what is kept of them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from charter.spec.types.words import Column, DurationText, Expression, Name, Part, Sentence, Share, Slug


class ApprovalStage(Part):
    """One signature."""

    stage: Slug
    role: Slug


SIX_STAGES = (
    ApprovalStage(stage="development", role="tech-lead"),
    ApprovalStage(stage="technical", role="ml-engineer"),
    ApprovalStage(stage="business", role="product-manager"),
    ApprovalStage(stage="governance", role="risk-officer"),
    ApprovalStage(stage="deployment", role="devops-lead"),
    ApprovalStage(stage="final", role="chief-data-officer"),
)


class ApprovalPolicy(Part):
    """Who must sign before release."""

    stages: tuple[ApprovalStage, ...] = SIX_STAGES
    valid_for: DurationText = "365d"
    distinct_people: bool = False
    """Each stage must be signed by another person."""


def _approval(value: Any) -> Any:
    if value == "six-stage":
        return ApprovalPolicy(stages=SIX_STAGES)
    if value == "none":
        return ApprovalPolicy(stages=())
    if isinstance(value, str):
        raise ValueError(
            f"is {value!r}; it must be six-stage, none, or a mapping with 'stages' and 'valid_for'"
        )
    if isinstance(value, dict) and isinstance(value.get("stages"), list):
        # Behind a function pydantic sees Python data, where strict mode wants a tuple to be one.
        return {**value, "stages": tuple(value["stages"])}
    return value


Approve = Annotated[ApprovalPolicy, BeforeValidator(_approval)]


def _probability(value: Any) -> Any:
    if isinstance(value, int | float) and not 0 <= value <= 1:
        raise ValueError(
            f"is {value:g}; it stands for a probability, 0 to 1: only a binary model has a fallback"
        )
    return value


class Fallback(Part):
    """What answers when the model cannot."""

    rule: Expression | None = None
    score: Annotated[Share | None, BeforeValidator(_probability)] = None

    @model_validator(mode="after")
    def _one_way(self) -> Fallback:
        if (self.rule is None) == (self.score is None):
            raise ValueError("needs either 'rule' or 'score'")
        return self


class LogSpec(Part):
    """What is kept of each answer."""

    mode: Literal["durable", "relaxed", "none"] = "relaxed"
    """``durable``: on disk before the answer goes, else the answer is 503. ``relaxed``: handed to the operating system
    within 100 ms; answers go on with a warning when it fails. ``none``: nothing."""
    personal: Literal["drop", "hash", "keep"] = "hash"
    """Inputs of sensitivity ``personal``: absent, a keyed hash that still tells equal from different, or kept."""
    inputs: bool = True
    """Whether inputs are kept."""
    keep: DurationText | None = None
    """How long answers are kept, in whole days, such as ``400d``: older days are deleted, with proof of the deletion in
    the audit trail. For ever where nothing is said."""


class ExploreSpec(Part):
    """Decisions turned around by chance: their cost is the price of knowing what others would bring."""

    share: Annotated[float, Field(gt=0, lt=0.5)]
    """Probability that a decision is turned. 0.02 is often enough; whoever asks again with the same id gets the same
    decision."""
    within: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Only where the score is at most so far from the threshold: clear cases are left alone."""
    turn: Literal["both", "positive", "negative"] = "both"
    """Which decisions may be turned; ``positive`` never makes a negative decision positive."""
    unit: Column | None = None
    """Input by whose value chance decides, such as the customer: all rows of one are treated alike, whatever id they
    are asked under. By default each request by its id."""


class FeatureStoreSpec(Part):
    """Where window features come from when a request is answered."""

    store: Literal["history", "sqlite", "redis"] = "history"
    """``history``: computed from the events of the release, exact at any moment. ``sqlite``, ``redis``: looked up as
    ``charter features materialise`` last put them there."""
    url: str | None = None
    """Redis: its address, such as ``${REDIS_URL}`` from the environment. SQLite: a file relative to the specification,
    by default in ``.charter``."""
    fresh_within: DurationText = "1d"
    """Stored features older than this at the moment asked for are not used: the answer is made from the windows'
    defaults, with a warning."""


class ServeSpec(Part):
    """How answers look, and what is kept of them."""

    reasons: Annotated[int, Field(ge=0, le=20)] = 0
    """Top factors given with a decision."""
    reasons_for: Literal["always", "flagged", "asked"] = "asked"
    """Which answers carry reasons; flagged means decided positive."""
    bands: dict[Name, Share] = {}
    """Lower bounds on the score, for example ``{high: 0.7, medium: 0.4, low: 0}``."""
    fallback: Fallback | None = None
    deadline: DurationText | None = None
    """A model that has not answered after so long, such as ``50ms``, is answered for by the fallback, or with 503 where
    there is none. Where nothing is said, only a model that hangs for seconds is."""
    factors: dict[Column, Sentence] = {}
    """Features in words, for reasons: ``utilisation: share of the credit line in use``."""
    features: FeatureStoreSpec = FeatureStoreSpec()
    log: LogSpec = LogSpec()
    identifiers: tuple[Column, ...] = ()
    """Columns of the observations that a request may hold beside what the model reads, such as their key or the
    customer. None becomes a feature; each is checked by its contract, logged as its sensitivity says, and may be the
    unit of a rollout, an experiment or exploration. Of models about entities or series whom a request is about is
    a field already."""
    explore: ExploreSpec | None = None
    """By default every decision follows the threshold."""
