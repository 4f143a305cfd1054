"""What reviews tell: how often persons decide otherwise, where, whether they agree, and how long answers wait. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from statistics import median
from typing import Any

from charter.govern.review import Item, Verdict, final

ALL = "all"


@dataclass(frozen=True, slots=True)
class Overridden:
    """How many settled answers were decided otherwise.

    Attributes
    ----------
    of
        Which answers: ``all``, ``why random``, ``band high``, ``version v3``.
    share, low, high
        Overridden over reviewed with Wilson's interval; None where nothing was reviewed.
    """

    of: str
    reviewed: int
    overridden: int
    share: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Agreement:
    """How the first two reviewers of the same answer agree.

    Attributes
    ----------
    share, low, high
        Agreeing over looked at twice, with Wilson's interval.
    kappa
        Cohen's: agreement beyond chance, 1 at most; None where both always said the same one thing.
    """

    pairs: int
    share: float | None
    low: float | None
    high: float | None
    kappa: float | None


@dataclass(frozen=True, slots=True)
class ReviewReport:
    """What reviews tell.

    Attributes
    ----------
    waiting, overdue
        Answers in the queue, and those of them that are due.
    oldest_hours, median_hours
        Age of what waits; None where nothing does.
    hours_to_verdict
        Median from an answer to the verdict that settled it.
    on_time
        Share of settled answers that were settled within ``review.within``; None where nothing is said of that.
    """

    at: datetime
    confidence: float
    waiting: int
    overdue: int
    oldest_hours: float | None
    median_hours: float | None
    hours_to_verdict: float | None
    on_time: float | None
    overridden: tuple[Overridden, ...]
    agreement: Agreement

    def of(self, name: str) -> Overridden | None:
        """The line of some answers, such as ``all`` or ``why random``."""
        return next((o for o in self.overridden if o.of == name), None)

    def words(self) -> tuple[str, ...]:
        """What it means, for people."""
        said = []
        chance, whole = self.of("why random"), self.of(ALL)
        if chance is not None and chance.share is not None:
            said.append(
                f"Of all answers persons would decide {_percent(chance.share)} otherwise "
                f"[{_percent(chance.low)}, {_percent(chance.high)}], by {chance.reviewed:,} spot checks."
            )
        elif whole is not None and whole.reviewed:
            said.append(
                "Nothing was drawn at random (review.random), so these shares hold for what was looked at, not for "
                "all answers."
            )
        if self.agreement.pairs and self.agreement.kappa is not None and self.agreement.kappa < 0.4:
            said.append(
                f"Reviewers agree little beyond chance (kappa {self.agreement.kappa:.2f}, {self.agreement.pairs:,} "
                "pairs): settle what the decision should rest on before the model is blamed."
            )
        if self.overdue:
            said.append(f"{self.overdue:,} answers are overdue.")
        return tuple(said)

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self) | {"at": self.at.isoformat(), "words": list(self.words())}


def report(
    waiting: Sequence[Item],
    given: Mapping[str, Sequence[Verdict]],
    *,
    now: datetime,
    within: timedelta | None = None,
    confidence: float = 0.95,
) -> ReviewReport:
    """Say what reviews tell.

    Parameters
    ----------
    waiting
        Answers without a final decision.
    given
        Every verdict by key, whether its answer is still in the log or not.
    now
        Aware.

    Notes
    -----
    A share is of settled answers. Only spot checks (``why random``) are a fair sample of all answers; bands and
    decisions are chosen for being difficult. Agreement is that of the first two verdicts on the same answer: Wilson's
    interval (1927) of the share, and kappa after Cohen (1960), A coefficient of agreement for nominal scales.
    """
    done = {key: decided for key, said in given.items() if (decided := final(said)) is not None}
    groups: dict[str, list[bool]] = {ALL: []}
    for key, decided in done.items():
        first = given[key][0]
        own = [ALL, *(f"why {w}" for w in first.why), f"version {first.version}"]
        own += [f"band {first.band}"] if first.band is not None else []
        for name in own:
            groups.setdefault(name, []).append(decided != first.decision)
    ages = sorted((now - i.time.replace(tzinfo=UTC)) / timedelta(hours=1) for i in waiting)
    took = [(given[key][-1].at - given[key][0].asked_at) / timedelta(hours=1) for key in done]
    limit = within / timedelta(hours=1) if within is not None else None
    return ReviewReport(
        at=now,
        confidence=confidence,
        waiting=len(waiting),
        overdue=sum(age > limit for age in ages) if limit is not None else 0,
        oldest_hours=ages[-1] if ages else None,
        median_hours=median(ages) if ages else None,
        hours_to_verdict=median(took) if took else None,
        on_time=sum(t <= limit for t in took) / len(took) if took and limit is not None else None,
        overridden=tuple(_share(name, found, confidence) for name, found in sorted(groups.items())),
        agreement=_agreement([(s[0].to, s[1].to) for s in given.values() if len(s) > 1], confidence),
    )


def _share(name: str, found: Sequence[bool], confidence: float) -> Overridden:
    from charter.evaluate.proportion import wilson

    if not found:
        return Overridden(name, 0, 0, None, None, None)
    low, high = wilson(sum(found), len(found), confidence)
    return Overridden(name, len(found), sum(found), sum(found) / len(found), low, high)


def _agreement(pairs: Sequence[tuple[str, str]], confidence: float) -> Agreement:
    from charter.evaluate.proportion import wilson

    n = len(pairs)
    if not n:
        return Agreement(0, None, None, None, None)
    same = sum(a == b for a, b in pairs)
    low, high = wilson(same, n, confidence)
    return Agreement(n, same / n, low, high, kappa(pairs))


def kappa(pairs: Sequence[tuple[str, str]]) -> float | None:
    """Agreement of two reviewers beyond chance: ``(p_o - p_e) / (1 - p_e)`` (Cohen, 1960).

    Parameters
    ----------
    pairs
        What the first and the second said of each answer, n >= 1.

    Returns
    -------
    At most 1, 0 where they agree as by chance; None where chance alone makes them agree always.

    Examples
    --------
    >>> round(kappa([("a", "a")] * 20 + [("a", "b")] * 5 + [("b", "a")] * 10 + [("b", "b")] * 15), 6)
    0.4
    """
    n = len(pairs)
    first, second = Counter(a for a, _ in pairs), Counter(b for _, b in pairs)
    chance = sum(first[word] * second[word] for word in first) / n**2
    observed = sum(a == b for a, b in pairs) / n
    return None if chance == 1 else (observed - chance) / (1 - chance)


def _percent(share: float | None) -> str:
    return "?" if share is None else f"{share:.1%}"
