"""What really happened: outcomes arrive late, twice, corrected, and for predictions that nobody knows of. Pure.

An outcome belongs to a prediction by the request's identifier (``id`` and, in a request of several rows, ``row``), or,
where the model is about entities, by the entity and the moment that the prediction was for (``as_of``).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from charter.core.errors import DataError
from charter.core.nearest import did_you_mean
from charter.spec.types import ModelSpec

SCHEMA = pl.Schema(
    {"by": pl.String(), "key": pl.String(), "outcome": pl.String(), "known_at": pl.Datetime("us")}
)
"""``by`` is ``id`` or ``entity``; ``key`` names the prediction; ``outcome`` is text that stands for one value only."""

_POSITIVE = {"1", "1.0", "true"}
_NEGATIVE = {"0", "0.0", "false"}
_EXAMPLES = 3
_LONGEST = 1_000
_TOMORROW = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class OutcomeColumns:
    """Where the parts of an outcome stand in a file.

    Attributes
    ----------
    outcome
        Column of what happened.
    entity
        Column of the entity, for models of entities.
    known_at
        Column of the moment at which the outcome became known; without it, the moment of the import.
    """

    outcome: str
    entity: str | None = None
    known_at: str = "known_at"


def normalise(
    frame: pl.DataFrame, columns: OutcomeColumns, spec: ModelSpec, *, now: datetime
) -> pl.DataFrame:
    """Bring outcomes from a file into the form in which they are kept.

    Parameters
    ----------
    frame
        n rows with ``id`` (and ``row``, 0 where it is missing) or with the entity and ``as_of``, and the outcome; the
        entity as the log has it (hashed where the log hashes it).
    now
        Naive UTC.

    Returns
    -------
    Rows of `SCHEMA`, each once, sorted.

    Raises
    ------
    DataError
        When a column is missing, a value cannot be an outcome of this model, or one prediction has two outcomes at the
        same moment: nothing is taken then.

    Notes
    -----
    Binary outcomes are 1 and 0: of a label with ``positive`` its values are read too, of others ``true`` and ``false``.
    A categorical outcome that the specification does not list is refused where it lists any.
    """
    if frame.is_empty():
        raise DataError("the file holds no outcome", remedy="Check how it was written.")
    for column in {"id", "row", "as_of", columns.outcome, columns.known_at, columns.entity} & set(
        frame.columns
    ):
        refuse_odd(frame, str(column))
    by, key = _key(frame, columns)
    if columns.outcome not in frame.columns:
        raise DataError(
            f"there is no column {columns.outcome!r} with the outcomes",
            remedy=f"Name it: --outcome COLUMN; {did_you_mean(columns.outcome, frame.columns)}",
        )
    text = frame[columns.outcome].cast(pl.String).str.strip_chars()
    rows = pl.DataFrame(
        {
            "by": pl.Series([by]).new_from_index(0, frame.height),
            "key": key,
            "outcome": _values(text, columns.outcome, spec),
            "known_at": _moments(frame, columns.known_at, now),
        },
        schema=SCHEMA,
    )
    _refuse(rows["key"].str.len_chars() > _LONGEST, frame, "name their prediction in a text without end",
            f"At most {_LONGEST} characters.")  # fmt: skip
    found = rows.unique().sort(SCHEMA.names())
    twice = found.filter(pl.struct("by", "key", "known_at").is_duplicated())
    if twice.height:
        shown = "; ".join(
            f"{key} is {' and '.join(values)}"
            for key, values in twice.group_by("key", maintain_order=True)
            .agg("outcome")
            .head(_EXAMPLES)
            .rows()
        )
        raise DataError(
            f"{twice['key'].n_unique():,} predictions have two outcomes at the same moment ({shown[:200]})",
            remedy=f"Keep the one that holds, or add {columns.known_at!r}: the later one corrects the earlier.",
        )
    return found


def refuse_odd(frame: pl.DataFrame, column: str) -> None:
    """Refuse a column that holds lists, structures or bytes.

    Raises
    ------
    DataError
        Naming the column and its type.
    """
    dtype = frame.schema[column]
    if dtype.is_nested() or dtype in (pl.Binary, pl.Object):
        raise DataError(f"the column {column!r} is of type {dtype}", remedy="Write text, numbers or days.")


def to_parquet(rows: pl.DataFrame) -> bytes:
    """Write outcomes of `SCHEMA` as they are kept."""
    content = io.BytesIO()
    rows.select(SCHEMA.names()).write_parquet(content)
    return content.getvalue()


def from_parquet(content: bytes) -> pl.DataFrame:
    """Inverse of `to_parquet`.

    Raises
    ------
    ValueError
        When these are no outcomes.
    """
    try:
        return pl.read_parquet(io.BytesIO(content), schema=SCHEMA)
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"no file of outcomes: {str(error).splitlines()[0]}") from error


def latest(parts: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Keep of each prediction the outcome that became known last; of equal moments, that imported last.

    Parameters
    ----------
    parts
        Frames of `SCHEMA` in the order in which they were imported.

    Examples
    --------
    >>> first = pl.DataFrame([("id", "a/0", "1", datetime(2026, 3, 1))], SCHEMA, orient="row")
    >>> correction = pl.DataFrame([("id", "a/0", "0", datetime(2026, 4, 1))], SCHEMA, orient="row")
    >>> latest([correction, first])["outcome"].to_list()
    ['0']
    """
    if not parts:
        return pl.DataFrame(schema=SCHEMA)
    numbered = pl.concat([part.with_columns(pl.lit(i).alias("part")) for i, part in enumerate(parts)])
    ordered = numbered.sort("known_at", "part", "outcome", maintain_order=True)
    return ordered.unique(["by", "key"], keep="last").drop("part").sort("by", "key")


