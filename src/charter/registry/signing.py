"""Ed25519 over canonical JSON. Each use has its own purpose, so that a signature made for one never fits another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from charter.core.digest import canonical_json

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


def message(purpose: str, content: Mapping[str, Any]) -> bytes:
    """Return the bytes that are signed.

    Parameters
    ----------
    purpose
        What the signature is for, for example ``charter/approval/1``.
    content
        Plain JSON.
    """
    return canonical_json({"content": dict(content), "purpose": purpose})


@dataclass(frozen=True, slots=True)
class Signer:
    """A name and the private key that proves it. Never printed, never stored."""

    name: str
    private: Ed25519PrivateKey

    def __repr__(self) -> str:
        return f"Signer({self.name!r})"

    @property
    def public_key(self) -> str:
        """The raw public key, 64 hexadecimal characters."""
        return self.private.public_key().public_bytes_raw().hex()

    def sign(self, purpose: str, content: Mapping[str, Any]) -> str:
        """Sign; 128 hexadecimal characters. Ed25519 is deterministic: the same content gives the same signature."""
        return self.private.sign(message(purpose, content)).hex()


def verifies(public_key: str, purpose: str, content: Mapping[str, Any], signature: str) -> bool:
    """Whether `signature` is that of `public_key` over `content`; False for anything malformed."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(public_key))
        key.verify(bytes.fromhex(signature), message(purpose, content))
    except (InvalidSignature, ValueError):
        return False
    return True
