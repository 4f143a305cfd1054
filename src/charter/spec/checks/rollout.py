"""What can be known to be wrong with a rollout before it starts."""

from __future__ import annotations

from collections.abc import Mapping

from charter.core.quantity import parse_duration
from charter.spec.checks.examiner import Examiner
from charter.spec.document import Path
from charter.spec.guards import SHADOW_ONLY, VALUE, Guard
from charter.spec.scope import Scope, request_fields
from charter.spec.types import ExperimentStage, RolloutSpec, ShadowStage
from charter.spec.vocabulary import UNIT_TYPES

_ROLLOUT: Path = ("release", "rollout")


def check_rollout(look: Examiner, names: Scope) -> None:
    """Stages that lead nowhere, a ramp that does not grow, guards that nothing can measure, units no request has."""
    _check_assignment(look)
    if look.names_known and not look.faults:  # else what a request holds cannot be told
        _check_identifiers(look, names)
        _check_units(look, names)
    rollout = look.spec.release.rollout
    if rollout is None:
        return
    stages = {"shadow": rollout.shadow, "canary": rollout.canary, "experiment": rollout.experiment}
    if not any(stages.values()):
        look.fault(_ROLLOUT, "has no stage", "give shadow, canary or experiment, or leave the rollout out")
    _check_guards(look, _ROLLOUT, rollout.guards, in_shadow=rollout.shadow is not None)
    for name, stage in stages.items():
        if stage is None:
            continue
        path = (*_ROLLOUT, name)
        if parse_duration(stage.at_most) < parse_duration(stage.at_least):
            look.fault((*path, "at_most"), f"is {stage.at_most}, less than at_least, {stage.at_least}")
        _check_guards(look, path, stage.guards, in_shadow=isinstance(stage, ShadowStage))
        if not rollout.guards and not stage.guards:
            look.fault(
                path, "has no guard, so it would never be left", 'write for example {errors: "error_share > 0.01"}'
            )  # fmt: skip
    if rollout.canary is not None:
        steps = rollout.canary.steps
        if not steps or list(steps) != sorted(set(steps)):
            look.fault(
                (*_ROLLOUT, "canary", "steps"), "must grow from step to step", "write [0.01, 0.05, 0.2, 0.5]"
            )
    _check_experiment(look, rollout, rollout.experiment)


def _check_guards(look: Examiner, path: Path, guards: Mapping[str, str], *, in_shadow: bool) -> None:
    for name, text in guards.items():
        measure = Guard.parse(text).measure
        where = (*path, "guards", name)
        if measure in SHADOW_ONLY and not in_shadow:
            look.fault(
                where, f"measures {measure}, which only a shadow stage can: there both answer the same rows"
            )
        if measure in VALUE and look.spec.value is None:
            look.fault(where, f"measures {measure}, and no value is stated", "state value.per_decision")
        if look.spec.serve.log.mode == "none":
            look.fault(where, "reads the prediction log, and serve.log.mode is none")


def _check_experiment(look: Examiner, rollout: RolloutSpec, stage: ExperimentStage | None) -> None:
    experiment = look.spec.release.experiment
    if stage is None:
        return
    if experiment is None:
        look.fault((*_ROLLOUT, "experiment"), "needs release.experiment, which says what decides")
        return
    if not experiment.sequential:
        look.fault(
            ("release", "experiment", "sequential"),
            "is false, and a rollout reads the results at every step, which makes a test of a fixed size wrong",
            "leave it out, and decide by a mean, a share or a ratio",
        )
    if len(experiment.arms) != 2:
        look.fault(
            ("release", "experiment", "arms"), f"are {len(experiment.arms)}; a rollout compares two versions"
        )
    steps = rollout.canary.steps if rollout.canary is not None else ()
    for arm, share in experiment.arms.items():
        if arm != experiment.control and steps and share < steps[-1]:
            look.fault(
                ("release", "experiment", "arms", arm),
                f"is {share:g}, less than the canary's last step, {steps[-1]:g}: units would lose the candidate again",
            )
    if rollout.unit is not None and rollout.unit != experiment.unit:
        look.fault((*_ROLLOUT, "unit"), f"is {rollout.unit}, and the experiment's is {experiment.unit}",
                   "leave it out")  # fmt: skip


