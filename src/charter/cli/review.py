"""Commands by which persons look at decisions: review list, show, confirm, override, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from charter.cli.output import JSON, emit, say, table

if TYPE_CHECKING:
    from charter.govern.review import Item

SPEC = typer.Option(Path(), "--in", help="The model's folder.")
ID = typer.Argument(..., help="An answer: id of the request, and /ROW where it held several.")
BY = typer.Option(None, "--as", help="The identity that decides; by default whoever is logged in.")


def register(app: typer.Typer) -> None:
    """Add the commands."""
    review = typer.Typer(
        help="Decisions that a person looks at: the queue, verdicts, and what they tell.",
        no_args_is_help=True,
        rich_markup_mode=None,
    )
    review.command("list")(review_list)
    review.command("show")(review_show)
    review.command("confirm")(review_confirm)
    review.command("override")(review_override)
    review.command("report")(review_report)
    app.add_typer(review, name="review")


def review_list(
    every: bool = typer.Option(False, "--all", help="Those that have their verdict, too."),
    limit: int = typer.Option(20, "--limit", min=1, help="At most so many, oldest first."),
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """List the answers that wait for a person, oldest first, with why."""
    from datetime import UTC

    from charter.core.quantity import span
    from charter.flow.review import declared, due_within, queue
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    loaded = workspace.load()
    found = queue(workspace, loaded, settled_too=every)
    if as_json:
        emit([i.to_json() for i in found[:limit]])
        return
    if not found:
        say("Nothing waits for a person.")
        return
    within, now = due_within(declared(loaded)), workspace.clock.now()
    rows = []
    for i in found[:limit]:
        age = now - i.time.replace(tzinfo=UTC)
        late = "overdue" if within is not None and age > within and i.final is None else ""
        score = "" if i.score is None else f"{i.score:.3f}"
        rows.append(
            (i.key, span(age), late, i.decision, score, i.band or "", ", ".join(i.why), i.final or "")
        )
    table(rows, head=("answer", "age", "", "decision", "score", "band", "why", "decided"))
    if len(found) > limit:
        say(f"  and {len(found) - limit:,} more")


def review_show(key: str = ID, spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Show one answer with its inputs as they are logged, why it is looked at, and what was said of it."""
    from charter.flow.review import look
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = look(workspace, workspace.load(), key)
    answer = {k: v for k, v in found.answer.items() if v is not None and v != []}
    if as_json:
        emit(found.item.to_json() | {"answer": {k: str(v) for k, v in answer.items()}})
        return
    _tell(found.item)
    table([(name, str(value)) for name, value in answer.items() if name not in ("id", "row", "model")])


def review_confirm(
    key: str = ID,
    reason: str = typer.Option("", "--reason", help="Why; kept in the audit trail."),
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Confirm the model's decision."""
    _decide(key, None, reason, by, spec, as_json)


def review_override(
    key: str = ID,
    to: str = typer.Option(..., "--to", help="The decision instead of the model's."),
    reason: str = typer.Option(..., "--reason", help="Why; kept in the audit trail."),
    by: str | None = BY,
    spec: Path = SPEC,
    as_json: bool = JSON,
) -> None:
    """Decide otherwise than the model, with a reason."""
    _decide(key, to, reason, by, spec, as_json)


def review_report(spec: Path = SPEC, as_json: bool = JSON) -> None:
    """Say how often persons decide otherwise, where, whether they agree, and how long answers wait."""
    from charter.flow.review import tell
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = tell(workspace, workspace.load())
    if as_json:
        emit(found.to_json())
        return
    age = f", the oldest for {found.oldest_hours:.1f} h" if found.oldest_hours is not None else ""
    say(f"{found.waiting:,} answers wait{age}; {found.overdue:,} are overdue")
    if found.hours_to_verdict is not None:
        on_time = f", {found.on_time:.0%} on time" if found.on_time is not None else ""
        say(f"a verdict took {found.hours_to_verdict:.1f} h (median){on_time}")
    rows = [
        (o.of, f"{o.reviewed:,}", f"{o.overridden:,}", f"{o.share:.1%} [{o.low:.1%}, {o.high:.1%}]")
        for o in found.overridden
        if o.share is not None
    ]
    table(rows, head=("answers", "reviewed", "overridden", "share"), right=(1, 2))
    a = found.agreement
    if a.share is not None:
        kappa = f", kappa {a.kappa:.2f}" if a.kappa is not None else ""
        say(f"two who looked agreed on {a.share:.0%} [{a.low:.0%}, {a.high:.0%}] of {a.pairs:,}{kappa}")
    for line in found.words():
        say(f"  {line}")


def _decide(key: str, to: str | None, reason: str, by: str | None, spec: Path, as_json: bool) -> None:
    from charter.flow.review import decide
    from charter.flow.workspace import Workspace

    workspace = Workspace.at(spec)
    found = decide(workspace, workspace.load(), key, to=to, reason=reason, by=by)
    if as_json:
        emit(found.to_json())
        return
    _tell(found)


def _tell(item: Item) -> None:
    state = item.final if item.final is not None else "waits"
    say(f"{item.key}  the model: {item.decision}  {', '.join(item.why)}  ({state})")
    table([(f"{v.at:%Y-%m-%d %H:%M}", v.actor, v.to, v.reason) for v in item.verdicts])
    if item.final is None and item.verdicts:
        say(
            "  Another person looks at it too."
            if len(item.verdicts) < 2
            else "  They differ: a third decides."
        )
