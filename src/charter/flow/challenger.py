"""A version that a person has not decided about yet: it sees each request in shadow, and serves nobody."""

from __future__ import annotations

from charter.flow.acting import acting
from charter.flow.moves import CHALLENGED, Stand, refusing
from charter.flow.rolling import ALONE
from charter.flow.rollout import begin
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded


def challenge(
    workspace: Workspace, loaded: Loaded, version: str, *, name: str | None = None, reason: str = ""
) -> Stand:
    """Let a version answer in shadow until a person starts its rollout or ends it; no step leads on from there.

    Raises
    ------
    Refusal
        As `charter.flow.rollout.start`: also in shadow nothing runs that was not approved.
    """
    from charter.iterate.rollout import legs

    rollout = loaded.spec.release.rollout
    assert rollout is not None
    assert rollout.shadow is not None
    shadow = legs(loaded.spec.release)[0]
    to = f"try {version} in shadow"
    with (
        refusing(workspace, loaded, version, to, name),
        acting(workspace, loaded.spec.name, name, rollout.roles.start, to=to) as act,
    ):
        return begin(workspace, loaded, act, version, shadow, CHALLENGED, reason, place=ALONE)
