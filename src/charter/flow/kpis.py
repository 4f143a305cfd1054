"""Key figures from outside are brought in, and kept beside the outcomes."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.digest import canonical_json
from charter.flow.brought import KPIS, keep
from charter.flow.brought import read as read_kept
from charter.flow.lock import hold
from charter.flow.outcomes import refuse_nameless
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.monitor.kpis import Kpis


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
    from charter.monitor.kpis import read_kpis
    from charter.spec.types import SourceSpec

    spec, clock = loaded.spec, workspace.clock
    refuse_nameless(file)
    source = SourceSpec(uri=file, columns={}, duplicates="drop")
    rows = read_kpis(
        read(source, Path.cwd(), workspace.settings), spec, name=name, until=naive(clock.now()).date()
    )
    doing, actor = "charter kpi import", workspace.settings.actor
    with hold(workspace.lock_file, doing=doing, actor=actor, clock=clock, wait_seconds=60):
        keep(workspace, spec.name, KPIS, actor, _tell)
        known = kept_kpis(workspace, spec.name)
        new = {
            one: {day: value for day, value in values.items() if known.get(one, {}).get(day) != value}
            for one, values in rows.items()
        }
        if any(new.values()):
            content = canonical_json({one: values for one, values in new.items() if values})
            keep(workspace, spec.name, KPIS, actor, _tell, content)
            known = kept_kpis(workspace, spec.name)
    return KpiImport(sum(map(len, rows.values())), sum(map(len, new.values())), sum(map(len, known.values())))


def kept_kpis(workspace: Workspace, model: str) -> Kpis:
    """All values that are known; of two for the same day, that imported last.

    Raises
    ------
    DataError
        When a file is not what was imported.
    """
    found: dict[str, dict[str, float]] = {}
    for content in read_kept(workspace, model, KPIS):
        for name, values in json.loads(content).items():
            found.setdefault(name, {}).update(values)
    return found


def _tell(content: bytes) -> dict[str, Any]:
    values: Kpis = json.loads(content)
    return {"values": sum(map(len, values.values())), "kpis": sorted(values)}
