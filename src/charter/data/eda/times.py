"""The rows over time: how many there are, where they are missing, and how their columns drift."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise

import polars as pl

from charter.data.discovery import benjamini_hochberg
from charter.data.distance import chi_square, pooled, psi
from charter.data.eda.types import Finding, Severity, TimeView
from charter.data.profile import Profile, profile

_UNITS = (("hour", "1h", 1 / 24), ("day", "1d", 1.0), ("week", "1w", 7.0), ("month", "1mo", 30.44))
_MOST_PERIODS = 72
WINDOWS = 6
_WINDOW_ROWS = 200
_MODERATE = 0.1
_SIGNIFICANT = 0.05
_CELLS = 4_000_000


def view_time(frame: pl.DataFrame, name: str) -> TimeView | None:
    """Count rows by period, find gaps, and compare later windows with the first; None without two moments.

    Other moments do not count as drift: they always move on.
    """
    at = frame[name].cast(pl.Datetime("us"))
    known = at.drop_nulls()
    first, last = known.min(), known.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime) or first == last:
        return None
    days = (last - first) / timedelta(days=1)
    unit, every, _ = next((u for u in _UNITS if days / u[2] <= _MOST_PERIODS), _UNITS[-1])
    counts = known.dt.truncate(every).alias("start").value_counts(name="rows").sort("start")
    ends = (counts["start"][0], counts["start"][-1])
    grid = pl.select(start=pl.datetime_range(*ends, every)).with_row_index("place")
    empty = grid.join(counts, on="start", how="anti").sort("place")
    gaps: list[tuple[str, int]] = []
    before = -2
    for place, start in empty.iter_rows():
        if place == before + 1:
            gaps[-1] = (gaps[-1][0], gaps[-1][1] + 1)
        else:
            gaps.append((_day(start, unit), 1))
        before = place
    periods = tuple((_day(s, unit), n) for s, n in counts.iter_rows())
    found = _drift(frame, at, name)
    return TimeView(name, _day(first, "hour"), _day(last, "hour"), unit, periods, tuple(gaps), found)


def _drift(
    frame: pl.DataFrame, at: pl.Series, name: str
) -> tuple[tuple[str, str, int, tuple[tuple[str, float], ...]], ...]:
    """Compare windows of equal numbers of rows with the first."""
    moments = [c for c, dtype in frame.schema.items() if dtype in (pl.Date, pl.Datetime)]
    rows = frame.drop(moments).with_columns(at.alias(name)).filter(pl.col(name).is_not_null()).sort(name)
    rows = rows.gather_every(max(1, rows.height * rows.width // _CELLS))
    windows = min(WINDOWS, rows.height // _WINDOW_ROWS)
    if windows < 2:
        return ()
    bounds = [rows.height * i // windows for i in range(windows + 1)]
    parts = [rows[a:b] for a, b in pairwise(bounds)]
    first = profile(parts[0].drop(name))
    told: list[tuple[str, str, int]] = []
    tests: list[tuple[int, str, float, float]] = []
    for part in parts[1:]:
        for column, value, p in _changes(first, profile(part.drop(name), first)):
            tests.append((len(told), column, value, p))
        told.append((_day(part[name].min(), "hour"), _day(part[name].max(), "hour"), part.height))
    q = benjamini_hochberg([t[3] for t in tests])
    moved: list[list[tuple[str, float]]] = [[] for _ in told]
    for (place, column, value, _), adjusted in zip(tests, q, strict=True):
        if value >= _MODERATE and adjusted <= _SIGNIFICANT:
            moved[place].append((column, value))
    return tuple(
        (*window, tuple(sorted(found, key=lambda pair: -pair[1])))
        for window, found in zip(told, moved, strict=True)
    )


def _changes(before: Profile, after: Profile) -> list[tuple[str, float, float]]:
    from scipy.special import chdtrc

    found = []
    for name, a in before.columns.items():
        b = after.columns[name]
        x = [*a.counts, *a.values.values(), a.other, a.missing]
        y = [*b.counts, *b.values.values(), b.other, b.missing]
        statistic, freedom = chi_square(*pooled(x, y))
        found.append((name, psi(x, y), float(chdtrc(freedom, statistic)) if freedom else 1.0))
    return found


def time_findings(view: TimeView) -> list[Finding]:
    """Put gaps and drift into words."""
    found = []
    if view.gaps:
        periods = sum(n for _, n in view.gaps)
        longest = max(view.gaps, key=lambda gap: gap[1])
        words = (
            f"{periods:,} {view.unit}s between {view.first[:10]} and {view.last[:10]} have no row; "
            f"the longest gap is {longest[1]:,} from {longest[0]}."
        )
        severity: Severity = "warning" if periods > 0.05 * len(view.periods) else "note"
        found.append(Finding(severity, "time", (view.name,), words))
    worst: dict[str, tuple[float, str]] = {}
    for start, _, _, moved in view.drift:
        for column, value in moved:
            if value > worst.get(column, (0.0, ""))[0]:
                worst[column] = (value, start)
    for column, (value, start) in sorted(worst.items(), key=lambda item: -item[1][0]):
        large = "much" if value >= 2 * _MODERATE else "moderately"
        words = f"{column} changes {large} over time: PSI {value:.2f} in the rows from {start[:10]} against the first."
        found.append(Finding("warning", "drift", (column,), words))
    return found


def _day(moment: object, unit: str) -> str:
    text = str(moment)[:16]
    return text if unit == "hour" else text[:10]
