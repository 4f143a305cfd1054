"""Cross-checks: what can be known to be wrong before any data is read."""

from __future__ import annotations

from charter.core.errors import Problem
from charter.spec.checks.decisions import check_decisions
from charter.spec.checks.examiner import Examiner
from charter.spec.checks.features import check_features
from charter.spec.checks.iteration import check_experiment
from charter.spec.checks.judging import check_judging, check_serving, check_training
from charter.spec.checks.lags import check_lags
from charter.spec.checks.observations import check_label, check_observations, check_split
from charter.spec.checks.oversight import check_oversight
from charter.spec.checks.retraining import check_retrain
from charter.spec.checks.rollout import check_rollout
from charter.spec.checks.series import check_series
from charter.spec.checks.sources import check_sources
from charter.spec.checks.watching import check_watching
from charter.spec.faults import Fault
from charter.spec.scope import scope
from charter.spec.types import ModelSpec


def find(spec: ModelSpec, *, names_known: bool = True) -> list[Fault]:
    """Find what does not fit together.

    Parameters
    ----------
    names_known
        False when a part of the specification was left out because it could not be read; then a name that
        is not found is no fault.
    """
    look = Examiner(spec, names_known=names_known)
    names = scope(spec)
    check_sources(look)
    check_observations(look)
    check_series(look, names)
    check_label(look)
    check_features(look, names)
    check_lags(look)
    check_training(look, names)
    check_split(look)
    check_judging(look, names)
    check_decisions(look)
    check_serving(look, names)
    check_experiment(look)
    check_oversight(look)
    check_retrain(look)
    check_rollout(look, names)
    check_watching(look, names)
    return look.faults


def cross_check(spec: ModelSpec) -> list[Problem]:
    """Problems of a specification that has no file, so their places are paths alone.

    The loader calls `find` and places the faults in the file.
    """
    return [Problem(fault.path, fault.message, fault.hint) for fault in find(spec)]
