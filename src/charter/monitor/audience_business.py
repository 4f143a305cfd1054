"""What the business reads: benefit against its case, key figures, what persons overrode. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from charter.monitor.audience_types import (
    Chart,
    Table,
    Tile,
    decimal,
    incidents_table,
    interval,
    percent,
    verdict_of,
)
from charter.monitor.facts import Facts, estimate_of, money
from charter.monitor.trend import Series


def tiles(facts: Facts) -> Iterable[Tile]:
    """The numbers at the top."""
    valued = [w for w in facts.windows if w["worth"] is not None]
    if valued:
        worth = valued[-1]["worth"]
        case = worth["case"]
        met = "" if case is None else "pass" if worth["benefit"] >= case else "warn"
        yield Tile("benefit over flagging nobody, last window", money(worth["benefit"], worth["currency"]),
                   f"case {money(case, worth['currency'])}" if case is not None else "", met)  # fmt: skip
        total, cases = sum(w["worth"]["benefit"] for w in valued), [w["worth"]["case"] for w in valued]
        all_cases = sum(cases) if None not in cases else None
        met = "" if all_cases is None else "pass" if total >= all_cases else "warn"
        yield Tile("benefit over flagging nobody, in all", money(total, worth["currency"]),
                   f"case {money(all_cases, worth['currency'])}" if all_cases is not None else "", met)  # fmt: skip
        if worth["return_on_cost"] is not None:
            yield Tile("benefit per unit of cost", f"{worth['return_on_cost']:.1f}")
        if worth["rule"] is not None:
            yield Tile("known value, model and today's rule", money(worth["known"], worth["currency"]),
                       f"rule {money(worth['rule'], worth['currency'])}",
                       "pass" if worth["known"] >= worth["rule"] else "warn")  # fmt: skip
        yield Tile("decisions in the last window", f"{worth['decisions']:,}")
    if (
        facts.review is not None
        and (whole := facts.review.of("why random")) is not None
        and whole.share is not None
    ):
        yield Tile(
            "persons would decide otherwise", percent(whole.share), f"[{whole.low:.1%}, {whole.high:.1%}]"
        )


def charts(facts: Facts) -> Iterable[Chart]:
    """Their course over windows."""
    valued = [w for w in facts.windows if w["worth"] is not None]
    if not valued:
        return
    names, currency = tuple(w["start"][:10] for w in valued), valued[-1]["worth"]["currency"]
    benefit, case = [w["worth"]["benefit"] for w in valued], [w["worth"]["case"] for w in valued]
    series = [Series("benefit", benefit)] + ([Series("business case", case)] if None not in case else [])
    yield Chart(f"Benefit, {currency}", "in each window", names, tuple(series), zero=True)
    series = [Series("benefit", _running(benefit))]
    series += [Series("business case", _running(case))] if None not in case else []
    yield Chart(f"Benefit in all, {currency}", "from the first window", names, tuple(series), zero=True)


def tables(facts: Facts) -> Iterable[Table]:
    """The figures behind."""
    if facts.spec.kpis:
        rows = tuple(_kpi(facts, name) for name in facts.spec.kpis)
        yield Table("Key figures", ("", "figure", "target", "now", "what it rests on"), rows)
    valued = [w for w in facts.windows if w["worth"] is not None]
    if valued:
        yield Table(
            f"Money, {valued[-1]['worth']['currency']}: benefit is known + expected - costs - left alone",
            ("window", "decisions", "known", "expected", "costs", "left alone", "benefit", "business case"),
            tuple(
                (w["start"][:10], f"{w['worth']['decisions']:,}",
                 *(decimal(w["worth"][n], 0) for n in ("known", "expected", "costs", "alone", "benefit", "case")))
                for w in reversed(valued)
            ),
            right=(1, 2, 3, 4, 5, 6, 7),
        )  # fmt: skip
    if facts.review is not None:
        yield Table(
            "Decisions that persons looked at",
            ("which", "reviewed", "overridden", "share"),
            tuple(
                (o.of, f"{o.reviewed:,}", f"{o.overridden:,}", f"{o.share:.1%} [{o.low:.1%}, {o.high:.1%}]")
                for o in facts.review.overridden if o.share is not None
            ),
            right=(1, 2),
            empty="none yet",
        )  # fmt: skip
    yield incidents_table(facts)


def _kpi(facts: Facts, name: str) -> tuple[str, ...]:
    kpi = facts.spec.kpis[name]
    label, target = kpi.description or name.replace("_", " "), kpi.require
    if kpi.metric is None:
        known = facts.newest["kpis"].get(name) if facts.newest is not None else None
        if known is None:
            return "unknown", label, target, "not known yet", "comes from outside: `charter kpi import`"
        per = f" a {kpi.per}" if kpi.per else ""
        now = f"{known['value']:,.6g}{per}"
        return verdict_of(target, known["value"]), label, target, now, f"imported, of {known['date']}"
    for window in reversed(facts.windows):
        found = estimate_of(window, "realised", kpi.metric)
        if found is not None:
            share = window["quality"]["maturity"]
            rests = f"{found['n']:,} outcomes, {share:.0%} known, window of {window['start'][:10]}"
            return verdict_of(target, found["value"]), label, target, interval(found), rests
        if kpi.metric in window["measures"]:
            value = window["measures"][kpi.metric]
            rests = f"window of {window['start'][:10]}"
            return verdict_of(target, value), label, target, decimal(value, 3), rests
    return "unknown", label, target, "not known yet", "no outcome"


def _running(values: Sequence[float]) -> list[float]:
    total, found = 0.0, []
    for value in values:
        total += value
        found.append(total)
    return found
