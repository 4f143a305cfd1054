"""The model specification as frozen types. The file is the contract; these are its words.

Every type refuses unknown keys. Numbers appear once. What a field means is its docstring, which is also what the
JSON Schema shows in an editor. ``parts.py`` says which stage each field invalidates.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)

from charter.core.quantity import Requirement, parse_duration, parse_volume

SPEC_VERSION = 1


class Part(BaseModel):
    """Base: frozen, closed, documented by attribute docstrings."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


def _requirement(text: str) -> str:
    return str(Requirement.parse(text))


def _duration(text: str) -> str:
    parse_duration(text)
    return text.replace(" ", "")


def _window(text: str) -> str:
    return text if text == "all" else _duration(text)


def _volume(text: str) -> str:
    parse_volume(text)
    return text


def _text(value: Any) -> Any:
    """YAML reads an unquoted category such as 1 or true as a number or truth value; a category is text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return str(value)
    return value


Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
"""A word that can stand in an expression without quotes."""
Slug = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$", max_length=64)]
"""Lower-case words joined by hyphens; safe as a folder, a route and a metric label."""
Column = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
RequirementText = Annotated[
    str,
    AfterValidator(_requirement),
    WithJsonSchema({"type": "string", "pattern": "^\\s*(>=|<=|>|<|==)\\s*[-+.0-9]"}),
]
DurationText = Annotated[
    str,
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^\\s*[0-9]+\\s*[smhdw]\\s*$"}),
]
WindowText = Annotated[
    str,
    AfterValidator(_window),
    WithJsonSchema({"type": "string", "pattern": "^(all|\\s*[0-9]+\\s*[smhdw]\\s*)$"}),
]
"""A duration, or ``all`` for the entity's whole past."""
VolumeText = Annotated[
    str,
    AfterValidator(_volume),
    WithJsonSchema({"type": "string", "pattern": "^\\s*[0-9.]+\\s+per\\s+(day|week|month|year)\\s*$"}),
]
Category = Annotated[str, BeforeValidator(_text), WithJsonSchema({"type": ["string", "number", "boolean"]})]
Share = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]
Money = Annotated[float, Field(allow_inf_nan=False)]
Sentence = Annotated[str, StringConstraints(min_length=1, strip_whitespace=True)]


# --------------------------------------------------------------------------------------------- framing (words)
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


# ------------------------------------------------------------------------------------------------------ data
ColumnType = Literal["integer", "float", "boolean", "category", "text", "date", "datetime"]
Sensitivity = Literal["public", "internal", "personal", "protected"]
Policy = Literal["fail", "quarantine", "warn"]


class ColumnSpec(Part):
    """The contract of one column."""

    type: ColumnType
    format: str | None = None
    """How a date or datetime is written in the source, in strptime's notation, for example ``%m/%d/%Y %H:%M``."""
    unit: str | None = None
    min: float | date | None = None
    max: float | date | None = None
    values: tuple[Category, ...] | None = None
    """The allowed categories."""
    nullable: bool = False
    unique: bool = False
    sensitivity: Sensitivity = "internal"
    on_violation: Policy | None = None
    """Overrides the source's policy."""
    description: Sentence | None = None


class ForeignKey(Part):
    """Values of ``column`` must stand in another source's column."""

    column: Column
    references: Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\..+$")]
    """``source.column``"""


class SourceSpec(Part):
    """One table: where it is, how it is cleaned, and its contract.

    Order: read, rename, drop duplicates, cast by contract, derive, keep the rows where ``where`` holds, check the
    contract.
    """

    dataset: Slug | None = None
    """A set of the catalogue (``charter data list``)."""
    uri: str | None = None
    """A file: local path (relative to the specification), ``s3://``, ``https://``, ..."""
    format: Literal["csv", "parquet", "jsonl", "arrow"] | None = None
    """Taken from the name's ending when left out."""
    sql: str | None = None
    """A query; needs ``url``."""
    url: str | None = None
    """SQLAlchemy address; ``${NAME}`` is taken from the environment, so that no secret stands in the file."""

    rename: dict[Column, Name] = {}
    duplicates: Literal["keep", "drop", "fail"] = "keep"
    """Rows that are identical in every column."""
    columns: dict[Column, ColumnSpec]
    """Columns that are not named here are not read. ``derive`` adds to them."""
    derive: dict[Name, Expression] = {}
    """New columns, each an expression over the columns and the derived ones before it."""
    where: Expression | None = None
    """Rows to keep. Rows filtered here are out of scope, not in violation."""
    rules: dict[Name, Expression] = {}
    """Cross-column rules: each must be true for every row."""
    key: tuple[Column, ...] = ()
    """Columns that identify a row; checked to be unique."""
    foreign_keys: tuple[ForeignKey, ...] = ()
    time: Column | None = None
    """When the row became known; needed for windows."""
    fresh_within: DurationText | None = None
    """The newest row must not be older than this when the data is read."""
    on_violation: Policy = "fail"
    consent: Sentence | None = None
    """The legal basis for using this source."""
    description: Sentence | None = None

    @model_validator(mode="after")
    def _one_origin(self) -> SourceSpec:
        origins = [self.dataset, self.uri, self.sql]
        if sum(o is not None for o in origins) != 1:
            raise ValueError("needs exactly one origin: 'dataset', 'uri', or 'sql' with 'url'")
        if (self.sql is None) != (self.url is None):
            raise ValueError("'sql' and 'url' go together")
        return self