def fresh(rows: pl.DataFrame, parts: Sequence[pl.DataFrame], *, dated: bool) -> pl.DataFrame:
    """Leave out what is known already, so that importing a file twice is importing it once.

    Parameters
    ----------
    rows
        From `normalise`.
    parts
        What was imported before, in order.
    dated
        Whether the file says when each outcome became known. Without that, an outcome equal to the one known last is
        no news, whenever it comes.
    """
    if not parts:
        return rows
    known = pl.concat(parts) if dated else latest(parts)
    return rows.join(known, on=SCHEMA.names() if dated else ["by", "key", "outcome"], how="anti")


def join(predictions: pl.DataFrame, outcomes: pl.DataFrame) -> pl.DataFrame:
    """Add ``outcome`` and ``known_at`` to predictions, null where nothing is known.

    An outcome by identifier goes before one by entity.

    Parameters
    ----------
    predictions
        Rows of the log: ``id``, ``row`` and, where there are any, ``entity`` and ``as_of``.
    outcomes
        From `latest`.
    """
    found = predictions
    for by, key in _keys(predictions):
        mine = outcomes.filter(pl.col("by") == by).select(
            pl.col("key").alias(f"__{by}"), pl.col("outcome").alias(f"__{by}_outcome"),
            pl.col("known_at").alias(f"__{by}_known"),
        )  # fmt: skip
        found = found.with_columns(key.alias(f"__{by}")).join(
            mine, on=f"__{by}", how="left", maintain_order="left"
        )
    ways = [by for by, _ in _keys(predictions)]
    return found.with_columns(
        pl.coalesce(f"__{by}_outcome" for by in ways).alias("outcome"),
        pl.coalesce(f"__{by}_known" for by in ways).alias("known_at"),
    ).drop([c for c in found.columns if c.startswith("__")])


def unknown(outcomes: pl.DataFrame, predictions: pl.DataFrame) -> pl.DataFrame:
    """Outcomes of which no prediction is logged (yet); they are kept."""
    known = [
        predictions.select(pl.lit(by).alias("by"), key.alias("key")).drop_nulls()
        for by, key in _keys(predictions)
    ]
    return outcomes.join(pl.concat(known).unique(), on=["by", "key"], how="anti")


def _keys(predictions: pl.DataFrame) -> list[tuple[str, pl.Expr]]:
    found = [("id", _id_key("id", "row"))]
    if {"entity", "as_of"} <= set(predictions.columns):
        found.append(("entity", _entity_key("entity")))
    return found


def _id_key(request: str, row: str) -> pl.Expr:
    return pl.concat_str(pl.col(request).cast(pl.String), pl.col(row).cast(pl.String), separator="/")


def _entity_key(entity: str) -> pl.Expr:
    moment = pl.col("as_of").cast(pl.Datetime("us")).dt.strftime("%Y-%m-%dT%H:%M:%S%.6f")
    return pl.concat_str(pl.col(entity).cast(pl.String), moment, separator="@")


