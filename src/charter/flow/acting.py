"""Who acts: an identity that proves itself by its key and holds the role that the specification names.

Acts take a lock of their own, not that of `charter apply`: a stop must not wait until a training has ended. That is
safe because the two meet in one place only. What serves and who may decide changes under this lock alone; apply makes
its results under the other, and takes this one as well, for a moment, to release, after it has judged its plan again.
Each change is one transaction with its entry of the audit trail, and there is only one writer at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from charter.core.errors import Refusal
from charter.flow.lock import hold
from charter.flow.workspace import Workspace

if TYPE_CHECKING:
    from charter.govern.io.trail import Trail
    from charter.registry.io.records import Records

Role = Callable[["Records"], str | None]
"""What an act takes, by the records as they are when it begins."""


@dataclass(frozen=True, slots=True)
class Acting:
    """Somebody who changes what serves, or writes of it; alone in that.

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
    workspace: Workspace,
    model: str,
    name: str | None,
    role: Role | str | None,
    *,
    to: str,
    wait_seconds: float = 30,
) -> Iterator[Acting]:
    """Act in somebody's name, one at a time.

    Parameters
    ----------
    name
        An identity, proven by its private key on this machine; None is whoever is logged in.
    role
        What it takes, or how the records tell it; None takes nothing.
    to
        What they want to do, such as ``close an incident``: for the lock and for refusals.
    wait_seconds
        How long to wait for another who changes what serves, or writes to the records.

    Raises
    ------
    Refusal
        When it takes a role and nobody is named, the key is not the recorded one, or the role is not held.
    UsageError
        When the identity or its key is not known.
    """
    from charter.govern.io import keys, people
    from charter.govern.io.trail import Trail

    signer = keys.load(name, workspace.settings.home) if name is not None else None
    actor = signer.name if signer is not None else workspace.settings.actor
    with (
        hold(workspace.moves_lock, doing=to, actor=actor, clock=workspace.clock, wait_seconds=wait_seconds),
        workspace.records(model, wait_seconds=wait_seconds) as records,
    ):
        needed = role(records) if callable(role) else role
        if needed is not None and signer is None:
            raise Refusal(
                f"it takes a {needed} to {to}",
                remedy="Say who you are by an identity with that role: `--as NAME`.",
            )
        if signer is not None:
            people.entitled(records, signer, needed, to=to)
        yield Acting(actor, needed, records, Trail(records, workspace.anchor_file))
