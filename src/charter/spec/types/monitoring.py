"""What is watched after release, and who hears of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from charter.spec.alerts import AlertRule
from charter.spec.types.words import Column, DurationText, Name, Part, Sentence, Share, Slug


def _rule(text: str) -> str:
    return str(AlertRule.parse(text))


def _inside(text: str) -> str:
    if text.startswith(("/", "~")) or ".." in text.split("/"):
        raise ValueError(
            "must be a pattern of files inside the model's folder, such as 'forecasts/*.parquet'"
        )
    return text


Pattern = Annotated[str, AfterValidator(_inside)]
"""Pattern of files inside the model's folder."""
AlertText = Annotated[str, AfterValidator(_rule)]
"""``METRIC < NUMBER``, then ``when maturity > SHARE`` and ``for N windows`` (or a duration) where wanted."""


class AlertSpec(Part):
    """When somebody is told, and what follows."""

    when: AlertText
    """``recall < 0.8 when maturity > 0.6``, ``psi(any) > 0.2 for 2 windows``, ``p95_latency_ms > 150 for 5m``."""
    severity: Literal["info", "warning", "critical"] = "warning"
    action: Literal["notify", "page", "incident", "retrain", "rollback"] = "notify"
    """What follows beside telling: ``incident`` opens one; ``rollback`` lets the release before serve again, once for
    each run of the alert; ``retrain`` is proposed with the command, and is a trigger of ``charter retrain --if-needed``
    as well, whose new version serves only if the redeployment rules and the approvals let it."""
    over_after: Annotated[int, Field(ge=1, le=100)] = 2
    """The alert is over after so many windows in a row in which its rule is false: one good window may be luck."""
    group: Slug | None = None
    """Alerts of a group are told together."""
    description: Sentence | None = None
    """What to do then."""


class DriftSpec(Part):
    """When a feature or the score is said to have drifted: large enough, not by chance, and for long enough."""

    psi_warning: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.1
    """Population stability index from which a change counts as moderate."""
    psi_critical: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.2
    """Population stability index from which a change counts as large."""
    ks_critical: Annotated[float, Field(gt=0, le=1)] = 0.2
    """Kolmogorov-Smirnov distance from which a change of a number counts as large."""
    missing_share: Annotated[float, Field(gt=0, le=1)] = 0.05
    """Change of the share of missing values that counts as large."""
    unseen_share: Annotated[float, Field(gt=0, le=1)] = 0.01
    """Share of rows with a category that training did not see, from which it counts as large."""
    domain_auc: Annotated[float, Field(gt=0.5, lt=1)] = 0.7
    """ROC AUC of a classifier that tells current rows from those of training, from which the rows as a whole have
    changed."""
    importance_ndcg: Annotated[float, Field(gt=0, lt=1)] = 0.9
    """Agreement of the order of importance with that at training (NDCG) below which it has changed."""
    skew_share: Share = 0.01
    """Share of answers that come out differently when they are computed again, above which the server errs."""
    persistence: Annotated[int, Field(ge=1, le=100)] = 2
    """So many windows in a row must show the change before it is a finding."""
    also_against: tuple[Literal["previous", "year_ago"], ...] = ()
    """What a window is compared with beside training: the window before it, and that of the same season a year ago."""
    false_discovery_rate: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Of the changes that are called significant, over all features and windows, the share that may be chance."""
    ignore: tuple[Column, ...] = ()
    """Features that are not judged."""

    @model_validator(mode="after")
    def _in_order(self) -> DriftSpec:
        if self.psi_warning > self.psi_critical:
            raise ValueError("'psi_warning' must not be above 'psi_critical'")
        return self


class MonitorRoles(Part):
    """Who may end what the monitor began; anybody who may write the records where nothing is said."""

    alerts: Slug | None = None
    """Who may silence an alert or call it resolved."""
    incidents: Slug | None = None
    """Who may close an incident."""


class MonitorSpec(Part):
    """How the released model is watched."""

    every: Literal["day", "week", "month"] = "week"
    """Length of a window, by the moment of prediction."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    mature: Share = 0.8
    """A window is mature when so large a share of its predictions has an outcome; before, requirements do not alert."""
    drift: DriftSpec = DriftSpec()
    alerts: dict[Name, AlertSpec] = {}
    """Beside those that follow from ``evaluate.require``, ``kpis`` and ``budget`` by themselves."""
    forecasts: tuple[Pattern, ...] = ()
    """Files that ``charter forecast --out`` or ``charter score`` write, such as ``forecasts/*.parquet``: they are held
    against what comes like the forecasts of the log."""
    notify: tuple[str, ...] = ()
    """Addresses in Apprise's notation or ``https://`` of a webhook; ``${NAME}`` is taken from the environment."""
    repeat: DurationText | None = None
    """An alert that is on and that nobody has acknowledged is told again after so long; by default it is told once."""
    stopped_after: DurationText | None = None
    """A monitor that has finished no pass for so long counts as stopped, which is an alert; by default two windows."""
    playbook: dict[Name | Slug, tuple[Sentence, ...]] = {}
    """Steps to take in an incident, by the name of the alert that opened it, by its group, or ``any``."""
    roles: MonitorRoles = MonitorRoles()
