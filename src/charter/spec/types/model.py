"""One model, from objective to production."""

from __future__ import annotations

from typing import Literal

from charter.spec.types.card import CardSpec
from charter.spec.types.data import DataSpec
from charter.spec.types.evaluation import Budget, EvaluateSpec
from charter.spec.types.features import FeatureSpec
from charter.spec.types.forecasting import Inventory
from charter.spec.types.framing import Feasibility, Kpi, Owner, Purpose, Suitability, Value
from charter.spec.types.iteration import ReleaseSpec
from charter.spec.types.monitoring import MonitorSpec
from charter.spec.types.release import SIX_STAGES, ApprovalPolicy, Approve, ServeSpec
from charter.spec.types.retraining import RetrainSpec
from charter.spec.types.review import ReviewSpec
from charter.spec.types.training import TrainSpec
from charter.spec.types.words import Name, Part, Sentence, Slug


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
    inventory: Inventory | None = None
    kpis: dict[Name, Kpi] = {}
    data: DataSpec
    features: FeatureSpec = FeatureSpec()
    train: TrainSpec
    evaluate: EvaluateSpec = EvaluateSpec()
    budget: Budget = Budget()
    approve: Approve = ApprovalPolicy(stages=SIX_STAGES)
    serve: ServeSpec = ServeSpec()
    release: ReleaseSpec = ReleaseSpec()
    monitor: MonitorSpec = MonitorSpec()
    card: CardSpec = CardSpec()
    retrain: RetrainSpec = RetrainSpec()
    review: ReviewSpec | None = None
