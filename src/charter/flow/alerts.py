"""Alerts after they were found: told, acted on, and what persons say of them; each word of a person on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso
from charter.core.errors import CharterError, UsageError
from charter.core.nearest import did_you_mean
from charter.core.quantity import parse_duration
from charter.core.text import one_line
from charter.flow.acting import acting
from charter.flow.incident import list_incidents, open_incident
from charter.flow.moves import refusing
from charter.flow.windows import LENGTH
from charter.flow.workspace import Workspace
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.flow.monitor import Looked
    from charter.govern.incident import Severity
    from charter.monitor.alerts import Alert, AlertEvent
    from charter.monitor.io.alerts import Waiting
    from charter.monitor.lifecycle import Silence, Standing
    from charter.spec.types import MonitorSpec

SEVERITY: Mapping[str, Severity] = {"info": "low", "warning": "high", "critical": "critical"}
"""Of an alert, and of the incident that it opens."""


@dataclass(frozen=True, slots=True)
class Alerts:
    """Where all alerts of a model stand.

    Attributes
    ----------
    stopped_for
        How long the monitor has finished no pass, where that is too long; None where it runs.
    waiting
        Notices that an address has not taken.
    """

    standings: tuple[Standing, ...]
    silences: tuple[Silence, ...]
    stopped_for: timedelta | None
    waiting: tuple[Waiting, ...]

    @property
    def is_critical(self) -> bool:
        """Whether a critical alert is on, or the monitor has stopped."""
        return self.stopped_for is not None or any(
            s.is_on and s.alert.rule.spec.severity == "critical" for s in self.standings
        )


def stopped_after(monitor: MonitorSpec) -> timedelta:
    """After so long without a finished pass the monitor counts as stopped."""
    declared = monitor.stopped_after
    return parse_duration(declared) if declared is not None else 2 * LENGTH[monitor.every]


def tell(
    workspace: Workspace,
    loaded: Loaded,
    folder: Path,
    alerts: Sequence[Alert],
    events: Sequence[AlertEvent],
    *,
    serving: str | None,
    identity: str | None = None,
) -> tuple[tuple[AlertEvent, ...], int]:
    """Keep new turns, open incidents where rules ask for them, and tell everybody who has not heard.

    Whatever a killed pass left undone, the next one does; what was done is not done again.

    Parameters
    ----------
    folder
        Of the monitor.
    alerts, events
        From `charter.monitor.alerts.judge`.
    serving
        Version that serves.
    identity
        In whose name a rule goes back to the release before, where a role is asked for.

    Returns
    -------
    Turns that are new, and how many deliveries are still to be made.
    """
    from charter.monitor.io import alerts as kept
    from charter.monitor.notices import compose, muted

    spec = loaded.spec
    new = kept.remember(folder / "events", events)
    standings, quiet = _stand(workspace, loaded, alerts)
    proposals = {
        s.alert.event: _follow(workspace, loaded, s, serving=serving, identity=identity)
        for s in standings
        if s.is_on
    }
    told = kept.notices(folder / "notices")
    silent = kept.mute(folder / "events", muted(events, told, quiet))
    repeat = parse_duration(spec.monitor.repeat) if spec.monitor.repeat is not None else None
    fresh = compose(
        events,
        told,
        standings,
        model=spec.name,
        now=workspace.clock.now(),
        quiet=quiet,
        muted=silent,
        repeat=repeat,
        proposals=proposals,
    )
    kept.keep(folder / "notices", fresh)
    return new, kept.deliver(folder / "notices", spec.monitor.notify)


def list_alerts(workspace: Workspace, loaded: Loaded, looked: Looked | None = None) -> Alerts:
    """Where all alerts stand by what was measured so far; changes nothing.

    Parameters
    ----------
    looked
        From `charter.flow.monitor.look`, where it was read already.

    Raises
    ------
    UsageError
        When there was no pass yet.
    """
    from charter.flow.kept import monitor_folder
    from charter.flow.monitor import last_pass, look
    from charter.flow.released import in_force
    from charter.monitor.io.alerts import waiting

    passed = last_pass(workspace, loaded.spec.name)
    if passed is None:
        raise UsageError("the monitor has not run yet", remedy="`charter monitor run`")
    looked = looked if looked is not None else look(workspace, in_force(workspace, loaded))
    standings, quiet = _stand(workspace, loaded, looked.alerts)
    silence = workspace.clock.now() - passed
    left = waiting(monitor_folder(workspace, loaded.spec.name) / "notices", loaded.spec.monitor.notify)
    stopped = silence if silence > stopped_after(loaded.spec.monitor) else None
    return Alerts(standings, quiet, stopped, tuple(left))


def acknowledge(
    workspace: Workspace,
    loaded: Loaded,
    name: str,
    *,
    version: str | None = None,
    reason: str = "",
    by: str | None = None,
) -> tuple[Standing, ...]:
    """Say that somebody has seen an alert and sees to it: it is not told again while it is on.

    Raises
    ------
    UsageError
        When there is no such alert, or it is not on.
    """
    from charter.monitor.lifecycle import ACKNOWLEDGED

    reason = one_line(reason, "a reason")
    return _say(workspace, loaded, ACKNOWLEDGED, name, version, reason, by=by, role=None)


def resolve(
    workspace: Workspace,
    loaded: Loaded,
    name: str,
    *,
    version: str | None = None,
    reason: str,
    by: str | None = None,
) -> tuple[Standing, ...]:
    """Call an alert resolved, though its rule may still hold; should it end and hold once more, it fires again.

    Raises
    ------
    UsageError
        When there is no such alert, it is not on, or no reason is given.
    Refusal
        When whoever acts does not hold the role of ``monitor.roles.alerts``.
    """
    from charter.monitor.lifecycle import RESOLVED

    reason = one_line(reason, "a reason", required=True)
    role = loaded.spec.monitor.roles.alerts
    return _say(workspace, loaded, RESOLVED, name, version, reason, by=by, role=role)


def silence(
    workspace: Workspace,
    loaded: Loaded,
    name: str,
    *,
    until: str | None,
    reason: str = "",
    by: str | None = None,
) -> Silence:
    """Tell nothing of an alert, or of a group of alerts, until a moment; None ends a silence at once.

    Parameters
    ----------
    until
        A duration from now such as ``2h``, a day, or a moment (ISO 8601; UTC where no offset is given).

    Raises
    ------
    UsageError
        When there is no such alert or group, the moment is not to come, or no reason is given.
    Refusal
        When whoever acts does not hold the role of ``monitor.roles.alerts``.
    """
    from charter.flow.released import in_force
    from charter.monitor.alerts import rules
    from charter.monitor.lifecycle import SILENCED, Said, Silence

    known = {
        n
        for r in rules(in_force(workspace, loaded).loaded.spec)
        for n in (r.name, r.spec.group)
        if n is not None
    }
    if name not in known:
        raise UsageError(
            f"{name} is neither an alert nor a group of alerts", remedy=did_you_mean(name, known)
        )
    now = workspace.clock.now()
    end = _to_come(until, now) if until is not None else now
    if until is not None:
        reason = one_line(reason, "a reason", required=True)
    model, role = loaded.spec.name, loaded.spec.monitor.roles.alerts
    detail = {"model": model, "until": iso(end), "reason": reason}
    to = "silence an alert"
    with (
        refusing(workspace, loaded, name, to, by, action="alert.refused"),
        acting(workspace, model, by, role, to=to) as who,
    ):
        who.trail.append(at=now, actor=who.name, action=SILENCED, subject=name, detail=detail)
        return Silence(name, end, Said(now, who.name, reason))


def _say(
    workspace: Workspace,
    loaded: Loaded,
    action: str,
    name: str,
    version: str | None,
    reason: str,
    *,
    by: str | None,
    role: str | None,
) -> tuple[Standing, ...]:
    from charter.monitor.lifecycle import ACKNOWLEDGED, ACTIONS, said_of

    model = loaded.spec.name
    found = list_alerts(workspace, loaded).standings
    known = {s.alert.rule.name for s in found}
    if name not in known:
        raise UsageError(f"there is no alert {name}", remedy=did_you_mean(name, known))
    meant = [s for s in found if s.alert.rule.name == name and s.is_on and version in (None, s.alert.version)]
    if not meant:
        where = f" for {version}" if version is not None else ""
        raise UsageError(f"the alert {name} is not on{where}", remedy="`charter alerts list --all`")
    began = [s.alert.event for s in meant]

    def judge(events: Sequence[Any]) -> tuple[str, Mapping[str, Any]] | None:
        before = said_of(events, model, action)
        new = [one for one in began if one not in before]
        return (name, {"model": model, "events": new, "reason": reason}) if new else None

    to = "acknowledge an alert" if action == ACKNOWLEDGED else "resolve an alert"
    with (
        refusing(workspace, loaded, name, to, by, action="alert.refused"),
        acting(workspace, model, by, role, to=to) as who,
    ):
        who.trail.append_if(
            at=workspace.clock.now(), actor=who.name, action=action, judge=judge, actions=ACTIONS
        )
    return tuple(
        s for s in list_alerts(workspace, loaded).standings if s.alert.event in began and s.alert.event
    )


def _stand(
    workspace: Workspace, loaded: Loaded, alerts: Sequence[Alert]
) -> tuple[tuple[Standing, ...], tuple[Silence, ...]]:
    from charter.monitor.lifecycle import ACTIONS, silences, stand

    model, now = loaded.spec.name, workspace.clock.now()
    with workspace.records(model, readonly=True) as records:
        events = records.events(actions=ACTIONS)
    return stand(alerts, events, model, now=now), silences(events, model, now=now)


def _follow(
    workspace: Workspace, loaded: Loaded, standing: Standing, *, serving: str | None, identity: str | None
) -> str:
    """Do what the rule asks for, and say what was done or is to be done next."""
    alert = standing.alert
    name, action = alert.rule.name, alert.rule.spec.action
    if action == "incident":
        incident = _incident(workspace, loaded, alert)
        return f"incident {incident}: `charter incident show {incident}`"
    if action == "retrain":
        return f"proposed: train anew, `charter retrain --reason 'alert {name}'`"
    if action == "rollback" and alert.version == serving:
        return _go_back(workspace, loaded, standing, identity)
    return ""


def _go_back(workspace: Workspace, loaded: Loaded, standing: Standing, identity: str | None) -> str:
    """Go back to the release before, once for each run of the alert: who releases it again has a reason."""
    from charter.flow.rollback import ROLLED_BACK, rollback

    alert = standing.alert
    name, reason = alert.rule.name, f"alert {alert.rule.name}: {alert.event}"
    by_hand = f"`charter rollback --reason 'alert {name}'`"
    if not standing.is_loud:
        return f"a person sees to it; to go back: {by_hand}"
    with workspace.records(loaded.spec.name, readonly=True) as records:
        before = records.events(actions=(ROLLED_BACK,))
    if any((e.detail.get("model"), e.detail.get("reason")) == (loaded.spec.name, reason) for e in before):
        return f"went back for this once, and {alert.version} was released again; to go back: {by_hand}"
    try:
        done = rollback(workspace, loaded, name=identity, reason=reason)
    except CharterError as error:
        return f"could not go back: {error.message}; {by_hand}"
    return f"went back: v{done.version} serves in place of v{done.left}"


def _incident(workspace: Workspace, loaded: Loaded, alert: Alert) -> str:
    """Open an incident for this run of an alert, unless it has one; one that a person has closed stays closed."""
    for known in list_incidents(workspace, loaded):
        if known.evidence.get("alert") == alert.event:
            return known.name
    rule = alert.rule
    return open_incident(
        workspace,
        loaded,
        title=" ".join((rule.spec.description or f"{rule.name}: {rule.rule}").split())[:200],
        severity=SEVERITY[rule.spec.severity],
        source=f"alert/{rule.name}",
        evidence={
            "observed": alert.observed,
            "required": f"no window in which {rule.rule}",
            "version": alert.version,
            "since": alert.since.isoformat() if alert.since is not None else "",
            "alert": alert.event,
        },
    ).name


def _to_come(text: str, now: datetime) -> datetime:
    try:
        found = now + parse_duration(text)
    except ValueError:
        try:
            read = datetime.fromisoformat(text)
        except ValueError:
            raise UsageError(
                f"--until is {text!r}; it must be a duration, a day or a moment",
                remedy="For example 2h, 2026-03-01 or 2026-03-01T12:00.",
            ) from None
        found = read.replace(tzinfo=UTC) if read.tzinfo is None else read
    if found <= now:
        raise UsageError(f"--until {text} has passed", remedy="Name a moment to come, or end it: --end.")
    return found