def _check_identifiers(look: Examiner, names: Scope) -> None:
    """Identifiers are columns of the rows that a request is about, which nothing else reads."""
    spec, place = look.spec, ("serve", "identifiers")
    observations = spec.data.observations
    if not spec.serve.identifiers:
        return
    source = spec.data.sources.get(observations.source or "")
    if observations.entity is not None or observations.series or source is None:
        unit = f"; the unit may be {observations.entity}" if observations.entity is not None else ""
        look.fault(place, "are for models about rows: whom this model is asked about is a field of its requests",
                   f"leave them out{unit}")  # fmt: skip
        return
    bare = spec.model_copy(update={"serve": spec.serve.model_copy(update={"identifiers": ()})})
    read = request_fields(bare, names)
    for number, name in enumerate(spec.serve.identifiers):
        path: Path = (*place, number)
        if name in names.label:
            look.fault(path, f"{name} is the label or made from it, which no request holds")
        elif name not in source.columns or name in source.derive:
            look.known(path, name, source.columns, f"is not a column of source {observations.source}")
        elif source.columns[name].type not in UNIT_TYPES:
            kind = source.columns[name].type
            look.fault(path, f"{name} is of type {kind}; it must be {' or '.join(UNIT_TYPES)}")
        elif name in read:
            look.fault(path, f"{name} is read by the model already, so requests hold it",
                       f"leave it out here, or keep it from the model: features.exclude: [{name}]")  # fmt: skip


def _check_units(look: Examiner, names: Scope) -> None:
    """Units are dealt out by a field of requests, and so is a stratum."""
    release = look.spec.release
    rollout, experiment = release.rollout, release.experiment
    fields = request_fields(look.spec, names)
    wanted: list[tuple[Path, str, str]] = []
    none = "make it a feature, or observe an entity: a request holds nothing else"
    if rollout is not None and rollout.unit is not None:
        wanted.append(
            ((*_ROLLOUT, "unit"), rollout.unit, "leave it out, and each request is dealt out by itself")
        )
    if experiment is not None:
        path: Path = ("release", "experiment")
        serves = rollout is not None and (rollout.canary is not None or rollout.experiment is not None)
        # Results that are only read may be of units that this model knows nothing of.
        if serves or experiment.unit in names.columns:
            wanted.append(((*path, "unit"), experiment.unit, none))
        if experiment.stratum is not None and experiment.strata and serves:
            wanted.append(((*path, "stratum"), experiment.stratum, none))
    explore = look.spec.serve.explore
    if explore is not None and explore.unit is not None:
        each = "leave it out, and chance decides of each request by itself"
        wanted.append((("serve", "explore", "unit"), explore.unit, each))
    for place, name, otherwise in wanted:
        if fields.get(name) in UNIT_TYPES:
            continue
        if name in fields:
            why = f"is of type {fields[name]}, by which no units are dealt out"
        elif name in names.label:
            why = "is the label or made from it, which no request holds"
        elif name in names.keys:
            why = "only identifies a row, and requests hold it only where serve.identifiers names it"
        elif name in look.spec.features.exclude:
            why = "is excluded from the features; requests hold it only where serve.identifiers names it"
        else:
            why = "is no field of requests"
        look.fault(place, f"{name} {why}", _unit_hint(look, fields, name) or otherwise)


def _unit_hint(look: Examiner, fields: Mapping[str, str], name: str) -> str:
    """Fields whose values are not few, and columns that requests could hold: those may tell whom a request is about."""
    columns = {n: c for source in look.spec.data.sources.values() for n, c in source.columns.items()}
    telling = [
        name
        for name, kind in fields.items()
        if kind in ("category", "text") and not (name in columns and columns[name].values)
    ]
    entity = look.spec.data.observations.entity
    if entity is not None:
        telling = [entity]
    elif not look.spec.data.observations.series:
        wished = [name] if name in look.spec.features.exclude else look.spec.data.observations.key
        keys = [n for n in wished if n in columns and columns[n].type in UNIT_TYPES]
        more = f"add serve.identifiers: [{', '.join(keys)}] and name that" if keys else ""
        told = f"name a field that tells whom a request is about: {', '.join(telling)}" if telling else ""
        return "; or ".join(part for part in (more, told) if part)
    return f"name a field that tells whom a request is about: {', '.join(telling)}" if telling else ""


def _check_assignment(look: Examiner) -> None:
    experiment, path = look.spec.release.experiment, ("release", "experiment")
    if experiment is None:
        return
    if experiment.strata and experiment.stratum is None:
        look.fault((*path, "strata"), "needs 'stratum', the field that holds their names", at_key=True)
    for name, shares in experiment.strata.items():
        for arm in shares:
            look.known(
                (*path, "strata", name, arm), arm, experiment.arms, "is not one of the arms", at_key=True
            )
        if sum(shares.values()) > 1 + 1e-9:
            look.fault(
                (*path, "strata", name), f"adds up to {sum(shares.values()):g}, which is more than all units"
            )
    for field in ("holdout", "layer"):
        slot = getattr(experiment, field)
        if slot is not None and slot.start >= slot.stop:
            look.fault((*path, field), f"ends at {slot.stop:g}, which is not after its start, {slot.start:g}")
    if experiment.holdout is not None and experiment.layer is not None and (
        experiment.holdout.salt == experiment.layer.salt
    ):  # fmt: skip
        look.fault((*path, "layer", "salt"), "is the holdout's, too, which ties the two together")
