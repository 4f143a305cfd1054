"""When a model is trained anew, how often at most, and what becomes of it while a person decides."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from charter.spec.types.monitoring import AlertText
from charter.spec.types.words import DurationText, Name, Part


class RunBudget(Part):
    """How many runs there may be, however many triggers hold."""

    runs: Annotated[int, Field(ge=1, le=10_000)]
    per: Literal["day", "week", "month", "quarter", "year"] = "month"
    """Counted backwards from now: a month is the last 30 days, a quarter 91, a year 365."""


class RetrainSpec(Part):
    """What makes ``charter retrain --if-needed`` train anew. One trigger suffices.

    It is looked at whenever that command runs, by cron or with each pass of ``charter schedule``.
    """

    every: DurationText | None = None
    """Schedule: so long after the last run, or where there was none, after the champion was made."""
    when: dict[Name, AlertText] = {}
    """Conditions on what the monitor measured of the champion: ``drifted: psi(any) > 0.2 for 2 windows``,
    ``misses: high(recall) < 0.7 when maturity > 0.8``. Alerts whose action is ``retrain`` count, too."""
    max_age: DurationText | None = None
    """The champion must not be older than this."""
    new_rows: Annotated[int, Field(ge=1)] | None = None
    """So many more rows than the champion's snapshot was read from, over all sources."""
    cooldown: DurationText = "1d"
    """After a run has ended, no trigger counts for so long. A person's ``charter retrain`` does not wait."""
    budget: RunBudget | None = None
    """Holds for a person's runs as well."""
    challenger: Literal["wait", "shadow"] = "wait"
    """What the new version does while a person decides: nothing, or it answers in the shadow stage of
    ``release.rollout`` and serves nobody."""
