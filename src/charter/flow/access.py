"""API keys of a workspace's server: made, listed, revoked, each on record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from charter.core.clock import iso
from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.core.nearest import did_you_mean
from charter.flow.lock import hold
from charter.flow.workspace import Workspace
from charter.serve.access import Key, keys_to_text, new_key
from charter.serve.io.access import read_keys


def keys_file(workspace: Workspace) -> Path:
    """File of the workspace's API keys; a running server follows it."""
    return workspace.state / "keys.json"


def list_keys(workspace: Workspace) -> list[Key]:
    """Return the keys in force, oldest first."""
    return list(read_keys(keys_file(workspace)))


def create_key(
    workspace: Workspace, name: str, scopes: tuple[str, ...], *, rate: float | None = None
) -> tuple[Key, str]:
    """Make a key and return it with the token for its owner, which is kept nowhere.

    Raises
    ------
    UsageError
        When the name is taken or a scope does not exist.
    """
    known = list_keys(workspace)
    if any(k.name == name for k in known):
        raise UsageError(
            f"a key named {name} exists", remedy="Choose another name, or revoke that key first."
        )
    key, token = new_key(name, scopes, created_at=iso(workspace.clock.now()), rate=rate)
    _write(workspace, [*known, key], "key.created", key)
    return key, token


def revoke_key(workspace: Workspace, name: str) -> Key:
    """Remove a key by its name or id; servers refuse it within a second.

    Raises
    ------
    UsageError
        When there is no such key.
    """
    known = list_keys(workspace)
    found = next((k for k in known if name in (k.name, k.key_id)), None)
    if found is None:
        raise UsageError(f"there is no key {name}; {did_you_mean(name, [k.name for k in known])}")
    _write(workspace, [k for k in known if k is not found], "key.revoked", found)
    return found


def _write(workspace: Workspace, keys: list[Key], action: str, key: Key) -> None:
    from charter.govern.io.trail import Trail

    detail: dict[str, Any] = {"id": key.key_id, "scopes": list(key.scopes), "rate": key.rate}
    actor = workspace.settings.actor
    with (
        hold(workspace.lock_file, doing="charter key", actor=actor, clock=workspace.clock, wait_seconds=30),
        workspace.records("") as records,
    ):
        path = keys_file(workspace)
        write_atomic(path, keys_to_text(keys).encode())
        path.chmod(0o600)
        Trail(records, workspace.anchor_file).append(
            at=workspace.clock.now(), actor=actor, action=action, subject=key.name, detail=detail
        )
