"""Who acts: an identity that proves itself by its key and holds the role that the specification names."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charter.core.errors import Refusal
from charter.flow.lock import hold
from charter.flow.workspace import Workspace

if TYPE_CHECKING:
    from charter.govern.io.trail import Trail
    from charter.registry.io.records import Records


@dataclass(frozen=True, slots=True)
class Acting:
    """Somebody at work on the records, alone in the workspace.

    Attributes
    ----------
    role
        In which they act; None where the specification asks for none.
    """

    name: str
    role: str | None
    records: Records
    trail: Trail


@contextmanager
def acting(
    workspace: Workspace, model: str, name: str | None, role: str | None, *, to: str
) -> Iterator[Acting]:
    """Hold the workspace in somebody's name.

    Parameters
    ----------
    name
        An identity, proven by its private key on this machine; None is whoever is logged in.
    role
        What it takes; None takes nothing.
    to
        What they want to do, such as ``close an incident``: for the lock and for refusals.

    Raises
    ------
    Refusal
        When it takes a role and nobody is named, the key is not the recorded one, or the role is not held.
    UsageError
        When the identity or its key is not known.
    """
    from charter.govern.io import keys, people
    from charter.govern.io.trail import Trail

    if role is not None and name is None:
        raise Refusal(
            f"it takes a {role} to {to}", remedy="Say who you are by an identity with that role: `--as NAME`."
        )
    signer = keys.load(name, workspace.settings.home) if name is not None else None
    actor = signer.name if signer is not None else workspace.settings.actor
    with (
        hold(workspace.lock_file, doing=to, actor=actor, clock=workspace.clock, wait_seconds=30),
        workspace.records(model) as records,
    ):
        if signer is not None:
            people.entitled(records, signer, role, to=to)
        yield Acting(actor, role, records, Trail(records, workspace.anchor_file))
