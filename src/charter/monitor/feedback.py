"""How far decisions make the data that judges them: how many hide their outcome, and how many chance decided. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from charter.monitor.significance import two_shares_p

_CHANCE = 0.001
"""Shares of known outcomes that differ by more than this chance differ because of the decision."""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the decisions of a window did to what is known of it.

    Attributes
    ----------
    decided
        Answers with a decision.
    explorable, explored
        Of these, the share that chance might have turned around, and the share that it did turn.
    due
        Decisions whose outcome should be known by now.
    known_after
        Decision to the share of these whose outcome is known; decisions that nobody made are left out.
    shaping
        Share of the decisions due that hide their own outcome: as many outcomes as are missing after one decision, over
        those missing after the other. 0 where both leave as much known, give or take chance; None where nothing is due.
    """

    decided: int
    explorable: float
    explored: float
    due: int
    known_after: dict[str, float]
    shaping: float | None

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "decided": self.decided,
            "explorable": self.explorable,
            "explored": self.explored,
            "due": self.due,
            "known_after": self.known_after,
            "shaping": self.shaping,
        }


def feedback(rows: pl.DataFrame) -> Feedback | None:
    """Measure the feedback of a window; None where nothing is decided.

    Parameters
    ----------
    rows
        One row per answer: ``decision`` (String), ``propensity`` (Float64), ``outcome`` (String, null while unknown),
        ``due`` (Boolean).

    Examples
    --------
    >>> rows = pl.DataFrame({"decision": ["positive"] * 50 + ["negative"] * 50, "propensity": [None] * 100,
    ...     "outcome": [None] * 50 + ["0"] * 50, "due": [True] * 100}, schema_overrides={"propensity": pl.Float64})
    >>> feedback(rows).shaping
    0.5
    """
    decided = rows.filter(pl.col("decision").is_not_null())
    if decided.is_empty():
        return None
    propensity = decided["propensity"].fill_null(1.0)
    due = decided.filter("due")
    counted = {
        name: (n, known)
        for name, n, known in due.group_by("decision")
        .agg(pl.len(), pl.col("outcome").is_not_null().sum())
        .sort("decision")
        .iter_rows()
    }
    shares = {name: known / n for name, (n, known) in counted.items()}
    best = max(shares, key=lambda name: shares[name], default=None)
    hidden = 0.0
    for name, (n, known) in counted.items():
        if best is not None and two_shares_p(known, n, counted[best][1], counted[best][0]) < _CHANCE:
            hidden += n * (shares[best] - shares[name])
    return Feedback(
        decided.height,
        _share(propensity < 1),
        _share(propensity < 0.5),
        due.height,
        shares,
        hidden / due.height if due.height else None,
    )


def _share(holds: pl.Series) -> float:
    known = holds.drop_nulls()
    return float(known.sum() / known.len()) if known.len() else 0.0
