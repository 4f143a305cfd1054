"""The files behind access: API keys and an identity provider's public keys, followed as they change."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.errors import CharterError, UsageError
from charter.serve.access import Gate, Key, Tokens, keys_from_text
from charter.serve.io.watch import EVERY_SECONDS, mark

_log = logging.getLogger("charter.serve")


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """Who may ask this server.

    Attributes
    ----------
    keys
        File of API keys; None accepts none.
    jwks
        File with the identity provider's public keys; None accepts no tokens.
    issuer, audience
        What tokens must claim; None is not looked at.
    rate
        Requests a second for each caller; None is without limit.
    """

    keys: Path | None = None
    jwks: Path | None = None
    issuer: str | None = None
    audience: str | None = None
    rate: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain data with absolute paths."""
        return {
            "keys": None if self.keys is None else str(self.keys.absolute()),
            "jwks": None if self.jwks is None else str(self.jwks.absolute()),
            "issuer": self.issuer,
            "audience": self.audience,
            "rate": self.rate,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AccessPolicy:
        """Inverse of `to_json`."""
        paths = {n: Path(data[n]) if data[n] is not None else None for n in ("keys", "jwks")}
        return cls(**paths, issuer=data["issuer"], audience=data["audience"], rate=data["rate"])


def read_keys(path: Path) -> tuple[Key, ...]:
    """Read a file of API keys; a file that is not there holds none.

    Raises
    ------
    UsageError
        When it cannot be read.
    """
    try:
        return keys_from_text(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"keys file {path} cannot be read: {error}") from error


def read_tokens(policy: AccessPolicy) -> Tokens | None:
    """Read the public keys of the identity provider.

    Raises
    ------
    UsageError
        When the file cannot be read or holds no key.
    """
    if policy.jwks is None:
        return None
    from charter.serve.tokens import JwtTokens

    try:
        text = policy.jwks.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"JWKS file {policy.jwks} cannot be read: {error}") from error
    return JwtTokens(text, issuer=policy.issuer, audience=policy.audience)


class Porter:
    """Keeps a gate up to date with the files of its policy.

    Files that cannot be read change nothing, except that a keys file which is gone lets nobody in.
    """

    def __init__(self, policy: AccessPolicy, *, share: float = 1.0) -> None:
        self._policy = policy
        self._marks = self._seen()
        self.gate = Gate(rate=policy.rate, share=share, clock=time.monotonic)
        self._read()

    def _seen(self) -> tuple[Any, ...]:
        return tuple(mark(p) if p is not None else None for p in (self._policy.keys, self._policy.jwks))

    def _read(self) -> None:
        keys = read_keys(self._policy.keys) if self._policy.keys is not None else ()
        self.gate.tokens = read_tokens(self._policy)
        self.gate.keys = keys

    def look(self) -> None:
        """Read the files again when they have changed."""
        found = self._seen()
        if found == self._marks:
            return
        self._marks = found
        try:
            self._read()
        except CharterError as error:
            _log.error("keys changed and cannot be read; those known before stay in force: %s", error.message)

    async def follow(self) -> None:
        """Watch the files until cancelled."""
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            self.look()
