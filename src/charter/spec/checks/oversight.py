"""What can be known to be wrong with what persons watch: playbooks of no alert, a review that nothing reaches."""

from __future__ import annotations

from charter.spec.checks.examiner import Examiner

ALWAYS = ("any", "rollout", "monitor_stopped", "budget_latency")
"""Occasions of a playbook that exist without being declared."""


def check_oversight(look: Examiner) -> None:
    """Check ``monitor.playbook`` and ``review``."""
    _check_playbook(look)
    _check_review(look)


def _check_playbook(look: Examiner) -> None:
    spec = look.spec
    groups = {alert.group for alert in spec.monitor.alerts.values() if alert.group is not None}
    derived = [*(f"requires_{m}" for m in spec.evaluate.require), *(f"kpi_{n}" for n in spec.kpis)]
    known = [*spec.monitor.alerts, *groups, *derived, *ALWAYS]
    for occasion in spec.monitor.playbook:
        path = ("monitor", "playbook", occasion)
        look.known(path, occasion, known, "is neither an alert nor a group of alerts", at_key=True)


def _check_review(look: Examiner) -> None:
    spec, review = look.spec, look.spec.review
    if review is None:
        return
    if not (review.bands or review.decisions or review.fallbacks or review.disagreement or review.random):
        look.fault(("review",), "sends nothing to a person", "write bands, decisions, disagreement or random")
    for i, band in enumerate(review.bands):
        look.known(("review", "bands", i), band, spec.serve.bands, "is not a band of serve.bands")
    if spec.train.task == "binary":
        for i, decision in enumerate(review.decisions):
            place = ("review", "decisions", i)
            look.known(place, decision, ("positive", "negative"), "is not a decision of a binary task")
    elif review.decisions and spec.train.task != "multiclass":
        look.fault(("review", "decisions"), f"is given, but a {spec.train.task} makes no decisions by itself")
    if spec.train.task not in ("binary", "multiclass"):
        look.fault(("review",), f"needs decisions to confirm or override, and the task is {spec.train.task}")
    if spec.serve.log.mode == "none":
        look.fault(("review",), "is drawn from the log, and serve.log.mode is none", "use relaxed or durable")
