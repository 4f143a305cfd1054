"""One pass over what a model in production asks for: step its rollout, watch it, train it anew where that is due.

Each of the three finds out by itself what is due, and does nothing the second time. So it does not matter how often a
pass is made, whether one is killed, or whether two machines make it.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.errors import CharterError
from charter.core.text import one_line
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded


@dataclass(frozen=True, slots=True)
class Task:
    """One part of a pass.

    Attributes
    ----------
    failed
        Whether it could not be done; the others were done all the same.
    """

    name: str
    said: str
    failed: bool = False

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"task": self.name, "said": self.said, "failed": self.failed}


def run_pass(workspace: Workspace, *, name: str | None = None) -> list[Task]:
    """Make one pass.

    Parameters
    ----------
    name
        Identity in whose name rollouts are started and stepped, where the specification asks for a role.
    """
    loaded = workspace.load()
    if not _released(workspace, loaded):
        return [Task("release", "nothing is released yet")]
    tasks: list[tuple[str, Callable[[Workspace, Loaded], str]]] = [
        ("rollout", lambda w, s: _rollout(w, s, name)),  # first: a broken guard waits for nothing
        ("monitor", lambda w, s: _monitor(w, s, name)),
    ]
    if _can_fall_due(loaded):
        tasks.append(("retrain", lambda w, s: _retrain(w, s, name)))
    return [_carried_out(task, work, workspace, loaded) for task, work in tasks]


def _released(workspace: Workspace, loaded: Loaded) -> bool:
    with workspace.records(loaded.spec.name, readonly=True) as records:
        return records.deployment() is not None


def _carried_out(
    task: str, work: Callable[[Workspace, Loaded], str], workspace: Workspace, loaded: Loaded
) -> Task:
    try:
        return Task(task, work(workspace, loaded))
    except CharterError as error:
        return Task(task, str(error), failed=True)
    except (
        Exception
    ) as error:  # a full disk or a damaged segment under one part must not keep the others from their turn
        return Task(task, f"{type(error).__name__}: {error}", failed=True)


def _can_fall_due(loaded: Loaded) -> bool:
    from charter.flow.retrain_signals import has_trigger

    return has_trigger(loaded.spec)


def _monitor(workspace: Workspace, loaded: Loaded, name: str | None) -> str:
    from charter.flow.monitor import run

    found = run(workspace, loaded, identity=name)
    firing = ", ".join(a.rule.name for a in found.firing) or "none"
    others = f"; {found.left_out}" if found.left_out else ""
    return f"{found.measured} windows measured, alerts that are on: {firing}{others}"


def _rollout(workspace: Workspace, loaded: Loaded, name: str | None) -> str:
    from charter.flow.rollout import step

    found = step(workspace, loaded, name=name)
    if found.traffic.candidate is None and not found.did:
        return "nothing is tried"
    return found.did or f"{found.traffic.candidate}: {found.leg} holds"


def _retrain(workspace: Workspace, loaded: Loaded, name: str | None) -> str:
    from charter.flow.retrain import retrain

    found = retrain(workspace, loaded, if_needed=True, identity=name)
    return "nothing is due" if found.run is None else f"run {found.run}: {found.ending}"


def unit_files(folder: Path, program: str, every_s: int, name: str | None = None) -> str:
    """Write a systemd service and its timer, as text to be put where systemd looks.

    Examples
    --------
    >>> "OnUnitInactiveSec=300" in unit_files(Path("/srv/churn"), "/usr/bin/charter", 300)
    True
    """
    unit, shown = re.sub(r"[^A-Za-z0-9_.-]", "-", folder.name), str(folder).replace("%", "%%")
    return f"""# /etc/systemd/system/charter-{unit}.service
[Unit]
Description=Charter's pass over {unit}

[Service]
Type=oneshot
WorkingDirectory={shown}
ExecStart={_command(folder, program, name).replace("%", "%%").replace("$", "$$")}

# /etc/systemd/system/charter-{unit}.timer
[Unit]
Description=Charter's passes over {unit}

[Timer]
OnBootSec=60
OnUnitInactiveSec={every_s}

[Install]
WantedBy=timers.target
"""


def cron_line(folder: Path, program: str, every_s: int, name: str | None = None) -> str:
    """Write a line of a crontab.

    Its steps are those that divide an hour or a day evenly, the longest that is not longer than asked for; a minute at
    least.

    Examples
    --------
    >>> cron_line(Path("/srv/churn"), "charter", 300)
    '*/5 * * * * charter schedule --once --in /srv/churn'
    >>> cron_line(Path("/srv/my churn"), "charter", 5400, "ann")
    "0 * * * * charter schedule --once --in '/srv/my churn' --as ann"
    """
    minutes, hours = max(every_s // 60, 1), every_s // 3600
    if hours:
        step = max(h for h in (1, 2, 3, 4, 6, 8, 12, 24) if h <= hours)
        when = {1: "0 * * * *", 24: "0 0 * * *"}.get(step, f"0 */{step} * * *")
    else:
        when = f"*/{max(m for m in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30) if m <= minutes)} * * * *"
    return f"{when} {_command(folder, program, name)}".replace("%", r"\%")


def _command(folder: Path, program: str, name: str | None) -> str:
    for what, text in (("the folder", str(folder)), ("the program", program), ("the name", name or "")):
        one_line(text, what)  # a second line would be a line of its own of the crontab or the unit
    words = [
        program,
        "schedule",
        "--once",
        "--in",
        str(folder),
        *(("--as", name) if name is not None else ()),
    ]
    return shlex.join(words)
