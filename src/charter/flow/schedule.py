"""One pass over what a model in production asks for: watch it, step its rollout, train it anew where that is due.

Each of the three finds out by itself what is due, and does nothing the second time. So it does not matter how often a
pass is made, whether one is killed, or whether two machines make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from charter.core.errors import CharterError
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
    with workspace.records(loaded.spec.name, readonly=True) as records:
        if records.deployment() is None:
            return [Task("release", "nothing is released yet")]
    tasks: list[tuple[str, Callable[[Workspace, Loaded], str]]] = [
        ("monitor", _monitor),
        ("rollout", lambda w, s: _rollout(w, s, name)),
    ]
    if _can_fall_due(loaded):
        tasks.append(("retrain", lambda w, s: _retrain(w, s, name)))
    return [_carried_out(task, work, workspace, loaded) for task, work in tasks]


def _carried_out(
    task: str, work: Callable[[Workspace, Loaded], str], workspace: Workspace, loaded: Loaded
) -> Task:
    try:
        return Task(task, work(workspace, loaded))
    except CharterError as error:
        return Task(task, str(error), failed=True)


def _can_fall_due(loaded: Loaded) -> bool:
    from charter.flow.retrain_signals import has_trigger

    return has_trigger(loaded.spec)


def _monitor(workspace: Workspace, loaded: Loaded) -> str:
    from charter.flow.monitor import run

    found = run(workspace, loaded)
    firing = ", ".join(a.rule.name for a in found.firing) or "none"
    return f"{found.measured} windows measured, alerts that are on: {firing}"


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


def unit_files(folder: Path, program: str, every_s: int) -> str:
    """Write a systemd service and its timer, as text to be put where systemd looks.

    Examples
    --------
    >>> "OnUnitInactiveSec=300" in unit_files(Path("/srv/churn"), "/usr/bin/charter", 300)
    True
    """
    return f"""# /etc/systemd/system/charter-{folder.name}.service
[Unit]
Description=Charter's pass over {folder.name}

[Service]
Type=oneshot
WorkingDirectory={folder}
ExecStart={program} schedule --once --in {folder}

# /etc/systemd/system/charter-{folder.name}.timer
[Unit]
Description=Charter's passes over {folder.name}

[Timer]
OnBootSec=60
OnUnitInactiveSec={every_s}

[Install]
WantedBy=timers.target
"""


def cron_line(folder: Path, program: str, every_s: int) -> str:
    """Write a line of a crontab; its finest step is a minute.

    Examples
    --------
    >>> cron_line(Path("/srv/churn"), "charter", 300)
    '*/5 * * * * charter schedule --once --in /srv/churn'
    """
    minutes = min(max(every_s // 60, 1), 59)
    return f"*/{minutes} * * * * {program} schedule --once --in {folder}"
