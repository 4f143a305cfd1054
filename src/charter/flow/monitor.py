"""One pass of the monitor: measure what is new, judge every window, tell what turned. Idempotent and restartable.

Each window of each version is kept in a file of its own under the digest of what it was made from. A pass measures the
windows whose digest has changed (new answers, late outcomes, another specification) and leaves the others alone; alerts
are then judged over all of them anew. So it does not matter when a pass is killed, or how often it runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso, parse_iso
from charter.core.io.files import write_atomic
from charter.core.progress import NoProgress, Progress
from charter.flow.alerts import list_alerts, stopped_after, tell
from charter.flow.incident import list_incidents
from charter.flow.kept import kept_windows, monitor_folder
from charter.flow.lock import hold
from charter.flow.released import InForce, in_force
from charter.flow.windows import LENGTH
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.flow.windows import Reference
    from charter.monitor.advice import Advice
    from charter.monitor.alerts import Alert, AlertEvent
    from charter.monitor.facts import Facts


@dataclass(frozen=True, slots=True)
class MonitorReport:
    """Where a model stands after a pass.

    Attributes
    ----------
    windows
        What is kept of each window, by version and start.
    measured
        How many of them this pass measured.
    alerts
        Off where a person called the present run resolved.
    told
        Turns of alerts that were found for the first time.
    undelivered
        How many notices an address has yet to take.
    advice
        What to do next, the worst first, as the reports of all audiences say it.
    left_out
        What is to be said of answers that this pass could not measure; empty where there are none.
    """

    model: str
    at: str
    serving: str | None
    windows: tuple[Mapping[str, Any], ...]
    alerts: tuple[Alert, ...]
    told: tuple[AlertEvent, ...]
    measured: int
    advice: tuple[Advice, ...]
    undelivered: int = 0
    left_out: str = ""

    @property
    def firing(self) -> tuple[Alert, ...]:
        """Alerts that are on."""
        return tuple(a for a in self.alerts if a.firing)

    def to_json(self) -> dict[str, Any]:
        """Plain data; profiles are left out for their size."""
        return {
            "model": self.model,
            "at": self.at,
            "serving": self.serving,
            "windows": [{k: v for k, v in w.items() if k != "profile"} for w in self.windows],
            "alerts": [
                {"name": a.rule.name, "rule": str(a.rule.rule), "version": a.version, "firing": a.firing,
                 "since": a.since.isoformat() if a.since else None, "windows": a.windows, "observed": a.observed,
                 "severity": a.rule.spec.severity, "action": a.rule.spec.action}
                for a in self.alerts
            ],
            "told": [e.to_json() for e in self.told],
            "measured": self.measured,
            "undelivered": self.undelivered,
            "left_out": self.left_out,
            "advice": [a.to_json() for a in self.advice],
        }  # fmt: skip


def run(
    workspace: Workspace,
    loaded: Loaded,
    progress: Progress | None = None,
    *,
    metrics_url: str | None = None,
    identity: str | None = None,
) -> MonitorReport:
    """Carry out a pass.

    Parameters
    ----------
    metrics_url
        The server's ``/metrics``, to be asked for memory, processor time, errors and instances.
    identity
        In whose name a rule whose action is ``rollback`` goes back, where the specification asks for a role.

    Raises
    ------
    Busy
        When another pass is under way.
    """
    done = one_pass(workspace, loaded, progress, metrics_url=metrics_url, identity=identity)
    report = _status(workspace, loaded, done.looked)
    return replace(report, told=done.told, measured=done.measured, left_out=done.left_out)


@dataclass(frozen=True, slots=True)
class Looked:
    """What is read once for all that is judged together.

    Attributes
    ----------
    force
        Specifications that versions are judged by.
    windows
        What is kept of each.
    alerts, events
        Where every alert stands by its windows and by what serves, and every turn there ever was.
    """

    force: InForce
    windows: Sequence[Mapping[str, Any]]
    alerts: Sequence[Alert]
    events: Sequence[AlertEvent]


@dataclass(frozen=True, slots=True)
class Pass:
    """What a pass did; see `MonitorReport`."""

    looked: Looked
    told: tuple[AlertEvent, ...]
    measured: int
    left_out: str


def one_pass(
    workspace: Workspace,
    loaded: Loaded,
    progress: Progress | None = None,
    *,
    metrics_url: str | None = None,
    identity: str | None = None,
    references: dict[str, Reference] | None = None,
) -> Pass:
    """Carry out a pass without reporting on it; see `run`.

    Parameters
    ----------
    references
        What versions saw in training, kept by who makes many passes one after the other.
    """
    from charter.flow.brought import OUTCOMES, unfinished
    from charter.flow.measure import measure_new
    from charter.monitor.io import server

    progress = progress if progress is not None else NoProgress()
    name = loaded.spec.name
    folder = monitor_folder(workspace, name)
    doing, actor = "charter monitor run", workspace.settings.actor
    with hold(folder / "lock", doing=doing, actor=actor, clock=workspace.clock, wait_seconds=30):
        if metrics_url is not None:
            server.keep(folder / "server", server.ask(metrics_url, name, workspace.clock.now()))
        force = in_force(workspace, loaded)
        measured, left_out = measure_new(workspace, force, folder, progress, references)
        if unfinished(workspace, name, OUTCOMES):
            words = "an import of outcomes did not finish and does not count: `charter outcomes import` again"
            left_out = f"{left_out}; {words}" if left_out else words
        looked = look(workspace, force)
        told, _ = tell(
            workspace,
            force.loaded,
            folder,
            looked.alerts,
            looked.events,
            serving=force.serving,
            identity=identity,
        )
        write_atomic(folder / "last_pass", iso(workspace.clock.now()).encode())
    return Pass(looked, told, measured, left_out)


def look(workspace: Workspace, force: InForce) -> Looked:
    """Read what is kept, and judge every alert anew: each version by what its own specification requires."""
    from charter.monitor.alerts import judge, rules
    from charter.monitor.report import stored_windows

    name = force.loaded.spec.name
    kept = kept_windows(workspace, name)
    windows, serving = stored_windows(kept), _answering(workspace, name)
    alerts: list[Alert] = []
    events: list[AlertEvent] = []
    for version in dict.fromkeys(w.version for w in windows):
        own = [w for w in windows if w.version == version]
        found, turns = judge(own, rules(force.of(version)), serving=serving)
        alerts += found
        events += turns
    return Looked(force, kept, alerts, sorted(events, key=lambda e: (e.window, e.name, e.version, e.turn)))


def status(workspace: Workspace, loaded: Loaded) -> MonitorReport:
    """Say where the model stands by what earlier passes have measured; changes nothing.

    Raises
    ------
    UsageError
        When there was no pass yet.
    """
    return _status(workspace, loaded, None)


def _status(workspace: Workspace, loaded: Loaded, looked: Looked | None) -> MonitorReport:
    from charter.monitor.advice import advice

    looked = looked if looked is not None else look(workspace, in_force(workspace, loaded))
    known = facts(workspace, loaded, looked)
    return MonitorReport(
        loaded.spec.name,
        iso(known.at),
        known.serving,
        tuple(looked.windows),
        tuple(s.alert if s.is_on else replace(s.alert, firing=False) for s in known.standings),
        (),
        0,
        advice(known),
        known.undelivered,
    )


def facts(workspace: Workspace, loaded: Loaded, looked: Looked | None = None) -> Facts:
    """Everything that a report may tell of a model.

    Parameters
    ----------
    looked
        From `look`, where it was read already.

    Raises
    ------
    UsageError
        When the monitor has not run yet.
    """
    from charter.flow.outcomes import waiting
    from charter.flow.review import tell as tell_reviews
    from charter.monitor.facts import Facts

    alerts = list_alerts(workspace, loaded, looked)
    looked = looked if looked is not None else look(workspace, in_force(workspace, loaded))
    spec, serving = looked.force.loaded.spec, looked.force.serving
    with workspace.records(spec.name, readonly=True) as records:
        deployment = records.deployment()
    return Facts(
        spec=spec,
        at=workspace.clock.now(),
        serving=serving,
        since=deployment.at if deployment is not None else None,
        windows=[w for w in looked.windows if w["version"] == serving],
        primary=spec.train.metric,
        standings=alerts.standings,
        silences=alerts.silences,
        stopped_for=alerts.stopped_for,
        undelivered=len(alerts.waiting),
        incidents=list_incidents(workspace, loaded),
        review=tell_reviews(workspace, loaded) if spec.review is not None else None,
        waiting=waiting(workspace, loaded, serving) if serving is not None else None,
    )


def export(workspace: Workspace, loaded: Loaded, folder: Path) -> tuple[Path, ...]:
    """Write rules and a dashboard, and the newest measures as gauges, for Prometheus and Grafana.

    Without a pass yet, the rules and the dashboard alone.
    """
    from charter.monitor.alerts import rules
    from charter.monitor.export import dashboard, prometheus_rules, textfile
    from charter.spec.measures import watched

    loaded = in_force(workspace, loaded).loaded
    name, every = loaded.spec.name, LENGTH[loaded.spec.monitor.every]
    primary = loaded.spec.train.metric
    shown = [
        primary,
        *(m for m in loaded.spec.evaluate.require if m in watched(loaded.spec) and m != primary),
    ]
    files = {
        f"{name}.rules.yml": prometheus_rules(
            name, rules(loaded.spec), window=every, stopped_after=stopped_after(loaded.spec.monitor)
        ),
        f"{name}.dashboard.json": dashboard(name, shown),
    }
    passed = last_pass(workspace, name)
    if passed is not None:
        answering = _answering(workspace, name)
        shown_windows = [
            w for w in kept_windows(workspace, name) if answering is None or w["version"] in answering
        ]
        files[f"{name}.prom"] = textfile(name, shown_windows, last_pass=passed)
    for file, text in files.items():
        write_atomic(folder / file, text.encode())
    return tuple(folder / file for file in files)


def last_pass(workspace: Workspace, model: str) -> datetime | None:
    """When the monitor last finished a pass; None before its first."""
    path = monitor_folder(workspace, model) / "last_pass"
    return parse_iso(path.read_text()) if path.exists() else None


def _answering(workspace: Workspace, model: str) -> frozenset[str] | None:
    """Versions that answer or are tried; None where nothing is released."""
    with workspace.records(model, readonly=True) as records:
        deployment = records.deployment()
    if deployment is None:
        return None
    named = (f"v{deployment.version}", str(deployment.traffic.get("candidate") or ""))
    return frozenset(filter(None, named))
