"""The report of one audience, from everything that is kept of a model; changes nothing."""

from __future__ import annotations

from pathlib import Path

from charter.core.errors import UsageError
from charter.core.io.files import write_atomic
from charter.core.nearest import did_you_mean
from charter.flow.monitor import facts
from charter.flow.workspace import Workspace
from charter.monitor.audience import page
from charter.monitor.audience_types import Page
from charter.monitor.facts import AUDIENCES
from charter.spec.loader import Loaded


def report(workspace: Workspace, loaded: Loaded, audience: str) -> Page:
    """Write the report of one audience.

    Parameters
    ----------
    audience
        ``operations``, ``data-science`` or ``business``.

    Raises
    ------
    UsageError
        For another audience, or when the monitor has not run yet.
    """
    found = next((a for a in AUDIENCES if a == audience), None)
    if found is None:
        raise UsageError(f"--for is {audience!r}", remedy=did_you_mean(audience, (*AUDIENCES, "all")))
    return page(facts(workspace, loaded), found)


def write_page(workspace: Workspace, found: Page, to: Path | None) -> Path:
    """Write a report as a page of HTML and return its path.

    Raises
    ------
    UsageError
        When the target is a folder.
    """
    from charter.monitor.page import html

    if to is not None and to.is_dir():
        raise UsageError(f"{to} is a folder", remedy="Name a file.")
    target = to or workspace.root / f"{found.model}-{found.audience}.html"
    write_atomic(target, html(found).encode())
    return target
