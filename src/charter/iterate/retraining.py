"""Whether to train anew: every trigger and every restraint, with what was observed and what it takes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from charter.core.decision import Check, Decision, Verdict
from charter.core.quantity import parse_duration
from charter.iterate.retrain_runs import Run
from charter.spec.types import RetrainSpec, RunBudget

_WHERE = "retrain"
RESTRAINTS = ("cool-down", "something new", "nothing tried", "not stopped", "budget")
"""Names of the checks that hold a trigger back, as `should_retrain` gives them."""
PERIOD = {
    "day": timedelta(days=1),
    "week": timedelta(days=7),
    "month": timedelta(days=30),
    "quarter": timedelta(days=91),
    "year": timedelta(days=365),
}
"""What a budget counts over, backwards from now."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A rule of the alert language, judged over the champion's windows.

    Attributes
    ----------
    holds
        None where no window says anything.
    observed
        The measures that decided, or why there are none.
    where
        Path of the rule in the specification, dotted.
    """

    name: str
    rule: str
    holds: bool | None
    observed: str
    where: str


@dataclass(frozen=True, slots=True)
class Signals:
    """What is known when the question is asked.

    Attributes
    ----------
    made_at
        When the champion was trained.
    new_rows
        Rows of the sources now, less those that the champion's snapshot was read from; None where not counted.
    again
        The version that training would give once more, because neither the rows nor what the specification says of
        them have changed since it was made; None where it would give a new one.
    tried
        Version that a rollout or an experiment tries beside the champion; None where none does.
    stopped
        Whether a person has stopped the model.
    runs
        In order.
    """

    now: datetime
    champion: str
    made_at: datetime
    conditions: tuple[Condition, ...] = ()
    new_rows: int | None = None
    again: str | None = None
    tried: str | None = None
    stopped: bool = False
    runs: tuple[Run, ...] = ()


def should_retrain(signals: Signals, policy: RetrainSpec, *, asked: bool = False) -> Decision:
    """Judge every trigger and every restraint.

    Parameters
    ----------
    asked
        A person asks: that is a trigger, and nothing but the budget holds it back.

    Returns
    -------
    Decision
        ``pass``: train. ``fail``: no trigger holds, or a restraint does. ``unknown``: no trigger holds, but not every
        one could be judged. A trigger that holds and a restraint that does not are ``pass`` among its checks. Under
        ``triggers`` in the evidence stand the names of those that hold.

    Examples
    --------
    >>> from datetime import UTC
    >>> policy = RetrainSpec(max_age="90d")
    >>> made = datetime(2026, 1, 1, tzinfo=UTC)
    >>> said = should_retrain(Signals(made + timedelta(days=100), "v1", made), policy)
    >>> said.verdict.value, said.checks[0].observed, said.checks[0].required
    ('pass', '100 days', 'more than 90 days')
    """
    triggers = list(_triggers(signals, policy))
    if asked:
        triggers.append(Check("asked", "by a person", "a person's word", Verdict.PASS))
    held = list(_restraints(signals, policy, asked=asked))
    on = [t.name for t in triggers if t.verdict is Verdict.PASS]
    if on:
        verdict = Verdict.PASS if all(h.verdict.allows for h in held) else Verdict.FAIL
    else:
        unknown = not triggers or any(t.verdict is Verdict.UNKNOWN for t in triggers)
        verdict = Verdict.UNKNOWN if unknown else Verdict.FAIL
    evidence = {"champion": signals.champion, "triggers": ", ".join(on)}
    return Decision("retrain", verdict, (*triggers, *held), evidence)


def held_back(decision: Decision) -> tuple[Check, ...]:
    """Restraints that keep a trigger from being followed; none where no trigger holds."""
    return tuple(c for c in decision.reasons if c.name in RESTRAINTS) if decision.evidence["triggers"] else ()


def _triggers(signals: Signals, policy: RetrainSpec) -> Iterator[Check]:
    last = next((r.ended_at for r in reversed(signals.runs) if r.ended_at is not None), None)
    if policy.every is not None:
        what = "since the last run" if last is not None else f"since {signals.champion} was made"
        yield _older("schedule", signals.now - (last or signals.made_at), policy.every, "every", what)
    for condition in signals.conditions:
        verdict = {True: Verdict.PASS, False: Verdict.FAIL, None: Verdict.UNKNOWN}[condition.holds]
        yield Check(condition.name, condition.observed, condition.rule, verdict, where=condition.where)
    if policy.max_age is not None:
        yield _older("age", signals.now - signals.made_at, policy.max_age, "max_age", "")
    if policy.new_rows is not None:
        required = f"{policy.new_rows:,} or more"
        if signals.new_rows is None:
            yield _check("new rows", "not counted", required, Verdict.UNKNOWN, "new_rows")
        else:
            enough = signals.new_rows >= policy.new_rows
            yield _check("new rows", f"{signals.new_rows:,}", required, _holds(enough), "new_rows")


def _restraints(signals: Signals, policy: RetrainSpec, *, asked: bool) -> Iterator[Check]:
    if not asked:
        yield from _cooldown(signals, parse_duration(policy.cooldown))
        seen = f"training would give {signals.again} again" if signals.again is not None else "yes"
        note = "neither rows nor specification have changed since" if signals.again is not None else ""
        yield _check("something new", seen, "rows or specification", _holds(signals.again is None), note=note)
        if signals.tried is not None:
            note = "decide about it first: `charter rollout status`"
            yield _check("nothing tried", f"{signals.tried} beside {signals.champion}", "no other version",
                         Verdict.FAIL, note=note)  # fmt: skip
        if signals.stopped:
            yield _check("not stopped", "stopped by a person", "a model that answers", Verdict.FAIL,
                         note="`charter rollout resume` ends that")  # fmt: skip
    if policy.budget is not None:
        yield _budget(signals.runs, policy.budget, signals.now)


def _cooldown(signals: Signals, least: timedelta) -> Iterator[Check]:
    last = next((r for r in reversed(signals.runs) if r.ended_at is not None), None)
    if last is None or last.ended_at is None:
        return
    since = signals.now - last.ended_at
    yield _check("cool-down", f"{_days(since)} since the last run", f"{_days(least)} or more",
                 _holds(since >= least), "cooldown")  # fmt: skip


def _budget(runs: Sequence[Run], budget: RunBudget, now: datetime) -> Check:
    begun = sum(now - PERIOD[budget.per] < r.started_at <= now for r in runs)
    days = PERIOD[budget.per].days
    span = "day" if days == 1 else f"{days} days"
    note = "" if begun < budget.runs else "wait, or raise the budget in the specification"
    seen, required = f"{begun} in the last {span}", f"fewer than {budget.runs}"
    return _check("budget", seen, required, _holds(begun < budget.runs), "budget", note)


def _older(name: str, age: timedelta, limit: str, field: str, what: str) -> Check:
    most = parse_duration(limit)
    return _check(name, f"{_days(age)} {what}".strip(), f"more than {_days(most)}", _holds(age > most), field)


def _check(name: str, seen: str, required: str, verdict: Verdict, field: str = "", note: str = "") -> Check:
    return Check(name, seen, required, verdict, where=f"{_WHERE}.{field}" if field else "", note=note)


def _holds(truth: bool) -> Verdict:
    return Verdict.PASS if truth else Verdict.FAIL


def _days(span: timedelta) -> str:
    """Days where they are whole or many, else hours and minutes.

    Examples
    --------
    >>> _days(timedelta(days=1)), _days(timedelta(hours=30)), _days(timedelta(minutes=5)), _days(timedelta(days=3.5))
    ('1 day', '30 hours', '5 minutes', '3 days')
    """
    seconds = max(span.total_seconds(), 0.0)
    if seconds >= 2 * 86_400 or (seconds >= 86_400 and seconds % 86_400 == 0):
        count, unit = int(seconds // 86_400), "day"
    elif seconds >= 2 * 3600:
        count, unit = int(seconds // 3600), "hour"
    else:
        count, unit = int(seconds // 60), "minute"
    return f"{count:,} {unit}" + ("" if count == 1 else "s")
