"""The post-mortem of an incident: what happened, when, what it did, why, and what follows. Pure.

All but cause, impact and actions comes from the records; what a person has not said yet is printed as missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from charter.core.errors import UsageError
from charter.core.nearest import did_you_mean
from charter.core.quantity import span
from charter.govern.incident import Incident
from charter.govern.timeline import Moment

FORMS: Mapping[str, str] = {"markdown": "incident.md.j2", "html": "incident.html.j2", "json": ""}
SCHEMA_VERSION = 1


def postmortem(
    incident: Incident,
    moments: Sequence[Moment],
    answered: Mapping[str, int],
    *,
    now: datetime,
    form: str = "markdown",
) -> str:
    """Write the document. The same arguments give the same text.

    Parameters
    ----------
    moments
        From `charter.govern.timeline.timeline`.
    answered
        Counts of ``answers``, ``fallbacks`` and ``warned`` while the incident was open.
    now
        For how long an open incident has been open.

    Raises
    ------
    UsageError
        For another form.
    """
    if form not in FORMS:
        raise UsageError(f"a post-mortem cannot be written as {form!r}", remedy=did_you_mean(form, FORMS))
    content = document(incident, moments, answered, now=now)
    if form == "json":
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "html":
        from charter.data.page import render

        return render(FORMS[form], "charter.govern", content)
    from charter.govern.card_text import templates

    return templates(form).get_template(FORMS[form]).render(page=content)


def document(
    incident: Incident, moments: Sequence[Moment], answered: Mapping[str, int], *, now: datetime
) -> dict[str, Any]:
    """Return the post-mortem as plain JSON; see `postmortem` for the arguments."""
    closed = incident.closed
    end = closed.at if closed is not None else now
    return {
        "schema_version": SCHEMA_VERSION,
        **incident.to_json(),
        "lasted": span(end - incident.opened_at),
        "cause": closed.cause if closed is not None else "missing: it is not closed yet",
        "impact": (closed.impact if closed is not None else "")
        or "missing: nobody has said what it did to whom",
        "answered": dict(answered),
        "actions": list(closed.actions) if closed is not None and closed.actions else [],
        "timeline": [m.to_json() | {"when": f"{m.at:%Y-%m-%d %H:%M:%S}"} for m in moments],
        "taken": [r.text for r in incident.remarks if r.done],
    }
