"""Incidents of a model: opened by hand, by an alert or by a guard; noted, acted on, closed; each step on record."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from charter.core.clock import naive
from charter.core.errors import Refusal, UsageError
from charter.core.io.files import write_atomic
from charter.core.text import one_line
from charter.flow.acting import acting
from charter.flow.logs import log_folder
from charter.flow.moves import refusing
from charter.flow.workspace import Workspace
from charter.govern.incident import (
    ACTED,
    ACTIONS,
    CLOSED,
    NOTED,
    OPENED,
    Incident,
    Severity,
    find,
    incidents,
    opening,
    steps,
)
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    from charter.registry.types import AuditEvent
    from charter.spec.types import ModelSpec

ENDINGS = {"markdown": "md", "html": "html", "json": "json"}


def open_incident(
    workspace: Workspace,
    loaded: Loaded,
    *,
    title: str,
    severity: Severity,
    source: str,
    evidence: Mapping[str, str],
    owner: str | None = None,
) -> Incident:
    """Open an incident, unless one of the same source is open: then return that one.

    Takes no lock: the look for an open one and the new entry are one transaction. So it may be called under the
    workspace's lock, but not inside an open transaction of the records.

    Parameters
    ----------
    source
        What opens it: ``alert/NAME``, ``rollout/v4/12``, ``by hand/TITLE``. Its steps are taken from
        ``monitor.playbook``: those of the alert (of ``rollout``), of the alert's group, and of ``any``.
    evidence
        Name to what was observed, in words.
    owner
        Who sees to it; by default the team that owns the model.

    Raises
    ------
    UsageError
        Without a title or a source, or for another severity.
    Refusal
        When the audit trail was tampered with.
    """
    from charter.govern.io.trail import Trail

    spec, actor = loaded.spec, workspace.settings.actor
    detail = opening(
        spec.name,
        title=title,
        severity=severity,
        source=source,
        evidence=evidence,
        owner=owner or spec.owner.team,
        playbook=steps(spec.monitor.playbook, _occasions(spec, source)),
    )

    def judge(events: Sequence[AuditEvent]) -> tuple[str, Mapping[str, Any]] | None:
        known = incidents(events, spec.name)
        return None if _open_of(known, source) else (f"I{len(known) + 1}", detail)

    with workspace.records(spec.name) as records:
        added = Trail(records, workspace.anchor_file).append_if(
            at=workspace.clock.now(), actor=actor, action=OPENED, judge=judge, actions=ACTIONS
        )
        known = incidents(records.events(actions=ACTIONS), spec.name)
    found = find(known, added.subject) if added is not None else _open_of(known, source)
    # Closed by somebody else in this very moment: the newest of the source is what was found open.
    return found if found is not None else next(i for i in reversed(known) if i.source == source)


def list_incidents(workspace: Workspace, loaded: Loaded) -> tuple[Incident, ...]:
    """All incidents of the model, oldest first."""
    with workspace.records(loaded.spec.name, readonly=True) as records:
        return incidents(records.events(actions=ACTIONS), loaded.spec.name)


def remark(
    workspace: Workspace,
    loaded: Loaded,
    name: str,
    text: str,
    *,
    done: bool,
    step: int | None = None,
    owner: str | None = None,
    by: str | None = None,
) -> Incident:
    """Keep what somebody saw (or, with ``done``, did) in an open incident; said twice in a row by one, it is kept once.

    Parameters
    ----------
    step
        Number of the step of the playbook that was carried out; its text stands for an empty ``text``.
    owner
        Who sees to the incident from now on.
    by
        An identity; None is whoever is logged in.

    Raises
    ------
    UsageError
        When there is no such incident or step, or nothing is said.
    Refusal
        When the incident is closed.
    """
    action = ACTED if done else NOTED

    def detail(found: Incident, actor: str) -> dict[str, Any] | None:
        if step is not None and not 1 <= step <= len(found.playbook):
            raise UsageError(
                f"the playbook of {found.name} has no step {step}",
                remedy=f"`charter incident show {found.name}`",
            )
        said = one_line(text, "what is said") or (found.playbook[step - 1] if step is not None else "")
        if not said and owner is None:
            raise UsageError("nothing is said", remedy="Say in a few words what you saw or did.")
        said = said or f"{one_line(owner or '', 'the owner')} sees to it now"
        last = found.remarks[-1] if found.remarks else None
        same = last is not None and last == replace(last, actor=actor, text=said, done=done, step=step)
        if same and owner in (None, found.owner):
            return None  # the same command again, as after one that was cut off
        more = {name: value for name, value in (("step", step), ("owner", owner)) if value is not None}
        return {"text": said, **more}

    return _add(workspace, loaded, name, action, detail, by=by, role=None, to="write of an incident")


def close(
    workspace: Workspace,
    loaded: Loaded,
    name: str,
    *,
    cause: str,
    impact: str = "",
    actions: Sequence[str] = (),
    by: str | None = None,
) -> Incident:
    """Close an incident with its cause, in the role that ``monitor.roles.incidents`` names.

    Parameters
    ----------
    cause
        Why it happened.
    impact
        What it did to whom.
    actions
        What will be done so that it does not come again.

    Raises
    ------
    UsageError
        When there is no such incident, or no cause is given.
    Refusal
        When it is closed already, or whoever acts does not hold the role.
    """
    if not cause.strip():
        raise UsageError("an incident is closed with its cause", remedy="Say why it happened: --cause '...'")
    told = {
        "cause": one_line(cause, "the cause"),
        "impact": one_line(impact, "the impact"),
        "actions": [one_line(a, "an action") for a in actions if a.strip()],
    }
    role = loaded.spec.monitor.roles.incidents
    return _add(workspace, loaded, name, CLOSED, lambda *_: told, by=by, role=role, to="close an incident")


def write_report(workspace: Workspace, loaded: Loaded, name: str, *, form: str, to: Path | None) -> Path:
    """Write the post-mortem of an incident and return its path; of an open one, as far as it is known.

    Raises
    ------
    UsageError
        When there is no such incident or form, or the target is a folder.
    """
    from charter.govern.postmortem import postmortem
    from charter.govern.timeline import timeline

    model = loaded.spec.name
    with workspace.records(model, readonly=True) as records:
        events = records.events()
    found = find(incidents(events, model), name)
    end = found.closed.at if found.closed is not None else workspace.clock.now()
    moments = timeline(events, model, start=found.opened_at, end=end)
    text = postmortem(found, moments, answered(workspace, found), now=workspace.clock.now(), form=form)
    if to is not None and to.is_dir():
        raise UsageError(f"{to} is a folder", remedy="Name a file.")
    target = to or workspace.root / f"{model}-{found.name}.{ENDINGS[form]}"
    write_atomic(target, text.encode())
    return target


def answered(workspace: Workspace, found: Incident) -> dict[str, int]:
    """Count what was answered while an incident was open."""
    import polars as pl

    from charter.serve.log_reader import scan

    end = found.closed.at if found.closed is not None else workspace.clock.now()
    since, until = (naive(moment) for moment in (found.opened_at, end))
    rows = scan(log_folder(workspace), model=found.model, since=since, until=until)
    counted = rows.select(
        pl.len().alias("answers"),
        pl.col("fallback").sum().alias("fallbacks"),
        (pl.col("warnings").list.len() > 0).sum().alias("warned"),
    ).collect()
    return {name: int(value) for name, value in counted.row(0, named=True).items()}


def _add(
    workspace: Workspace,
    loaded: Loaded,
    name: str,
    action: str,
    detail: Callable[[Incident, str], dict[str, Any] | None],
    *,
    by: str | None,
    role: str | None,
    to: str,
) -> Incident:
    model = loaded.spec.name

    def judge(events: Sequence[AuditEvent], actor: str) -> tuple[str, Mapping[str, Any]] | None:
        found = find(incidents(events, model), name)
        if found.closed is not None:
            raise Refusal(
                f"{found.name} was closed by {found.closed.actor} at {found.closed.at:%Y-%m-%d %H:%M}",
                remedy="If it came again, open another: `charter incident open`.",
            )
        told = detail(found, actor)
        more = {"role": role} if role is not None else {}
        return (found.name, {"model": model, **told, **more}) if told is not None else None

    with (
        refusing(workspace, loaded, name.upper(), to, by, action="incident.refused"),
        acting(workspace, model, by, role, to=to) as who,
    ):
        who.trail.append_if(
            at=workspace.clock.now(),
            actor=who.name,
            action=action,
            judge=lambda events: judge(events, who.name),
            actions=ACTIONS,
        )
        return find(incidents(who.records.events(actions=ACTIONS), model), name)


def _occasions(spec: ModelSpec, source: str) -> list[str]:
    kind, _, name = source.partition("/")
    if kind != "alert":
        return [kind]
    declared = spec.monitor.alerts.get(name)
    return [name, *([declared.group] if declared is not None and declared.group is not None else [])]


def _open_of(known: Sequence[Incident], source: str) -> Incident | None:
    return next((i for i in known if i.is_open and i.source == source), None)
