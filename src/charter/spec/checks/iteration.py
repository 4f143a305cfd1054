"""What can be known to be wrong with an experiment before it starts."""

from __future__ import annotations

from charter.core.effect import Effect
from charter.core.measure import Measure
from charter.spec.checks.examiner import Examiner

_EXPERIMENT = ("release", "experiment")


def check_experiment(look: Examiner) -> None:
    """Arms that do not add up, a control that is none, a size that cannot be told."""
    experiment = look.spec.release.experiment
    if experiment is None:
        return
    arms, path = experiment.arms, (*_EXPERIMENT, "arms")
    if len(arms) < 2:
        look.fault(path, "needs two arms at least", "write for example {champion: 0.5, candidate: 0.5}")
    if sum(arms.values()) > 1 + 1e-9:
        look.fault(path, f"adds up to {sum(arms.values()):g}, which is more than all units")
    for arm, share in arms.items():
        if share == 0:
            look.fault((*path, arm), "is 0, so the arm never gets a unit")
    look.known((*_EXPERIMENT, "control"), experiment.control, arms, "is not one of the arms")
    metric, mde = Measure.parse(experiment.metric), Effect.parse(experiment.mde)
    quantiles = [
        text
        for text in (experiment.metric, *experiment.guardrails)
        if Measure.parse(text).quantile is not None
    ]
    if experiment.sequential and quantiles:
        look.fault((*_EXPERIMENT, "sequential"), f"is true, but {quantiles[0]} is a quantile",
                   "write sequential: false, or measure the share of units beyond a limit")  # fmt: skip
    if metric.quantile is not None and experiment.baseline is not None:
        look.fault(
            (*_EXPERIMENT, "baseline"), "is given, but the size of an experiment on a quantile cannot be told"
        )
    if experiment.baseline is not None and experiment.spread is None and metric.quantile is None:
        target = experiment.baseline + mde.of(experiment.baseline)
        if not (0 < experiment.baseline < 1 and 0 < target < 1):
            look.fault((*_EXPERIMENT, "baseline"),
                       f"is {experiment.baseline:g}, and with {experiment.mde} no proportion between 0 and 1",
                       "give 'spread', the standard deviation between units, if it is no proportion")  # fmt: skip
    if look.spec.value is None:
        for at, text in [("metric", experiment.metric), *(("guardrails", g) for g in experiment.guardrails)]:
            if "value" in Measure.parse(text).columns:
                place = (*_EXPERIMENT, at) if at == "metric" else (*_EXPERIMENT, at, text)
                look.fault(place, f"{text} needs 'value': what each outcome is worth",
                           "add value.per_decision, or call the column of your results otherwise",
                           at_key=at != "metric")  # fmt: skip
    if experiment.metric in experiment.guardrails:
        look.fault(
            (*_EXPERIMENT, "guardrails", experiment.metric), "is the metric that decides already", at_key=True
        )
