"""All versions beside each other: how good, how quick, how large; and which of them are worth choosing from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from charter.core.errors import Refusal
from charter.flow.observe import proven
from charter.flow.plan import Stage
from charter.flow.views import features_result, result_of, trained_result, tree_json
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded


@dataclass(frozen=True, slots=True)
class Standing:
    """A version among the others.

    Attributes
    ----------
    value
        The search metric on the validation folds: what is chosen by may not be the held-out rows.
    snapshot
        Digest of the rows; values on other rows are not compared.
    latency_p95_ms, memory_mb, package_mb
        As measured when the version was evaluated.
    on_front
        Whether no other version on the same rows is at least as good in all of these and better in one.
    """

    version: str
    learner: str
    metric: str
    value: float
    snapshot: str
    latency_p95_ms: float
    memory_mb: float
    package_mb: float
    on_front: bool = False


@dataclass(frozen=True, slots=True)
class Tradeoffs:
    """What was found."""

    standings: tuple[Standing, ...]
    left_out: tuple[str, ...]
    """Versions that were not evaluated, or by another metric than the newest."""

    def to_json(self) -> dict[str, Any]:
        """Plain data for machines."""
        return {"versions": [asdict(s) for s in self.standings], "left_out": list(self.left_out)}


def tradeoffs(workspace: Workspace, loaded: Loaded) -> Tradeoffs:
    """Put the versions beside each other, newest last.

    Raises
    ------
    Refusal
        Where no version was evaluated yet.
    """
    blobs, found, left_out = workspace.blobs(), [], []
    with workspace.records(loaded.spec.name, readonly=True) as records:
        proven(workspace, records)
        for version in records.versions():
            trained = trained_result(records, version)
            evaluated = result_of(records, Stage.EVALUATE, "train", trained.output)
            summary = trained.summary
            if evaluated is None or summary["metric"] != loaded.spec.train.metric:
                left_out.append(version.name)
                continue
            measured = tree_json(blobs, evaluated.output, "measurement.json")
            found.append(
                Standing(
                    version.name,
                    str(summary["learner"]),
                    str(summary["metric"]),
                    float(summary["value"]),
                    features_result(records, trained).inputs["snapshot"],
                    float(measured["latency_p95_ms"]),
                    float(measured["memory_mb"]),
                    float(measured["package_mb"]),
                )
            )
    if not found:
        raise Refusal(
            "no version was evaluated by the metric of this specification",
            remedy="`charter apply` trains and evaluates one.",
        )
    return Tradeoffs(_fronts(found), tuple(left_out))


def _fronts(found: Sequence[Standing]) -> tuple[Standing, ...]:
    from charter.evaluate.pareto import pareto_front

    front: set[str] = set()
    for snapshot in {s.snapshot for s in found}:
        costs = {s.version: _costs(s) for s in found if s.snapshot == snapshot}
        front.update(pareto_front(costs))
    return tuple(replace(s, on_front=s.version in front) for s in found)


def _costs(one: Standing) -> tuple[float, ...]:
    from charter.data.metrics import direction

    lost = {"up": -one.value, "down": one.value, "zero": abs(one.value)}[direction(one.metric)]
    return lost, one.latency_p95_ms, one.memory_mb, one.package_mb
