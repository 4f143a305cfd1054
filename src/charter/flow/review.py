"""Decisions that a person looks at: the queue, verdicts on it, and what they tell; each verdict on record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso, naive
from charter.core.errors import Refusal, UsageError
from charter.core.nearest import did_you_mean
from charter.core.quantity import parse_duration
from charter.core.text import one_line
from charter.flow.acting import acting
from charter.flow.logs import log_folder
from charter.flow.moves import refusing
from charter.flow.workspace import Workspace
from charter.govern.review import (
    ACTIONS,
    ASKED,
    COLUMNS,
    CONFIRMED,
    OVERRIDDEN,
    Item,
    Verdict,
    final,
    items,
    select,
    verdicts,
)
from charter.govern.review_report import ReviewReport, report
from charter.spec.loader import Loaded

if TYPE_CHECKING:
    import polars as pl

    from charter.registry.types import AuditEvent
    from charter.spec.types import ReviewSpec


@dataclass(frozen=True, slots=True)
class Looked:
    """One answer as a reviewer sees it.

    Attributes
    ----------
    answer
        Everything that the log holds of it.
    """

    item: Item
    answer: Mapping[str, Any]


def declared(loaded: Loaded) -> ReviewSpec:
    """What the specification says of reviews.

    Raises
    ------
    UsageError
        When it says nothing.
    """
    if loaded.spec.review is None:
        raise UsageError(
            "the specification sends no decision to a person",
            remedy="Add for example `review: {bands: [medium], random: 0.01, within: 2d}`; see docs/review.md.",
        )
    return loaded.spec.review


def queue(workspace: Workspace, loaded: Loaded, *, settled_too: bool = False) -> list[Item]:
    """Answers that wait for a person, oldest first.

    Parameters
    ----------
    settled_too
        Also those that have their verdict.

    Raises
    ------
    UsageError
        When the specification sends none to a person.
    """
    model = loaded.spec.name
    drawn = _drawn(workspace, loaded, _answers(workspace, loaded))
    found = items(drawn, _given(workspace, model))
    return found if settled_too else [i for i in found if i.final is None]


def look(workspace: Workspace, loaded: Loaded, key: str) -> Looked:
    """Show one answer, whether it is in the queue or not.

    Raises
    ------
    UsageError
        When no such answer is logged.
    """
    declared(loaded)
    item = _item(workspace, loaded, key)
    rows = _of_key(_scan(workspace, loaded.spec.name), item.key).collect()
    return Looked(item, rows.row(0, named=True))


def decide(
    workspace: Workspace,
    loaded: Loaded,
    key: str,
    *,
    to: str | None = None,
    reason: str = "",
    by: str | None = None,
) -> Item:
    """Confirm the model's decision on an answer, or override it; saying the same twice is saying it once.

    Parameters
    ----------
    key
        Identifier of the request, and row within it where there are several: ``9f1c/2``.
    to
        The decision instead of the model's; None confirms it.
    by
        An identity; None is whoever is logged in.

    Raises
    ------
    UsageError
        When no such answer is logged, ``to`` is no decision of the model or its own, or an override gives no reason.
    Refusal
        When whoever acts lacks the role of ``review.role``, has said otherwise before, or somebody else decided first.
    """
    review, model = declared(loaded), loaded.spec.name
    item = _item(workspace, loaded, key)
    if to is not None:
        _check_override(loaded, item, to, reason)
    decision = to if to is not None else item.decision
    action = CONFIRMED if to is None else OVERRIDDEN
    told = {
        "model": model,
        "version": item.version,
        "decision": item.decision,
        "to": decision,
        "reason": one_line(reason, "the reason"),
        "why": list(item.why),
        "score": item.score,
        "band": item.band,
        "wanted": item.wanted,
        "asked_at": iso(item.time.replace(tzinfo=UTC)),
        **({"role": review.role} if review.role is not None else {}),
    }
    to_do = "review a decision"
    with (
        refusing(workspace, loaded, item.key, to_do, by, action="review.refused"),
        acting(workspace, model, by, review.role, to=to_do) as who,
    ):

        def judge(events: Sequence[AuditEvent]) -> tuple[str, Mapping[str, Any]] | None:
            said = verdicts(events, model).get(item.key, [])
            return None if _said_before(said, who.name, decision, item) else (item.key, told)

        who.trail.append_if(
            at=workspace.clock.now(),
            actor=who.name,
            action=action,
            judge=judge,
            actions=ACTIONS,
            about=item.key,
        )
    if review.outcome:
        _keep_as_outcomes(workspace, loaded)
    return _item(workspace, loaded, item.key)


def tell(workspace: Workspace, loaded: Loaded) -> ReviewReport:
    """What reviews tell so far.

    Raises
    ------
    UsageError
        When the specification sends no decision to a person.
    """
    review = declared(loaded)
    return report(
        queue(workspace, loaded),
        _given(workspace, loaded.spec.name),
        now=workspace.clock.now(),
        within=due_within(review),
        confidence=loaded.spec.monitor.confidence,
    )


def due_within(review: ReviewSpec) -> timedelta | None:
    """How soon after the answer a verdict is due."""
    return parse_duration(review.within) if review.within is not None else None


def _said_before(said: Sequence[Verdict], name: str, decision: str, item: Item) -> bool:
    """Whether this verdict is on record already.

    Raises
    ------
    Refusal
        When its giver has said otherwise, or others have decided.
    """
    own = next((v for v in said if v.actor == name), None)
    if own is not None and own.to == decision:
        return True
    if own is not None:
        raise Refusal(
            f"{name} has decided {own.to} on {item.key} at {own.at:%Y-%m-%d %H:%M}",
            remedy="A verdict is not changed. Ask somebody else to look.",
        )
    decided = final(said)
    if decided is not None:
        last = said[-1]
        raise Refusal(
            f"{last.actor} was first: {item.key} was decided {decided} at {last.at:%Y-%m-%d %H:%M:%S}",
            remedy="`charter review list` shows what still waits.",
        )
    return False


def _check_override(loaded: Loaded, item: Item, to: str, reason: str) -> None:
    if not reason.strip():
        raise UsageError("an override needs a reason", remedy="Say why: --reason '...'")
    if to == item.decision:
        raise UsageError(
            f"the model decided {to} itself", remedy=f"Confirm it: `charter review confirm {item.key}`."
        )
    known = _decisions(loaded)
    if known and to not in known:
        raise UsageError(f"{to!r} is not a decision of this model", remedy=did_you_mean(to, known))


def _decisions(loaded: Loaded) -> list[str]:
    """Decisions that the model can make, as far as the specification tells them."""
    spec = loaded.spec
    if spec.train.task == "binary":
        return ["positive", "negative"]
    label, source = spec.data.label, spec.data.observations.source
    column = spec.data.sources[source].columns.get(label.column) if source and label.column else None
    return list(column.values or ()) if column is not None else []


def _keep_as_outcomes(workspace: Workspace, loaded: Loaded) -> None:
    """Keep every settled verdict as an outcome; what an earlier call left undone is done too."""
    import polars as pl

    from charter.flow.outcomes import keep_outcomes
    from charter.monitor.outcomes import OutcomeColumns, normalise

    spec = loaded.spec
    rows = [
        (*_parts(key), decided, naive(said[-1].at))
        for key, said in _given(workspace, spec.name).items()
        if (decided := final(said)) is not None
    ]
    if not rows:
        return
    words = {"positive": "1", "negative": "0"} if spec.train.task == "binary" else {}
    frame = pl.DataFrame(
        [(request, row, words.get(decided, decided), at) for request, row, decided, at in rows],
        schema={"id": pl.String(), "row": pl.UInt32(), "outcome": pl.String(), "known_at": pl.Datetime("us")},
        orient="row",
    )
    now = naive(workspace.clock.now())
    keep_outcomes(
        workspace,
        spec.name,
        normalise(frame, OutcomeColumns("outcome"), spec, now=now),
        dated=True,
        doing="charter review",
        actor=workspace.settings.actor,
    )


def _item(workspace: Workspace, loaded: Loaded, key: str) -> Item:
    """One answer, with why it is looked at: what the specification says, or that somebody asked for it."""
    import polars as pl

    model = loaded.spec.name
    key = "/".join(map(str, _parts(key)))
    rows = _answers(workspace, loaded, key)
    if rows.is_empty():
        raise UsageError(
            f"no answer {key} of {model} is logged", remedy="`charter review list`, `charter log`"
        )
    found = _drawn(workspace, loaded, rows)
    if found.is_empty():
        found = rows.with_columns(
            key=pl.lit(key), why=pl.lit([ASKED], dtype=pl.List(pl.String)), wanted=pl.lit(1)
        )
    return items(found, _given(workspace, model, key))[0]


def _drawn(workspace: Workspace, loaded: Loaded, rows: pl.DataFrame) -> pl.DataFrame:
    from charter.serve.io.secret import load_secret

    return select(rows, declared(loaded), loaded.spec.name, load_secret(log_folder(workspace)))


def _parts(key: str) -> tuple[str, int]:
    """Request and row of a key; the first row where none is named."""
    request, slash, row = key.rpartition("/")
    return (request, int(row)) if slash and row.isascii() and row.isdigit() else (key, 0)


def _answers(workspace: Workspace, loaded: Loaded, key: str | None = None) -> pl.DataFrame:
    """What the queue is drawn from, with the score of the candidate that answered unseen."""
    import polars as pl

    review, model = declared(loaded), loaded.spec.name
    rows = _of_key(_scan(workspace, model), key).select(COLUMNS)
    if review.disagreement is None:
        return rows.with_columns(pl.lit(None, dtype=pl.Float64).alias("other")).collect()
    from charter.registry.traffic import SHADOW

    unseen = _of_key(_scan(workspace, model, shadow=True), key).filter(pl.col("arm") == SHADOW)
    other = unseen.sort("time").select("id", "row", pl.col("score").alias("other"))
    return rows.join(other.unique(["id", "row"], keep="last"), on=["id", "row"], how="left").collect()


def _scan(workspace: Workspace, model: str, *, shadow: bool = False) -> pl.LazyFrame:
    from charter.serve.log_reader import scan

    return scan(log_folder(workspace), model=model, shadow=shadow)


def _of_key(rows: pl.LazyFrame, key: str | None) -> pl.LazyFrame:
    import polars as pl

    if key is None:
        return rows
    request, row = _parts(key)
    return rows.filter((pl.col("id") == request) & (pl.col("row") == row))


def _given(workspace: Workspace, model: str, key: str | None = None) -> dict[str, list[Verdict]]:
    with workspace.records(model, readonly=True) as records:
        return verdicts(records.events(actions=ACTIONS, subject=key), model)