class Cutoffs(Part):
    """Moments at which every entity of the population is observed."""

    first: date
    last: date
    every: Literal["day", "week", "month", "quarter"] = "month"


class Population(Part):
    """Which entities are observed at a cut-off: those whose events of the last ``over`` satisfy ``having``."""

    source: Name
    over: DurationText
    where: Expression | None = None
    """Events that count."""
    having: Expression = "COUNT(*) > 0"


class Observations(Part):
    """One row per prediction: the rows of a source, or entities at cut-offs.

    Rows: ``source`` and ``key``; ``time`` names the moment from which nothing may be known (optional).
    Entities: ``entity`` (a column of the population's source), ``cutoffs`` and ``population``.
    """

    source: Name | None = None
    key: tuple[Column, ...] = ()
    time: Column | None = None
    entity: Column | None = None
    cutoffs: Cutoffs | None = None
    population: Population | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Observations:
        rows = self.source is not None
        entities = [self.entity, self.cutoffs, self.population]
        if rows and any(e is not None for e in entities):
            raise ValueError(
                "'source' (one row per observation) and 'entity' (entities at cut-offs) exclude each other"
            )
        if not rows and any(e is None for e in entities):
            raise ValueError(
                "needs either 'source' and 'key', or all of 'entity', 'cutoffs' and 'population'"
            )
        if rows and not self.key:
            raise ValueError("needs 'key': the columns that identify a row")
        return self


class Label(Part):
    """What is predicted: a column, or what happens to the entity afterwards."""

    name: Name = "label"
    column: Column | None = None
    positive: Category | None = None
    """Binary tasks, with ``column``: the value that counts as positive."""
    source: Name | None = None
    over_next: DurationText | None = None
    positive_when: Expression | None = None
    """With ``source``: an aggregate over the entity's events in [cut-off, cut-off + over_next), as ``COUNT(*) = 0``."""
    where: Expression | None = None
    """With ``source``: events that count."""
    known_after: DurationText | None = None
    """How long after the prediction the label is known. With ``source`` it is ``over_next`` unless stated."""

    @model_validator(mode="after")
    def _one_kind(self) -> Label:
        events = [self.source, self.over_next, self.positive_when]
        if self.column is not None and any(e is not None for e in events):
            raise ValueError("'column' and 'source' exclude each other")
        if self.column is None and any(e is None for e in events):
            raise ValueError("needs either 'column', or all of 'source', 'over_next' and 'positive_when'")
        return self


class DataSpec(Part):
    """Where the data comes from, what one observation is, and what is to be predicted."""

    sources: dict[Name, SourceSpec] = Field(min_length=1)
    observations: Observations
    label: Label


# -------------------------------------------------------------------------------------------------- features
class WindowSpec(Part):
    """An aggregate of an entity's past events, one feature per window: ``<name>_<window>``."""

    source: Name
    aggregate: Expression
    """Over the events of the window; ``age_days`` is the age of an event in days at the moment of observation."""
    over: tuple[WindowText, ...] = Field(min_length=1)
    where: Expression | None = None
    default: float | None = None
    """Value where the entity has no event in the window; None means missing."""
    description: Sentence | None = None


Encoding = Literal["numeric", "one_hot", "ordinal", "target", "hashing", "drop"]


class SelectSpec(Part):
    """Which features are left out, decided on training folds only."""

    drop_correlated_above: Annotated[float, Field(gt=0, le=1)] | None = None
    """Of each pair whose absolute Spearman correlation is higher, the one less related to the label is dropped."""
    top: Annotated[int, Field(ge=1)] | None = None
    """Keep the so many most important."""


class FeatureSpec(Part):
    """What the model sees."""

    rows: dict[Name, Expression] = {}
    """New features from the columns and windows of the same observation."""
    windows: dict[Name, WindowSpec] = {}
    exclude: tuple[Column, ...] = ()
    """Columns of the observation that the model must not see. Keys, times and the label never are features."""
    encode: dict[Column, Encoding] = {}
    """Default: numbers as they are, categories one-hot up to 32 values and target-encoded above."""
    scale: Literal["none", "standard"] = "none"
    """Linear learners scale by themselves."""
    impute: Literal["none", "median"] = "none"
    """Learners that cannot read missing values impute by themselves."""
    select: SelectSpec = SelectSpec()


