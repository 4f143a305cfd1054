"""What is watched after release, and who hears of it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from charter.spec.alerts import AlertRule
from charter.spec.types.words import Name, Part, Sentence, Share, Slug


def _rule(text: str) -> str:
    return str(AlertRule.parse(text))


AlertText = Annotated[str, AfterValidator(_rule)]
"""``METRIC < NUMBER``, then ``when maturity > SHARE`` and ``for N windows`` (or a duration) where wanted."""


class AlertSpec(Part):
    """When somebody is told, and what is proposed."""

    when: AlertText
    """``recall < 0.8 when maturity > 0.6``, ``psi(any) > 0.2 for 2 windows``, ``p95_latency_ms > 150 for 5m``."""
    severity: Literal["info", "warning", "critical"] = "warning"
    action: Literal["notify", "page", "incident", "retrain", "rollback"] = "notify"
    """What is proposed beside telling. Nothing but a rollout's own guard changes what serves by itself."""
    group: Slug | None = None
    """Alerts of a group are told together."""
    description: Sentence | None = None
    """What to do then."""


class MonitorSpec(Part):
    """How the released model is watched."""

    every: Literal["day", "week", "month"] = "week"
    """Length of a window, by the moment of prediction."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.95
    mature: Share = 0.8
    """A window is mature when so large a share of its predictions has an outcome; before, requirements do not alert."""
    alerts: dict[Name, AlertSpec] = {}
    """Beside those that follow from ``evaluate.require``, ``kpis`` and ``budget`` by themselves."""
    notify: tuple[str, ...] = ()
    """Addresses in Apprise's notation or ``https://`` of a webhook; ``${NAME}`` is taken from the environment."""
