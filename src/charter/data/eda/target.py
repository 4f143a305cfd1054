"""The column to be predicted: what kind it is, how it is balanced, and who tells it too well."""

from __future__ import annotations

import polars as pl

from charter.core.decision import Verdict
from charter.data.column import ColumnProfile
from charter.data.eda.prepare import Prepared
from charter.data.eda.types import Finding, Severity, TargetView
from charter.data.leaks import find_telling

MOST_CLASSES = 20
_LEAK_ROWS = 50_000
_RARE = 0.05
_SHOWN = 50
_YES = frozenset({"1", "1.0", "true", "yes", "y", "t"})


def view_target(series: pl.Series, summary: ColumnProfile) -> TargetView:
    """Tell whether the target is binary, one of several classes, or a number."""
    known = series.drop_nulls()
    if known.dtype.is_float():
        known = known.drop_nans()
    distinct = known.n_unique()
    number = summary.kind == "numeric" and series.dtype != pl.Boolean and distinct > MOST_CLASSES
    missing = series.len() - known.len()
    if number:
        return TargetView(series.name, "number", (), missing)
    counted = known.cast(pl.String, strict=False).alias("v").value_counts(name="n")
    # Of two classes the one that says yes comes last, else the rarer one: it is 1 in what is computed.
    classes = counted.with_columns(pl.col("v").str.to_lowercase().is_in(list(_YES)).alias("yes")).sort(
        ["yes", "n", "v"] if distinct == 2 else ["n", "v"],
        descending=[False, True, False] if distinct == 2 else [True, False],
    )
    known_classes = tuple(classes.select("v", "n").head(_SHOWN).iter_rows())
    return TargetView(series.name, "binary" if distinct == 2 else "classes", known_classes, missing)


def class_codes(series: pl.Series, view: TargetView) -> Prepared:
    """Code the classes: of a binary target the one that says yes is 1, where none or both do the rarer one."""
    names = [name for name, _ in view.classes]
    texts = series.cast(pl.String, strict=False)
    codes = texts.replace_strict(names, range(len(names)), default=-1, return_dtype=pl.Int64).fill_null(-1)
    return Prepared(series.name, "categorical", None, None, None, codes.to_numpy(), tuple(names))


def balance(view: TargetView) -> list[Finding]:
    """Judge how the classes are balanced."""
    found = []
    if view.missing:
        words = f"{view.missing:,} rows have no {view.name}: nothing can be learned from them."
        found.append(Finding("warning", "balance", (view.name,), words))
    total = sum(n for _, n in view.classes)
    if view.kind == "number" or not total:
        return found
    if len(view.classes) == 1:
        words = f"{view.name} has one value only, {view.classes[0][0]}: there is nothing to predict."
        return [*found, Finding("problem", "balance", (view.name,), words)]
    name, rows = min(reversed(view.classes), key=lambda one: one[1])
    share = rows / total
    words = f"The rarest class of {view.name}, {name}, has {rows:,} rows ({share:.2%})."
    if share < _RARE:
        words += " Accuracy says little here; look at precision and recall, and stratify the split."
        return [*found, Finding("warning", "balance", (view.name,), words)]
    return [*found, Finding("note", "balance", (view.name,), words)]


def leak(frame: pl.DataFrame, view: TargetView, feature: str) -> list[Finding]:
    """Ask whether a column tells the target, in two halves of at most 50,000 evenly spaced rows."""
    rows = frame.select(view.name, feature).gather_every(max(1, -(-frame.height // _LEAK_ROWS)))
    if view.kind == "binary":
        positive = view.classes[-1][0]
        rows = rows.with_columns((pl.col(view.name).cast(pl.String) == positive).cast(pl.Int8))
    if rows.schema[feature] == pl.Duration:
        rows = rows.with_columns(pl.col(feature).dt.total_microseconds())
    found = []
    for check in find_telling(rows.gather_every(2), rows.gather_every(2, 1), view.name, [feature]):
        if check.verdict is not Verdict.PASS:
            severity: Severity = "problem" if check.verdict is Verdict.FAIL else "warning"
            words = f"{check.name.replace('the label', view.name)}: {check.observed}. {check.note}."
            found.append(Finding(severity, "leakage", (feature,), words))
    return found
