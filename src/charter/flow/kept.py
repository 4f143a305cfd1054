"""What the monitor keeps of windows, and what follows from several of them together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.digest import canonical_json, digest_json
from charter.core.io.files import write_atomic
from charter.flow.kpis import kept_kpis
from charter.flow.views import version_number
from charter.flow.workspace import Workspace

if TYPE_CHECKING:
    from charter.monitor.kpis import Kpis

_CONCEPT = "concept.json"
_A_MONTH = ("net_value_per_month", "benefit_per_month")


def monitor_folder(workspace: Workspace, model: str) -> Path:
    """Where the monitor keeps what it measured."""
    return workspace.state / "monitor" / model


def kept_windows(workspace: Workspace, model: str) -> list[dict[str, Any]]:
    """Windows that were measured, by version and start, with what is known of them beside the log.

    That is what the windows before each tell of it (``concept``), what the servers' metrics said meanwhile
    (``server``), and the key figures from outside that were the newest at its end (``kpis``). Of windows that a version
    has not answered in whole no value per month is told.
    """
    folder = monitor_folder(workspace, model)
    found = _measured(folder)
    path = folder / _CONCEPT
    told = json.loads(path.read_bytes())["windows"] if path.exists() else {}
    for one in found:
        changes = told.get(one["version"], {}).get(one["start"], [])
        one["concept"] = changes
        for change in changes:
            one["measures"][f"concept_drift({change['detector']})"] = float(change["at"] is not None)
    _leave_out_rates(found, naive(workspace.clock.now()))
    _add_server(found, folder)
    _add_kpis(found, kept_kpis(workspace, model))
    return found


def _leave_out_rates(windows: list[dict[str, Any]], now: datetime) -> None:
    """Half a week's value is not little value a month: of a window that is not over, or older than its version."""
    first: dict[str, dict[str, Any]] = {}
    for one in windows:  # by version and start
        newcomer = first.setdefault(one["version"], one) is one
        start, end, since = (datetime.fromisoformat(one[k]) for k in ("start", "end", "answered_from"))
        if end > now or (newcomer and since - start >= timedelta(days=1)):
            for name in _A_MONTH:
                one["measures"].pop(name, None)


def _add_server(windows: list[dict[str, Any]], folder: Path) -> None:
    from charter.monitor.io import server
    from charter.monitor.server import operations_of

    samples = server.kept(folder / "server")
    moments = [datetime.fromisoformat(s.at).replace(tzinfo=None).isoformat() for s in samples]
    newest = max(windows, key=lambda one: (one["start"], version_number(one["version"])), default=None)
    for one in windows:
        # Where nothing is answered no window begins, and that is when the server matters most.
        end = one["end"] if one is not newest else "9999"
        inside = [place for place, at in enumerate(moments) if one["start"] <= at < end]
        one["server"] = {}
        if inside:
            # Counters are held against the look before, wherever that lies.
            one["server"] = operations_of(samples[max(inside[0] - 1, 0) : inside[-1] + 1])
            one["measures"] |= one["server"]


def _add_kpis(windows: list[dict[str, Any]], kpis: Kpis) -> None:
    from charter.monitor.kpis import newest

    for one in windows:
        known = newest(kpis, datetime.fromisoformat(one["end"]).date())
        one["kpis"] = {name: {"date": day, "value": value} for name, (day, value) in known.items()}
        one["measures"] |= {f"kpi({name})": value for name, (_, value) in known.items()}


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


def read_window(path: Path) -> Mapping[str, Any]:
    """Read what is kept of a window; not to be changed, since it is parsed once for as long as the file is the same."""
    found = path.stat()
    return _parsed(path, found.st_ino, found.st_mtime_ns, found.st_size)


@lru_cache(maxsize=2048)
def _parsed(path: Path, *_: int) -> Mapping[str, Any]:
    window: Mapping[str, Any] = json.loads(path.read_bytes())
    return window


def _measured(folder: Path) -> list[dict[str, Any]]:
    found = [read_window(path) for path in (folder / "windows").glob("*/*.json")]
    own = [{**one, "measures": dict(one["measures"])} for one in found]
    return sorted(own, key=lambda one: (version_number(one["version"]), one["start"]))
