"""The exploration as one self-contained page of HTML. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from charter.data.column import ColumnProfile
from charter.data.eda.types import ColumnView, Exploration, Pair
from charter.data.page import bars, moment, number, render, share

_MOST_HEAT = 60
_MOST_PAIRS = 40
_MOST_TESTS = 400
_SIDE = 14
_MEASURES = (
    ("spearman", "Spearman: do two numbers rise together?"),
    ("pearson", "Pearson: are two numbers proportional?"),
    ("information", "Information: does one column tell anything about another?"),
    ("cramers_v", "Cramér's V: are two columns of categories related?"),
)


def page(found: Exploration, name: str) -> str:
    """Write the page; the same arguments give the same text, and everything is escaped."""
    return render("exploration.html.j2", "charter.data", _content(found, name))


def _content(found: Exploration, name: str) -> dict[str, Any]:
    columns = found.profile.columns
    cells = sum(c.count for c in columns.values())
    missing = sum(c.missing for c in columns.values())
    kinds: dict[str, int] = {}
    for c in columns.values():
        kinds[c.kind] = kinds.get(c.kind, 0) + 1
    facts = [
        ("columns by kind", ", ".join(f"{n} {kind}" for kind, n in sorted(kinds.items())) or "none"),
        ("missing cells", f"{missing:,} ({share(missing, cells)})"),
        ("repeated rows", f"{found.duplicate_rows:,} ({share(found.duplicate_rows, found.rows)})"),
    ]
    return {
        "name": name,
        "rows": f"{found.rows:,}",
        "width": f"{len(columns):,}",
        "looked_at": f"{found.looked_at:,}" if found.looked_at != found.rows else "",
        "facts": facts,
        "findings": found.findings,
        "columns": [_column(view, columns[view.name]) for view in found.columns],
        "left_out": list(found.left_out.items()),
        "target": _target(found),
        "time": _time(found),
        "heat": _heat(found),
        "pairs": [_pair(p) for p in sorted(found.pairs, key=lambda p: -p.strength)[:_MOST_PAIRS]],
        "tests": _tests(found),
    }


def _column(view: ColumnView, summary: ColumnProfile) -> dict[str, Any]:
    write = moment if view.kind == "moment" else number
    facts = [("missing", f"{summary.missing:,} ({share(summary.missing, summary.count)})")]
    if view.distinct is not None:
        facts.append(("distinct", f"{view.distinct:,}"))
    if view.kind == "categorical":
        facts += [(value, f"{n:,} ({share(n, summary.present)})") for value, n in view.top]
    elif summary.low is not None and summary.high is not None:
        if view.kind == "numeric":
            deviation = summary.standard_deviation
            facts.append(("mean ± sd", f"{number(summary.mean)} ± {number(deviation)}"))
        middle = [
            (f"{float(s):.0%}", write(v)) for s, v in view.quantiles.items() if s in ("0.05", "0.5", "0.95")
        ]
        facts += [("lowest", write(summary.low)), *middle, ("highest", write(summary.high))]
    if view.kind == "numeric":
        optional = (("zeros", view.zeros), ("infinite", summary.infinite), ("far out", view.outliers))
        facts += [(word, f"{n:,}") for word, n in optional if n]
        if view.skewness is not None:
            facts.append(("skewness", f"{view.skewness:.2f}"))
    chart = None
    if view.top:
        heights = [n for _, n in view.top]
        chart = {
            "path": bars(heights),
            "low": view.top[0][0][:24],
            "high": view.top[-1][0][:24] if len(heights) > 1 else "",
        }
    elif view.bars and view.span is not None:
        chart = {"path": bars(view.bars), "low": write(view.span[0]), "high": write(view.span[1])}
    note = "length in characters" if view.kind == "text" else ""
    return {
        "name": view.name,
        "kind": view.kind,
        "type": view.type,
        "note": note,
        "facts": facts,
        "chart": chart,
    }


def _target(found: Exploration) -> dict[str, Any] | None:
    if found.target is None:
        return None
    total = sum(n for _, n in found.target.classes)
    classes = [(name, f"{n:,}", share(n, total)) for name, n in found.target.classes]
    return {"name": found.target.name, "classes": classes}


def _time(found: Exploration) -> dict[str, Any] | None:
    view = found.time
    if view is None:
        return None
    drift = [
        (start, end, f"{rows:,}", ", ".join(f"{name} {value:.2f}" for name, value in moved) or "nothing")
        for start, end, rows, moved in view.drift
    ]
    path = bars([n for _, n in view.periods], width=900, height=135)
    return {
        "name": view.name,
        "first": view.first,
        "last": view.last,
        "unit": view.unit,
        "path": path,
        "drift": drift,
    }


def _heat(found: Exploration) -> list[dict[str, Any]]:
    charts = []
    for measure, title in _MEASURES:
        pairs = [p for p in found.pairs if getattr(p, measure) is not None]
        present = {name for p in pairs for name in (p.a, p.b)}
        names = [view.name for view in found.columns if view.name in present]
        if 2 <= len(names) <= _MOST_HEAT:
            charts.append(_chart(title, names, pairs, measure))
    return charts


def _chart(title: str, names: Sequence[str], pairs: Sequence[Pair], measure: str) -> dict[str, Any]:
    place = {name: i for i, name in enumerate(names)}
    cells = []
    for p in pairs:
        value = float(getattr(p, measure))
        for a, b in ((p.a, p.b), (p.b, p.a)):
            cells.append(
                {
                    "x": 120 + place[a] * _SIDE,
                    "y": place[b] * _SIDE,
                    "sign": "minus" if value < 0 else "plus",
                    "opacity": f"{abs(value):.2f}",
                    "words": f"{a}, {b}: {value:.2f}",
                }
            )
    side = len(names) * _SIDE
    return {
        "title": title,
        "names": names,
        "cells": cells,
        "side": _SIDE,
        "width": 120 + side,
        "height": side,
    }


def _pair(p: Pair) -> tuple[str, ...]:
    values = (p.pearson, p.spearman, p.cramers_v, p.information)
    return (p.a, p.b, *("" if v is None else f"{v:.2f}" for v in values))


def _tests(found: Exploration) -> list[dict[str, str]]:
    return [
        {
            "column": t.column,
            "test": t.test,
            "statistic": number(t.statistic) or "undefined",
            "q": "" if t.q_value is None else "< 0.0001" if t.q_value < 1e-4 else f"{t.q_value:.4f}",
            "effect": "" if t.effect is None else f"{t.effect_name} {t.effect:.3f}",
            "rows": f"{t.n:,}",
        }
        for t in found.tests[:_MOST_TESTS]
    ]
