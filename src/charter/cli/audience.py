"""A report for one audience on the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from charter.cli.output import say, table

if TYPE_CHECKING:
    from charter.monitor.advice import Advice
    from charter.monitor.audience_types import Page

_ROWS = 12
"""Of a table; the newest windows, the largest changes."""
_SIGNS = {"pass": "ok", "warn": " !", "fail": "NO", "unknown": " ?", "": ""}


def show(page: Page) -> None:
    """Print a report: the verdict, what to do next, the numbers, the tables."""
    say(page.title)
    say(f"  {page.lead}")
    table([(_SIGNS[t.verdict], t.name, t.value, t.target) for t in page.tiles])
    show_advice(page.advice)
    for found in page.tables:
        say()
        say(found.name if found.rows else f"{found.name}: {found.empty}")
        if found.rows:
            rows = [
                tuple(_SIGNS.get(v, v) if i == 0 else v for i, v in enumerate(r)) for r in found.rows[:_ROWS]
            ]
            table(rows, head=found.head, right=found.right)
        if len(found.rows) > _ROWS:
            say(f"  and {len(found.rows) - _ROWS:,} more")


def show_advice(found: Sequence[Advice]) -> None:
    """Print what to do next: what changed, how sure that is, what it costs, and the command."""
    for one in found:
        say()
        say(f"  {one.severity}: {one.what}")
        say(f"    sure   {one.sure}")
        say(f"    cost   {one.cost}")
        say(f"    next   {one.then}")
    if not found:
        say("  All is as it was at release: nothing to do.")
