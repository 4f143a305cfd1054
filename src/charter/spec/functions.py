"""The functions that an expression may call: an allow list, with what each takes and gives.

Only functions that Polars' SQL dialect has under that very name stand here, and TREND, which is written out for it;
a test evaluates every one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, cast

Kind = Literal["number", "truth", "text", "time", "any"]
"""What a value is, as far as it can be told without data. ``any`` fits everywhere (also missing values)."""


@dataclass(frozen=True, slots=True)
class Function:
    """One callable word.

    Attributes
    ----------
    low, high
        Fewest and most arguments; ``high`` None is unbounded.
    takes
        Kind of each argument; the last one repeats.
    gives
        Kind of the result; ``any`` means the common kind of the arguments.
    fixed
        Positions of arguments that must be written as a literal.
    distinct
        Whether ``DISTINCT`` may stand before the argument.
    """

    name: str
    low: int
    high: int | None
    takes: tuple[Kind, ...]
    gives: Kind
    fixed: frozenset[int] = frozenset()
    distinct: bool = False

    def arity(self) -> str:
        """How many arguments, in words.

        Examples
        --------
        >>> ROW_FUNCTIONS["ROUND"].arity(), ROW_FUNCTIONS["GREATEST"].arity()
        ('1 or 2 arguments', '2 or more arguments')
        """
        if self.high is None:
            return f"{self.low} or more arguments"
        if self.low == self.high:
            return "no arguments" if not self.low else f"{self.low} argument{'s' if self.low > 1 else ''}"
        return f"{self.low} or {self.high} arguments"


def _row(names: str, low: int, high: int | None, takes: str, gives: Kind, *fixed: int) -> list[Function]:
    kinds = cast(tuple[Kind, ...], tuple(takes.split()))
    return [Function(name, low, high, kinds, gives, frozenset(fixed)) for name in names.split()]


ROW_FUNCTIONS: dict[str, Function] = {
    f.name: f
    for f in (
        *_row("ABS CEIL FLOOR SIGN SQRT CBRT EXP LN LOG2 LOG10 LOG1P", 1, 1, "number", "number"),
        *_row("SIN COS TAN ASIN ACOS ATAN DEGREES RADIANS", 1, 1, "number", "number"),
        *_row("ROUND", 1, 2, "number", "number", 1),
        *_row("POWER MOD DIV ATAN2", 2, 2, "number", "number"),
        *_row("PI", 0, 0, "number", "number"),
        *_row("GREATEST LEAST COALESCE", 2, None, "any", "any"),
        *_row("NULLIF IFNULL", 2, 2, "any", "any"),
        *_row("LOWER UPPER TRIM LTRIM RTRIM REVERSE", 1, 1, "text", "text"),
        *_row("LENGTH", 1, 1, "text", "number"),
        *_row("LEFT RIGHT", 2, 2, "text number", "text"),
        *_row("SUBSTR", 2, 3, "text number", "text"),
        *_row("REPLACE", 3, 3, "text", "text", 1, 2),
        *_row("CONCAT", 2, None, "any", "text"),
        *_row("STARTS_WITH ENDS_WITH", 2, 2, "text", "truth"),
        *_row("STRPOS", 2, 2, "text", "number"),
    )
}
"""Functions of one row, by upper-case name."""

AGGREGATE_FUNCTIONS: dict[str, Function] = {
    f.name: f
    for f in (
        Function("COUNT", 1, 1, ("any",), "number", distinct=True),
        Function("SUM", 1, 1, ("number",), "number", distinct=True),
        Function("AVG", 1, 1, ("number",), "number", distinct=True),
        Function("MIN", 1, 1, ("any",), "any"),
        Function("MAX", 1, 1, ("any",), "any"),
        Function("FIRST", 1, 1, ("any",), "any"),
        Function("LAST", 1, 1, ("any",), "any"),
        Function("MEDIAN", 1, 1, ("number",), "number"),
        Function("STDDEV", 1, 1, ("number",), "number"),
        Function("VARIANCE", 1, 1, ("number",), "number"),
        Function("QUANTILE_CONT", 2, 2, ("number",), "number", frozenset({1})),
        Function("TREND", 1, 1, ("number",), "number"),
    )
}
"""Functions over many rows, by upper-case name. `FIRST` and `LAST` follow the order of time; `TREND` is the change per
day, the slope of the least-squares line against time."""

AGE = "age_days"
"""Column that windows add: the age of an event in days at the moment of observation. `TREND` reads it."""

EXTRACT_PARTS = (
    "YEAR",
    "QUARTER",
    "MONTH",
    "WEEK",
    "DAY",
    "DOW",
    "ISODOW",
    "DOY",
    "HOUR",
    "MINUTE",
    "SECOND",
    "EPOCH",
)
"""What ``EXTRACT(part FROM time)`` gives, always a number."""

CAST_TYPES: dict[str, tuple[str, Kind]] = {
    "INTEGER": ("BIGINT", "number"),
    "BIGINT": ("BIGINT", "number"),
    "DOUBLE": ("DOUBLE", "number"),
    "FLOAT": ("DOUBLE", "number"),
    "BOOLEAN": ("BOOLEAN", "truth"),
    "VARCHAR": ("VARCHAR", "text"),
    "DATE": ("DATE", "time"),
}
"""Types of ``CAST``, what each is sent to Polars as (64 bits throughout), and its kind."""

OTHER_NAMES = {
    "MEAN": "AVG",
    "AVERAGE": "AVG",
    "STD": "STDDEV",
    "STDEV": "STDDEV",
    "VAR": "VARIANCE",
    "QUANTILE": "QUANTILE_CONT",
    "PERCENTILE": "QUANTILE_CONT",
    "LEN": "LENGTH",
    "POW": "POWER",
    "CEILING": "CEIL",
    "LOG": "LN or LOG10",
    "IF": "CASE WHEN ... THEN ... ELSE ... END",
    "IIF": "CASE WHEN ... THEN ... ELSE ... END",
    "ISNULL": "x IS NULL",
    "NVL": "COALESCE",
    "SUBSTRING": "SUBSTR",
    "CONTAINS": "x LIKE '%part%'",
    "NUNIQUE": "COUNT(DISTINCT x)",
    "N_UNIQUE": "COUNT(DISTINCT x)",
    "YEAR": "EXTRACT(YEAR FROM x)",
    "MONTH": "EXTRACT(MONTH FROM x)",
    "DAY": "EXTRACT(DAY FROM x)",
    "HOUR": "EXTRACT(HOUR FROM x)",
    "DATE_PART": "EXTRACT(... FROM x)",
    "REGR_SLOPE": "TREND(x), the change per day",
    "SLOPE": "TREND(x), the change per day",
    "COUNT_IF": "SUM(CASE WHEN ... THEN 1 ELSE 0 END)",
    "COUNTIF": "SUM(CASE WHEN ... THEN 1 ELSE 0 END)",
}
"""Words of other dialects, and ours."""
