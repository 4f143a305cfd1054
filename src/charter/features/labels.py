"""What is to be predicted: a column, or what happens to the entity afterwards."""

from __future__ import annotations

import numpy as np
import polars as pl

from charter.core.errors import DataError
from charter.data.grid import AS_OF
from charter.features.expressions import columns_of, compile_expression
from charter.features.history import History, first_at_or_after, microseconds
from charter.features.windows import GROUP, aggregate_slices, duration_us
from charter.spec.functions import AGE
from charter.spec.types import Label


def column_label(frame: pl.DataFrame, label: Label, task: str | None) -> pl.DataFrame:
    """Replace the raw label column by the label as the task needs it; see `charter.features.observations`."""
    raw = frame[label.column or ""]
    return frame.drop(raw.name).with_columns(_encoded(raw, label, task).alias(label.name))


def _encoded(raw: pl.Series, label: Label, task: str | None) -> pl.Series:
    if label.positive is not None and task in (None, "binary"):
        return _is(raw, label.positive).cast(pl.Int8)
    if task == "regression":
        if not raw.dtype.is_numeric():
            raise DataError(f"label {label.column!r} is {raw.dtype}; a regression needs a number")
        return raw.cast(pl.Float64).fill_nan(None)
    if task == "multiclass":
        return raw.cast(pl.String)
    if task is None and raw.dtype != pl.Boolean:
        return raw
    values = raw.drop_nulls().unique()
    if raw.dtype != pl.Boolean and not (raw.dtype.is_numeric() and values.is_in([0, 1]).all()):
        shown = ", ".join(str(v) for v in values.sort().head(5))
        raise DataError(
            f"label {label.column!r} holds {shown}: a binary task needs 0 and 1, or the value that is positive",
            remedy="Name the positive value in data.label.positive.",
        )
    return raw.cast(pl.Int8)


def _is(raw: pl.Series, positive: str) -> pl.Series:
    """Whether values are ``positive``; a number is compared as a number, so that 1, 1.0 and '1' agree."""
    if raw.dtype.is_numeric():
        try:
            return raw == float(positive)
        except ValueError:
            raise DataError(
                f"data.label.positive is {positive!r}, but the label's values are numbers"
            ) from None
    if raw.dtype == pl.Boolean:
        return raw == (positive.lower() in ("true", "1"))
    return raw.cast(pl.String) == positive


def event_label(
    frame: pl.DataFrame, events: pl.DataFrame, time: str, entity: str, label: Label
) -> pl.DataFrame:
    """Add the label that the entity's events in [``as_of``, ``as_of + over_next``) decide, Int8 0/1 or null.

    Every event is thus either past or future of a cut-off. Null where the horizon ends after the last known
    event of the source, whoever's it is. An entity without events in the horizon is judged on none: there
    ``COUNT(*) = 0`` is true and a condition on a sum is not.
    """
    condition = label.positive_when or ""
    if frame[AS_OF].null_count():
        raise DataError(
            f"label {label.name!r} looks {label.over_next} ahead, but observations have no time",
            remedy="Name the time column of the observations in data.observations.time.",
        )
    read = {n for text in (condition, label.where) if text for n in columns_of(text)} - {AGE}
    history = History.of(events, entity, time, read, source=label.source or "")
    end = history.end
    if label.where is not None:
        history = history.where(compile_expression(label.where))
    happens = compile_expression(condition)
    as_of = microseconds(frame[AS_OF])
    until = as_of + duration_us(label.over_next or "")
    first, last = history.spans(history.positions(frame[entity]))
    low = first_at_or_after(history.times, first, last, as_of)
    high = first_at_or_after(history.times, low, last, until)
    nothing = history.frame.clear().with_columns(pl.lit(None, pl.Float64).alias(AGE)).select(label=happens)
    outcome = np.full(frame.height, bool(truth(nothing["label"], "label.positive_when").any()))
    for part in aggregate_slices(history, low, high, as_of, {"label": happens}):
        outcome[part[GROUP].to_numpy()] = truth(part["label"], "label.positive_when").to_numpy()
    known = until <= (-(2**62) if end is None else end)
    values = pl.Series(label.name, outcome.astype(np.int8), dtype=pl.Int8)
    return frame.with_columns(values.set(pl.Series(~known), None))


def truth(values: pl.Series, field: str) -> pl.Series:
    """Read conditions as SQL's WHERE takes them: null is not true."""
    if values.dtype != pl.Boolean:
        raise DataError(
            f"{field} gives {values.dtype}, not true or false",
            remedy="Write a condition on an aggregate, such as COUNT(*) = 0.",
        )
    return values.fill_null(False)
