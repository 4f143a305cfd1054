"""Private keys on disk: ``<home>/identities/<name>.pem``, readable by their owner alone."""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import UsageError
from charter.core.io.files import sync_folder
from charter.core.nearest import advice
from charter.registry.signing import Signer

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

PASSPHRASE = "CHARTER_KEY_PASSPHRASE"  # noqa: S105  # the name of the variable, not its value
_NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")


def key_file(name: str, home: Path) -> Path:
    """Path of an identity's private key.

    Raises
    ------
    UsageError
        When the name is not lower-case words joined by hyphens.
    """
    if len(name) > 64 or not _NAME.fullmatch(name):
        raise UsageError(
            f"{name!r} is not a name for an identity",
            remedy="Use lower-case words joined by hyphens, such as eva or risk-officer.",
        )
    return home / "identities" / f"{name}.pem"


def create(name: str, home: Path, environ: Mapping[str, str] | None = None) -> Signer:
    """Make an Ed25519 key pair and keep the private key, encrypted if ``CHARTER_KEY_PASSPHRASE`` is set.

    Raises
    ------
    UsageError
        When the name is malformed or has a key already: a key is never overwritten.
    """
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    path = key_file(name, home)
    private = Ed25519PrivateKey.generate()
    secret = _passphrase(environ)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(secret) if secret else serialization.NoEncryption(),
    )
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise UsageError(
            f"identity {name!r} has a key already: {path}", remedy="Use it, or choose another name."
        ) from error
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
        file.flush()
        os.fsync(handle)
    sync_folder(path.parent)
    return Signer(name, private)


def load(name: str, home: Path, environ: Mapping[str, str] | None = None) -> Signer:
    """Read an identity's private key.

    Raises
    ------
    UsageError
        When there is none, others can read it, it is a link or damaged, or its passphrase is missing or wrong.
    """
    path = key_file(name, home)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError as error:
        raise UsageError(
            f"there is no key of identity {name!r} in {path.parent}",
            remedy=f"Make one: `charter identity create {name}`. {advice(name, _known(home))}",
        ) from error
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else str(error.strerror)
        raise UsageError(
            f"key file {path} cannot be read: {why}", remedy="A key is a plain file that is yours alone."
        ) from error
    with os.fdopen(handle, "rb") as file:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode) or facts.st_mode & 0o077:
            raise UsageError(
                f"key file {path} can be used by others (mode {stat.S_IMODE(facts.st_mode):04o})",
                remedy=f"Make it yours alone: chmod 600 {path}",
            )
        return Signer(name, _parse(file.read(1 << 16), path, _passphrase(environ)))


def _parse(pem: bytes, path: Path, secret: bytes | None) -> Ed25519PrivateKey:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in pem
    if encrypted and secret is None:
        raise UsageError(f"key file {path} is encrypted", remedy=f"Set {PASSPHRASE}.")
    try:
        private = serialization.load_pem_private_key(pem, secret if encrypted else None)
    except (ValueError, TypeError) as error:
        what = "its passphrase is wrong, or it is damaged" if encrypted else "it is damaged"
        raise UsageError(
            f"key file {path} cannot be used: {what}", remedy="Restore it from a backup."
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise UsageError(f"key file {path} does not hold an Ed25519 key", remedy="Restore it from a backup.")
    return private


def _passphrase(environ: Mapping[str, str] | None) -> bytes | None:
    found = (os.environ if environ is None else environ).get(PASSPHRASE)
    return found.encode() if found else None


def _known(home: Path) -> list[str]:
    folder = home / "identities"
    return sorted(p.stem for p in folder.glob("*.pem")) if folder.is_dir() else []
