"""Key figures from outside are brought in, and kept beside the outcomes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.digest import canonical_json, digest_bytes
from charter.core.io.files import write_atomic
from charter.flow.lock import hold
from charter.flow.outcomes import outcomes_folder
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.monitor.kpis import Kpis

_FILE = "kpis.json"


@dataclass(frozen=True, slots=True)
class KpiImport:
    """What an import did.

    Attributes
    ----------
    read
        Values of the file.
    new
        Of those, how many were not known before, or differ from what was.
    total
        Values known by now.
    """

    read: int
    new: int
    total: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def import_kpis(workspace: Workspace, loaded: Loaded, file: str, *, name: str | None = None) -> KpiImport:
    """Import values; again does no harm, and a later value for the same day corrects the earlier one.

    Parameters
    ----------
    file
        CSV, Parquet, JSON lines or Arrow with ``date`` and ``value``, and ``kpi`` unless ``name`` is given.

    Raises
    ------
    DataError
        When the file cannot be read, or its rows are no values of a declared key figure.
    """
    from charter.data.io.sources import read
    from charter.govern.io.trail import Trail
    from charter.monitor.kpis import read_kpis
    from charter.spec.types import SourceSpec

    spec, clock = loaded.spec, workspace.clock
    source = SourceSpec(uri=file, columns={}, duplicates="drop")
    rows = read_kpis(read(source, Path.cwd(), workspace.settings), spec, name=name)
    path = outcomes_folder(workspace, spec.name) / _FILE
    doing, actor = "charter kpi import", workspace.settings.actor
    with hold(workspace.lock_file, doing=doing, actor=actor, clock=clock, wait_seconds=60):
        known = {one: dict(values) for one, values in kept_kpis(workspace, spec.name).items()}
        new = 0
        for one, values in rows.items():
            own = known.setdefault(one, {})
            new += sum(own.get(day) != value for day, value in values.items())
            own.update(values)
        if new:
            data = canonical_json(known)
            write_atomic(path, data)
            with workspace.records(spec.name) as records:
                Trail(records, workspace.anchor_file).append(
                    at=clock.now(),
                    actor=actor,
                    action="kpis.imported",
                    subject=spec.name,
                    detail={"values": new, "kpis": sorted(rows), "digest": digest_bytes(data)},
                )
    return KpiImport(sum(map(len, rows.values())), new, sum(map(len, known.values())))


def kept_kpis(workspace: Workspace, model: str) -> Kpis:
    """All values that are known."""
    path = outcomes_folder(workspace, model) / _FILE
    return json.loads(path.read_bytes()) if path.exists() else {}
