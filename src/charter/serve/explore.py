"""Exploration: a small, known share of decisions is turned around by chance, so that other policies can be valued.

The chance is a hash of who asked and of the log's secret, not a random number: the same request gets the same decision
again, on every worker and in a replay, and who holds the secret can work out afterwards which decisions were turned.
Whoever asks cannot, so nobody can choose a name whose decision is turned.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from charter.registry.allocation import BUCKETS, buckets
from charter.serve.decide import NEGATIVE, POSITIVE
from charter.serve.types import Exploration

if TYPE_CHECKING:
    from charter.serve.observe import Ticket
    from charter.serve.scored import Scored
    from charter.serve.served import Served

SALT = "explore"
"""Before ``MODEL/UNIT`` in the hash; other than that of any rollout or experiment, so that their arms mix evenly."""
TURNED = "decided the other way by exploration"
"""Warning of an answer whose decision was turned around."""

Observe = Callable[["Sequence[Ticket]", "Scored"], "Awaitable[None] | None"]


def exploring(served: Served, observe: Observe, secret: Callable[[], bytes | None]) -> Observe:
    """Let a model explore before its batches are observed; where it does not explore, ``observe`` itself.

    Parameters
    ----------
    secret
        Tells the secret of the log that observes; None where nothing is logged, and then nothing is explored.

    Notes
    -----
    Only what is observed is explored: a decision by chance that nobody notes would cost and teach nothing.
    """
    rules, bundle = served.scorer.rules, served.scorer.bundle
    policy, threshold = rules.explore, rules.threshold
    if policy is None or threshold is None or served.log.mode == "none":
        return observe
    key = secret()
    if key is None:
        return observe

    def explored(tickets: Sequence[Ticket], scored: Scored) -> Awaitable[None] | None:
        turn_around(
            scored, _units(tickets, scored, policy.unit), policy,
            model=served.name, threshold=threshold, classes=bundle.classes, secret=key,
        )  # fmt: skip
        return observe(tickets, scored)

    return explored


def turn_around(
    scored: Scored,
    units: Sequence[str],
    policy: Exploration,
    *,
    model: str,
    threshold: float,
    classes: Sequence[str],
    secret: bytes,
) -> None:
    """Turn decisions of a batch around, in place, and note with which probability each one was made.

    Parameters
    ----------
    scored
        n rows, as the threshold has decided them.
    units
        Whom each row is about [n].

    Notes
    -----
    A row may be turned when its score lies within ``policy.within`` of the threshold, its decision is one that
    ``policy.turn`` names, and the model gave it, not the fallback. It is turned when the bucket of ``MODEL/UNIT``
    (`charter.registry.allocation.buckets`, with the secret) is below ``share * 1,000,000``. The propensity is then
    ``share``; ``1 - share`` when the row might have been turned and was not; 1 when it could not be; NaN where nothing
    was decided.
    """
    score, rows = scored.score, len(scored)
    decision = np.array(scored.decision, dtype=object)
    decided = np.isin(decision, (POSITIVE, NEGATIVE))
    with np.errstate(invalid="ignore"):
        near = np.isfinite(score) & (np.abs(score - threshold) <= policy.within)
    may = decided & near & ~np.array(scored.fallback, dtype=bool)
    if policy.turn != "both":
        may &= decision == policy.turn
    scored.propensity = np.where(decided, 1.0, np.nan)
    places = np.flatnonzero(may)
    if not rows or not len(places):
        return
    names = pl.Series([f"{model}/{units[i]}" for i in places.tolist()], dtype=pl.String)
    turned = buckets(SALT, names, secret=secret) < round(policy.share * BUCKETS)
    scored.propensity[places] = np.where(turned, policy.share, 1 - policy.share)
    low, high = (classes[0], classes[1]) if len(classes) == 2 else ("0", "1")
    for i in places[turned].tolist():
        positive = decision[i] == NEGATIVE
        scored.decision[i] = POSITIVE if positive else NEGATIVE
        scored.prediction[i] = high if positive else low
        scored.warnings[i] = [*scored.warnings[i], TURNED]


def _units(tickets: Sequence[Ticket], scored: Scored, unit: str | None) -> list[str]:
    """Whom each row is about: the unit's value; the row of the request where there is none."""
    own = [f"{t.id}/{row}" for t in tickets for row in t.numbers]
    if unit is None or scored.inputs is None or unit not in scored.inputs.columns:
        return own
    named = scored.inputs[unit].cast(pl.String).to_list()
    return [name or other for name, other in zip(named, own, strict=True)]
