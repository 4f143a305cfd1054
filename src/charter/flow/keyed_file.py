"""Files that are brought beside a forecast: plans, stock, what came. Each row names its series and is checked."""

from __future__ import annotations

from collections.abc import Sequence, Set
from pathlib import Path
from typing import TYPE_CHECKING

from charter.core.errors import DataError, UsageError
from charter.core.nearest import advice
from charter.core.text import printable, some

if TYPE_CHECKING:
    import polars as pl

    from charter.data.grid import SeriesPlan
    from charter.serve.types import Input

LARGEST = 1e12
"""Units in stock of one series: more is a slip of the pen."""
_SHOWN = 3


def read_table(source: Path) -> pl.DataFrame:
    """Read a Parquet or CSV file; values of CSV stay text, so that a key ``007`` does.

    Raises
    ------
    UsageError, DataError
        When it is neither, or cannot be read.
    """
    import polars as pl

    if source.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{source} is neither a .parquet nor a .csv file")
    try:
        if source.suffix == ".parquet":
            return pl.read_parquet(source)
        return pl.read_csv(source, infer_schema=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(f"{source} cannot be read: {printable(str(error).splitlines()[0])}") from error


def read_keyed(
    file: Path,
    raw: pl.DataFrame,
    plan: SeriesPlan,
    fields: Sequence[Input],
    *,
    period: str | None = None,
    known: Set[str] | None = None,
    unique: bool = True,
) -> pl.DataFrame:
    """Read rows that name their series, or their series and period.

    Parameters
    ----------
    file
        What the messages name.
    raw
        Its rows, from `read_table`.
    fields
        Columns with their types and limits, keys among them; those that are not nullable must be there.
    period
        The field with the beginning of a row's period; None where rows have none.
    known
        Series that there are; None takes any.
    unique
        Whether a series (and period) has one row at most.

    Returns
    -------
    The fields in their types, and ``series``.

    Raises
    ------
    DataError
        Naming series, column and rule: for a missing column or value, one of another type or beyond the limits, a
        time that is no beginning of a period, a series that is not known, or two rows of one.

    Examples
    --------
    >>> import polars as pl
    >>> from charter.data.grid import SeriesPlan
    >>> from charter.serve.types import Input
    >>> plan = SeriesPlan("sales", ("shop",), "week", "week", "monday", 8, 0, "leave", "units")
    >>> fields = [Input("shop", "category"), Input("on_hand", "float", max=LARGEST)]
    >>> stock = pl.DataFrame({"shop": ["007", "8"], "on_hand": ["20", "NaN"]})
    >>> read_keyed(Path("stock.csv"), stock, plan, fields)
    Traceback (most recent call last):
        ...
    charter.core.errors.DataError: stock.csv: series 8: on_hand is missing
      Correct the file; nothing is taken from it as it is.
    """
    import polars as pl

    from charter.data.grid import name_series
    from charter.serve.batch import Contract

    for field in fields:
        if field.name not in raw.columns and not field.nullable:
            raise DataError(
                f"{file}: there is no column {field.name!r}",
                remedy=advice(field.name, raw.columns),
            )
    rows, reasons, _ = Contract(fields).judge(raw)
    rows = rows.with_columns(name_series(plan.keys))
    name = ["series"] if period is None else ["series", period]
    if reasons is not None:
        wrong = rows.with_columns(reasons.list.join(", ").alias("__why")).filter(reasons.list.len() > 0)
        _refuse(
            file, wrong.select(*name, "__why"), "", "Correct the file; nothing is taken from it as it is."
        )
    if period is not None:
        rule = f"no beginning of a {plan.every}" + (
            f", which start on {plan.starts_on}" if plan.every == "week" else ""
        )
        off = rows.filter(plan.grid.is_off(pl.col(period)))
        _refuse(file, off.select(name), rule, "A row's time is the first day of its period.")
    if known is not None:
        strange = (
            rows.filter(~pl.col("series").is_in(list(known))).select("series").unique(maintain_order=True)
        )
        remedy = f"Series are named by {', '.join(plan.keys)}, such as {some(sorted(known))}; leave out other rows."
        _refuse(file, strange, "a series that neither the forecast nor its source has", remedy)
    if unique:
        again = rows.filter(pl.struct(name).is_duplicated()).select(name).unique(maintain_order=True)
        each = "series" if period is None else "series and period"
        _refuse(file, again, "in more than one row", f"Keep one row per {each}.")
    return rows


def _refuse(file: Path, wrong: pl.DataFrame, rule: str, remedy: str) -> None:
    if wrong.is_empty():
        return
    told = []
    for series, *rest in wrong.head(_SHOWN).iter_rows():
        why = f": {rest.pop()}" if "__why" in wrong.columns else ""
        moment = f" of {str(rest[0]).removesuffix(' 00:00:00')}" if rest else ""
        told.append(printable(f"series {series}{moment}{why}"))
    more = f" and {wrong.height - _SHOWN:,} more" if wrong.height > _SHOWN else ""
    raise DataError(f"{file}: {'; '.join(told)}{more}{f': {rule}' if rule else ''}", remedy=printable(remedy))
