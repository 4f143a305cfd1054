"""Where a rollout or an experiment stands: told by the last deployment alone, and by the specification it began under.

The specification is kept as a blob when a rollout begins, and the deployment names it by its digest. What is edited in
the file later changes nothing of a rollout that is under way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from charter.core.digest import Digest, ordered_json
from charter.core.errors import Refusal
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded, kept

if TYPE_CHECKING:
    from charter.iterate.rollout import Leg
    from charter.registry.io.records import Records
    from charter.registry.types import Deployment

CANDIDATE = "candidate."
"""Before the names of the candidate's evidence, in the evidence of a deployment that tries it."""
SPEC, LEG = "began_under", "leg"
ALONE = "experiment alone"
"""Instead of a leg's number, where an experiment was begun by itself, or a version challenges in shadow."""
LEFT = "rolled_back_from"
"""Name under which the record of a way back says which package it left."""
_OWN = (SPEC, LEG, LEFT)


@dataclass(frozen=True, slots=True)
class Rolling:
    """What is being tried.

    Attributes
    ----------
    deployment
        The last one.
    loaded
        The specification under which it began.
    leg
        Number of the leg; None of an experiment that was begun by itself.
    """

    deployment: Deployment
    traffic: Traffic
    loaded: Loaded
    leg: int | None

    @property
    def candidate(self) -> int:
        """Number of the version that is tried."""
        assert self.traffic.candidate is not None
        return version_number(self.traffic.candidate)

    @property
    def package(self) -> Digest:
        """Package of the candidate."""
        return Digest(self.deployment.evidence[f"{CANDIDATE}package"])

    @property
    def way(self) -> tuple[Leg, ...]:
        """All its legs."""
        from charter.iterate.rollout import legs

        return legs(self.loaded.spec.release)


def traffic_of(deployment: Deployment | None) -> Traffic | None:
    """Who answers which request, where that is not simply the version that serves."""
    return Traffic.from_json(deployment.traffic) if deployment is not None and deployment.traffic else None


def rolling(workspace: Workspace, loaded: Loaded, records: Records) -> Rolling | None:
    """What is being tried now; None when nothing is.

    Raises
    ------
    Refusal
        When the specification under which it began is lost.
    """
    deployment = records.deployment()
    traffic = traffic_of(deployment)
    if deployment is None or traffic is None or traffic.candidate is None:
        return None
    blobs, digest = workspace.blobs(), Digest(deployment.evidence.get(SPEC, ""))
    if not digest or not blobs.has(digest):
        raise Refusal(
            f"the specification under which the rollout of {traffic.candidate} began is lost",
            remedy=f"End it: `charter kill`. All requests then go to {traffic.champion}.",
        )
    spec = kept(blobs.get(digest))
    leg = deployment.evidence.get(LEG, "")
    return Rolling(deployment, traffic, replace(loaded, spec=spec), None if leg == ALONE else int(leg))


def challenges(deployment: Deployment) -> str | None:
    """The version that is in shadow without a rollout, while a person decides; None where none is."""
    traffic = traffic_of(deployment)
    if traffic is None or traffic.stage != "shadow" or deployment.evidence.get(LEG) != ALONE:
        return None
    return traffic.candidate


def attempts(records: Records, model: str, candidate: str) -> int:
    """How often the rollout of a version was started so far."""
    from charter.govern.timeline import concerns

    mine = (e for e in records.events() if e.action == "rollout.started" and e.subject == candidate)
    return sum(concerns(e, model) for e in mine)


def keep_spec(workspace: Workspace, loaded: Loaded) -> Digest:
    """Keep the specification under which something begins."""
    return workspace.blobs().put_bytes(ordered_json(loaded.spec.model_dump(mode="json")))


def trying(
    champion: Mapping[str, str], candidate: Mapping[str, str], spec: Digest, leg: str
) -> dict[str, str]:
    """Evidence of a deployment in which a candidate is tried: the champion's, the candidate's, and where it stands."""
    return {**alone(champion), **{f"{CANDIDATE}{k}": v for k, v in candidate.items()}, SPEC: spec, LEG: leg}


def alone(evidence: Mapping[str, str]) -> dict[str, str]:
    """Evidence of the champion alone."""
    return {k: v for k, v in evidence.items() if not k.startswith(CANDIDATE) and k not in _OWN}


def tried(evidence: Mapping[str, str]) -> dict[str, str]:
    """Evidence of the candidate alone: what its approvals cover."""
    return {k.removeprefix(CANDIDATE): v for k, v in evidence.items() if k.startswith(CANDIDATE)}
