"""Persons decide: identities, roles and signatures; one at a time, and never while a version moves by them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

from charter.core.decision import Decision
from charter.core.errors import Refusal
from charter.flow.lock import hold
from charter.flow.moves import refusing
from charter.flow.observe import evidence, judge_approvals
from charter.flow.views import version_number
from charter.flow.workspace import Workspace
from charter.govern.io import keys, people
from charter.govern.io.trail import Trail
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.io.records import Records

Verdict = Literal["approve", "reject"]


@contextmanager
def _holding(
    workspace: Workspace, doing: str, actor: str, model: str = ""
) -> Iterator[tuple[Records, Trail]]:
    lock, clock = workspace.moves_lock, workspace.clock
    with (
        hold(lock, doing=doing, actor=actor, clock=clock, wait_seconds=30),
        workspace.records(model) as records,
    ):
        yield records, Trail(records, workspace.anchor_file)


def sign(
    workspace: Workspace, loaded: Loaded, version: str, stage: str, name: str, verdict: Verdict, reason: str
) -> Decision:
    """Sign a version's evidence for one stage and return where all signatures now stand.

    Raises
    ------
    UsageError
        When the stage, the version or the key is not known.
    Refusal
        When the version is not packaged, or the identity does not hold the role that the stage asks for. That is an
        entry of the audit trail, too.
    """
    signer = keys.load(name, workspace.settings.home)
    with (
        refusing(workspace, loaded, version, f"{verdict} at stage {stage}", name, action="approval.refused"),
        _holding(workspace, f"charter {verdict}", name, loaded.spec.name) as (records, trail),
    ):
        found = records.version(version_number(version))
        if found.package is None:
            raise Refusal(
                f"{found.name} is not packaged: there is nothing to sign",
                remedy=f"It is packaged when it meets its requirements: `charter apply`, `charter show {found.name}`.",
            )
        people.approve(
            trail,
            loaded.spec.approve,
            found.number,
            stage,
            signer,
            verdict=verdict,
            reason=reason,
            evidence=evidence(loaded.spec, records, found.package),
            now=workspace.clock.now(),
        )
        return judge_approvals(workspace, loaded, records, found.package)


def create_identity(
    workspace: Workspace, name: str, *, roles: tuple[str, ...], by: str | None
) -> dict[str, Any]:
    """Make a key (or take the one on this machine), register its public half, and grant roles.

    The first identity of the records becomes administrator by its own signature and may give itself roles; later ones
    get theirs from the administrator named by ``by``.

    Raises
    ------
    UsageError
        When the name is taken.
    Refusal
        When roles are asked for and ``by`` is not an administrator.
    """
    home = workspace.settings.home
    path = keys.key_file(name, home)
    now = workspace.clock.now()
    with _holding(workspace, "charter identity create", name) as (records, trail):
        known = people.people(records)
        admins = [i.name for i in known.values() if i.is_admin]
        if roles and known and (by is None or by not in admins):
            raise Refusal(
                f"roles are granted by an administrator; {by or 'nobody'} is named for {name}",
                remedy=f"Add `--by {admins[0]}`." if admins else "These records have no administrator.",
            )
        taken = path.exists()
        signer = keys.load(name, home) if taken else keys.create(name, home)
        identity = people.enrol(records, trail, signer, now=now, actor=name)
        granter = signer if by is None else keys.load(by, home)
        for role in roles:
            identity = people.grant(records, trail, name, role, by=granter, now=now)
    return identity.to_json() | {"key_file": str(path), "key": "taken" if taken else "made"}


def grant(workspace: Workspace, name: str, role: str, *, by: str, revoke: bool) -> None:
    """Give an identity a role, or take it away, signed by an administrator.

    Raises
    ------
    UsageError
        When the identity is not known.
    Refusal
        When ``by`` is not an administrator.
    """
    signer = keys.load(by, workspace.settings.home)
    verdict: Literal["grant", "revoke"] = "revoke" if revoke else "grant"
    with _holding(workspace, "charter identity grant", by) as (records, trail):
        people.grant(records, trail, name, role, by=signer, now=workspace.clock.now(), verdict=verdict)


def list_identities(workspace: Workspace) -> list[dict[str, Any]]:
    """Return every identity with the roles that its grants prove."""
    with workspace.records("", readonly=True) as records:
        return [i.to_json() for i in people.people(records).values()]
