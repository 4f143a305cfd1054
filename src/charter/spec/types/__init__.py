"""The model specification as frozen types. The file is the contract; these are its words.

Every type refuses unknown keys. Numbers appear once. What a field means is its docstring, which is also what the
JSON Schema shows in an editor. ``parts.py`` says which stage each field invalidates.
"""

from charter.spec.types.data import (
    ColumnSpec,
    ColumnType,
    Cutoffs,
    DataSpec,
    ForeignKey,
    Label,
    Observations,
    Policy,
    Population,
    Sensitivity,
    SourceSpec,
    Weekday,
)
from charter.spec.types.evaluation import Beat, Budget, EvaluateSpec, Fairness, Threshold
from charter.spec.types.features import CalendarSpec, Encoding, FeatureSpec, LagSpec, SelectSpec, WindowSpec
from charter.spec.types.forecasting import HierarchySpec, Inventory
from charter.spec.types.framing import (
    Answer,
    Costs,
    Feasibility,
    Kpi,
    Need,
    Owner,
    PerDecision,
    Purpose,
    Suitability,
    Target,
    Today,
    Value,
)
from charter.spec.types.iteration import EffectText, ExperimentSpec, MeasureText, RedeploySpec, ReleaseSpec
from charter.spec.types.model import ModelSpec
from charter.spec.types.monitoring import AlertSpec, AlertText, DriftSpec, MonitorRoles, MonitorSpec
from charter.spec.types.release import (
    SIX_STAGES,
    ApprovalPolicy,
    ApprovalStage,
    Approve,
    ExploreSpec,
    Fallback,
    FeatureStoreSpec,
    LogSpec,
    ServeSpec,
)
from charter.spec.types.review import ReviewSpec
from charter.spec.types.rollout import (
    CanaryStage,
    ExperimentStage,
    GuardText,
    RolloutRoles,
    RolloutSpec,
    ShadowStage,
    SlotSpec,
)
from charter.spec.types.training import HoldOut, Search, Split, Task, TrainSpec
from charter.spec.types.words import (
    SPEC_VERSION,
    Category,
    Column,
    DurationText,
    Expression,
    Money,
    Name,
    Part,
    RequirementText,
    Sentence,
    Share,
    Slug,
    VolumeText,
    WindowText,
)

__all__ = [
    "SIX_STAGES", "SPEC_VERSION", "AlertSpec", "AlertText", "Answer", "ApprovalPolicy", "ApprovalStage",
    "Approve", "Beat", "Budget", "CalendarSpec", "Category", "Column", "ColumnSpec", "ColumnType", "Costs",
    "Cutoffs", "DataSpec", "DriftSpec", "DurationText", "EffectText", "Encoding", "EvaluateSpec",
    "ExperimentSpec", "ExploreSpec", "Expression", "Fairness", "Fallback", "Feasibility", "FeatureSpec",
    "FeatureStoreSpec",
    "ForeignKey", "HierarchySpec", "HoldOut", "Inventory", "Kpi", "Label", "LagSpec", "LogSpec",
    "MeasureText", "ModelSpec", "Money", "MonitorRoles", "MonitorSpec", "Name", "Need", "Observations", "Owner", "Part",
    "PerDecision", "Policy", "Population", "Purpose", "RedeploySpec", "ReleaseSpec", "RequirementText",
    "ReviewSpec",
    "Search", "SelectSpec", "Sensitivity", "Sentence", "ServeSpec", "Share", "Slug", "SourceSpec", "Split",
    "Suitability", "Target", "Task", "Threshold", "Today", "TrainSpec", "Value", "VolumeText", "Weekday",
    "WindowSpec", "WindowText", "CanaryStage", "ExperimentStage", "GuardText", "RolloutRoles", "RolloutSpec",
    "ShadowStage", "SlotSpec",
]  # fmt: skip
