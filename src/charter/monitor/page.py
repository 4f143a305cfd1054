"""A report for one audience as one self-contained page of HTML. Pure."""

from __future__ import annotations

from typing import Any

from charter.data.page import number, render
from charter.monitor.audience_types import Chart, Page
from charter.monitor.trend import HEIGHT, trend


def html(page: Page) -> str:
    """Write the page; the same report gives the same text, and everything is escaped."""
    content = page.to_json() | {"charts": [c for c in map(_chart, page.charts) if c is not None]}
    return render("audience.html.j2", "charter.monitor", content)


def _chart(chart: Chart) -> dict[str, Any] | None:
    drawn = trend(chart.series, limit=chart.limit, zero=chart.zero)
    if drawn is None:
        return None
    return {
        "name": chart.name,
        "caption": chart.caption,
        "words": _words(chart),
        "lines": [
            {"name": name, "path": path, "band": band, "alone": alone}
            for name, path, band, alone in drawn.lines
        ],
        "limit": drawn.limit,
        "limit_words": f"required {number(chart.limit)}" if chart.limit is not None else "",
        "height": HEIGHT,
        "top": number(drawn.top),
        "bottom": number(drawn.bottom),
        "first": chart.windows[0],
        "last": chart.windows[-1] if len(chart.windows) > 1 else "",
    }


def _words(chart: Chart) -> str:
    """What a reader who does not see the picture is told."""
    said = []
    for one in chart.series:
        known = [v for v in one.values if v is not None]
        if known:
            said.append(f"{one.name} from {number(known[0])} to {number(known[-1])}")
    return f"{chart.name}, {chart.windows[0]} to {chart.windows[-1]}: {', '.join(said)}"
