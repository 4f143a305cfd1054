"""What can be known to be wrong with retraining: triggers that can never hold, and windows that stand still."""

from __future__ import annotations

from datetime import date

from charter.core.quantity import parse_duration
from charter.spec.checks.examiner import Examiner
from charter.spec.document import Path
from charter.spec.types import Split

_RETRAIN: Path = ("retrain",)
BUILT_IN = ("schedule", "age", "asked", "budget")
"""Names of triggers that are no conditions, and of what holds triggers back."""


def check_retrain(look: Examiner) -> None:
    """Check ``retrain``."""
    spec, policy = look.spec, look.spec.retrain
    alerts = [name for name, alert in spec.monitor.alerts.items() if alert.action == "retrain"]
    for name in set(alerts) & set(BUILT_IN):
        look.fault(("monitor", "alerts", name), f"{name} is a name of Charter's own where alerts call for training",
                   "choose another name", at_key=True)  # fmt: skip
    for name in policy.when:
        path = (*_RETRAIN, "when", name)
        if name in BUILT_IN:
            look.fault(path, f"{name} is a name of Charter's own", "choose another name", at_key=True)
        elif name in alerts:
            look.fault(path, f"{name} is an alert whose action is retrain, which counts already",
                       "leave it out, or choose another name", at_key=True)  # fmt: skip
    for field in ("every", "max_age"):
        text = getattr(policy, field)
        if text is not None and not parse_duration(text):
            look.fault((*_RETRAIN, field), "is nothing, so it always holds", "write for example 30d")
    if policy.every is not None and parse_duration(policy.every) < parse_duration(policy.cooldown):
        look.fault((*_RETRAIN, "every"), f"is {policy.every}, which the cooldown of {policy.cooldown} holds back",
                   "let the cooldown be shorter")  # fmt: skip
    if policy.challenger == "shadow" and (
        spec.release.rollout is None or spec.release.rollout.shadow is None
    ):
        look.fault((*_RETRAIN, "challenger"), "is shadow, but release.rollout has no shadow stage",
                   "add release.rollout.shadow, or write wait")  # fmt: skip
    for name in spec.release.redeploy.tolerate:
        if name not in spec.evaluate.require and name != spec.train.search.metric:
            look.fault(("release", "redeploy", "tolerate", name), f"{name} is not required, so no rule looks at it",
                       "require it under evaluate.require, or leave it out", at_key=True)  # fmt: skip
    _check_window(look)


def _check_window(look: Examiner) -> None:
    """A training period between dates does not change however many rows arrive."""
    policy, split = look.spec.retrain, look.spec.train.split
    if not policy.when and not any((policy.every, policy.max_age, policy.new_rows)):
        return
    if split.train_until is not None and not isinstance(split.train_until, str):
        hint = (
            f"let the dates follow the newest row: {_following(split, look)}; or leave retrain's triggers out"
        )
        look.fault(("train", "split", "train_until"),
                   f"is {split.train_until}, so retraining would never see a newer row", hint)  # fmt: skip


def _following(split: Split, look: Examiner) -> str:
    """Dates that keep the distances of those that stand there, and leave a label the time to become known.

    Where it cannot be told how long the test period is, it is as long as the wait for a label, thirty days at least.
    """
    wait = look.spec.data.label.wait.days
    ends, apart = split.test_until, wait
    if isinstance(split.test_from, date) and isinstance(split.train_until, date):
        apart = max(wait, (split.test_from - split.train_until).days)
    test = max(wait, 30)
    if isinstance(ends, date) and isinstance(split.test_from, date):
        test = max(wait, (ends - split.test_from).days)
    return f"train_until: latest - {test + apart}d, test_from: latest - {test}d"
