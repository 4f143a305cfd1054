"""The key of a workspace's pseudonyms: made once, readable by its owner alone."""

from __future__ import annotations

import os
import secrets
import stat
import tempfile
from pathlib import Path

from charter.core.errors import UsageError
from charter.core.io.files import sync_folder
from charter.serve.prediction_log import SECRET_BYTES

NAME = "pseudonyms.key"


def load_secret(folder: Path) -> bytes:
    """Read the key in ``folder``, making it when there is none; workers that start together agree on one.

    Raises
    ------
    UsageError
        When the file is no key, or others than its owner may read it.
    """
    path = folder / NAME
    if not path.exists():
        _make(path)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise UsageError(f"{path} can be read by others (mode {mode:o})", remedy=f"chmod 600 {path}")
    try:
        key = path.read_bytes()
    except PermissionError as error:
        raise UsageError(
            f"{path} can be read by its owner alone", remedy="Work as the user whose server answers."
        ) from error
    if len(key) != SECRET_BYTES:
        raise UsageError(
            f"{path} holds {len(key)} bytes; a key has {SECRET_BYTES}",
            remedy="Restore it from a copy. Without it, new pseudonyms do not match those of the log.",
        )
    return key


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(SECRET_BYTES))
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # unlike a rename, this fails when somebody else was first
        except FileExistsError:
            return
        sync_folder(path.parent)
    finally:
        Path(temporary).unlink(missing_ok=True)
