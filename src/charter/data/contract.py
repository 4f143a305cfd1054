"""The contract of columns, checked row by row. Preparation and serving ask the same questions here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime

import polars as pl

from charter.data.cast import DTYPES, as_text, cast, missing, refuse_bad_formats
from charter.spec.types import ColumnSpec

_UNREAD = "__unread:"
_NUMERIC = frozenset({"integer", "float"})
_MOMENTS = frozenset({"date", "datetime"})


@dataclass(frozen=True, slots=True)
class Rule:
    """One question to every row.

    Attributes
    ----------
    column
        The column it is about; empty for several.
    kind
        ``type``, ``finite``, ``missing``, ``min``, ``max``, ``values``, ``unique``, ``future``, ``rule``, ``key``
        or ``foreign_key``.
    text
        The rule in words.
    broken
        Boolean expression over the frame that `conform` returns: true where the rule is broken.
    path
        Keys within the source's specification.
    across
        Whether it compares rows, so that only all of them together can answer.
    """

    column: str
    kind: str
    text: str
    broken: pl.Expr
    path: tuple[str, ...]
    across: bool = False


def conform(frame: pl.DataFrame, columns: Mapping[str, ColumnSpec]) -> pl.DataFrame:
    """Cast the declared columns; remember what could not be read.

    Parameters
    ----------
    frame
        Raw rows. Declared columns that it lacks are left out; columns that are not declared stay as they are.
    columns
        The contract by column.

    Returns
    -------
    The frame with the declared columns in their types (`charter.data.cast.DTYPES`), and for each a Boolean column
    for `column_rules`; drop these with `without_marks`.

    Raises
    ------
    DataError
        When a declared format is not in strptime's notation.
    """
    refuse_bad_formats(columns)
    present = {name: spec for name, spec in columns.items() if name in frame.columns}
    schema = frame.schema
    # Whether the source had a value at all, before it is overwritten by the cast one.
    marked = frame.with_columns(
        missing(name, schema[name], spec.type).alias(_UNREAD + name) for name, spec in present.items()
    ).with_columns(cast(name, schema[name], spec).alias(name) for name, spec in present.items())
    return marked.with_columns(
        (pl.col(name).is_null() & ~pl.col(_UNREAD + name)).alias(_UNREAD + name) for name in present
    )


def without_marks(frame: pl.DataFrame) -> pl.DataFrame:
    """Drop the columns that `conform` added."""
    return frame.select(name for name in frame.columns if not name.startswith(_UNREAD))


def column_rules(columns: Mapping[str, ColumnSpec], *, across_rows: bool = True) -> list[Rule]:
    """The rules that the contract of each column implies, over a frame from `conform`.

    Parameters
    ----------
    across_rows
        Whether rules that compare rows (``unique``) are included; a request is judged row by row without them.

    Examples
    --------
    >>> columns = {"AGE": ColumnSpec(type="integer", min=18)}
    >>> frame = conform(pl.DataFrame({"AGE": ["17", "x", "30.0", None]}), columns)
    >>> [(rule.kind, frame.select(rule.broken).to_series().to_list()) for rule in column_rules(columns)]
    ... # doctest: +NORMALIZE_WHITESPACE
    [('type', [False, True, False, False]),
     ('missing', [False, False, False, True]),
     ('min', [True, None, False, None])]
    """
    return [rule for name, spec in columns.items() for rule in _rules(name, spec, across_rows)]


def violations(frame: pl.DataFrame, columns: Mapping[str, ColumnSpec]) -> list[tuple[str, str, pl.Series]]:
    """Judge raw rows one by one, as a request needs it.

    Returns
    -------
    ``(column, rule, broken)`` for each rule that at least one row breaks; ``broken`` is Boolean, one value per row.
    A declared column that the frame lacks counts as missing in every row.
    """
    absent = [name for name in columns if name not in frame.columns]
    frame = conform(frame.with_columns(pl.lit(None).alias(name) for name in absent), columns)
    rules = column_rules(columns, across_rows=False)
    masks = broken_rows(frame, rules)
    return [(rule.column, rule.text, mask) for rule, mask in zip(rules, masks, strict=True) if mask.any()]


def broken_rows(frame: pl.DataFrame, rules: Iterable[Rule]) -> list[pl.Series]:
    """Evaluate rules over a frame from `conform`: one Boolean series per rule, without nulls."""
    masks = frame.select(rule.broken.fill_null(False).alias(str(i)) for i, rule in enumerate(rules))
    return masks.get_columns()


def not_in_the_future(column: str, now: datetime, result: str | None = None) -> Rule:
    """No row may be known before it happened: ``column`` must not be later than ``now`` (naive UTC).

    A row without a ``result``, where such a column is named, says what is planned, and may be of the future.
    """
    broken = pl.col(column).cast(pl.Datetime("us")) > pl.lit(now, dtype=pl.Datetime("us"))
    unless = ""
    if result is not None:
        broken, unless = broken & pl.col(result).is_not_null(), f", where {result} is known"
    # The moment itself stays out of the words, so that the same data read twice gives the same report.
    return Rule(column, "future", f"not in the future when the data was read{unless}", broken, ("time",))


def _rules(name: str, spec: ColumnSpec, across_rows: bool) -> Iterable[Rule]:
    column = pl.col(name)
    path = ("columns", name)
    written = f" written as {spec.format}" if spec.format else ""
    yield Rule(name, "type", f"{spec.type}{written}", pl.col(_UNREAD + name), (*path, "type"))
    if spec.type == "float":
        yield Rule(name, "finite", "finite", column.is_infinite(), (*path, "type"))
    if not spec.nullable:
        # A value that could not be read is not missing; it has been reported as what it is.
        yield Rule(name, "missing", "not missing", column.is_null() & ~pl.col(_UNREAD + name), path)
    low, high = _bound(spec, spec.min), _bound(spec, spec.max)
    if low is not None:
        yield Rule(name, "min", f"at least {_shown(spec.min)}", column < low, (*path, "min"))
    if high is not None:
        # The last day belongs to the range of a datetime as a whole.
        whole_day = spec.type == "datetime" and not isinstance(spec.max, datetime)
        above = column >= high.dt.offset_by("1d") if whole_day else column > high
        yield Rule(name, "max", f"at most {_shown(spec.max)}", above, (*path, "max"))
    if spec.values is not None:
        text = as_text(column, DTYPES[spec.type])
        allowed = ", ".join(spec.values[:12]) + (", ..." if len(spec.values) > 12 else "")
        yield Rule(name, "values", f"one of {allowed}", ~text.is_in(list(spec.values)), (*path, "values"))
    if spec.unique and across_rows:
        again = column.is_not_null() & column.is_duplicated()
        yield Rule(name, "unique", "unique", again, (*path, "unique"), across=True)


def _bound(spec: ColumnSpec, bound: float | date | None) -> pl.Expr | None:
    if bound is None:
        return None
    if isinstance(bound, date):
        if spec.type not in _MOMENTS:
            return None
        return pl.lit(bound).cast(pl.Datetime("us") if spec.type == "datetime" else pl.Date)
    return pl.lit(bound) if spec.type in _NUMERIC else None


def _shown(bound: float | date | None) -> str:
    if isinstance(bound, float) and bound.is_integer() and abs(bound) < 1e15:
        return str(int(bound))
    return str(bound)
