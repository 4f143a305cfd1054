"""Settings from the environment, read once at the edge and passed on."""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Settings:
    """Where things are and who is at the keyboard.

    Attributes
    ----------
    data
        ``CHARTER_DATA``: folder that holds catalogue data sets, or None.
    home
        ``CHARTER_HOME``: private keys and downloaded data, default ``~/.charter``.
    records_url
        ``CHARTER_RECORDS_URL``: SQLAlchemy address of the records; None means SQLite in the workspace.
    blobs_url
        ``CHARTER_BLOBS_URL``: fsspec address of the blobs; None means a folder in the workspace.
    actor
        ``CHARTER_ACTOR`` or the login name; written into the audit trail.
    """

    data: Path | None
    home: Path
    records_url: str | None
    blobs_url: str | None
    actor: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings; an empty variable counts as unset."""
        env = {k: v for k, v in (os.environ if environ is None else environ).items() if v}
        return cls(
            data=Path(env["CHARTER_DATA"]) if "CHARTER_DATA" in env else None,
            home=Path(env.get("CHARTER_HOME", "~/.charter")).expanduser(),
            records_url=env.get("CHARTER_RECORDS_URL"),
            blobs_url=env.get("CHARTER_BLOBS_URL"),
            actor=env.get("CHARTER_ACTOR") or _login(),
        )


def _login() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run as a user id without a name
        return f"uid-{os.getuid()}"
