"""What the monitor keeps of windows, and what follows from several of them together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from charter.core.digest import canonical_json, digest_json
from charter.core.io.files import write_atomic
from charter.flow.views import version_number

_CONCEPT = "concept.json"


def kept_windows(folder: Path) -> list[dict[str, Any]]:
    """Windows that were measured, by version and start, with what the windows before them tell of each.

    Parameters
    ----------
    folder
        Of the monitor, for one model.
    """
    found = _measured(folder)
    path = folder / _CONCEPT
    told = json.loads(path.read_bytes())["windows"] if path.exists() else {}
    for one in found:
        changes = told.get(one["version"], {}).get(one["start"], [])
        one["concept"] = changes
        for change in changes:
            one["measures"][f"concept_drift({change['detector']})"] = float(change["at"] is not None)
    return found


def follow_concept(folder: Path) -> None:
    """Let the detectors of concept drift look at all windows in order, where any has changed since they last did.

    They look back without limit, so that an outcome that comes late may change what is told of every later window. From
    the losses that each window keeps this is done anew in milliseconds, and no window is measured again for it.
    """
    from charter.monitor.concept import concepts

    windows = _measured(folder)
    key = digest_json([[one["version"], one["key"]] for one in windows])
    path = folder / _CONCEPT
    if path.exists() and json.loads(path.read_bytes())["key"] == key:
        return
    found: dict[str, dict[str, Any]] = {}
    for (version, start), changes in concepts(windows).items():
        found.setdefault(version, {})[start] = changes
    write_atomic(path, canonical_json({"key": key, "windows": found}))


def _measured(folder: Path) -> list[dict[str, Any]]:
    found = [json.loads(path.read_bytes()) for path in (folder / "windows").glob("*/*.json")]
    return sorted(found, key=lambda one: (version_number(one["version"]), one["start"]))