def _key(frame: pl.DataFrame, columns: OutcomeColumns) -> tuple[str, pl.Series]:
    if "id" in frame.columns:
        row = (
            frame["row"].cast(pl.UInt32, strict=False)
            if "row" in frame.columns
            else pl.Series("row", [0]).new_from_index(0, frame.height)
        )
        by, key = "id", frame.select("id").with_columns(row.alias("row")).select(_id_key("id", "row"))
        needed = "id (and row, a whole number)"
    elif columns.entity is not None and {columns.entity, "as_of"} <= set(frame.columns):
        moments = _parsed(frame["as_of"])
        key = frame.with_columns(moments.alias("as_of")).select(_entity_key(columns.entity))
        by, needed = "entity", f"{columns.entity} and as_of"
    else:
        ways = "id" if columns.entity is None else f"id, or {columns.entity} and as_of"
        raise DataError(
            f"the outcomes cannot be joined with predictions: the file needs {ways}",
            remedy=f"It has {', '.join(frame.columns[:12])}. `charter log export` gives the identifiers.",
        )
    found = key.to_series()
    _refuse(found.is_null(), frame, f"lack {needed}", "Each outcome must name its prediction.")
    return by, found


def _values(text: pl.Series, column: str, spec: ModelSpec) -> pl.Series:
    label, task = spec.data.label, spec.train.task
    if task == "binary":
        positive, negative = set(_POSITIVE), set(_NEGATIVE)
        listed = _listed(spec)
        if label.positive is not None:
            positive, negative = {label.positive}, {v for v in listed if v != label.positive}
            if not {label.positive} & _NEGATIVE:
                positive |= {"1"} - negative
                negative |= {"0"} - positive
        value = (
            pl.when(pl.col(column).is_in(positive))
            .then(pl.lit("1"))
            .when(pl.col(column).is_in(negative))
            .then(pl.lit("0"))
        )
        found = text.alias(column).to_frame().select(value.alias(column)).to_series()
        rule = f"it must be {', '.join(sorted(positive))} (positive) or {', '.join(sorted(negative))}"
    elif task == "multiclass":
        listed = _listed(spec)
        inside = text.is_in(listed) if listed else text.is_not_null() & (text != "")
        found = text.zip_with(inside.fill_null(value=False), pl.Series([None], dtype=pl.String))
        rule = f"it must be {', '.join(listed)}" if listed else "it must not be empty"
    else:
        number = text.cast(pl.Float64, strict=False)
        found = number.set(~number.is_finite().fill_null(value=False), None).cast(pl.String)
        rule = "it must be a finite number"
    _refuse(found.is_null(), text.to_frame(column), f"hold no outcome in {column!r}", f"{rule}.".capitalize())
    return found


def _listed(spec: ModelSpec) -> list[str]:
    label, source = spec.data.label, spec.data.observations.source
    if label.column is None or source is None:
        return []
    declared = spec.data.sources[source].columns.get(label.column)
    return list(declared.values or ()) if declared is not None else []


def _moments(frame: pl.DataFrame, column: str, now: datetime) -> pl.Series:
    if column not in frame.columns:
        return pl.Series(column, [now], dtype=pl.Datetime("us")).new_from_index(0, frame.height)
    found = _parsed(frame[column])
    _refuse(
        found.is_null(), frame, f"hold no moment in {column!r}", "Write it as 2026-03-01T12:00:00, in UTC."
    )
    late = (found > now + _TOMORROW).fill_null(value=False)  # a day: elsewhere it is tomorrow
    _refuse(
        late,
        frame,
        f"hold a moment in {column!r} that is still to come",
        f"It is {now:%Y-%m-%d %H:%M} UTC now.",
    )
    return found


def _parsed(moments: pl.Series) -> pl.Series:
    if moments.dtype == pl.String:
        return moments.str.to_datetime(time_unit="us", strict=False, time_zone="UTC").dt.replace_time_zone(
            None
        )
    if isinstance(moments.dtype, pl.Datetime) and moments.dtype.time_zone is not None:
        moments = moments.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return moments.cast(pl.Datetime("us"), strict=False)


def _refuse(broken: pl.Series, frame: pl.DataFrame, what: str, remedy: str) -> None:
    count = int(broken.sum())
    if count:
        rows = broken.arg_true().head(_EXAMPLES).to_list()
        examples = "; ".join(f"row {i + 1}: {_short(frame.row(i))}" for i in rows)
        raise DataError(f"{count:,} of {frame.height:,} rows {what} ({examples})", remedy=remedy)


def _short(row: tuple[object, ...]) -> str:
    return ", ".join(str(v)[:40] for v in row[:4])
