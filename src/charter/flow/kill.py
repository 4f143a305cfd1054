"""Sending all requests to the champion, or of a whole model to its fallback: at once, whatever was under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from charter.core.errors import Refusal
from charter.flow.moves import (
    KILLED,
    RESUMED,
    STOPPED,
    Stand,
    moving,
    record,
    serving_now,
    stand,
    tried_now,
)
from charter.flow.rolling import alone, rolling, traffic_of
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.registry.traffic import Traffic
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.io.records import Records


def kill(
    workspace: Workspace,
    loaded: Loaded,
    *,
    everything: bool = False,
    name: str | None = None,
    reason: str = "",
) -> Stand:
    """Send all requests to the champion, at once; or, of the whole model, to its fallback.

    Parameters
    ----------
    everything
        Also the champion is taken away: the fallback that the release declares answers, or nobody (503).

    Raises
    ------
    Refusal
        When nothing is released, or there is nothing to end, or whoever asks does not hold the role.
    """
    from charter.flow.serving import deployment_file

    subject = tried_now(workspace, loaded)
    to = "stop the model" if everything else "end the rollout"
    with moving(
        workspace, loaded, subject, to, name, lambda records: _stopper(workspace, loaded, records)
    ) as act:
        serving = serving_now(loaded, act)
        before = traffic_of(serving)
        champion = f"v{serving.version}"
        if not everything and (before is None or before.candidate is None):
            deployment_file(workspace, loaded)  # whoever was killed may not have come as far
            raise Refusal(
                f"nothing is tried beside {champion}",
                remedy="To take the model itself away: `charter kill --all`. To an earlier one: `charter rollback`.",
            )
        if everything and before is not None and before.stage == "stopped":
            deployment_file(workspace, loaded)
            return stand(workspace, loaded, act)
        traffic = Traffic("stopped", champion) if everything else Traffic("full", champion)
        action = STOPPED if everything else KILLED
        detail = {"reason": reason, "before": before.to_json() if before is not None else None}
        retired = (
            version_number(before.candidate) if before is not None and before.candidate is not None else None
        )
        record(workspace, act, action, serving, traffic, alone(serving.evidence), detail, retires=retired)
        return stand(workspace, loaded, act, did=action)


def resume(workspace: Workspace, loaded: Loaded, *, name: str | None = None, reason: str = "") -> Stand:
    """Let a model that was stopped answer again.

    Raises
    ------
    Refusal
        When it is not stopped, or whoever asks does not hold the role.
    """
    rollout = loaded.spec.release.rollout
    role = rollout.roles.start if rollout is not None else None
    to = "let the model answer again"
    with moving(workspace, loaded, loaded.spec.name, to, name, lambda _records: role) as act:
        serving = serving_now(loaded, act)
        before = traffic_of(serving)
        if before is None or before.stage != "stopped":
            raise Refusal(
                f"v{serving.version} is not stopped", remedy="`charter rollout status` says what serves."
            )
        full = Traffic("full", before.champion)
        record(workspace, act, RESUMED, serving, full, alone(serving.evidence), {"reason": reason})
        return stand(workspace, loaded, act, did=RESUMED)


def _stopper(workspace: Workspace, loaded: Loaded, records: Records) -> str | None:
    """Role that it takes: by the specification under which the rollout began, or, where it is lost, by the present."""
    try:
        now = rolling(workspace, loaded, records)
    except Refusal:  # what cannot be judged any more can still be ended
        now = None
    rollout = (now.loaded if now is not None else loaded).spec.release.rollout
    return rollout.roles.stop if rollout is not None else None
