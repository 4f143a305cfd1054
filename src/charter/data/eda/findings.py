"""What a reader should know of single columns and of pairs, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import polars as pl

from charter.core.text import some
from charter.data.column import ColumnProfile
from charter.data.eda.types import ColumnView, Finding, Pair, Severity, TestResult
from charter.data.profile import Profile

_MUCH_MISSING = 0.2
_NEARLY_CONSTANT = 0.999
_SKEWED = 2.0
_FAR_OUT_SHARE = 0.001
_MANY_CATEGORIES = 200
_STRONG = 0.9
_INFORMATIVE = 0.5
_BEYOND_MONOTONE = 0.3
_NAMED = 5
_LISTED = 12
_PARSED = 1000
_KEY_ROWS = 500


def of_column(series: pl.Series, view: ColumnView, summary: ColumnProfile, rows: int) -> list[Finding]:
    """Judge one column.

    Parameters
    ----------
    series, view
        The rows that were looked at, and what they tell.
    summary
        Of all ``rows`` rows.
    """
    name, found = view.name, []
    looked_at = series.len() - series.null_count()

    def say(severity: Severity, topic: str, words: str) -> None:
        found.append(Finding(severity, topic, (name,), words))

    if not rows:
        return found
    if not summary.present:
        say("problem", "missing", f"{name} has no value in any row.")
        return found
    share = summary.missing / rows
    if summary.infinite:
        say("warning", "infinite", f"{name} is infinite in {summary.infinite:,} rows; they count as missing.")
    if share >= _MUCH_MISSING:
        say("warning", "missing", f"{name} is missing in {summary.missing:,} rows ({share:.1%}).")
    elif summary.missing:
        say("note", "missing", f"{name} is missing in {summary.missing:,} rows ({share:.2%}).")
    if view.distinct == 1 and summary.low == summary.high:  # which words do not have
        say("warning", "constant", f"{name} has the same value in all rows that have one.")
        return found
    counted = summary.present if summary.distinct is not None else looked_at
    countable = view.kind != "moment" and not series.dtype.is_float()
    if view.distinct == counted and summary.present == rows and countable:
        where = "every row" if counted == rows else f"each of {counted:,} rows that were looked at"
        say("note", "key", f"{name} is different in {where}: it may be a key, and is no feature.")
    elif view.top and view.top[0][1] >= _NEARLY_CONSTANT * summary.present:
        shown = f"{view.top[0][0]} in {view.top[0][1] / summary.present:.2%} of the rows"
        say("warning", "constant", f"{name} is nearly constant: {shown}.")
    if view.kind == "categorical" and (view.distinct or 0) > _MANY_CATEGORIES:
        say("note", "type", f"{name} has about {view.distinct:,} categories; encode it by target or hashing.")
    if view.skewness is not None and abs(view.skewness) > _SKEWED and (view.distinct or 0) > 2:
        side = "right" if view.skewness > 0 else "left"
        say("note", "skew", f"{name} has a long tail to the {side} (skewness {view.skewness:.1f}).")
    if view.outliers > _FAR_OUT_SHARE * looked_at and (view.distinct or 0) > 2:
        part = view.outliers / max(looked_at, 1)
        count = f"{view.outliers:,}" if rows == series.len() else f"{view.outliers:,} of {looked_at:,}"
        where = "lie beyond three interquartile ranges of the quartiles"
        say("note", "outliers", f"{count} values of {name} ({part:.1%}) {where}.")
    if series.dtype == pl.String and view.kind != "moment":
        found += [Finding(severity, "type", (name,), words) for severity, words in _of_text(series, name)]
    return found


def _of_text(series: pl.Series, name: str) -> Iterator[tuple[Severity, str]]:
    texts = series.drop_nulls().head(_PARSED)
    if (
        texts.len()
        and texts.str.strip_chars().cast(pl.Float64, strict=False).null_count() <= 0.05 * texts.len()
    ):
        yield "warning", f"{name} holds numbers as text; declare it as a number, or state that it is a code."
    elif texts.len() and texts.str.contains(r"^\d{4}-\d{2}-\d{2}").mean() == 1.0:
        yield "note", f"{name} holds dates as text."
    trimmed = int((texts != texts.str.strip_chars()).sum())
    if trimmed:
        yield "note", f"{name} has values with blanks around them, which makes them different categories."


def of_table(profile: Profile, duplicates: int, views: Sequence[ColumnView]) -> list[Finding]:
    """Judge the table as a whole."""
    found = []
    if not profile.rows:
        return [Finding("problem", "missing", (), "The table has no rows.")]
    if duplicates:
        share = duplicates / profile.rows
        words = f"{duplicates:,} rows ({share:.2%}) repeat an earlier row in every column."
        found.append(Finding("warning", "duplicates", (), words))
    for view in views:
        summary = profile.columns[view.name]
        whole_numbers = view.kind == "numeric" and view.type.startswith(("Int", "UInt"))
        repeated = summary.present - (view.distinct or 0)
        if whole_numbers and summary.present >= _KEY_ROWS and 0 < repeated <= max(0.001 * summary.present, 1):
            words = f"{view.name} looks like a key, but {repeated:,} rows repeat a value of it."
            found.append(Finding("warning", "key", (view.name,), words))
    found += _missing_together(profile)
    return found


def _missing_together(profile: Profile) -> list[Finding]:
    """Columns that are missing in equally many rows, which mostly are the same rows."""
    groups: dict[int, list[str]] = {}
    for name, c in profile.columns.items():
        if 0 < c.missing < c.count:
            groups.setdefault(c.missing, []).append(name)
    words = "are missing in equally many rows ({:,}), probably the same"
    return [
        Finding("note", "missing", tuple(names), f"{some(names, _NAMED)} {words.format(n)}.")
        for n, names in sorted(groups.items(), reverse=True)
        if len(names) > 1 and n > _NAMED
    ]


def of_pairs(pairs: Sequence[Pair], target: str | None) -> list[Finding]:
    """Judge pairs: those that say the same, and those that depend on each other in no simple way; the strongest."""
    alike: list[Finding] = []
    odd: list[Finding] = []
    for pair in sorted(pairs, key=lambda p: -p.strength):
        severity: Severity = "warning" if target in (pair.a, pair.b) else "note"
        both, words = (pair.a, pair.b), _alike(pair)
        if words:
            alike.append(Finding(severity, "correlation", both, words))
        elif pair.spearman is not None and pair.information is not None:
            beyond = pair.information - abs(pair.spearman)
            if pair.information >= _INFORMATIVE and beyond >= _BEYOND_MONOTONE:
                words = (
                    f"{pair.a} and {pair.b} depend on each other, but not in one direction "
                    f"(information {pair.information:.2f}, Spearman {pair.spearman:+.2f})."
                )
                odd.append(Finding(severity, "correlation", both, words))
    return [
        *_first(alike, "say nearly the same"),
        *_first(odd, "depend on each other in more than one direction"),
    ]


def _alike(pair: Pair) -> str:
    if pair.spearman is not None and abs(pair.spearman) >= _STRONG:
        return f"{pair.a} and {pair.b} rise and fall together (Spearman {pair.spearman:+.2f})."
    if pair.pearson is not None and abs(pair.pearson) >= _STRONG:
        return f"{pair.a} and {pair.b} are correlated (Pearson {pair.pearson:+.2f})."
    if pair.cramers_v is not None and pair.cramers_v >= _STRONG:
        return f"{pair.a} and {pair.b} are nearly the same categories (Cramer's V {pair.cramers_v:.2f})."
    return ""


def _first(found: Sequence[Finding], words: str) -> list[Finding]:
    if len(found) <= _NAMED + 1:
        return list(found)
    further = Finding("note", "correlation", (), f"{len(found) - _NAMED} further pairs {words}.")
    return [*found[:_NAMED], further]


def of_tests(tests: Sequence[TestResult], target: str | None) -> list[Finding]:
    """Name the columns that differ most with the target."""
    order = [
        t
        for t in tests
        if t.test != "shapiro-wilk" and t.q_value is not None and t.q_value <= 0.05 and t.effect
    ]
    order = sorted(order, key=lambda t: -abs(_comparable(t)))
    seen: dict[str, TestResult] = {}
    for t in order:
        seen.setdefault(t.column, t)
    if not seen or target is None:
        return []
    shown = ", ".join(f"{t.column} ({t.effect_name} {t.effect:+.2f})" for t in list(seen.values())[:_NAMED])
    tested = len({t.column for t in tests if t.test != "shapiro-wilk"})
    words = f"{len(seen)} of {tested} columns differ with {target} beyond chance; most of all {shown}."
    return [Finding("note", "correlation", tuple(seen), words)]


def _comparable(test: TestResult) -> float:
    """An effect on a scale like that of a correlation."""
    effect = test.effect or 0.0
    match test.effect_name:
        case "d":
            return effect / math.sqrt(effect**2 + 4)
        case "eta2":
            return math.sqrt(max(effect, 0.0))
        case _:
            return effect


_TOGETHER = {
    "skew": "have a long tail (skewness beyond 2)",
    "outliers": "have values beyond three interquartile ranges of the quartiles",
    "missing": "lack some values",
    "infinite": "have infinite values, which count as missing",
    "constant": "are constant, or nearly so",
    "type": "have many categories, or hold numbers or dates as text",
}


def grouped(found: Sequence[Finding]) -> list[Finding]:
    """Say once what holds for many columns; the worst come first."""
    kinds: dict[tuple[str, str], list[Finding]] = {}
    for one in found:
        kinds.setdefault((one.severity, one.topic), []).append(one)
    told: list[Finding] = []
    for (_, topic), ones in kinds.items():
        single = [f for f in ones if len(f.columns) == 1]
        if topic not in _TOGETHER or len(single) <= _NAMED:
            told += ones
            continue
        names = tuple(f.columns[0] for f in single)
        words = f"{len(names)} columns {_TOGETHER[topic]}: {some(names, _LISTED)}."
        told += [Finding(single[0].severity, topic, names, words), *(f for f in ones if len(f.columns) != 1)]
    order = {"problem": 0, "warning": 1, "note": 2}
    return sorted(told, key=lambda f: order[f.severity])
