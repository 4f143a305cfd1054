"""What is told, to whom it may concern: turns of alerts put together by group, and again while nobody has seen them.

Pure. A notice is written down before it is sent (`charter.monitor.io.alerts`), so that a killed pass sends the same
notice once more rather than another one; its identifier tells a repeated delivery.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from charter.core.clock import iso, parse_iso
from charter.core.digest import digest_json
from charter.monitor.alerts import AlertEvent, Turn
from charter.monitor.lifecycle import Silence, Standing

_WORST = ("critical", "warning", "info")


@dataclass(frozen=True, slots=True)
class Notice:
    """One message.

    Attributes
    ----------
    id
        Equal for equal content.
    again
        How often these alerts were told before: 0 for turns, more for a reminder.
    events
        Turns that it tells, as plain data, each with ``proposal``: what to do next, in words.
    """

    id: str
    at: datetime
    model: str
    group: str | None
    again: int
    events: tuple[Mapping[str, Any], ...]

    @property
    def severity(self) -> str:
        """The worst of its events."""
        found = {e["severity"] for e in self.events}
        return next(s for s in _WORST if s in found)

    @property
    def title(self) -> str:
        """One line."""
        if len(self.events) == 1:
            (one,) = self.events
            still = "is still on" if self.again else one["turn"]
            return f"{self.model} {one['version']}: {one['name']} {still}"
        begun = sum(e["turn"] == Turn.FIRED for e in self.events)
        over = len(self.events) - begun
        told = [f"{begun} {'still on' if self.again else 'fired'}"] if begun else []
        told += [f"{over} resolved"] if over else []
        return f"{self.model}: alerts of {self.group}: {', '.join(told)}"

    @property
    def body(self) -> str:
        """Lines for people: what was observed, what is required, what to do next."""
        return "\n\n".join(_lines(e, alone=len(self.events) == 1) for e in self.events)

    def to_json(self) -> dict[str, Any]:
        """Plain data, as it is kept and sent."""
        return {
            "id": self.id,
            "at": iso(self.at),
            "model": self.model,
            "group": self.group,
            "severity": self.severity,
            "again": self.again,
            "title": self.title,
            "body": self.body,
            "events": [dict(e) for e in self.events],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Notice:
        """Inverse of `to_json`."""
        events = tuple(data["events"])
        return cls(data["id"], parse_iso(data["at"]), data["model"], data["group"], data["again"], events)


def _lines(event: Mapping[str, Any], *, alone: bool) -> str:
    said = [] if alone else [f"{event['name']} {event['turn']} ({event['version']})"]
    said += [f"{event['severity']}: {event['required']}", f"observed: {event['observed']}"]
    said += [f"window from {event['window']}", event["description"], event["proposal"]]
    return "\n".join(line for line in said if line)


def muted(events: Iterable[AlertEvent], told: Sequence[Notice], quiet: Sequence[Silence]) -> tuple[str, ...]:
    """Identifiers of turns that nobody was told of and that fall into a silence."""
    known = told_ids(told)
    return tuple(e.id for e in events if e.id not in known and any(s.covers(e.name, e.group) for s in quiet))


def compose(
    events: Sequence[AlertEvent],
    told: Sequence[Notice],
    standings: Sequence[Standing],
    *,
    model: str,
    now: datetime,
    quiet: Sequence[Silence] = (),
    muted: Collection[str] = (),
    repeat: timedelta | None = None,
    proposals: Mapping[str, str] | None = None,
) -> tuple[Notice, ...]:
    """Put together what is to be told now.

    Parameters
    ----------
    events
        Every turn there ever was.
    told
        Every notice so far.
    standings
        Where the alerts stand, with what persons said of them.
    quiet
        Silences that hold now.
    muted
        Turns that fell into a silence when they were found.
    repeat
        After so long an alert that is loud is told again; None tells it once.
    proposals
        What to do next in words, by the ``id`` of the turn by which an alert began.

    Notes
    -----
    Of a turn that fell into a silence nothing is told while it lasts. Afterwards an alert that is still on is told; one
    that came and went meanwhile is not. That an alert is over is told to whoever heard that it began. Turns of one
    group are told in one notice.
    """
    known, on = told_ids(told), {s.alert.event for s in standings if s.is_on}
    done = {s.alert.event for s in standings if s.alert.firing and s.resolved is not None}
    fresh: list[AlertEvent] = []
    for event in events:
        if event.id in known or any(s.covers(event.name, event.group) for s in quiet):
            continue
        begins = event.turn is Turn.FIRED
        if begins and (event.id in done or (event.id in muted and event.id not in on)):
            continue
        if not begins and event.began in muted and event.began not in known:
            continue
        fresh.append(event)
    by_id = {e.id: e for e in events}
    due = [by_id[i] for i in _due(told, standings, repeat, now) if i in by_id] if repeat is not None else []
    return (
        *_grouped(fresh, model, now, proposals or {}, again=0),
        *_grouped(due, model, now, proposals or {}, again=1, told=told),
    )


def told_ids(told: Iterable[Notice]) -> frozenset[str]:
    """Identifiers of the turns that notices tell."""
    return frozenset(e["id"] for notice in told for e in notice.events)


def _due(
    told: Sequence[Notice], standings: Sequence[Standing], repeat: timedelta, now: datetime
) -> list[str]:
    """Beginnings of loud alerts whose last notice is too long ago."""
    last: dict[str, datetime] = {}
    for notice in told:
        for event in notice.events:
            last[event["id"]] = max(notice.at, last.get(event["id"], notice.at))
    loud = [s.alert.event for s in standings if s.is_loud]
    return [i for i in loud if i in last and now - last[i] >= repeat]


def _grouped(
    events: Sequence[AlertEvent],
    model: str,
    now: datetime,
    proposals: Mapping[str, str],
    *,
    again: int,
    told: Sequence[Notice] = (),
) -> list[Notice]:
    groups: dict[str, list[AlertEvent]] = {}
    for event in events:
        groups.setdefault(event.group if event.group is not None else f"/{event.id}", []).append(event)
    found = []
    for own in groups.values():
        ids = sorted(e.id for e in own)
        count = again and sum(ids == sorted(e["id"] for e in n.events) for n in told)
        identity = ids[0] if len(ids) == 1 and not count else digest_json([*ids, count])[:24]
        content = tuple(
            e.to_json() | {"proposal": proposals.get(e.began, "") if e.turn is Turn.FIRED else ""}
            for e in own
        )
        found.append(Notice(identity, now, model, own[0].group, count, content))
    return found
