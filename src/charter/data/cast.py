"""Casting columns to their declared types. What cannot be read becomes null and is reported, never a crash."""

from __future__ import annotations

import re
from collections.abc import Mapping

import polars as pl

from charter.core.errors import DataError
from charter.spec.types import ColumnSpec, ColumnType

DTYPES: Mapping[ColumnType, pl.DataType] = {
    "integer": pl.Int64(),
    "float": pl.Float64(),
    "boolean": pl.Boolean(),
    "category": pl.String(),
    "text": pl.String(),
    "date": pl.Date(),
    "datetime": pl.Datetime("us"),
}
"""Polars type of each declared type. Datetimes are naive UTC."""

_DIRECTIVE = re.compile(
    r"%(?:[-_0]?[YCyqmbBhdeaAwuUWGgVjDxFvHkIlPpMSfTRXrZzcs+nt%]|:{1,3}z|#z|\.[369]?f|[369]f)"
)
_TRUE = ("true", "t", "yes", "y", "1", "1.0")
_FALSE = ("false", "f", "no", "n", "0", "0.0")
_TIME_DIRECTIVES = ("%H", "%I", "%k", "%l", "%T", "%R", "%X", "%r", "%c", "%s", "%+")


def cast(name: str, dtype: pl.DataType, spec: ColumnSpec) -> pl.Expr:
    """Expression that reads column ``name`` of type ``dtype`` as ``spec`` declares it.

    Integers written as floats (``13085.0``) or as text are integers, integers and integral floats are categories
    without a fraction (``1`` and ``1.0`` are ``"1"``), NaN is missing, and a moment with an offset is moved to UTC.

    Returns
    -------
    Expression of the type in `DTYPES`; null where the value is missing or cannot be read.
    """
    column = pl.col(name)
    if isinstance(dtype, pl.Categorical | pl.Enum):
        column, dtype = column.cast(pl.String), pl.String()
    elif isinstance(dtype, pl.Decimal):
        column, dtype = column.cast(pl.Float64), pl.Float64()
    if isinstance(dtype, pl.Null):
        return column.cast(DTYPES[spec.type])
    if dtype.is_nested() or isinstance(dtype, pl.Binary | pl.Object):
        return pl.lit(None, dtype=DTYPES[spec.type])
    if dtype.is_float():
        column = column.fill_nan(None)
    match spec.type:
        case "integer":
            return _integer(column, dtype)
        case "float":
            return _float(column, dtype)
        case "boolean":
            return _boolean(column, dtype)
        case "category" | "text":
            text = as_text(column, dtype)
            return pl.when(text != "").then(text) if spec.type == "category" else text
        case "date":
            return _date(column, dtype, spec.format)
        case "datetime":
            return _datetime(column, dtype, spec.format)


def missing(name: str, dtype: pl.DataType, declared: ColumnType) -> pl.Expr:
    """Expression that is true where the source has no value: null, NaN, and blank text unless text is declared."""
    column = pl.col(name)
    if dtype.is_float():
        return column.is_null() | column.is_nan()
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum) and declared != "text":
        text = column.cast(pl.String)
        if declared in ("integer", "float"):
            return column.is_null() | text.str.strip_chars().str.to_lowercase().is_in(["", "nan"])
        # A category of blanks is a value, though surely a wrong one; elsewhere blanks are nothing.
        return column.is_null() | ((text if declared == "category" else text.str.strip_chars()) == "")
    return column.is_null()


def as_text(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Expression that writes values as categories are written: ``1``, ``1.5``, ``true``, ``2011-12-09``."""
    if isinstance(dtype, pl.String):
        return column
    if dtype.is_float():
        return pl.coalesce(_integer(column, dtype).cast(pl.String), column.cast(pl.String))
    return column.cast(pl.String, strict=False)


def refuse_bad_formats(columns: Mapping[str, ColumnSpec]) -> None:
    """Raise `DataError` for a format with a directive that strptime does not have; no text could be read with it."""
    for name, spec in columns.items():
        if spec.format is not None and "%" in _DIRECTIVE.sub("", spec.format):
            raise DataError(
                f"column {name}: format {spec.format!r} is not in strptime's notation",
                remedy="Write for example '%Y-%m-%d %H:%M:%S' or '%m/%d/%Y'.",
            )


def _integer(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if dtype.is_float():
        # 2**63 itself is a float, and too large.
        fits = column.is_finite() & (column == column.floor()) & (column >= -(2.0**63)) & (column < 2.0**63)
        return pl.when(fits).then(column).cast(pl.Int64, strict=False)
    if isinstance(dtype, pl.String):
        text = column.str.strip_chars()
        return pl.coalesce(
            text.cast(pl.Int64, strict=False), _integer(text.cast(pl.Float64, strict=False), pl.Float64())
        )
    return _number(column, dtype, pl.Int64())


def _float(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.String):
        return column.str.strip_chars().cast(pl.Float64, strict=False).fill_nan(None)
    return _number(column, dtype, pl.Float64())


def _number(column: pl.Expr, dtype: pl.DataType, target: pl.DataType) -> pl.Expr:
    if dtype.is_numeric() or isinstance(dtype, pl.Boolean):
        return column.cast(target, strict=False)
    return pl.lit(None, dtype=target)


def _boolean(column: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    if isinstance(dtype, pl.Boolean):
        return column
    text = as_text(column, dtype).str.strip_chars().str.to_lowercase()
    return pl.when(text.is_in(_TRUE)).then(True).when(text.is_in(_FALSE)).then(False)


def _date(column: pl.Expr, dtype: pl.DataType, format_: str | None) -> pl.Expr:
    if isinstance(dtype, pl.Date):
        return column
    return _datetime(column, dtype, format_).dt.date()


def _datetime(column: pl.Expr, dtype: pl.DataType, format_: str | None) -> pl.Expr:
    target = DTYPES["datetime"]
    if isinstance(dtype, pl.Datetime):
        if dtype.time_zone is not None:
            column = column.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
        return column.cast(target)
    if isinstance(dtype, pl.Date):
        return column.cast(target)
    if dtype.is_integer() and format_ is not None:
        column, dtype = column.cast(pl.String), pl.String()
    if not isinstance(dtype, pl.String):
        return pl.lit(None, dtype=target)
    text = column.str.strip_chars()
    return _iso_moment(text) if format_ is None else _moment(text, format_)


def _moment(text: pl.Expr, format_: str) -> pl.Expr:
    if "%z" in format_ or "%:z" in format_ or "%#z" in format_:
        aware = text.str.to_datetime(format_, time_unit="us", time_zone="UTC", strict=False)
        return aware.dt.replace_time_zone(None)
    if not any(directive in format_ for directive in _TIME_DIRECTIVES):
        return text.str.to_date(format_, strict=False).cast(pl.Datetime("us"))
    return text.str.to_datetime(format_, time_unit="us", strict=False)


def _iso_moment(text: pl.Expr) -> pl.Expr:
    """ISO 8601: date, or date and time parted by ``T`` or a space, with or without an offset."""
    plain = text.str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt ]", "${1} ").str.replace(r"[Zz]$", "+00:00")
    formats = (
        "%Y-%m-%d %H:%M:%S%.f",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S%.f%:z",
        "%Y-%m-%d %H:%M%:z",
        "%Y-%m-%d",
    )
    return pl.coalesce(*(_moment(plain, f) for f in formats))
