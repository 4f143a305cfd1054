"""Going back: what was released before serves again, at once, without building or approving anything anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.core.digest import Digest
from charter.core.errors import Refusal
from charter.core.text import one_line
from charter.flow.acting import Acting
from charter.flow.moves import moving
from charter.flow.proven import rollout_rules
from charter.flow.rolling import LEFT, alone, traffic_of
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.io.records import Records
    from charter.registry.types import Deployment


ROLLED_BACK = "version.rolled_back"


@dataclass(frozen=True, slots=True)
class Rollback:
    """What served before and what serves now."""

    left: int
    version: int
    package: Digest

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"left": f"v{self.left}", "version": f"v{self.version}", "package": self.package}


def rollback(
    workspace: Workspace,
    loaded: Loaded,
    *,
    to: str | None = None,
    name: str | None = None,
    reason: str = "",
) -> Rollback:
    """Let an earlier release serve again, and record it; a running server follows.

    Parameters
    ----------
    to
        A version that was released before; None goes to the release before the one that serves. Going back twice
        goes back two releases.
    name
        Identity of whoever goes back; asked for where ``release.rollout.roles.stop`` names a role, and where the model
        is stopped, ``roles.start``: it answers again then.
    reason
        Kept in the audit trail.

    Raises
    ------
    Refusal
        When nothing else was ever released, or ``to`` was not; or without ``to`` while another version is tried; or
        when whoever asks does not hold the role.
    PackageError
        When the earlier package is damaged or nobody trusted has signed it; then what serves stays.
    """
    from charter.flow.serving import deployment_file

    subject, model = to or loaded.spec.name, loaded.spec.name
    with moving(
        workspace,
        loaded,
        subject,
        "roll back",
        name,
        lambda records: _role(workspace, loaded, records),
        action="rollback.refused",
    ) as act:
        chosen = go_back(workspace, act, model, to, reason)
        deployment_file(workspace, loaded)
    return chosen


def _role(workspace: Workspace, loaded: Loaded, records: Records) -> str | None:
    rules, now = rollout_rules(workspace, loaded, records), traffic_of(records.deployment())
    if rules is None:
        return None
    return rules.roles.start if now is not None and now.stage == "stopped" else rules.roles.stop


def go_back(workspace: Workspace, act: Acting, model: str, to: str | None, reason: str) -> Rollback:
    """Record that an earlier release serves again; raises as `rollback`, and asks for no role."""
    from charter.flow.released import prove
    from charter.registry.types import Deployment

    deployments = act.records.deployments()
    tried = traffic_of(deployments[-1] if deployments else None)
    if to is None and tried is not None and tried.candidate is not None:
        raise Refusal(
            f"{tried.candidate} is being tried: to what do you want to go back?",
            remedy=f"To {tried.champion} alone: `charter kill`. Further: `charter rollback --to VERSION`.",
        )
    target, serving = earlier(deployments, model, to), deployments[-1]
    prove(workspace, act.records, model, target.package)
    now = workspace.clock.now()
    proof = {**alone(target.evidence), LEFT: serving.package}
    detail = {
        **proof,
        "model": model,
        "left": f"v{serving.version}",
        "reason": one_line(reason, "the reason"),
        "role": act.role,
    }
    with act.trail.recording(
        at=now, actor=act.name, action=ROLLED_BACK, subject=f"v{target.version}", detail=detail
    ) as change:
        change.add_deployment(Deployment(target.version, target.package, act.name, now, proof))
        change.update_version(target.version, status="released")
        if serving.version != target.version:
            change.update_version(serving.version, status="retired")
        if tried is not None and tried.candidate not in (None, f"v{target.version}"):
            change.update_version(version_number(tried.candidate or ""), status="retired")
    return Rollback(serving.version, target.version, target.package)


def earlier(deployments: Sequence[Deployment], name: str, to: str | None) -> Deployment:
    """Choose where to go back to.

    Raises
    ------
    Refusal
        When there is nothing to go back to.
    """
    if not deployments:
        raise Refusal(f"nothing of {name} is released", remedy="`charter status` says what is missing.")
    if to is None:
        *below, top = _standing(deployments)
        found = next((d for d in reversed(below) if d.package != top.package), None)
        if found is None:
            raise Refusal(
                f"v{top.version} is the first release of {name}: there is none before it to go back to",
                remedy="`charter history` lists the releases.",
            )
        return found
    number = version_number(to)
    if deployments[-1].version == number:
        raise Refusal(f"v{number} serves already", remedy="`charter history` lists the releases.")
    found = next((d for d in reversed(deployments) if d.version == number), None)
    if found is None:
        listed = ", ".join(f"v{n}" for n in sorted({d.version for d in deployments}))
        raise Refusal(
            f"v{number} was never released, so there is no way back to it; released were {listed}",
            remedy="Approve it, then `charter apply`.",
        )
    return found


def _standing(deployments: Sequence[Deployment]) -> list[Deployment]:
    """Releases that were not gone back from, oldest first; the last one serves."""
    standing: list[Deployment] = []
    for deployment in deployments:
        if LEFT in deployment.evidence and any(d.package == deployment.package for d in standing):
            while standing[-1].package != deployment.package:
                standing.pop()
        else:
            standing.append(deployment)
    return standing
