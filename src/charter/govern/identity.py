"""Who may do what: roles come from grants that an administrator signed. Pure.

The first recorded identity is the first administrator, by a grant that it signs itself. From then on a grant or a
revocation counts only when its signature fits and its signer was an administrator at that point of the record.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from charter.core.clock import iso
from charter.registry.signing import Signer, verifies
from charter.registry.types import Grant, IdentityRecord

ADMIN = "admin"
PURPOSE = "charter/grant/1"


@dataclass(frozen=True, slots=True)
class Identity:
    """A person or a machine, as the grants leave it."""

    name: str
    public_key: str
    roles: tuple[str, ...]
    """Sorted."""
    created_at: datetime

    @property
    def is_admin(self) -> bool:
        """Whether this identity may grant and revoke."""
        return ADMIN in self.roles

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "name": self.name,
            "public_key": self.public_key,
            "roles": list(self.roles),
            "created_at": iso(self.created_at),
        }


def sign_grant(
    identity: str, role: str, signer: Signer, now: datetime, *, verdict: Literal["grant", "revoke"] = "grant"
) -> Grant:
    """Make a signed grant or revocation. Whether it counts is judged by `standing`."""
    unsigned = Grant(identity, role, verdict, signer.name, now, signature="")
    return Grant(identity, role, verdict, signer.name, now, signer.sign(PURPOSE, _content(unsigned)))


def standing(records: Iterable[IdentityRecord], grants: Iterable[Grant]) -> dict[str, Identity]:
    """Work out every identity's roles from the record, ignoring every grant that does not prove itself.

    A grant that stands a second time in the record (same signature) is ignored too: nobody regains a role because
    someone copied an old row.

    Parameters
    ----------
    records, grants
        In the order in which they were recorded.
    """
    known = {record.name: record for record in records}
    root = next(iter(known), None)
    roles: dict[str, set[str]] = {name: set() for name in known}
    seen: set[str] = set()
    for position, grant in enumerate(grants):
        signer = known.get(grant.granted_by)
        if signer is None or grant.identity not in known or grant.signature in seen:
            continue
        founding = position == 0 and grant.identity == grant.granted_by == root and grant.role == ADMIN
        if not founding and ADMIN not in roles[signer.name]:
            continue
        if not verifies(signer.public_key, PURPOSE, _content(grant), grant.signature):
            continue
        seen.add(grant.signature)
        if grant.verdict == "grant":
            roles[grant.identity].add(grant.role)
        else:
            roles[grant.identity].discard(grant.role)
    return {
        name: Identity(name, record.public_key, tuple(sorted(roles[name])), record.created_at)
        for name, record in known.items()
    }


def _content(grant: Grant) -> dict[str, str]:
    return {
        "granted_at": iso(grant.granted_at),
        "granted_by": grant.granted_by,
        "identity": grant.identity,
        "role": grant.role,
        "verdict": grant.verdict,
    }
