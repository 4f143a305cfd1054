"""Which answers a person looks at, what persons said of them, and what that tells. Pure.

The queue is kept nowhere: it is drawn anew from the prediction log by the specification, less what the audit trail says
was decided. So it can neither lose an answer nor hold one twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from charter.core.clock import iso, parse_iso
from charter.core.digest import digest_json
from charter.registry.allocation import BUCKETS, buckets
from charter.registry.types import AuditEvent
from charter.spec.types import ReviewSpec

if TYPE_CHECKING:
    import polars as pl

CONFIRMED, OVERRIDDEN = "review.confirmed", "review.overridden"
ACTIONS = (CONFIRMED, OVERRIDDEN)
ASKED = "asked"
"""Why an answer is looked at that no line of the specification sends to a person: somebody asked for it."""
COLUMNS = ("id", "row", "time", "version", "score", "decision", "band", "fallback")
"""Of the prediction log, what the queue is drawn from."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one reviewer said of one answer.

    Attributes
    ----------
    decision, to
        The model's, and the reviewer's; equal where it was confirmed.
    why
        Reasons for which the answer was looked at.
    asked_at
        When the model answered, aware.
    wanted
        How many persons were to look at it: 1 or 2.
    """

    key: str
    at: datetime
    actor: str
    decision: str
    to: str
    reason: str
    why: tuple[str, ...]
    version: str
    score: float | None
    band: str | None
    asked_at: datetime
    wanted: int

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {"at": iso(self.at), "by": self.actor, "to": self.to, "reason": self.reason}


@dataclass(frozen=True, slots=True)
class Item:
    """An answer that a person looks at.

    Attributes
    ----------
    key
        Identifier of the request and row within it: ``9f1c/0``.
    time
        When the model answered, naive UTC.
    other
        Score of the candidate that answered unseen, where there is one.
    wanted
        How many persons look at it: 1 or 2.
    verdicts
        So far, oldest first; one each person.
    """

    key: str
    time: datetime
    version: str
    score: float | None
    decision: str
    band: str | None
    fallback: bool
    why: tuple[str, ...]
    wanted: int
    other: float | None = None
    verdicts: tuple[Verdict, ...] = ()

    @property
    def final(self) -> str | None:
        """The decision that holds; None while it is open."""
        return final(self.verdicts)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "id": self.key,
            "time": self.time.isoformat(),
            "version": self.version,
            "score": self.score,
            "decision": self.decision,
            "band": self.band,
            "fallback": self.fallback,
            "why": list(self.why),
            "wanted": self.wanted,
            "other": self.other,
            "final": self.final,
            "verdicts": [v.to_json() for v in self.verdicts],
        }


def settled(said: Sequence[str], wanted: int) -> str | None:
    """Decision that holds after what reviewers said in turn; None while it takes another.

    One is enough where one is wanted. Of two who differ neither wins: a third decides.

    Examples
    --------
    >>> settled(["a"], 1), settled(["a"], 2), settled(["a", "a"], 2), settled(["a", "b", "b"], 2)
    ('a', None, 'a', 'b')
    """
    if len(said) < wanted:
        return None
    if wanted == 1 or said[0] == said[1]:
        return said[0]
    return said[2] if len(said) > 2 else None


def final(said: Sequence[Verdict]) -> str | None:
    """Decision that holds after the verdicts on one answer; what was wanted when the first was given counts."""
    return settled([v.to for v in said], said[0].wanted) if said else None


def select(rows: pl.DataFrame, review: ReviewSpec, model: str, secret: bytes) -> pl.DataFrame:
    """Draw the answers that the specification sends to a person.

    Parameters
    ----------
    rows
        Of the prediction log: `COLUMNS`, and ``other``, the score of the candidate that answered unseen, null where
        there is none.
    model
        Name of the model: the draws of two models are independent.
    secret
        Of the log. Whoever asks names the request, and must not be able to pick a name that is never drawn.

    Returns
    -------
    Those rows, oldest first, with ``key``, ``why`` (list of text) and ``wanted`` (1 or 2).

    Notes
    -----
    The random share, and who of the queue is looked at twice, go by a hash of the answer's key and the secret
    (`charter.registry.allocation.buckets`), so a second look draws the same answers, and a greater share those and
    more.
    """
    import polars as pl

    key = pl.concat_str(pl.col("id"), pl.col("row").cast(pl.String), separator="/")
    found = rows.with_columns(key.alias("key"))
    place = pl.Series("place", buckets(_salt("review", model), found["key"], secret=secret))
    reasons = {
        "band": pl.col("band").is_in(list(review.bands)),
        "decision": pl.col("decision").is_in(list(review.decisions)),
        "fallback": pl.col("fallback") & pl.lit(review.fallbacks),
        "disagreement": (pl.col("score") - pl.col("other")).abs() > (review.disagreement or float("inf")),
        "random": pl.lit(place < round(review.random * BUCKETS)),
    }
    why = pl.concat_list(
        pl.when(expr.fill_null(value=False)).then(pl.lit(name)) for name, expr in reasons.items()
    )
    found = found.with_columns(why.list.drop_nulls().alias("why")).filter(pl.col("why").list.len() > 0)
    second = pl.Series("second", buckets(_salt("second", model), found["key"], secret=secret))
    wanted = pl.when(second < round(review.second * BUCKETS)).then(2).otherwise(1)
    return found.with_columns(wanted.alias("wanted")).sort("time", "key")


def _salt(what: str, model: str) -> str:
    return f"{what}/{digest_json(model)[:16]}"


def items(selected: pl.DataFrame, given: Mapping[str, Sequence[Verdict]]) -> list[Item]:
    """Put what was drawn and what was said of it together.

    Parameters
    ----------
    selected
        From `select`.
    given
        From `verdicts`.
    """
    names = ("key", "time", "version", "score", "decision", "band", "fallback", "why", "wanted", "other")
    return [
        Item(**{**row, "why": tuple(row["why"])}, verdicts=tuple(given.get(row["key"], ())))
        for row in selected.select(names).iter_rows(named=True)
    ]


def verdicts(events: Iterable[AuditEvent], model: str) -> dict[str, list[Verdict]]:
    """What reviewers said of a model's answers, by key, in the order in which they said it.

    Parameters
    ----------
    events
        The audit trail by sequence, of any models.
    """
    found: dict[str, list[Verdict]] = {}
    for event in events:
        if event.action in (CONFIRMED, OVERRIDDEN) and event.detail.get("model") == model:
            found.setdefault(event.subject, []).append(_verdict(event))
    return found


def _verdict(event: AuditEvent) -> Verdict:
    told = event.detail
    return Verdict(
        key=event.subject,
        at=event.at,
        actor=event.actor,
        decision=told["decision"],
        to=told["to"],
        reason=told["reason"],
        why=tuple(told["why"]),
        version=told["version"],
        score=told["score"],
        band=told["band"],
        asked_at=parse_iso(told["asked_at"]),
        wanted=told["wanted"],
    )
