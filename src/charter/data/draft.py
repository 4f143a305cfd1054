"""Drafting the contract of a table from its values: what each column is, and what it may hold."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import polars as pl

from charter.data.cast import cast
from charter.data.eda.explore import NOTATIONS
from charter.spec.types import ColumnSpec, ColumnType

NULL_WORDS = (
    "NA",
    "N/A",
    "n/a",
    "na",
    "NaN",
    "nan",
    "NULL",
    "Null",
    "null",
    "None",
    "none",
    "#N/A",
    "?",
    "-",
)
"""How tables write a missing number or moment, if they do not leave it blank."""
_TEMPORAL = ("date", "datetime")
_FEW = 50
_LISTED = 30
_SAMPLE = 1000
_PROTECTED = re.compile(
    r"(^|[_\W])(sex|gender|race|ethnicity|ethnic_group|religion|nationality|marital_status|disability|age)($|[_\W])",
    re.IGNORECASE,
)
_PERSONAL = re.compile(
    r"(^|[_\W])(((first|last|full|patient|customer|client|person|employee)[_ ]?|sur)name|e_?mail|phone|mobile|address|"
    r"street|iban|ssn|passport|date_of_birth|birth_?date|dob)($|[_\W])|^name$",
    re.IGNORECASE,
)
_KEY_NAME = re.compile(r"(^|[_\W])(id|key|uuid|guid|number|no|nr|code)$|(?<!pa)id$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class DraftColumn:
    """A column as it would be declared.

    Attributes
    ----------
    type, format
        As in the specification; ``format`` of moments that are not written as in ISO 8601.
    low, high
        Bounds with slack; None where none is drafted.
    values
        The categories, where every one of them was seen more than once.
    distinct, missing
        Different values, and rows without one.
    null_words
        Words of `NULL_WORDS` that stand in it for a missing value.
    remark
        What its author should look at.
    """

    name: str
    type: ColumnType
    format: str | None = None
    low: float | None = None
    high: float | None = None
    values: tuple[str, ...] | None = None
    distinct: int = 0
    missing: int = 0
    null_words: tuple[str, ...] = ()
    remark: str = ""

    @property
    def sensitivity(self) -> str | None:
        """``protected`` or ``personal`` where the name says so."""
        if _PROTECTED.search(self.name):
            return "protected"
        return "personal" if _PERSONAL.search(self.name) else None

    def declared(self) -> dict[str, Any]:
        """The entry under ``columns``."""
        found: dict[str, Any] = {"type": self.type}
        if self.format is not None:
            found["format"] = self.format
        if self.values is not None:
            found["values"] = list(self.values)
        found |= {word: bound for word, bound in (("min", self.low), ("max", self.high)) if bound is not None}
        if self.missing:
            found["nullable"] = True
        if self.sensitivity is not None:
            found["sensitivity"] = self.sensitivity
        return found

    def spec(self) -> ColumnSpec:
        """The contract."""
        return ColumnSpec.model_validate_json(json.dumps(self.declared()))


def draft_column(series: pl.Series) -> DraftColumn | None:
    """Read from a column's values what it is.

    Text is a number, truth value or moment only where the reader of the specification reads every value so, words of
    `NULL_WORDS` apart. Numbers that begin with a zero are codes. Bounds have half the range as slack, so that they
    catch a changed unit and not next month. Categories are listed only where none was seen once: by Good and Turing
    the chance that the next row brings a new one is the share of those seen once (Good 1953).

    Returns
    -------
    The draft; None for a column without any value, or of lists and the like.

    Examples
    --------
    >>> draft_column(pl.Series("n", ["1", "NA", "30"])).declared()
    {'type': 'integer', 'min': 0, 'max': 45, 'nullable': True}
    >>> draft_column(pl.Series("zip", ["01067", "01067", "99999", "99999"])).declared()
    {'type': 'category', 'values': ['01067', '99999']}
    """
    if series.dtype.is_nested() or series.dtype in (pl.Binary, pl.Object, pl.Time, pl.Duration):
        return None
    if series.dtype in (pl.Categorical, pl.Enum):
        series = series.cast(pl.String)
    if series.dtype.is_float():
        series = series.fill_nan(None)
    if series.dtype != pl.String:
        return _typed(series)
    stripped = series.str.strip_chars()
    present = stripped.filter(stripped.is_not_null() & (stripped != ""))
    if not present.len():
        return None
    words = set(present.filter(present.is_in(list(NULL_WORDS))).unique().to_list())
    rest = present.filter(~present.is_in(list(words))) if words else present
    found = _read(rest) if rest.len() else None
    if found is not None:
        missing = series.len() - rest.len()
        return _described(
            replace(found, name=series.name, missing=missing, null_words=tuple(sorted(words))), rest
        )
    return _words(series)


def _typed(series: pl.Series) -> DraftColumn | None:
    present = series.drop_nulls()
    if not present.len():
        return None
    dtype, kind = series.dtype, "float"
    if dtype == pl.Boolean:
        kind = "boolean"
    elif dtype == pl.Date:
        kind = "date"
    elif isinstance(dtype, pl.Datetime):
        kind = "datetime"
    elif dtype.is_integer() or (
        # Tables from pandas hold whole numbers as floats as soon as one is missing.
        dtype.is_float() and present.len() < series.len() and bool((present == present.floor()).all())
    ):
        kind = "integer"
    declared: ColumnType = kind  # type: ignore[assignment]  # mypy widens what the branches narrow
    return _described(DraftColumn(series.name, declared, missing=series.null_count()), present)


def _read(texts: pl.Series) -> DraftColumn | None:
    """Type of texts of which every one can be read so; None where they are words."""
    lowered = texts.str.to_lowercase()
    if lowered.is_in(["true", "false"]).all():
        return DraftColumn("", "boolean")
    if texts.str.contains(r"^[+-]?0\d").any():  # a code, a date, or a number that is padded
        return _moment(texts)
    for kind in ("integer", "float"):
        if _all(texts, ColumnSpec(type=kind)):
            return DraftColumn("", kind)
    return _moment(texts)


def _moment(texts: pl.Series) -> DraftColumn | None:
    if texts.str.contains(r"^\d{4}-\d{2}-\d{2}$").all() and _all(texts, ColumnSpec(type="date")):
        return DraftColumn("", "date")
    if _all(texts, ColumnSpec(type="datetime")):
        return DraftColumn("", "datetime")
    # Eight digits may be a number of anything; a separator says that it is a date.
    fit = [n for n in NOTATIONS if n != "%Y%m%d" and _all(texts, ColumnSpec(type="datetime", format=n))]
    if not fit:
        return None
    remark = f"{fit[1]} would fit as well" if len(fit) > 1 else ""
    kind: ColumnType = "datetime" if "%H" in fit[0] else "date"
    return DraftColumn("", kind, format=fit[0], remark=remark)


def _all(texts: pl.Series, spec: ColumnSpec) -> bool:
    """Whether every text can be read as declared; a few are asked first."""
    named = texts.alias("x")
    unread = cast("x", pl.String(), spec).is_null().any()
    return not any(part.to_frame().select(unread).item() for part in (named.head(_SAMPLE), named))


def _words(series: pl.Series) -> DraftColumn | None:
    """A category, or text: most values differ, or they are sentences."""
    texts = series.filter(series.is_not_null() & (series != ""))
    if not texts.len():
        return None
    counts = texts.value_counts(name="n").sort(["n", series.name], descending=[True, False])
    distinct, missing = counts.height, series.len() - texts.len()
    found = DraftColumn(series.name, "category", distinct=distinct, missing=missing)
    long = float(texts.str.len_chars().mean() or 0) > 40  # type: ignore[arg-type]  # of lengths it is a float
    if distinct > _FEW and (distinct > 0.5 * texts.len() or long):
        return replace(found, type="text")
    once = int((counts["n"] == 1).sum())
    if distinct <= _LISTED and not once:
        return replace(found, values=tuple(sorted(counts[series.name])))
    if distinct <= _LISTED:
        share = once / texts.len()
        return replace(
            found, remark=f"values not listed: {once} seen once, so {share:.1%} of new rows may hold others"
        )
    return found


def _described(found: DraftColumn, present: pl.Series) -> DraftColumn:
    """Add the number of values and, to numbers, bounds with slack."""
    distinct = present.n_unique()
    found = replace(found, name=found.name or present.name, distinct=distinct)
    if found.type not in ("integer", "float"):
        return found
    numbers = (
        present.cast(pl.Float64) if present.dtype != pl.String else present.str.strip_chars().cast(pl.Float64)
    )
    numbers = numbers.filter(numbers.is_finite())
    if not numbers.len():
        return found
    low, high = _span(numbers)
    slack = (high - low) / 2 or abs(high) or 1.0
    within = low >= 0 and high <= 1
    least = 0.0 if low >= 0 else _round(low - slack, up=False)
    most = 1.0 if within else 0.0 if high <= 0 else _round(high + slack, up=True)
    if found.type == "integer" or (least.is_integer() and most.is_integer()):
        return replace(found, low=int(least), high=int(most))
    return replace(found, low=least, high=most)


def _span(numbers: pl.Series) -> tuple[float, float]:
    return float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]  # numbers, and not empty


def _round(value: float, *, up: bool) -> float:
    """Round to two digits, away from the values."""
    if not value:
        return 0.0
    step = 10.0 ** (math.floor(math.log10(abs(value))) - 1)
    steps = math.ceil(value / step) if up else math.floor(value / step)
    return round(steps * step, 12)


def key_columns(
    frame: pl.DataFrame, columns: Mapping[str, DraftColumn], *, but: Sequence[str]
) -> tuple[str, ...]:
    """Find the column that identifies a row; none where no column looks as if it did.

    Every row has a value of it and no two the same; and its name says so, or it is text, or it counts up. A
    measurement that happens never to repeat is no key.
    """
    fit = []
    for name, column in columns.items():
        whole = column.type in ("integer", "category", "text") and not column.missing
        if whole and name not in but and column.distinct == frame.height:
            fit.append(name)
    named = [name for name in fit if _KEY_NAME.search(name)]
    texts = [name for name in fit if columns[name].type != "integer"]
    counting = [name for name in fit if columns[name].type == "integer" and _counts_up(frame[name])]
    return tuple((named or texts or counting)[:1])


def _counts_up(series: pl.Series) -> bool:
    steps = series.cast(pl.Int64, strict=False).diff().drop_nulls()
    return bool((steps > 0).all())


def newest(moments: pl.Series) -> date:
    """Day of the latest moment."""
    latest = moments.max()
    assert isinstance(latest, date)
    return latest.date() if isinstance(latest, datetime) else latest
