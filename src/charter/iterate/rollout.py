"""The way of a candidate to full traffic, judged: go on, hold, or go back. Pure.

A rollout is a list of legs (shadow, the steps of the canary, the experiment) after which the candidate serves. Where it
stands is told by the number of its leg and by when that began; nothing else is remembered. Every leg ends: by going on,
by going back, or, when its time is over without a verdict, by going back as well.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from enum import StrEnum
from typing import Literal

from charter.core.decision import Check, Decision, Verdict
from charter.core.quantity import parse_duration
from charter.iterate.guards import Signals, check, share_bounds
from charter.iterate.types import Outcome
from charter.iterate.words import percent
from charter.registry.allocation import BUCKETS, Allocation, Segment
from charter.registry.assignment import Assignment, Slot
from charter.registry.traffic import CANDIDATE, CHAMPION, Traffic
from charter.spec.guards import NOT_IN_SHADOW, SHADOW_ONLY, Guard
from charter.spec.types import (
    CanaryStage,
    ExperimentSpec,
    ExperimentStage,
    ReleaseSpec,
    RolloutSpec,
    ShadowStage,
    SlotSpec,
)

LegStage = Literal["shadow", "canary", "experiment"]
_LOST = 0.001
"""Chance to say of a candidate that it leaves requests unanswered when it does not."""


class Move(StrEnum):
    """What a judgement leads to."""

    HOLD = "hold"
    GO_ON = "go on"
    GO_BACK = "go back"


@dataclass(frozen=True, slots=True)
class Leg:
    """One part of the way.

    Attributes
    ----------
    share
        Of units that the candidate is meant to answer; 0 in shadow.
    at_least, at_most
        How long it lasts.
    min_rows
        Requests of the candidate that it takes.
    guards
        By name.
    """

    stage: LegStage
    share: float
    at_least: timedelta
    at_most: timedelta
    min_rows: int
    guards: Mapping[str, Guard] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """How people call it: ``canary 5%``."""
        return f"canary {self.share * 100:.4g}%" if self.stage == "canary" else self.stage


def legs(release: ReleaseSpec) -> tuple[Leg, ...]:
    """The way that a specification declares; none where it declares no rollout.

    Examples
    --------
    >>> declared = {"rollout": {"shadow": {}, "canary": {"steps": [0.05, 0.5]}, "guards": {"e": "error_share > 0.01"}}}
    >>> [leg.name for leg in legs(ReleaseSpec.model_validate(declared))]
    ['shadow', 'canary 5%', 'canary 50%']
    """
    rollout = release.rollout
    if rollout is None:
        return ()
    found: list[Leg] = []
    if rollout.shadow is not None:
        found.append(_leg("shadow", 0.0, rollout, rollout.shadow))
    if rollout.canary is not None:
        found += [_leg("canary", share, rollout, rollout.canary) for share in rollout.canary.steps]
    if rollout.experiment is not None and release.experiment is not None:
        share = release.experiment.arms[candidate_arm(release.experiment)]
        found.append(_leg("experiment", share, rollout, rollout.experiment))
    return tuple(found)


def _leg(
    stage: LegStage, share: float, rollout: RolloutSpec, declared: ShadowStage | CanaryStage | ExperimentStage
) -> Leg:
    parsed = {name: Guard.parse(text) for name, text in {**rollout.guards, **declared.guards}.items()}
    elsewhere = NOT_IN_SHADOW if stage == "shadow" else SHADOW_ONLY
    guards = {name: g for name, g in parsed.items() if g.measure not in elsewhere}
    least, most = parse_duration(declared.at_least), parse_duration(declared.at_most)
    return Leg(stage, share, least, most, declared.min_rows, guards)


def judge(
    leg: Leg,
    signals: Signals,
    *,
    elapsed: timedelta,
    confidence: float,
    by_unit: bool = True,
    experiment: Decision | None = None,
    attempt: int = 1,
) -> tuple[Move, Decision]:
    """Judge where a leg stands.

    A guard that is surely broken, and an experiment that is lost, lead back at once. The leg is left when its time and
    requests are full, every guard is surely kept, and the experiment, where it is one, is won. Anything else holds,
    until ``leg.at_most`` is over.

    Parameters
    ----------
    elapsed
        Since the leg began.
    confidence
        Of each guard, over all looks at this leg.
    by_unit
        Whether units keep their arm, so that the requests of one unit are no independent draws.
    experiment
        What `charter.iterate.analysis.analyse` decided; asked for in the stage ``experiment`` alone.
    attempt
        How often this version has been started, this time included. Whoever tries often enough passes by luck, so each
        attempt halves the chance of an error: all of them together err at most twice as often as one.

    Returns
    -------
    The move, and why: one check each for time, requests, and every guard.
    """
    alpha = (1 - confidence) * 0.5 ** (attempt - 1)
    guards = [check(g, signals, name=name, alpha=alpha) for name, g in leg.guards.items()] or [
        Check(
            "guards",
            "none",
            "one at least",
            Verdict.UNKNOWN,
            note="no guard is configured, so nothing goes on",
        )
    ]
    lost = [_answered(leg, signals, by_unit=by_unit)] if leg.stage == "canary" else []
    trial = list(_trial(experiment)) if leg.stage == "experiment" else []
    bad = any(c.verdict is Verdict.FAIL for c in (*guards, *lost, *trial))
    pace = [_time(leg, elapsed), _requests(leg, signals)]
    if attempt > 1:
        required = f"guards hold with confidence {1 - alpha:.4g}"
        pace.append(Check("attempt", f"{attempt} of this version", required, Verdict.PASS))
    found = Decision.of("rollout", [*guards, *lost, *trial, *pace])
    move = Move.GO_BACK if bad else Move.GO_ON if found.allows else Move.HOLD
    if move is Move.HOLD and elapsed >= leg.at_most:
        move = Move.GO_BACK
        over = Check("patience", _span(elapsed), f"a verdict within {_span(leg.at_most)}", Verdict.FAIL)
        found = Decision.of("rollout", [*found.checks, over])
    return move, replace(found, evidence={"leg": leg.name, "move": move.value})


def _time(leg: Leg, elapsed: timedelta) -> Check:
    enough = elapsed >= leg.at_least
    note = "" if enough else f"{_span(leg.at_least - elapsed)} to go"
    verdict = Verdict.PASS if enough else Verdict.UNKNOWN
    return Check("time", _span(elapsed), f"at least {_span(leg.at_least)}", verdict, note=note)


def _requests(leg: Leg, signals: Signals) -> Check:
    seen = signals.candidate.requests
    note = "" if seen >= leg.min_rows else f"{leg.min_rows - seen:,} more are needed"
    verdict = Verdict.UNKNOWN if note else Verdict.PASS
    return Check("requests", f"{seen:,}", f"at least {leg.min_rows:,}", verdict, note=note)


def _answered(leg: Leg, signals: Signals, *, by_unit: bool) -> Check:
    """Whether the candidate answers about as much as it is sent: what is left unanswered stands in no log."""
    new, old = signals.candidate.requests, signals.champion.requests
    meant = leg.share if signals.meant is None else signals.meant
    _, high = share_bounds(new, new + old, _LOST)
    seen = f"{new:,} of {new + old:,} requests"
    required = f"about {percent(meant)}, half of it at least"
    if high >= meant / 2:
        return Check("answered", seen, required, Verdict.PASS)
    if by_unit:
        note = "does it fail without an answer, or are there few units?"
        return Check("answered", seen, required, Verdict.UNKNOWN, note=note)
    return Check("answered", seen, required, Verdict.FAIL, note="it leaves requests unanswered")


def _trial(experiment: Decision | None) -> Iterator[Check]:
    if experiment is None:
        yield Check("experiment", "no results", "won", Verdict.UNKNOWN, note="nothing to read yet")
        return
    lost = experiment.evidence.get("outcome") == Outcome.STOP
    for one in experiment.checks:
        # What must not be read is no defeat: it holds, and somebody finds out why.
        yield one if lost or one.verdict is not Verdict.FAIL else replace(one, verdict=Verdict.UNKNOWN)


def traffic_of(
    leg: Leg, release: ReleaseSpec, *, champion: str, candidate: str, name: str, before: Traffic
) -> Traffic:
    """Who answers which request in a leg.

    A unit that was given the candidate keeps it as long as the candidate's share does not shrink.

    Parameters
    ----------
    name
        Of the rollout: the salt of its assignment.
    before
        In the leg before.
    """
    if leg.stage == "shadow":
        return Traffic("shadow", champion, candidate, name=name)
    experiment = release.experiment
    ramp = release.rollout
    unit = (ramp.unit if ramp is not None else None) or (experiment.unit if experiment is not None else None)
    old, new, shares = CHAMPION, CANDIDATE, {CHAMPION: 1 - leg.share, CANDIDATE: leg.share}
    tried = experiment if ramp is None or ramp.experiment is not None else None
    if leg.stage == "experiment" and experiment is not None:
        old, new, shares = experiment.control, candidate_arm(experiment), dict(experiment.arms)
    kept = _renamed(before.assignment, old, new) if before.assignment is not None else None
    assignment = Assignment(
        name,
        (kept.arms if kept is not None else Allocation(())).with_shares(shares),
        _strata(tried, leg, old, new, kept),
        frozenset(tried.exclude) if tried is not None else frozenset(),
        _slot(tried.holdout if tried is not None else None),
        _slot(tried.layer if tried is not None else None),
    )
    stratum = tried.stratum if tried is not None and assignment.strata else None
    return Traffic(
        leg.stage, champion, candidate, unit, assignment, {old: champion, new: candidate}, name, stratum
    )


def candidate_arm(experiment: ExperimentSpec) -> str:
    """Arm of the candidate in an experiment of two arms."""
    return next(arm for arm in experiment.arms if arm != experiment.control)


def _strata(
    tried: ExperimentSpec | None, leg: Leg, old: str, new: str, kept: Assignment | None
) -> dict[str, Allocation]:
    """Shares by stratum; in the canary no stratum sees more of the candidate than the experiment gives it."""
    found = {}
    for name, declared in (tried.strata if tried is not None else {}).items():
        assert tried is not None
        share = declared.get(candidate_arm(tried), 0.0)
        if leg.stage == "experiment":
            shares = {old: declared.get(tried.control, 0.0), new: share}
        else:
            shares = {old: 1 - min(leg.share, share), new: min(leg.share, share)}
        before = kept.strata.get(name) if kept is not None else None
        found[name] = (before if before is not None else Allocation(())).with_shares(shares)
    return found


def _renamed(before: Assignment, old: str, new: str) -> Assignment:
    """The same units under the names of the next leg's arms."""
    names = {CHAMPION: old, CANDIDATE: new}

    def under(allocation: Allocation) -> Allocation:
        return Allocation(
            tuple(Segment(names.get(s.arm, s.arm), s.start, s.stop) for s in allocation.segments)
        )

    return replace(before, arms=under(before.arms), strata={k: under(a) for k, a in before.strata.items()})


def _slot(declared: SlotSpec | None) -> Slot | None:
    if declared is None:
        return None
    return Slot(declared.salt, round(declared.start * BUCKETS), round(declared.stop * BUCKETS))


def _span(span: timedelta) -> str:
    """Write a span in its largest unit, to a tenth."""
    seconds = max(span.total_seconds(), 0.0)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{round(seconds / size, 1):g} {unit}"
    return f"{seconds:.3g} s"
