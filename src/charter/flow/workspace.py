"""A workspace: the folder of one model, its specification and, beside it, everything that Charter keeps."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.clock import Clock, SystemClock
from charter.core.errors import UsageError
from charter.core.settings import Settings
from charter.spec.loader import Loaded, load

if TYPE_CHECKING:
    from charter.registry.io.blobs import Blobs
    from charter.registry.io.records import Records

SPEC_NAME = "model.yaml"


@dataclass(frozen=True, slots=True)
class Workspace:
    """Where a model lives.

    Attributes
    ----------
    spec_file
        The specification; its folder is the workspace's root and the base of relative addresses in it.
    state
        Folder of everything that Charter keeps, ``.charter`` beside the specification.
    """

    spec_file: Path
    settings: Settings
    clock: Clock
    state: Path

    @classmethod
    def at(cls, path: Path, settings: Settings | None = None, clock: Clock | None = None) -> Workspace:
        """Find the workspace of a folder or a specification file.

        Raises
        ------
        UsageError
            When there is no specification.
        """
        spec_file = path / SPEC_NAME if path.is_dir() else path
        if not spec_file.is_file():
            raise UsageError(
                f"{spec_file}: there is no specification",
                remedy="Go to the folder of a model, name its file, or make one: "
                "`charter init my-model --from customer-churn`.",
            )
        spec_file = spec_file.resolve()
        state = spec_file.parent / ".charter"
        return cls(spec_file, settings or Settings.from_environment(), clock or SystemClock(), state)

    @property
    def root(self) -> Path:
        """Folder of the specification."""
        return self.spec_file.parent

    @property
    def lock_file(self) -> Path:
        """Held by whoever makes something in the workspace, for as long as that takes: a training, an import."""
        return self.state / "lock"

    @property
    def moves_lock(self) -> Path:
        """Held for a moment by whoever changes what serves, or who may. Whoever holds both took `lock_file` first."""
        return self.state / "moves.lock"

    @property
    def anchor_file(self) -> Path:
        """Head of the audit chain, outside the database."""
        return self.state / "audit.head"

    @property
    def records_url(self) -> str:
        """SQLAlchemy address of the records."""
        return self.settings.records_url or f"sqlite:///{self.state / 'records.sqlite'}"

    @property
    def blobs_url(self) -> str:
        """Fsspec address of the blobs."""
        return self.settings.blobs_url or str(self.state / "blobs")

    def load(self) -> Loaded:
        """Read and check the specification; places in it are named as seen from the current folder."""
        here = Path.cwd()
        near = self.spec_file.is_relative_to(here)
        return load(self.spec_file.relative_to(here) if near else self.spec_file)

    def records(self, model: str, *, readonly: bool = False, wait_seconds: float | None = None) -> Records:
        """Open the records of a model, creating them when they may be written; see `Records.open`."""
        from charter.registry.io.records import Records

        if not readonly:
            self.state.mkdir(parents=True, exist_ok=True)
        return Records.open(self.records_url, model=model, readonly=readonly, wait_seconds=wait_seconds)

    def blobs(self) -> Blobs:
        """Open the blob store."""
        from charter.registry.io.blobs import Blobs

        return Blobs(self.blobs_url)


def copy_records(workspace: Workspace, copy: Workspace, model: str) -> None:
    """Give a copy of a workspace records of its own, with all that those of the workspace hold.

    Raises
    ------
    UsageError
        When the copy has records already.
    """
    copy.state.mkdir(parents=True, exist_ok=True)
    with workspace.records(model, readonly=True) as records:
        # The anchor first: an entry that is added between the two is then merely not yet anchored.
        if workspace.anchor_file.exists():
            shutil.copyfile(workspace.anchor_file, copy.anchor_file)
        records.copy_to(copy.records_url)