# ---------------------------------------------------------------------------------------------------- training
Task = Literal["binary", "multiclass", "regression"]


class Split(Part):
    """How test rows are held out, and how folds are cut from the rest."""

    kind: Literal["random", "grouped", "time"]
    stratify: bool = False
    test: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Share held out; random and grouped."""
    group: Column | None = None
    train_until: date | None = None
    """Last moment of training observations; time."""
    test_from: date | None = None
    test_until: date | None = None
    folds: Annotated[int, Field(ge=2, le=20)] = 5

    @model_validator(mode="after")
    def _fits_kind(self) -> Split:
        if self.kind == "time":
            if self.train_until is None or self.test_from is None:
                raise ValueError("a time split needs 'train_until' and 'test_from'")
            if self.test_from <= self.train_until:
                raise ValueError("'test_from' must be later than 'train_until'")
            if self.test_until is not None and self.test_until < self.test_from:
                raise ValueError("'test_until' must not be earlier than 'test_from'")
            if self.test is not None or self.stratify:
                raise ValueError("a time split takes neither 'test' nor 'stratify'")
        else:
            if self.test is None:
                raise ValueError(f"a {self.kind} split needs 'test', the share held out")
            if any(d is not None for d in (self.train_until, self.test_from, self.test_until)):
                raise ValueError(f"a {self.kind} split takes no dates")
        if (self.kind == "grouped") != (self.group is not None):
            raise ValueError("'group' and 'kind: grouped' go together")
        return self


class Search(Part):
    """Bayesian search over the learners' parameters."""

    trials: Annotated[int, Field(ge=1, le=2000)] = 40
    """Over all learners together."""
    metric: str | None = None
    """Default: average_precision (binary), log_loss (multiclass), root_mean_squared_error (regression)."""


class TrainSpec(Part):
    """How the model is made."""

    task: Task
    split: Split
    learners: tuple[str, ...] = Field(min_length=1)
    search: Search = Search()
    imbalance: Literal["none", "class_weight", "over_sample", "under_sample", "smote"] = "none"
    reweigh: tuple[Column, ...] = ()
    """Mitigation, binary tasks: protected columns. Training rows get weights under which the label does not depend on
    these groups (Kamiran & Calders 2012). The model does not see the groups, neither in training nor in serving."""
    calibrate: Literal["none", "sigmoid", "isotonic"] = "none"
    """Fitted on out-of-fold predictions."""
    monotone: dict[Column, Literal["increasing", "decreasing"]] = {}
    """The score may only rise (or fall) with the feature; learners that cannot promise it are refused."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


# --------------------------------------------------------------------------------------- evaluation and release
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


class EvaluateSpec(Part):
    """What is measured on held-out rows, and what is required."""

    require: dict[str, RequirementText] = {}
    beat_baseline: Beat = Beat()
    slices: tuple[Expression, ...] = ()
    """Columns (one slice per value) or conditions (``AGE < 30``)."""
    min_slice_rows: Annotated[int, Field(ge=1)] = 100
    fairness: Fairness | None = None
    threshold: Threshold | None = None
    """Binary only. Default: maximise net_value when ``value`` is given, else f1."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    resamples: Annotated[int, Field(ge=100, le=10_000)] = 500


class Budget(Part):
    """Limits measured on the packaged model, one row per request."""

    latency_p95_ms: Annotated[float, Field(gt=0)] | None = None
    memory_mb: Annotated[float, Field(gt=0)] | None = None
    package_mb: Annotated[float, Field(gt=0)] | None = None


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


class Fallback(Part):
    """What answers when the model cannot."""

    rule: Expression | None = None
    score: Share | None = None

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
    factors: dict[Column, Sentence] = {}
    """Features in words, for reasons: ``utilisation: share of the credit line in use``."""
    features: FeatureStoreSpec = FeatureStoreSpec()
    log: LogSpec = LogSpec()


class ModelSpec(Part):
    """One model, from objective to production."""

    spec_version: Literal[1] = 1
    name: Slug
    summary: Sentence
    owner: Owner
    purpose: Purpose
    suitability: Suitability = Suitability()
    feasibility: Feasibility = Feasibility()
    stakeholders: dict[Name, Sentence] = {}
    """Role to person or team."""
    value: Value | None = None
    kpis: dict[Name, Kpi] = {}
    data: DataSpec
    features: FeatureSpec = FeatureSpec()
    train: TrainSpec
    evaluate: EvaluateSpec = EvaluateSpec()
    budget: Budget = Budget()
    approve: Approve = ApprovalPolicy(stages=SIX_STAGES)
    serve: ServeSpec = ServeSpec()
