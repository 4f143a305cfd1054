"""What data scientists read: quality estimated and realised, drift, further checks. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from charter.core.quantity import Requirement
from charter.monitor.audience_followed import followed_tables
from charter.monitor.audience_types import (
    Chart,
    Table,
    Tile,
    decimal,
    interval,
    percent,
    verdict_of,
)
from charter.monitor.facts import Facts, estimate_of, lasting
from charter.monitor.trend import Series


def tiles(facts: Facts) -> Iterable[Tile]:
    """The numbers at the top."""
    last = facts.newest
    if last is None:
        return
    required = facts.spec.evaluate.require.get(facts.primary)
    newest = {"realised": facts.known[-1] if facts.known else last, "estimated": last}
    for kind, window in newest.items():
        found = estimate_of(window, kind, facts.primary)
        if found is not None:
            value, _, around = interval(found).partition(" ")
            beside = ", ".join(word for word in (around, required) if word)
            yield Tile(f"{facts.primary}, {kind}", value, beside, verdict_of(required, found["value"]))
    yield Tile(
        "outcomes known", percent(last["quality"]["maturity"]), f"mature from {facts.spec.monitor.mature:.0%}"
    )
    moved = len(lasting(last["drift"]))
    yield Tile("columns that drifted", f"{moved:,}", "", "warn" if moved else "pass")
    surprises = sum(bool(w["quality"]["surprise"]) for w in facts.windows)
    yield Tile("windows against the promise", f"{surprises:,} of {len(facts.windows):,}", "",
               "warn" if surprises else "pass")  # fmt: skip


def charts(facts: Facts) -> Iterable[Chart]:
    """Their course over windows."""
    names = tuple(w["start"][:10] for w in facts.windows)
    shown = [facts.primary, *(m for m in facts.spec.evaluate.require if m != facts.primary)]
    for metric in shown[:3]:
        series = tuple(
            _series(facts, kind, metric)
            for kind in ("realised", "estimated")
            if any(estimate_of(w, kind, metric) is not None for w in facts.windows)
        )
        if series:
            text = facts.spec.evaluate.require.get(metric)
            limit = Requirement.parse(text).limit if text is not None else None
            yield Chart(metric, "with intervals, by window of prediction", names, series, limit)
    drift = [float(len(lasting(w["drift"]))) for w in facts.windows]
    yield Chart("Columns that drifted", "against training", names, (Series("columns", drift),), zero=True)


def _series(facts: Facts, kind: str, metric: str) -> Series:
    found = [estimate_of(w, kind, metric) for w in facts.windows]
    return Series(
        kind,
        [f["value"] if f is not None else None for f in found],
        [f["low"] if f is not None else None for f in found],
        [f["high"] if f is not None else None for f in found],
    )


def tables(facts: Facts) -> Iterable[Table]:
    """The figures behind."""
    primary = facts.primary
    yield Table(
        "Quality",
        ("window", "answers", "mature", f"{primary} estimated", f"{primary} realised", "against the promise"),
        tuple(
            (w["start"][:10], f"{w['quality']['rows']:,}", percent(w["quality"]["maturity"]),
             interval(estimate_of(w, "estimated", primary)), interval(estimate_of(w, "realised", primary)),
             ", ".join(w["quality"]["surprise"]))
            for w in reversed(facts.windows)
        ),
        right=(1, 2),
    )  # fmt: skip
    last = facts.newest
    if last is None:
        return
    changed = sorted(
        (f for f in last["drift"] if f["level"]), key=lambda f: -(f["effects"].get("psi") or 0.0)
    )
    yield Table(
        "Drift of the last window against training",
        ("column", "aspect", "PSI", "KS", "q-value", "rows", "windows", "verdict"),
        tuple(
            (f["column"], f["aspect"], decimal(f["effects"].get("psi"), 3), decimal(f["effects"].get("ks"), 3),
             _chance(f["q_value"]), f"{f['rows']['current']:,}", f"{f['windows']:,}", f["verdict"])
            for f in changed
        ),
        right=(2, 3, 4, 5, 6),
        empty="no change that is large enough and not by chance",
    )  # fmt: skip
    yield from followed_tables(facts)
    yield from _feedback(facts)
    if last.get("checks"):
        rows = tuple(
            (c["verdict"], c["name"], c["observed"], c["required"], c["note"]) for c in last["checks"]
        )
        yield Table("Further checks", ("", "check", "observed", "required", ""), rows)
    if last.get("not_measured"):
        yield Table("Not measured", ("what", "why"), tuple(last["not_measured"].items()))


def _chance(q_value: float | None) -> str:
    return "-" if q_value is None else "< 0.0001" if q_value < 0.0001 else f"{q_value:.4f}"


def _feedback(facts: Facts) -> Iterable[Table]:
    """How far decisions made the data that they are judged by, in windows whose outcomes are due."""
    told = [w for w in reversed(facts.windows) if (w.get("feedback") or {}).get("shaping") is not None]
    if told:
        yield Table(
            "Decisions that hide their own outcome",
            ("window", "decisions due", "hidden", "explored", "outcomes known after"),
            tuple(
                (w["start"][:10], f"{w['feedback']['due']:,}", percent(w["feedback"]["shaping"]),
                 percent(w["feedback"]["explored"]),
                 ", ".join(f"{name} {share:.0%}" for name, share in w["feedback"]["known_after"].items()))
                for w in told
            ),
            right=(1, 2, 3),
        )  # fmt: skip
